"""What is refused, what is flagged, and what a reading scores."""

from __future__ import annotations

import math
import struct
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms import schema
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import cleanse_spec
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.quality.kernel import DETAILS, check_quality
from telebeam.transforms.quality.spec import DEFAULT_LIMITS, Limit, QualitySpec
from telebeam.transforms.schema import Reason

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = QualitySpec(limits={**DEFAULT_LIMITS, "energy": Limit(min=0)})
Make = Callable[..., pa.RecordBatch]


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows with doubles as bits, so that NaN equals itself and −0 isn't 0."""
    return [
        {n: struct.pack("d", v) if isinstance(v, float) else v for n, v in row.items()} for row in batch.to_pylist()
    ]


def reason_of(row: dict[str, Any], spec: QualitySpec) -> Reason | None:
    """The reason for which a row is refused, by the letter of the contract."""
    device, time, value = row["device_id"], row["timestamp"], row["value"]
    age = None if spec.max_age_days is None else timedelta(days=spec.max_age_days)
    checks = {
        Reason.MISSING_DEVICE_ID: not device,
        Reason.BAD_DEVICE_ID: not 3 <= len(device or "") <= 256 or any(unicodedata.category(c) == "Cc" for c in device),
        Reason.MISSING_TIMESTAMP: time is None,
        Reason.FUTURE: time is not None and time > NOW + timedelta(seconds=spec.max_future_seconds),
        Reason.TOO_OLD: time is not None and age is not None and time < NOW - age,
        Reason.MISSING_VALUE: value is None,
        Reason.BAD_VALUE: value is not None and not math.isfinite(value),
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def scored(row: dict[str, Any], spec: QualitySpec) -> dict[str, Any]:
    """A kept row with its issues and score, by the letter of the contract."""
    found, score = list(dict.fromkeys(row["issues"])), row["quality_score"]
    if score is None or not 0 <= score <= 1:
        found += ["bad_quality_score"] if score is not None else []
        score = 1.0
    limit = spec.limits.get(row["sensor_type"])
    low, high = (-math.inf, math.inf) if limit is None else (limit.min, limit.max)
    comparable = limit is None or row["unit"] == cleanse_spec(spec).unit_of(row["sensor_type"])
    value = row["value"]
    if comparable and ((low is not None and value < low) or (high is not None and value > high)):
        found.append("out_of_range")
    found = list(dict.fromkeys(found))
    earned = [1.0, 0.8, 0.6, 0.4, 0.2][len(found)] if len(found) < 5 else 0.1
    return row | {"issues": found, "quality_score": min(score, earned)}


DEVICE_IDS = ["dev", "dév", "de", "", None, "x" * 256, "x" * 257, "a\x00b", "a\x85b", "a\x7fb", "../..", "a'\",é"]
LAST, FIRST = NOW + timedelta(seconds=300), NOW - timedelta(days=365)
STEP = timedelta(microseconds=1)
TIMES = [None, NOW, LAST, LAST + STEP, FIRST, FIRST - STEP, datetime(9999, 12, 31, tzinfo=UTC)]
ROWS = st.fixed_dictionaries(
    {
        "device_id": st.sampled_from(DEVICE_IDS),
        "timestamp": st.sampled_from(TIMES),
        "value": st.one_of(st.none(), st.floats(), st.sampled_from([-50.0, 100.0, 100.0000001, -0.0, 0.5])),
        "sensor_type": st.sampled_from(["temperature", "humidity", "energy", "weird"]),
        "unit": st.sampled_from(["celsius", "percent", "kilowatt_hours", "volts", "bananas"]),
        "quality_score": st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 0.3, 0.8, 1.0])),
        "issues": st.lists(st.sampled_from([*map(str, schema.Issue)]), max_size=6),
    }
)
GOOD = ROWS.map(lambda row: row | {"device_id": "dev", "timestamp": NOW, "value": row["value"] or 0.0})


@given(rows=st.lists(st.one_of(ROWS, GOOD), max_size=30), max_age_days=st.sampled_from([365.0, None]))
@settings(max_examples=200, deadline=None)
def test_the_kernel_does_what_the_contract_says_row_by_row(
    rows: list[dict[str, Any]], max_age_days: float | None, readings: Make
):
    spec = SPEC.model_copy(update={"max_age_days": max_age_days})
    batch = readings(*rows)
    checked = check_quality(batch, spec, NOW)
    full = batch.to_pylist()
    kept = [scored(row, SPEC) for row in full if reason_of(row, spec) is None]
    assert rows_of(checked.readings) == rows_of(readings(*kept))
    refused = [(row, reason) for row in full if (reason := reason_of(row, spec))]
    assert checked.rejected.column("reason").to_pylist() == [reason for _, reason in refused]
    assert checked.rejected.column("detail").to_pylist() == [DETAILS[reason] for _, reason in refused]
    assert rows_of(checked.rejected.drop_columns(["reason", "detail"])) == rows_of(
        readings(*[row for row, _ in refused])
    )


@given(rows=st.lists(st.one_of(ROWS, GOOD), min_size=1, max_size=20), data=st.data())
@settings(max_examples=60, deadline=None)
def test_neither_order_nor_split_changes_a_rows_result(rows: list[dict[str, Any]], data: st.DataObject, readings: Make):
    batch = readings(*[row | {"source_offset": i} for i, row in enumerate(rows)])

    def by_offset(*batches: pa.RecordBatch) -> list[Any]:
        parts = [part for each in batches for part in check_quality(each, SPEC, NOW)]
        return sorted((row for part in parts for row in rows_of(part)), key=lambda row: row["source_offset"])

    cut = data.draw(st.integers(0, len(rows)))
    order = data.draw(st.permutations(range(len(rows))))
    whole = by_offset(batch)
    assert by_offset(batch.slice(0, cut), batch.slice(cut)) == whole
    assert by_offset(batch.take(pa.array(order, pa.int64()))) == whole


@given(rows=st.lists(GOOD, max_size=20))
@settings(max_examples=60, deadline=None)
def test_checking_twice_is_checking_once(rows: list[dict[str, Any]], readings: Make):
    once = check_quality(readings(*rows), SPEC, NOW).readings
    twice = check_quality(once, SPEC, NOW)
    assert rows_of(twice.readings) == rows_of(once)
    assert twice.rejected.num_rows == 0


@pytest.mark.parametrize(("value", "unit", "expected"), [(212.1, "F", True), (211.9, "F", False), (-51, "C", True)])
def test_a_value_that_was_not_converted_meets_the_limits_in_its_own_unit(
    value: float, unit: str, expected: bool, readings: Make
):
    checked = check_quality(readings({"value": value, "unit": unit}), SPEC, NOW)
    assert (checked.readings.column("issues").to_pylist() == [["out_of_range"]]) is expected


def test_a_value_of_another_dimension_meets_no_limits(readings: Make):
    batch = cleanse(readings({"value": 9000.0, "unit": "V"}), cleanse_spec(SPEC))
    row = check_quality(batch, SPEC, NOW).readings.to_pylist()[0]
    assert (row["issues"], row["quality_score"]) == (["wrong_dimension"], 0.8)


def test_a_good_batch_goes_through_as_it_is(readings: Make):
    batch = readings({}, {"value": 30.0})
    checked = check_quality(batch, SPEC, NOW)
    assert checked.readings.equals(batch)
    assert checked.rejected.num_rows == 0
    assert checked.rejected.schema.names == [*batch.schema.names, "reason", "detail"]


def test_a_rejects_exact_bytes_go_with_it(readings: Make):
    payload = pa.array([b"good", b"\x00bad"], pa.large_binary())
    batch = readings({}, {"value": math.inf}).append_column("payload", payload)
    checked = check_quality(batch, SPEC, NOW)
    assert checked.readings.column("payload").to_pylist() == [b"good"]
    assert checked.rejected.column("payload").to_pylist() == [b"\x00bad"]


@pytest.mark.parametrize("seconds", [0, 1e300])
def test_no_limit_of_time_is_too_large(seconds: float, readings: Make):
    spec = QualitySpec(max_future_seconds=seconds, max_age_days=1e300)
    batch = readings({"timestamp": datetime(1, 1, 1, tzinfo=UTC)}, {"timestamp": datetime(9999, 1, 1, tzinfo=UTC)})
    assert check_quality(batch, spec, NOW).readings.num_rows == (2 if seconds else 1)


def test_now_is_the_same_as_a_datetime_and_in_microseconds(readings: Make):
    batch = readings({"timestamp": NOW + timedelta(seconds=300)}, {"timestamp": NOW + timedelta(seconds=301)})
    micros = int(NOW.timestamp()) * 1_000_000
    assert check_quality(batch, SPEC, micros).readings.equals(check_quality(batch, SPEC, NOW).readings)


def test_a_clock_without_a_zone_is_refused(readings: Make):
    with pytest.raises(ConfigurationError, match="names no zone"):
        check_quality(readings({}), SPEC, datetime(2026, 1, 1))


def test_an_empty_batch_gives_two_empty_ones(readings: Make):
    checked = check_quality(readings(), SPEC, NOW)
    assert (checked.readings.num_rows, checked.rejected.num_rows) == (0, 0)


@pytest.mark.parametrize("limits", [{"": {}}, {"humidity": {}, " Humidity": {}}, {"x": {"min": 2, "max": 1}}])
def test_limits_that_contradict_themselves_are_refused(limits: dict[str, Any]):
    with pytest.raises(ValueError, match="validation error"):
        QualitySpec.model_validate({"limits": limits})
