"""Batches from elsewhere as readings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from telebeam.transforms.completion import REQUIRED, complete_readings
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import assert_batches_equal, readings

AT = datetime(2026, 1, 1, tzinfo=UTC)


def foreign(**columns: Any) -> pa.RecordBatch:
    given = {"device_id": ["boiler-1"], "timestamp": pa.array([AT]), "sensor_type": ["humidity"], "value": [40.0]}
    return pa.RecordBatch.from_pydict({**given, **columns})


def test_four_columns_become_a_reading():
    expected = readings([{"sensor_type": "humidity", "value": 40.0, "unit": "", "source": "memory"}])
    assert_batches_equal(complete_readings(foreign()), expected)


def test_what_is_complete_stays_as_it_is():
    batch = readings([{"issues": ["wrong_type"], "tenant": "acme"}, {"location": "hall"}])
    assert_batches_equal(complete_readings(batch), batch)
    assert complete_readings(batch).schema == READINGS_IN_FLIGHT


def test_columns_of_other_names_are_dropped_and_the_metadata_stays():
    batch = foreign(firmware=["1.0"]).replace_schema_metadata({b"telebeam.unit": b"u"})
    completed = complete_readings(batch)
    assert completed.schema.names == READINGS.names
    assert completed.schema.metadata == {b"telebeam.unit": b"u"}


@pytest.mark.parametrize(
    "columns",
    [
        {"device_id": pa.array(["boiler-1"], pa.large_string())},
        {"device_id": pa.array(["boiler-1"]).dictionary_encode()},
        {"device_id": pa.array(["boiler-1"], pa.string_view())},
        {"timestamp": pa.array([AT], pa.timestamp("ns", "Europe/Oslo"))},
        {"timestamp": pa.array([AT], pa.timestamp("s", "UTC"))},
        {"timestamp": ["2026-01-01T00:00:00Z"]},
        {"value": pa.array([40], pa.int16())},
        {"value": pa.array([40.0], pa.float32())},
    ],
)
def test_types_that_say_the_same_are_taken(columns: dict[str, Any]):
    expected = complete_readings(foreign())
    assert_batches_equal(conform(complete_readings(foreign(**columns)), READINGS), conform(expected, READINGS))


def test_a_column_of_nulls_alone_is_left_to_the_quality_check():
    completed = complete_readings(foreign(value=pa.nulls(1), device_id=pa.nulls(1)))
    _, rejected = check_quality(completed, QualitySpec(max_age_days=None), AT)
    assert rejected["reason"].to_pylist() == ["missing_device_id"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_column_is_named(name: str):
    with pytest.raises(ConfigurationError, match=rf"readings need {name} too") as error:
        complete_readings(foreign().drop_columns([name]))
    assert error.value.hint


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"timestamp": pa.array([AT], pa.timestamp("us"))}, "a local time"),
        ({"timestamp": ["yesterday"]}, "timestamp is string"),
        ({"timestamp": ["2026-01-01T00:00:00"]}, "timestamp is string"),
        ({"value": ["warm"]}, "value is string"),
        ({"value": [[1.0]]}, "value is list"),
        ({"device_id": [{"id": 1}]}, "device_id is struct"),
        ({"issues": ["wrong_type"]}, "issues is string"),
    ],
)
def test_a_column_that_cannot_become_ours_is_named_with_its_type(columns: dict[str, Any], words: str):
    with pytest.raises(ConfigurationError, match=words):
        complete_readings(foreign(**columns))


def test_a_batch_without_rows_is_one_of_readings():
    assert complete_readings(foreign().slice(0, 0)).schema == READINGS_IN_FLIGHT
