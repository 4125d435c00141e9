"""From and to plain Python values and foreign batches, for pipelines that are not telebeam's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.typehints import typehints

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.batches import to_dicts
from telebeam.transforms.completion import complete_readings
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.payloads import payload_of
from telebeam.transforms.schema import DATASETS, ENVELOPES, conform

_NO_RECORDS = "batches need no ToBatches: pipe them into ParseReadings (records) or CompleteReadings (readings)"


@dataclass
class ToBatches(beam.PTransform):
    """Gathers records into batches of ``ENVELOPES``, for ParseReadings.

    Elements are JSON texts (``bytes`` or ``str``) or values that JSON can hold — dicts of any shape that the parser
    knows, ``beam.Row``, named tuples, dataclasses, datetimes included; see :func:`~.payloads.payload_of`.  No element
    stops the job: what is no record becomes a reject of ParseReadings.

    Bounded or unbounded.  A batch never spans bundles or windows, and holds ``max_rows`` records unless a bundle ends.
    In the global window a batch that a bundle's end closes bears the end of time, as everything that
    ``beam.BatchElements`` gathers there: aggregate it by the readings' own timestamps, as AggregateWindows does.

    Args:
        source: What ``source`` says; ``source_offset`` counts within the batch.
        max_rows: Records a batch, at most; at least 1.
    """

    source: str = "memory"
    max_rows: int = 10_000

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise ConfigurationError(f"max_rows={self.max_rows}; expected at least 1")

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """The batches.

        Raises:
            ConfigurationError: The elements are known to be pairs or batches.
        """
        _check_records(records.element_type)
        # Of one size, for a size that follows the clock would deal the records out differently each time.
        gather = beam.BatchElements(min_batch_size=self.max_rows, max_batch_size=self.max_rows)
        to_batch = beam.Map(_envelopes, self.source).with_output_types(pa.RecordBatch)
        return records | "Gather" >> gather | "ToBatch" >> to_batch


def _check_records(kind: Any) -> None:
    if kind is beam.PCollection:  # what Beam makes of a transform's several outputs
        raise ConfigurationError("ToBatches got several collections; expected one", "take one of them, as in .readings")
    if kind in (pa.RecordBatch, pa.Table):
        raise ConfigurationError(f"ToBatches got a collection of {kind.__name__}; expected records", _NO_RECORDS)
    if isinstance(kind, typehints.TupleConstraint):
        raise ConfigurationError(
            "ToBatches got a collection of pairs or tuples; expected records", "drop the keys: beam.Values()"
        )


def _envelopes(records: Iterable[Any], source: str) -> pa.RecordBatch:
    records = list(records)
    for record in records:
        if isinstance(record, (pa.RecordBatch, pa.Table)):
            raise ConfigurationError(f"ToBatches got a {type(record).__name__}; expected a record", _NO_RECORDS)
    rows = len(records)
    columns = [
        pa.array([payload_of(record) for record in records], pa.large_binary()),
        pa.nulls(rows, pa.string()),
        pa.array([source] * rows, pa.string()),
        pa.array(np.zeros(rows, np.int32)),
        pa.array(np.arange(rows)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ENVELOPES)


@dataclass
class CompleteReadings(beam.PTransform):
    """Gives batches from elsewhere all columns of ``READINGS_IN_FLIGHT``; see :func:`~.completion.complete_readings`.

    Batches with at least ``device_id``, ``timestamp``, ``sensor_type`` and ``value`` in, bounded or unbounded; one
    batch out for each, with its timestamp.  No row is dropped or refused: that is CheckQuality's part.

    Args:
        source: What ``source`` says where a batch has none.
    """

    source: str = "memory"

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """The completed batches."""
        complete = (
            beam.Map(_complete, self.source).with_input_types(pa.RecordBatch, str).with_output_types(pa.RecordBatch)
        )
        return batches | "CompleteBatches" >> complete


def _complete(batch: Any, source: str) -> pa.RecordBatch:
    return complete_readings(_batch("CompleteReadings", batch), source)


@dataclass
class FromBatches(beam.PTransform):
    """Scatters batches into one plain dict a row, timestamps as aware datetimes.

    Batches of any dataset in, bounded or unbounded; dicts out, with the timestamp of their batch.

    Args:
        schema: The columns that a dict has; others, such as the payload in flight, are left out.  Without it, those of
            the dataset that the batch is of: ``READINGS``, ``WINDOWS``, ``REJECTS`` or ``QUALITY``.
    """

    schema: pa.Schema | None = None

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """The dicts."""
        rows = beam.FlatMap(_rows, self.schema).with_input_types(pa.RecordBatch, Any)
        return batches | "Rows" >> rows.with_output_types(dict[str, Any])


def _rows(batch: Any, schema: pa.Schema | None) -> list[dict[str, Any]]:
    batch = _batch("FromBatches", batch)
    try:
        return to_dicts(conform(batch, _dataset(batch) if schema is None else schema))
    except pa.ArrowInvalid as error:
        raise ConfigurationError(
            f"FromBatches: {error}; the batch has {', '.join(batch.schema.names)}",
            "name the columns that it has, as in FromBatches(WINDOWS), or leave the schema out",
        ) from error


def _dataset(batch: pa.RecordBatch) -> pa.Schema:
    """The dataset whose required columns a batch has; its own columns where it is of none."""
    names = set(batch.schema.names)
    for schema in DATASETS.values():
        if names.issuperset(field.name for field in schema if not field.nullable):
            return schema
    return batch.schema


def _batch(step: str, element: Any) -> pa.RecordBatch:
    if not isinstance(element, pa.RecordBatch):
        raise ConfigurationError(
            f"{step} got a {type(element).__name__}; expected a RecordBatch",
            "records become batches with ToBatches; of ParseReadings and CheckQuality take .readings or .rejects",
        )
    return element
