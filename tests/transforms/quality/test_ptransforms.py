"""The steps as a pipeline runs them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import apache_beam as beam
import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import assert_that, equal_to

from telebeam.transforms.cleansing.ptransforms import Cleanse
from telebeam.transforms.quality.ptransforms import CheckQuality, ReportQuality

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
Make = Callable[..., pa.RecordBatch]


def now() -> float:
    return NOW


def test_every_row_leaves_by_one_of_the_two_ways_and_is_reported(readings: Make):
    batches = [readings({"value": 68.0, "unit": "F"}, {"device_id": "x"}), readings({"value": 200.0})]
    with StrictPipeline() as pipeline:
        cleansed = pipeline | beam.Create(batches) | Cleanse()
        checked = cleansed | CheckQuality(now=now)
        tagged = (
            checked.readings | "Read" >> beam.Map(lambda batch: ("readings", batch)),
            checked.rejected | "Refused" >> beam.Map(lambda batch: ("rejects", batch)),
        )
        report = tagged | beam.Flatten() | ReportQuality("fleet")
        values = checked.readings | beam.FlatMap(
            lambda b: zip(*[b[n].to_pylist() for n in ("value", "unit", "quality_score")], strict=True)
        )
        reasons = checked.rejected | "Reasons" >> beam.FlatMap(lambda batch: batch["reason"].to_pylist())
        totals = report | "Totals" >> beam.Map(lambda batch: (batch["total"][0].as_py(), batch["valid"][0].as_py()))
        assert_that(values, equal_to([(20.0, "celsius", 1.0), (200.0, "celsius", 0.8)]), "values")
        assert_that(reasons, equal_to(["bad_device_id"]), "reasons")
        assert_that(totals, equal_to([(3, 1)]), "totals")


def test_a_run_without_a_batch_is_reported_as_well():
    with StrictPipeline() as pipeline:
        report = pipeline | beam.Create([]) | ReportQuality("fleet")
        assert_that(report | beam.Map(lambda batch: batch["total"].to_pylist()), equal_to([[0]]))
