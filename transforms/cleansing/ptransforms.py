"""Cleansing as a step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
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

    Args:
        spec: The canonical units.
        by_type: Those of device types that have units of their own; told by the column ``device_type``, which
            ``EnrichReadings`` adds.
    """

    spec: CleanseSpec = field(default_factory=CleanseSpec)
    by_type: Mapping[str, CleanseSpec] = field(default_factory=dict)

    def expand(self, batches: Any) -> Any:
        """The cleansed batches."""
        return batches | "CleanseBatches" >> beam.Map(cleanse, self.spec, self.by_type).with_output_types(
            pa.RecordBatch
        )
