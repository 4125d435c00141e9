"""The steps as a pipeline runs them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import apache_beam as beam
import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import assert_that, equal_to

from telebeam.transforms.batches import UNIT
from telebeam.transforms.cleansing.ptransforms import Cleanse
from telebeam.transforms.quality.ptransforms import CheckQuality, ReportQuality
from telebeam.transforms.schema import READINGS, REJECTS

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
Make = Callable[..., pa.RecordBatch]


def now() -> float:
    return NOW


def test_every_row_leaves_by_one_of_the_two_ways_and_is_reported(readings: Make):
    batches = [readings({"value": 68.0, "unit": "F"}, {"device_id": "x"}), readings({"value": 200.0})]
    with StrictPipeline("FnApiRunner") as pipeline:
        checked = pipeline | beam.Create(batches) | Cleanse() | CheckQuality(now=now)
        report = {"readings": checked.readings, "unusable": checked.rejects} | ReportQuality("fleet")
        found = checked.readings | "Rows" >> beam.FlatMap(lambda batch: batch.to_pylist())
        values = found | "Values" >> beam.Map(lambda row: (row["value"], row["unit"], row["quality_score"]))
        refused = checked.rejects | "Refused" >> beam.FlatMap(lambda batch: batch.to_pylist())
        reasons = refused | "Reasons" >> beam.Map(lambda row: (row["reason"], row["rejected_at"].timestamp()))
        totals = report | "Totals" >> beam.Map(lambda batch: (batch["total"][0].as_py(), batch["valid"][0].as_py()))
        assert_that(values, equal_to([(20.0, "celsius", 1.0), (200.0, "celsius", 0.8)]), "values")
        assert_that(reasons, equal_to([("bad_device_id", NOW)]), "reasons")
        assert_that(totals, equal_to([(3, 1)]), "totals")


def test_each_batch_becomes_one_of_each_kind_and_keeps_its_unit(readings: Make):
    batch = readings({}).append_column("payload", pa.array([b"{}"], pa.large_binary()))
    with StrictPipeline("FnApiRunner") as pipeline:
        batches = pipeline | beam.Create([batch.replace_schema_metadata({UNIT: b"file"})])
        checked = batches | Cleanse() | CheckQuality(now=now)
        kinds = [
            each
            | f"Kind{i}" >> beam.Map(lambda batch: (batch.num_rows, batch.schema.names, batch.schema.metadata[UNIT]))
            for i, each in enumerate((checked.readings, checked.rejects))
        ]
        assert_that(kinds[0], equal_to([(1, READINGS.names, b"file")]), "readings")
        assert_that(kinds[1] | beam.Map(lambda kind: (kind[0], kind[1])), equal_to([(0, REJECTS.names)]), "rejects")


def test_a_run_without_a_batch_is_reported_as_well():
    with StrictPipeline("FnApiRunner") as pipeline:
        report = {"readings": pipeline | beam.Create([])} | ReportQuality("fleet")
        assert_that(report | beam.Map(lambda batch: batch["total"].to_pylist()), equal_to([[0]]))
