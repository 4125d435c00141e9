"""Writing to InfluxDB from a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils.windowed_value import WindowedValue

from telebeam.io.influxdb.client import InfluxWriter
from telebeam.io.influxdb.lines import window_lines
from telebeam.io.influxdb.sink import PointSink
from telebeam.io.influxdb.spec import Dataset, InfluxSpec
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.errors import SinkError
from telebeam.transforms.metrics import measured

_LOG = logging.getLogger(__name__)


@dataclass
class WriteToInfluxDB(beam.PTransform):
    """Write readings or windows as points; what InfluxDB does not take comes out as rejects.

    In: batches of ``READINGS`` or ``WINDOWS``, bounded or unbounded; out: batches of ``REJECTS`` in plain types, at the
    timestamp and in the window of the batch that they come from.

    Late data is written like any other.  A point that line protocol can't carry is rejected as ``unrepresentable``, one
    that the server refuses as ``refused_by_sink`` with the server's words.

    Delivery: at least once, and a point written twice is one point, so InfluxDB converges to what was sent; a later
    revision of a window replaces the earlier one.  A bundle ends only when all of its points are stored or rejected; if
    the server stays away beyond the bounded retries, the bundle fails with a ``SinkError``.

    Metrics: ``points``, ``refused_points``.

    Args:
        spec: The bucket; its secret is resolved on the worker.
        dataset: What the batches hold.
        rejected_at: The run's clock, which the rejects carry.
    """

    spec: InfluxSpec
    dataset: Dataset = "readings"
    _: KW_ONLY
    rejected_at: datetime

    def __post_init__(self) -> None:
        if self.rejected_at.tzinfo is None:
            raise ValueError(f"rejected_at={self.rejected_at!r} names no zone; expected a time with one, as in UTC")

    def expand(self, batches: Any) -> Any:
        """Apply the one step."""
        write = _WritePoints(self.spec, self.dataset, self.rejected_at)
        return batches | "WritePoints" >> beam.ParDo(write).with_output_types(pa.RecordBatch)


class _WritePoints(beam.DoFn):
    """Holds the client for the worker's life; :class:`PointSink` does the work."""

    _writer: InfluxWriter
    _sink: PointSink[tuple[Any, Any]]

    def __init__(self, spec: InfluxSpec, dataset: Dataset, rejected_at: datetime) -> None:
        super().__init__()
        self._spec = spec
        self._dataset: Dataset = dataset
        self._rejected_at = rejected_at

    def setup(self) -> None:
        self._writer = InfluxWriter(self._spec)

    def start_bundle(self) -> None:
        # A bundle that failed leaves points behind; its retry brings them again.
        self._sink = PointSink(self._writer, self._spec, self._dataset, self._rejected_at)

    def process(
        self, batch: pa.RecordBatch, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        for (at, within), rejects in self._sink.add(batch, (timestamp, window)):
            yield WindowedValue(rejects, at, (within,))

    def finish_bundle(self) -> Iterator[Any]:
        for (at, within), rejects in self._sink.flush():
            yield WindowedValue(rejects, at, (within,))
        measured("points", self._sink.written)
        measured("refused_points", self._sink.refused)

    def teardown(self) -> None:
        if hasattr(self, "_writer"):  # absent where setup() found no secret
            self._writer.close()


@dataclass
class TryInfluxDB(beam.PTransform):
    """Write windows that are still open, once and without waiting: what fails comes again, and better.

    In: batches of ``WINDOWS``; out: nothing.  A server that is away or refuses a point is logged at debug level only;
    when the window closes it is delivered with all that delivery takes.

    Args:
        spec: The bucket; its secret is resolved on the worker.
    """

    spec: InfluxSpec

    def expand(self, batches: Any) -> Any:
        """Apply the one step."""
        return batches | "TryPoints" >> beam.ParDo(_TryPoints(self.spec)).with_output_types(pa.RecordBatch)


class _TryPoints(beam.DoFn):
    """Holds the client for the worker's life."""

    _writer: InfluxWriter

    def __init__(self, spec: InfluxSpec) -> None:
        super().__init__()
        self._spec = spec.model_copy(update={"max_retries": 0})

    def setup(self) -> None:
        self._writer = InfluxWriter(self._spec)

    def process(self, batch: pa.RecordBatch) -> None:
        try:
            self._writer.write(window_lines(batch, self._spec)[0])
        except SinkError as error:
            _LOG.debug("early windows: %s", error.message)

    def teardown(self) -> None:
        if hasattr(self, "_writer"):
            self._writer.close()
