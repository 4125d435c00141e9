"""Parsing as a step of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.batches import rows_within
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.metrics import measured
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.wire import SchemaOf


@dataclass
class ParseReadings(beam.PTransform):
    """Turns records, or rows of a table, into readings; see :func:`~.kernel.parse`.

    Batches of ``ENVELOPES``, or of a table's columns, in, bounded or unbounded.  Gives two collections: ``readings``
    (``READINGS_IN_FLIGHT`` and ``payload``, the record that each came from) and ``rejects`` (``REJECTS``), which
    together hold every value and every refused record.  There is a batch of each for every batch that comes in, empty
    ones included, so that a sink knows what it has seen.

    Metrics: ``rows_in``, ``rejects``.

    Args:
        spec: What the payloads look like.
        now: The clock on the worker, in seconds since 1970, for ``rejected_at``.
        span: [first, end) in µs since 1970: what is known to be outside of it is not asked for, and so not counted.
        schema_of: A registry's schemas by their ids; it is sent to the workers.
        fleet_of: Gives what is known of devices; it is sent to the workers.
    """

    spec: ParseSpec = field(default_factory=ParseSpec)
    now: Callable[[], float] = time.time
    span: tuple[int, int] | None = None
    schema_of: SchemaOf | None = None
    fleet_of: FleetOf | None = None

    def expand(self, batches: beam.PCollection) -> Any:
        """The two collections, by name."""
        step = beam.ParDo(_Parse(self)).with_output_types(pa.RecordBatch)
        return batches | "ParseBatches" >> step.with_outputs("rejects", main="readings")


class _Parse(beam.DoFn):
    """Parses, and remembers what births said; what one worker's messages say, others don't know."""

    def __init__(self, step: ParseReadings) -> None:
        self._spec, self._now, self._span = step.spec, step.now, step.span
        self._schema_of, self._fleet_of = step.schema_of, step.fleet_of
        self._known = Known(step.schema_of)

    def setup(self) -> None:
        self._known = Known(self._schema_of)

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        fleet = None if self._fleet_of is None else self._fleet_of()
        parsed = parse(batch, self._spec, int(self._now() * 1e6), self._known, fleet)
        readings, rejects = parsed if self._span is None else (rows_within(part, self._span) for part in parsed)
        measured("rows_in", readings.num_rows + rejects.num_rows)
        measured("rejects", rejects.num_rows)
        yield readings
        yield beam.pvalue.TaggedOutput("rejects", rejects)
