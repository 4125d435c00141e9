"""Cleansing as a step of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import CleanseSpec


@dataclass
class Cleanse(beam.PTransform):
    """Brings readings to one form: clean names, values in canonical units; see :func:`~.kernel.cleanse`.

    Batches of ``READINGS_IN_FLIGHT`` in and out, bounded or unbounded.  No row is dropped: what can't be converted
    stays as it is and is flagged.  Late batches are treated like all others.
    """

    spec: CleanseSpec = field(default_factory=CleanseSpec)

    def expand(self, batches: Any) -> Any:
        """The cleansed batches."""
        return batches | "CleanseBatches" >> beam.Map(cleanse, self.spec).with_output_types(pa.RecordBatch)
