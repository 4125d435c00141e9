"""Enrichment as a pipeline runs it."""

from __future__ import annotations

from collections.abc import Callable

import apache_beam as beam
import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import assert_that, equal_to

from telebeam.transforms.batches import UNIT
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.ptransforms import EnrichReadings
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec


def known() -> Fleet:
    rows = pa.RecordBatch.from_pylist([{"device_id": "dev-1", "location": "roof"}], schema=REGISTRY)
    return Fleet(DevicesSpec(unknown="reject"), Registry.of(rows))


def test_every_row_leaves_by_one_of_the_two_ways(readings: Callable[..., pa.RecordBatch]):
    batch = readings({"device_id": "dev-1"}, {"device_id": "dev-2"}).replace_schema_metadata({UNIT: b"file"})
    with StrictPipeline("FnApiRunner") as pipeline:
        step = EnrichReadings(known, now=lambda: 1.5)
        found = pipeline | beam.Create([batch]) | step
        kept = found.readings | "Kept" >> beam.FlatMap(lambda batch: batch.column("location").to_pylist())
        refused = found.rejects | "Refused" >> beam.FlatMap(lambda batch: batch.to_pylist())
        reasons = refused | beam.Map(lambda row: (row["reason"], row["device_id"], row["rejected_at"].timestamp()))
        units = found.rejects | "Units" >> beam.Map(lambda batch: batch.schema.metadata[UNIT])
        assert_that(kept, equal_to(["roof"]), "kept")
        assert_that(reasons, equal_to([("unknown_device", "dev-2", 1.5)]), "reasons")
        assert_that(units, equal_to([b"file-devices"]), "units")
