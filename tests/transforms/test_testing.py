"""The helpers that users test with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import BeamAssertException, assert_that

from telebeam.transforms.aggregation.kernel import aggregate, extract
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import CleanseSpec
from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import FIRST, assert_batches_equal, has_rows, readings


def test_a_row_that_says_nothing_is_a_good_reading():
    batch = readings([{}, {}])
    assert batch.schema == READINGS
    kept, rejected = check_quality(cleanse(batch, CleanseSpec()), QualitySpec(max_age_days=None), FIRST)
    assert_batches_equal(kept, batch)
    assert not rejected.num_rows


def test_what_a_row_says_is_what_it_holds():
    row = {
        "device_id": "pump",
        "timestamp": datetime(2025, 1, 1, tzinfo=UTC),
        "sensor_type": "pressure",
        "issues": ["x"],
    }
    (found,) = readings([row]).to_pylist()
    assert row.items() <= found.items()
    assert found["measurement_type"] == "pressure"


def test_rows_become_windows_as_they_are():
    batch = conform(readings([{"value": 1.0}, {"value": 3.0}]), READINGS_IN_FLIGHT)
    windows = extract(aggregate(batch, 60), 60)
    has_rows([{"count": 2, "mean": 2.0, "first": 1.0, "last": 3.0, "window_start": FIRST}])([windows])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"devise_id": "pump"}, "row 0: readings have no column 'devise_id'; did you mean 'device_id'"),
        ({"qqq": 1}, "expected one of tenant, device_id"),
        ({"value": "warm"}, "value: "),
        ({"value": None}, "row 0: value is null"),
        ({"timestamp": datetime(2026, 1, 1)}, "names no zone"),
        ({"source_partition": 2**40}, "source_partition: "),
        ({"issues": "out_of_range"}, "row 0: issues: 'out_of_range' is a text"),
    ],
)
def test_a_row_that_is_no_reading_is_refused_with_its_column(row: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        readings([row])


def test_batches_are_equal_whatever_their_encoding_and_the_order_of_their_columns():
    batch = readings([{"location": None}, {"location": "hall"}])
    encoded = conform(batch, READINGS_IN_FLIGHT)
    assert_batches_equal(encoded.select(list(reversed(batch.schema.names))), batch)


def test_floats_are_equal_to_nine_digits_and_nan_to_itself():
    assert_batches_equal(readings([{"value": 0.1 + 0.2}]), readings([{"value": 0.3}]))
    assert_batches_equal(readings([{"value": float("nan")}]), readings([{"value": float("nan")}]))
    with pytest.raises(AssertionError, match=r"row 0: value is 0\.3, expected 0\.30001"):
        assert_batches_equal(readings([{"value": 0.3}]), readings([{"value": 0.30001}]))


def test_order_counts_unless_it_is_ignored():
    rows = [{"device_id": "a", "value": 0.1 + 0.2}, {"device_id": "b", "value": 0.3, "location": "hall"}]
    first, second = (
        readings([{**rows[i], "timestamp": FIRST, "source_offset": 0} for i in order]) for order in ((0, 1), (1, 0))
    )
    assert_batches_equal(first, second, ignore_order=True)
    with pytest.raises(AssertionError, match="values differ"):
        assert_batches_equal(first, second)


def test_a_difference_in_rows_or_columns_is_named():
    with pytest.raises(AssertionError, match="1 rows, expected 2"):
        assert_batches_equal(readings([{}]), readings([{}, {}]))
    with pytest.raises(AssertionError, match=r"missing \['unit'\]"):
        assert_batches_equal(readings([{}]).drop_columns(["unit"]), readings([{}]))


def test_a_collection_is_compared_by_the_columns_that_are_named():
    with StrictPipeline("FnApiRunner") as pipeline:
        batches = pipeline | beam.Create([readings([{"value": 1.0}]), readings([{"value": 2.0}, {"value": 3.0}])])
        assert_that(batches, has_rows([{"value": 3.0}, {"value": 1.0}, {"value": 2.0}]))


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ([{"value": 2.0}], "expected 2.0"),
        ([{}, {}], "expected 2"),
        ([{"colour": 1}], "has no colour"),
        ([], "expected 0"),
    ],
)
def test_a_collection_that_differs_says_how(expected: list[dict[str, Any]], words: str):
    with pytest.raises(BeamAssertException, match=words):
        has_rows(expected)([readings([{"value": 1.0}])])


def test_expected_rows_name_the_same_columns():
    with pytest.raises(ValueError, match="the same columns"):
        has_rows([{"value": 1.0}, {"unit": "celsius"}])


def test_an_empty_collection_has_no_rows():
    has_rows([])([])
    has_rows([])([pa.RecordBatch.from_pylist([], schema=READINGS)])
