"""Rows as JSON objects: what comes back is what was there."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.json_rows import json_rows
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.schema import ENVELOPES, READINGS, conform

TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXT,
            "encoded": st.none() | TEXT,
            "number": st.none() | st.floats(),
            "count": st.none() | st.integers(-(2**63), 2**63 - 1),
            "flag": st.none() | st.booleans(),
            "at": st.none() | TIMES,
            "list": st.none() | st.lists(TEXT, max_size=3),
        }
    ),
    max_size=8,
)
SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("encoded", pa.dictionary(pa.int32(), pa.string())),
        ("number", pa.float64()),
        ("count", pa.int64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("us", "UTC")),
        ("list", pa.list_(pa.string())),
    ]
)


def is_written(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


@given(ROWS)
def test_every_value_that_json_has_a_form_for_comes_back(rows: list[dict[str, Any]]):
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    found = [json.loads(text) for text in json_rows(batch)]
    for row in found:
        if "at" in row:
            row["at"] = datetime.fromisoformat(row["at"])
    assert found == [{name: value for name, value in row.items() if is_written(value)} for row in rows]


def test_a_slice_gives_its_own_rows():
    batch = pa.RecordBatch.from_pylist([{"list": ["x"] * n, "text": str(n)} for n in range(5)])
    assert json_rows(batch.slice(2, 2)) == [b'{"list":["x","x"],"text":"2"}', b'{"list":["x","x","x"],"text":"3"}']
    assert json_rows(batch.slice(5)) == []


def test_columns_of_other_kinds_have_a_form_too():
    batch = pa.RecordBatch.from_pydict(
        {
            'a "name"': pa.array([b"\x00\xff"]),
            "map": pa.array([[("k", b"v")]], pa.map_(pa.string(), pa.binary())),
            "struct": pa.array([{"a": 1}]),
            "day": pa.array([date(2026, 1, 1)]),
            "local": pa.array([datetime(2026, 1, 1, 12)], pa.timestamp("s")),
            "lasts": pa.array([timedelta(seconds=90)]),
            "null": pa.nulls(1),
            "oslo": pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "Europe/Oslo")),
        }
    )
    assert json.loads(json_rows(batch)[0]) == {
        'a "name"': "AP8=",
        "map": [["k", "dg=="]],
        "struct": {"a": 1},
        "day": "2026-01-01",
        "local": "2026-01-01T12:00:00Z",
        "lasts": "PT90S",
        "oslo": "2026-01-01T00:00:00.000000000Z",
    }


def test_a_batch_without_columns_has_empty_objects():
    assert json_rows(pa.RecordBatch.from_arrays([], schema=pa.schema([]))) == []


def test_readings_that_were_written_are_parsed_as_the_same_readings():
    row = {
        "device_id": "boiler-1",
        "timestamp": datetime(2026, 1, 1, 0, 0, 0, 5, UTC),
        "sensor_type": "temperature",
        "measurement_type": "supply",
        "value": -1.5e-7,
        "unit": "celsius",
        "location": "hall",
    }
    written = json_rows(pa.RecordBatch.from_pylist([row]))
    records = {"payload": written, "key": [None], "source": ["t"], "source_partition": [0], "source_offset": [0]}
    envelopes = pa.RecordBatch.from_pydict(records, schema=ENVELOPES)
    (found,) = conform(parse(envelopes, ParseSpec(), now=0).readings, READINGS).to_pylist()
    assert {name: found[name] for name in row} == row
