"""Parsing as a step of a pipeline."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from telebeam.transforms.parsing.ptransforms import ParseReadings
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.schema import REJECTS

GOOD = b'{"device_id":"device-1","timestamp":%d,"metric":"temperature","value":21.5}'


def rows(batch: pa.RecordBatch) -> int:
    return int(batch.num_rows)


def test_every_batch_gives_a_batch_of_readings_and_one_of_rejects(envelopes: Any):
    batches = [envelopes([GOOD % 100, b"{", GOOD % 200]), envelopes([GOOD % 100]), envelopes([b"7"]), envelopes([])]
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        parse = ParseReadings(ParseSpec(), now=lambda: 1.5)
        parsed = pipeline | "Make" >> beam.Create(batches) | "Parse" >> parse
        assert_that(parsed["readings"] | "Rows" >> beam.Map(rows), equal_to([2, 1, 0, 0]), label="Readings")
        assert_that(parsed["rejects"] | "Refused" >> beam.Map(rows), equal_to([1, 0, 1, 0]), label="Rejects")
        columns = parsed["rejects"] | "Schema" >> beam.Map(lambda batch: batch.schema.equals(REJECTS))
        assert_that(columns, equal_to([True] * 4), label="Columns")


def test_readings_outside_of_the_span_are_not_asked_for_and_rejects_are_kept(envelopes: Any):
    batch = envelopes([GOOD % 100, GOOD % 200, GOOD % 300, b"{"])
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        parse = ParseReadings(ParseSpec(), now=lambda: 1.5, span=(100_000_000, 300_000_000))
        parsed = pipeline | "Make" >> beam.Create([batch]) | "Parse" >> parse
        assert_that(parsed["readings"] | "Rows" >> beam.Map(rows), equal_to([2]), label="Readings")
        assert_that(parsed["rejects"] | "Refused" >> beam.Map(rows), equal_to([1]), label="Rejects")
