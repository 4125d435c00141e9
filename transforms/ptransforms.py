"""From and to plain Python values, for pipelines that are not columnar."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.batches import to_dicts
from telebeam.transforms.schema import ENVELOPES, READINGS, conform


@dataclass
class ToBatches(beam.PTransform):
    """Gathers records into batches of ``ENVELOPES``, for ParseReadings.

    Elements are JSON texts (``bytes`` or ``str``) or dicts of any shape that the parser knows, whose values JSON can
    hold, datetimes included.  Bounded or unbounded; a batch never spans bundles or windows.

    Args:
        source: What ``source`` says; ``source_offset`` counts within the batch.
        max_rows: Records a batch, at most.
    """

    source: str = "memory"
    max_rows: int = 10_000

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """The batches."""
        return (
            records
            | "Gather" >> beam.BatchElements(min_batch_size=min(100, self.max_rows), max_batch_size=self.max_rows)
            | "ToBatch" >> beam.Map(_envelopes, self.source).with_output_types(pa.RecordBatch)
        )


def _envelopes(records: Iterable[Any], source: str) -> pa.RecordBatch:
    payloads = [record if isinstance(record, bytes) else _text(record) for record in records]
    rows = len(payloads)
    columns = [
        pa.array(payloads, pa.large_binary()),
        pa.nulls(rows, pa.string()),
        pa.array([source] * rows),
        pa.array(np.zeros(rows, np.int32)),
        pa.array(np.arange(rows)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ENVELOPES)


def _text(record: Any) -> bytes:
    return record.encode() if isinstance(record, str) else msgspec.json.encode(record)


@dataclass
class FromBatches(beam.PTransform):
    """Scatters batches into one plain dict a row, timestamps as aware datetimes.

    Args:
        schema: The columns that a dict has; others, such as the payload in flight, are left out.
    """

    schema: pa.Schema = READINGS

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """The dicts."""
        return batches | "Rows" >> beam.FlatMap(_rows, self.schema).with_output_types(dict[str, Any])


def _rows(batch: pa.RecordBatch, schema: pa.Schema) -> list[dict[str, Any]]:
    return to_dicts(conform(batch, schema))
