"""Enrichment by the device registry as a step of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.devices.kernel import enrich
from telebeam.transforms.metrics import measured
from telebeam.transforms.rejects import of_stage, rejects_of


@dataclass
class EnrichReadings(beam.PTransform):
    """Gives readings what the registry knows of their devices at their times; see :func:`~.kernel.enrich`.

    Batches of ``READINGS_IN_FLIGHT`` in, with or without other columns such as ``payload``, bounded or unbounded.
    Gives two collections: ``readings`` with the same columns, and ``rejects`` (``REJECTS``), which together hold all
    rows.  There is a batch of each for every batch that comes in.  Late batches are treated like all others.

    Metrics: ``rejects``.

    Args:
        fleet_of: Gives the snapshot to use, on the worker, once for each batch.
        now: The clock on the worker, in seconds since 1970, for ``rejected_at``.
    """

    fleet_of: FleetOf
    now: Callable[[], float] = time.time

    def expand(self, batches: Any) -> Any:
        """The two collections, by name."""
        step = beam.FlatMap(_enrich, self.fleet_of, self.now)
        return batches | "EnrichBatches" >> step.with_output_types(pa.RecordBatch).with_outputs(
            "rejects", main="readings"
        )


def _enrich(batch: pa.RecordBatch, fleet_of: FleetOf, now: Callable[[], float]) -> Iterator[Any]:
    fleet = fleet_of()
    readings, rejected = enrich(batch, fleet.registry, fleet.spec)
    measured("rejects", rejected.num_rows)
    yield readings
    yield beam.pvalue.TaggedOutput("rejects", of_stage(rejects_of(rejected, int(now() * 1e6)), "devices"))
