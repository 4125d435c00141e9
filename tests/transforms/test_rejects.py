"""What a reject keeps of the message that it came in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.checking import Checks
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.rejects import codes_of, reject_batch, with_message
from telebeam.transforms.schema import MESSAGE, REJECTS, TIMESTAMP

NOW = 1_767_225_600_000_000


def records(payloads: list[bytes], **columns: pa.Array) -> pa.RecordBatch:
    rows = len(payloads)
    origin = {
        "source": pa.array([f"topic-{row % 2}" for row in range(rows)], pa.string()),
        "source_partition": pa.array(np.arange(rows, dtype=np.int32) % 3),
        "source_offset": pa.array(np.arange(rows) // 2),
    }
    return pa.RecordBatch.from_pydict({"payload": pa.array(payloads, pa.large_binary()), **origin, **columns})


def rejects_of_rows(batch: pa.RecordBatch, rows: list[int]) -> pa.RecordBatch:
    taken = batch.take(pa.array(rows, pa.int64()))
    columns = {name: taken.column(name) for name in ("payload", "source", "source_partition", "source_offset")}
    texts = pa.array(["x"] * len(rows), pa.string())
    return reject_batch({**columns, "reason": texts, "detail": texts}, NOW)


def message(rows: int) -> dict[str, pa.Array]:
    return {
        "key": pa.array([f"devices/d-{row}/telemetry" for row in range(rows)]).dictionary_encode(),
        "content_type": pa.array([None if row % 2 else "application/json" for row in range(rows)], pa.string()),
        "published_at": pa.array([NOW + row for row in range(rows)], TIMESTAMP),
    }


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 40), st.data())
def test_each_reject_gets_what_its_own_message_said(count: int, data: st.DataObject):
    rows = data.draw(st.lists(st.integers(0, count - 1), max_size=30))
    batch = records([b"x"] * count, **message(count))
    found = with_message(rejects_of_rows(batch, rows), batch)
    assert found.schema == REJECTS
    assert found.column("key").to_pylist() == [f"devices/d-{row}/telemetry" for row in rows]
    assert found.column("content_type").to_pylist() == [None if row % 2 else "application/json" for row in rows]
    assert found.column("published_at").cast(pa.int64()).to_pylist() == [NOW + row for row in rows]


def test_a_reject_of_no_record_here_says_nothing():
    batch = records([b"x"] * 6, **message(6))
    found = with_message(rejects_of_rows(batch, [1, 4]), batch.slice(4))
    assert found.column("key").to_pylist() == [None, "devices/d-4/telemetry"]
    assert with_message(rejects_of_rows(batch, [1]), batch.slice(0, 0)).column("key").to_pylist() == [None]


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"key": pa.array([1, 2])},
        {"key": pa.nulls(2, pa.string())},
        {"published_at": pa.array(["yesterday", "today"])},
    ],
    ids=["absent", "number", "null", "text"],
)
def test_records_that_say_nothing_leave_rejects_as_they_are(columns: dict[str, pa.Array]):
    batch = records([b"x", b"y"], **columns)
    rejects = rejects_of_rows(batch, [0, 1])
    assert with_message(rejects, batch) is rejects


def test_a_tables_own_columns_are_no_message():
    batch = records([b"x", b"y"], **message(2))
    table = batch.set_column(0, "payload", pa.array(["x", "y"]))
    rejects = rejects_of_rows(batch, [0, 1])
    assert with_message(rejects, table) is rejects
    assert with_message(rejects, table.drop_columns(["payload"])) is rejects


def test_checks_keep_what_messages_said_of_every_step():
    good = b'{"device_id": "dev-1", "timestamp": "2026-01-01T00:00:00Z", "temperature": 1}'
    batch = records([b"{", good.replace(b"2026", b"1999"), good], **message(3))
    found = Checks(ParseSpec(), QualitySpec(max_age_days=30))(batch, NOW).rejects
    assert dict(zip(found["reason"].to_pylist(), found["key"].to_pylist(), strict=True)) == {
        "malformed": "devices/d-0/telemetry",
        "too_old": "devices/d-1/telemetry",
    }
    assert not any(REJECTS.field(name).nullable is False for name in MESSAGE)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-(2**62), 2**62)] * 3), max_size=20))
def test_equal_rows_have_equal_numbers_and_others_others(rows: list[tuple[int, int, int]]):
    columns = [np.array([row[place] for row in rows], np.int64) for place in range(3)]
    numbers = codes_of(columns).tolist()
    assert len(set(zip(rows, numbers, strict=True))) == len(set(rows)) == len(set(numbers))
