"""Python values as records: whatever comes, it is a reading or a reject, and nothing stops the job."""

from __future__ import annotations

import dataclasses
import json
from collections import namedtuple
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.parsing.kernel import Parsed, parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.payloads import payload_of
from telebeam.transforms.schema import ENVELOPES

GOOD = {"device_id": "boiler-1", "timestamp": "2026-01-01T00:00:00Z", "sensor_type": "temperature", "value": 21.5}
NamedReading = namedtuple("NamedReading", list(GOOD))


@dataclasses.dataclass
class DataReading:
    device_id: str
    timestamp: str
    sensor_type: str
    value: float


def parsed(*records: Any) -> Parsed:
    rows = [
        {"payload": payload_of(record), "key": None, "source": "memory", "source_partition": 0, "source_offset": place}
        for place, record in enumerate(records)
    ]
    return parse(pa.RecordBatch.from_pylist(rows, schema=ENVELOPES), ParseSpec(), 0)


def reasons(record: Any) -> list[str]:
    found = parsed(record)
    assert not found.readings.num_rows
    names: list[str] = found.rejects["reason"].to_pylist()
    return names


@pytest.mark.parametrize(
    "record",
    [
        GOOD, json.dumps(GOOD), json.dumps(GOOD).encode(), bytearray(json.dumps(GOOD).encode()),
        memoryview(json.dumps(GOOD).encode()), NamedReading(**GOOD), DataReading(**GOOD), beam.Row(**GOOD), [GOOD],
        {**GOOD, "timestamp": datetime(2026, 1, 1, tzinfo=UTC)},
        {**GOOD, "timestamp": pd.Timestamp("2026-01-01", tz="UTC")},
        {**GOOD, "value": Decimal("21.5")}, {**GOOD, "value": np.float32(21.5)}, {**GOOD, "value": np.float64(21.5)},
        {**GOOD, "location": None}, {**GOOD, "unit": None, "metadata": {"null": "NaN"}},
    ],
    ids=lambda record: type(record).__name__,
)  # fmt: skip
def test_every_form_of_a_reading_is_that_reading(record: Any):
    found = parsed(record)
    assert found.rejects.num_rows == 0
    assert found.readings["device_id"].to_pylist() == ["boiler-1"]
    assert found.readings["timestamp"].to_pylist() == [datetime(2026, 1, 1, tzinfo=UTC)]
    assert found.readings["value"].to_pylist() == [21.5]


NOT_FINITE = [float("nan"), float("inf"), -np.inf, np.float32("nan"), *map(Decimal, ("NaN", "sNaN", "-Infinity"))]


@pytest.mark.parametrize("number", NOT_FINITE)
def test_what_is_not_finite_is_a_bad_value_and_the_others_of_its_record_stay(number: Any):
    found = parsed({"device_id": "boiler-1", "timestamp": 1767225600, "data": {"temperature": number, "humidity": 40}})
    assert found.rejects["reason"].to_pylist() == ["bad_value"]
    assert found.readings["sensor_type"].to_pylist() == ["humidity"]


def test_none_is_missing_and_is_not_taken_for_nan():
    assert reasons({**GOOD, "value": None}) == ["missing_value"]


ZONELESS = [datetime(2026, 1, 1), np.datetime64("2026-01-01T00:00:00"), pd.NaT, date(2026, 1, 1)]


@pytest.mark.parametrize("moment", ZONELESS)
def test_a_time_without_a_zone_is_a_bad_timestamp(moment: Any):
    assert reasons({**GOOD, "timestamp": moment}) == ["bad_timestamp"]


@pytest.mark.parametrize("value", [10**400, Decimal("1e400"), "21.5 degrees"])
def test_a_value_that_no_double_holds_is_a_bad_value(value: Any):
    assert reasons({**GOOD, "value": value}) == ["bad_value"]


def test_an_integer_beyond_64_bits_is_a_number():
    assert parsed({**GOOD, "value": 2**70}).readings["value"].to_pylist() == [2.0**70]


def cycle() -> dict[str, Any]:
    record: dict[str, Any] = {}
    record["self"] = record
    return record


def nested(levels: int) -> list[Any]:
    record: list[Any] = []
    for _ in range(levels):
        record = [record]
    return record


@pytest.mark.parametrize(
    "record",
    [
        {**GOOD, "metadata": object()}, {(1, 2): 3}, {None: 1}, {**GOOD, "metadata": Path("a")}, 3 + 4j, cycle(),
        nested(100_000), np.array([1, 2]), pd.DataFrame([GOOD, GOOD]), {**GOOD, "location": "\ud800"}, "\ud800",
        b"\xff", "", b"\n", "not JSON",
    ],
    ids=lambda record: type(record).__name__,
)  # fmt: skip
def test_what_json_has_no_form_for_is_one_malformed_reject(record: Any):
    assert reasons(record) == ["malformed"]


@pytest.mark.parametrize("record", [42, None, True, 1.5, "42", np.int64(1)])
def test_json_that_is_no_object_is_refused_as_such(record: Any):
    assert reasons(record) == ["not_an_object"]


def test_other_types_that_json_has_a_form_for_are_kept_in_the_metadata():
    record = {**GOOD, "id": UUID(int=1), "raw": b"\xff", "tags": {"a"}, "flag": np.bool_(True), "nan": float("nan")}
    assert json.loads(parsed(record).readings["metadata"][0].as_py()) == {
        "id": "00000000-0000-0000-0000-000000000001", "raw": "/w==", "tags": ["a"], "flag": True, "nan": "NaN",
    }  # fmt: skip


KEYS = st.text(max_size=4) | st.integers() | st.none()
LEAVES = [
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=8), st.binary(max_size=8),
    st.decimals(), st.datetimes(), st.complex_numbers(),
]  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(*LEAVES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3), st.tuples(inner, inner)
    ),
    max_leaves=8,
)
CHANGES = st.fixed_dictionaries({}, optional=dict.fromkeys([*GOOD, "unit", "metadata"], ANYTHING))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(ANYTHING, min_size=1, max_size=4), CHANGES)
def test_no_record_raises_or_vanishes(records: list[Any], changes: dict[str, Any]):
    # A text of several lines is several records; each of the others is found again by its place.
    found = parsed(*records, {**GOOD, **changes})
    places = {*found.readings["source_offset"].to_pylist(), *found.rejects["source_offset"].to_pylist()}
    assert places == set(range(len(records) + 1))
