"""Arrow IPC: streams and files in our columns, mapped ones, and what claims more than it holds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec


def table(rows: int = 3, **changed: Any) -> pa.Table:
    columns = {
        "device_id": [f"device-{n}" for n in range(rows)],
        "timestamp": pa.array([1_767_225_600_000 + n for n in range(rows)], pa.timestamp("ms", "UTC")),
        "sensor_type": ["temperature"] * rows,
        "value": [n / 4 for n in range(rows)],
    }
    return pa.table({**columns, **changed})


def stream(content: pa.Table, file: bool = False, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    make = pa.ipc.new_file if file else pa.ipc.new_stream
    with make(sink, content.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("options", [{}, {"file": True}, {"compression": "zstd"}, {"compression": "lz4"}])
@pytest.mark.parametrize("form", ["arrow", "auto"])
def test_a_payload_of_our_columns_gives_a_reading_a_row(options: dict[str, Any], form: str, parse_json):
    found = parse_json(stream(table(), **options), stream(table(2), **options), format=form)
    assert [(row["device_id"], row["value"], row["source_offset"]) for row in found.readings] == [
        ("device-0", 0.0, 0), ("device-1", 0.25, 0), ("device-2", 0.5, 0), ("device-0", 0.0, 1), ("device-1", 0.25, 1),
    ]  # fmt: skip
    assert found.rejects == []


def test_a_row_that_can_not_be_used_costs_itself_only_and_is_rejected_as_json(parse_json):
    content = table(3, value=[1.0, float("nan"), None], extra=pa.array([[1], [2], [3]]))
    found = parse_json(stream(content), format="arrow")
    assert [row["value"] for row in found.readings] == [1.0]
    assert found.reasons == ["bad_value", "missing_value"]
    assert json.loads(found.rejects[0]["payload"])["device_id"] == "device-1"


def test_columns_of_other_names_and_types_are_mapped(parse_json):
    content = pa.table({
        "meta": pa.array([{"id": "device-1"}] * 2), "ts": ["2026-01-01T00:00:00Z"] * 2,
        "temperature": pa.array([1, 2], pa.int8()),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    })  # fmt: skip
    found = parse_json(stream(content), format="arrow", fields={"device_id": "meta.id", "timestamp": "ts"})
    assert [row["value"] for row in found.readings] == [1, 2]


def test_dictionaries_of_several_payloads_become_one(parse_json):
    narrow = pa.dictionary(pa.int8(), pa.string())
    payloads = []
    for n in range(3):
        ids = pa.array([f"dev-{n}-{i}" for i in range(100)]).dictionary_encode().cast(narrow)
        payloads.append(stream(table(100, device_id=ids)))
    assert len({row["device_id"] for row in parse_json(*payloads, format="arrow").readings}) == 300


def test_no_payload_names_its_tenant_or_its_origin(parse_json):
    content = table(1, tenant=["other"], source=["x"], source_offset=[7], issues=pa.array([["out_of_range"]]))
    (row,) = parse_json(stream(content), format="arrow").readings
    assert (row["tenant"], row["source"], row["source_offset"], row["issues"]) == ("default", "topic", 0, [])


def test_every_truncation_is_malformed_or_the_batches_before_it(parse_json):
    data = stream(table(5))
    found = parse_json(*[data[:length] for length in range(len(data))], format="arrow")
    whole = [row["source_offset"] for row in found.readings]
    # All that the end mark says is that nothing follows.
    assert set(whole) <= set(range(len(data) - 8, len(data)))
    assert {row["reason"] for row in found.rejects} <= {"malformed", "missing_value"}
    assert set(whole) | {row["source_offset"] for row in found.rejects} == set(range(len(data)))


def test_rows_that_take_no_bytes_are_not_believed(parse_json):
    nulls = pa.table({"device_id": pa.nulls(10_000_000), "value": pa.nulls(10_000_000)})
    found = parse_json(stream(nulls), stream(table(2)), format="arrow")
    assert (len(found.readings), found.reasons) == (2, ["malformed"])
    assert "10000000 rows" in found.rejects[0]["detail"]


def test_what_unpacks_to_too_much_is_too_large_before_it_is_unpacked(parse_json):
    zeros = table(1, device_id=["device-1"]).append_column("x", pa.array([b"\0" * 40_000_000]))
    data = stream(zeros, compression="zstd")
    assert len(data) < 100_000
    assert parse_json(data, format="arrow").reasons == ["too_large"]


def test_a_payload_without_rows_or_of_two_columns_of_one_name_is_refused(parse_json):
    twice = pa.table([pa.array([1.0]), pa.array([2.0])], names=["value", "value"])
    assert parse_json(stream(table(0)), stream(twice), b"", format="arrow").reasons == [
        "missing_value",
        "schema",
        "malformed",
    ]


def test_columns_of_any_kind_are_left_out_where_they_can_not_be_used(parse_json):
    odd = {
        "u": pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]),
        "r": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["x"])),
        "m": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        "v": pa.array(["a", "b"], pa.string_view()), "b": pa.array([b"\xff", b""]), "d": pa.array([1, 2],
        pa.duration("s")),
        "n": pa.nulls(2),
    }  # fmt: skip
    found = parse_json(stream(table(2, **odd)), stream(table(2, **odd, value=[None, 1.0])), format="arrow")
    assert (len(found.readings), found.reasons) == (3, ["missing_value"])
    assert parse_json(stream(pa.table({"m": odd["m"]})), format="arrow").reasons == ["missing_device_id"] * 2


@pytest.mark.parametrize("seed", range(8))
def test_bytes_changed_at_random_never_crash_and_every_payload_gives_a_row(seed: int, parse_json):
    rng = np.random.default_rng(seed)
    sources = [stream(table(20)), stream(table(20, device_id=table(20)["device_id"].dictionary_encode())),
               stream(table(20), compression="lz4"), stream(table(20), file=True)]  # fmt: skip
    payloads = []
    for _ in range(60):
        data = bytearray(sources[rng.integers(len(sources))])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        payloads.append(bytes(data))
    found = parse_json(*payloads, format="arrow")
    assert {row["source_offset"] for row in [*found.readings, *found.rejects]} == set(range(60))


def test_rows_of_tables_and_records_may_come_in_one_batch(envelopes):
    record = b'{"device_id":"device-1","timestamp":1767225600,"metric":"t","value":1}'
    parsed = parse(envelopes([stream(table(2)), record]), ParseSpec(), 0)
    payloads = parsed.readings.column("payload").dictionary_decode().to_pylist()
    assert payloads[-1] == record or record in payloads
    assert sum(b'"device-0"' in payload for payload in payloads) == 1
