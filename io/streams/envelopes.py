"""Streams for pipelines of one's own: records as batches of envelopes, by a splittable DoFn."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.io.streams.clock import PartitionClock, ReaderClock
from telebeam.io.streams.feed import Feed, Partition, Polled
from telebeam.io.streams.job import Feeds
from telebeam.io.streams.positions import TRACKER, WATERMARK, Positions, timestamp
from telebeam.io.streams.spec import TimeSpec
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches

BUNDLE_SECONDS = 0.25
"""Short enough that a reading is through a pipeline within a second, long enough for batches of thousands."""
BUNDLE_ROWS = 100_000


@dataclass
class ReadEnvelopes(beam.PTransform):
    """Reads a stream as batches of ``ENVELOPES``: unbounded, or bounded where the source's settings have an end.

    A batch's timestamp is the earliest stamp in it; the watermark is the slowest partition's newest stamp less
    ``max_out_of_orderness``, silent partitions left out after ``idle_after``.  Positions are the runner's: it goes on
    where its checkpoint is.  The broker is told when the runner says that a bundle is durable, which on local runners
    is when the *read* is, and not what is behind it; ``telebeam run`` therefore files what it reads within the bundle.

    Args:
        feeds: Connects readers to the source.
        readers: How many there are.
        time: ``max_out_of_orderness`` and ``idle_after``.
    """

    feeds: Feeds
    readers: int = 1
    time: TimeSpec = field(default_factory=TimeSpec)

    def expand(self, root: Any) -> Any:
        """The batches."""
        read = beam.ParDo(_ReadBundles(self.feeds, self.readers, self.time, uuid.uuid4().hex))
        return (
            root
            | "Readers" >> beam.Create(list(range(self.readers)))
            | "SpreadReaders" >> beam.Reshuffle()
            | "ReadBundles" >> read.with_output_types(pa.RecordBatch)
        )


class _Connection:
    """A reader's feed between its bundles, and how far it has read."""

    def __init__(self, feed: Feed, positions: Positions, spec: TimeSpec) -> None:
        self.feed = feed
        self.positions = dict(positions)
        self._clocks: dict[Partition, PartitionClock] = {}
        out_of_order = round(spec.max_out_of_orderness.total_seconds() * 1e6)
        self._watermark = ReaderClock(out_of_order, spec.idle_after.total_seconds())
        feed.open(self._position)

    def _position(self, partition: Partition) -> int | None:
        self._clocks[partition] = PartitionClock(heard=time.monotonic())
        return self.positions.get(partition.name)

    def took(self, polled: Polled) -> None:
        """Notes what a poll gave."""
        self.positions[polled.partition.name] = polled.next
        clock = self._clocks.setdefault(polled.partition, PartitionClock())
        newest = int(polled.times.max(initial=-1))
        clock.newest = max(clock.newest, newest if newest >= 0 else _now())
        clock.heard = time.monotonic()

    def reached(self) -> int:
        """The watermark, µs since 1970."""
        for partition, clock in self._clocks.items():
            clock.drained, clock.finished = self.feed.drained(partition), self.feed.finished()
        return self._watermark.advance(list(self._clocks.values()), time.monotonic(), _now())


_LOCK = threading.Lock()
_CONNECTIONS: dict[tuple[str, int], _Connection] = {}
"""Of this process, those that no bundle uses now."""


class _ReadBundles(beam.DoFn):
    """One short bundle after the other."""

    def __init__(self, feeds: Feeds, readers: int, spec: TimeSpec, run: str) -> None:
        super().__init__()
        self._feeds, self._readers, self._spec, self._run = feeds, readers, spec, run

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(
        self,
        index: int,
        # Beam finds it by this class, without parentheses, and only before the other two.
        finalizer: Any = beam.DoFn.BundleFinalizerParam,
        tracker: Any = TRACKER,
        watermark: Any = WATERMARK,
    ) -> Iterator[Any]:
        connection = self._connected(index, tracker.current_restriction())
        try:
            yield from self._bundle(connection, tracker)
            reached = timestamp(connection.reached())
            if (before := watermark.current_watermark()) is None or reached > before:
                watermark.set_watermark(reached)
            finished = connection.feed.finished()
            # Always: Prism complains of a bundle whose DoFn declares a finalizer and registers none.
            finalizer.register(_committer(connection, last=finished))
        except BaseException:
            connection.feed.close()
            raise
        if finished:
            return
        with _LOCK:
            # Where the runner has taken the rest, the positions differ from those that it comes back with.
            _CONNECTIONS[self._run, index] = connection
        tracker.defer_remainder(beam.utils.timestamp.Duration(0))

    def _connected(self, index: int, positions: Positions) -> _Connection:
        with _LOCK:
            connection = _CONNECTIONS.pop((self._run, index), None)
        if connection is not None and connection.positions == positions:
            return connection
        if connection is not None:  # a bundle that was thrown away: its records come again
            connection.feed.close()
        return _Connection(self._feeds(index, self._readers), positions, self._spec)

    def _bundle(self, connection: _Connection, tracker: Any) -> Iterator[Any]:
        began, rows = time.monotonic(), 0
        while time.monotonic() - began < BUNDLE_SECONDS and rows < BUNDLE_ROWS and not connection.feed.finished():
            for polled in connection.feed.poll(BUNDLE_SECONDS / 4):
                connection.took(polled)
                rows += polled.envelopes.num_rows
                if not tracker.try_claim(connection.positions):
                    return  # the runner has taken the rest: what was polled is read again there
                if polled.envelopes.num_rows:
                    stamp = int(polled.times.min())
                    yield beam.window.TimestampedValue(polled.envelopes, timestamp(stamp if stamp >= 0 else _now()))


def _committer(connection: _Connection, *, last: bool) -> Callable[[], None]:
    positions = {Partition.named(name): offset for name, offset in connection.positions.items()}

    def commit() -> None:
        connection.feed.commit(positions)
        if last:
            connection.feed.close()

    return commit


def _now() -> int:
    return int(time.time() * 1e6)
