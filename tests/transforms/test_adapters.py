"""ToBatches, CompleteReadings and FromBatches as a pipeline runs them, and what a slip in its construction gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.test_stream import TestStream as Stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.decorators import TypeCheckError

import telebeam.transforms
from telebeam.transforms import (
    QUALITY,
    READINGS,
    REJECTS,
    WINDOWS,
    AggregateWindows,
    Cleanse,
    CompleteReadings,
    FromBatches,
    ParseReadings,
    ToBatches,
    WindowSpec,
)
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.ptransforms import _rows
from telebeam.transforms.schema import DATASETS, ENVELOPES, in_flight
from telebeam.transforms.testing import has_rows, readings

GOOD = {"device_id": "boiler-1", "timestamp": "2026-01-01T00:00:00Z", "sensor_type": "temperature", "value": 21.5}
MINUTE = (WindowSpec(every=timedelta(minutes=1)),)


def untyped(value: Any) -> Any:
    return value


def test_records_become_batches_and_rows_again():
    with StrictPipeline("FnApiRunner") as pipeline:
        parsed = (
            pipeline | beam.Create([GOOD, {**GOOD, "value": float("nan")}, b"{"]) | ToBatches("x") | ParseReadings()
        )
        rows = parsed.readings | "Good" >> FromBatches()
        reasons = parsed.rejects | "Bad" >> FromBatches() | beam.Map(lambda row: (row["reason"], row["source"]))
        expected = {"value": 21.5, "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "source": "x"}
        assert_that(rows | beam.Map(lambda row: {name: row[name] for name in expected}), equal_to([expected]), "good")
        assert_that(reasons, equal_to([("bad_value", "x"), ("malformed", "x")]), "bad")


def test_batches_have_the_stated_size_and_columns():
    with StrictPipeline("FnApiRunner") as pipeline:
        batches = pipeline | beam.Create([GOOD] * 25, reshuffle=False) | ToBatches(max_rows=10)
        shapes = batches | beam.Map(lambda batch: (batch.num_rows, batch.schema.equals(ENVELOPES)))
        assert_that(shapes, equal_to([(10, True), (10, True), (5, True)]))


def test_batches_from_elsewhere_become_readings():
    with StrictPipeline("FnApiRunner") as pipeline:
        batch = readings([{"value": 1.0}]).select(["device_id", "timestamp", "sensor_type", "value"])
        completed = pipeline | beam.Create([batch]) | CompleteReadings(source="elsewhere")
        assert_that(completed, has_rows([{"value": 1.0, "source": "elsewhere", "measurement_type": "temperature"}]))


@pytest.mark.parametrize("schema", DATASETS.values(), ids=DATASETS)
def test_rows_have_the_columns_of_the_dataset_that_they_are_of(schema: pa.Schema):
    batch = pa.RecordBatch.from_pylist([], schema=in_flight(schema)).append_column(
        "payload_in_flight", pa.array([], pa.int8())
    )
    one = pa.RecordBatch.from_arrays([_any(field.type) for field in batch.schema], schema=batch.schema)
    assert [list(row) for row in _rows(one, None)] == [schema.names]


def _any(kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(["x"]).dictionary_encode()
    if pa.types.is_list(kind):
        return pa.array([[]], kind)
    value = {pa.string(): "x", pa.large_binary(): b"x", pa.bool_(): False}.get(kind, 0)
    return pa.array([value], kind)


@pytest.mark.parametrize(
    ("elements", "step", "words"),
    [
        ([readings([{}])], ToBatches(), "ToBatches got a collection of RecordBatch"),
        ([(b"key", b"{}")], ToBatches(), "ToBatches got a collection of pairs"),
    ],
)
def test_what_is_no_record_is_refused_before_anything_runs(elements: list[Any], step: beam.PTransform, words: str):
    with pytest.raises(ConfigurationError, match=words) as error:
        beam.Pipeline() | beam.Create(elements) | step
    assert error.value.hint


@pytest.mark.parametrize("step", [FromBatches(), CompleteReadings()], ids=lambda step: type(step).__name__)
def test_records_where_batches_belong_are_refused_before_anything_runs(step: beam.PTransform):
    with pytest.raises(TypeCheckError, match="RecordBatch"):
        beam.Pipeline() | beam.Create([GOOD]) | step


def test_the_two_outputs_of_a_step_are_no_input():
    parsed = beam.Pipeline() | beam.Create([GOOD]) | ToBatches() | ParseReadings()
    with pytest.raises(ConfigurationError, match=r"take one of them, as in \.readings"):
        parsed | "Again" >> ToBatches()


@pytest.mark.parametrize(
    ("element", "step", "words"),
    [
        (readings([{}]), ToBatches(), "ToBatches got a RecordBatch; expected a record"),
        (GOOD, FromBatches(), "FromBatches got a dict; expected a RecordBatch"),
        (GOOD, CompleteReadings(), "CompleteReadings got a dict; expected a RecordBatch"),
        (readings([{}]), FromBatches(WINDOWS), "column 'window_start' is absent; the batch has tenant"),
    ],
)
def test_a_wrong_element_of_an_untyped_collection_is_named(element: Any, step: beam.PTransform, words: str):
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Create([element]) | beam.Map(untyped).with_output_types(Any) | step
    with pytest.raises(Exception, match=words):  # the runner hands it on as an error of its own kind
        pipeline.run().wait_until_finish()


def test_batches_of_no_rows_are_refused():
    with pytest.raises(ConfigurationError, match="max_rows=0"):
        ToBatches(max_rows=0)


def test_windows_of_an_unbounded_collection_are_refused_before_anything_runs():
    pipeline = beam.Pipeline()
    batches = pipeline | Stream().add_elements([readings([{}])]).advance_watermark_to_infinity()
    with pytest.raises(ConfigurationError, match="unbounded"):
        batches | AggregateWindows(MINUTE)


def test_every_step_says_what_it_gives():
    parsed = beam.Pipeline() | beam.Create([GOOD]) | ToBatches() | ParseReadings()
    clean = parsed.readings | Cleanse()
    assert clean.element_type == (clean | AggregateWindows(MINUTE)).element_type == pa.RecordBatch
    assert "Dict" in str((clean | FromBatches()).element_type)


def test_the_list_of_names_is_what_can_be_imported():
    for name in telebeam.transforms.__all__:
        assert getattr(telebeam.transforms, name) is not None
    assert telebeam.transforms.__all__ == sorted(telebeam.transforms.__all__)
    assert {READINGS.names[0], WINDOWS.names[0]} == {"tenant"}
    assert REJECTS.names[0] == "reason"
    assert QUALITY.names[0] == "pipeline"
