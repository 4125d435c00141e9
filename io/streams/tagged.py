"""Tagged readings of a streaming job to topics: from memory while a sink keeps up, from the lake when it does not."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.alerts.dispatcher import shared_dispatcher
from telebeam.io.alerts.outlet import Outlet
from telebeam.io.alerts.spec import TaggedSinkSpec
from telebeam.io.alerts.tagged import TAGGED, TAGGED_ROWS, kept_for, tagged_rows
from telebeam.io.lake.layout import HOUR, partition, step_file
from telebeam.io.lake.live_order import MOST_BEHIND, SAVE_EVERY
from telebeam.io.lake.parquet import open_parquet, row_groups
from telebeam.io.lake.steps import STEP, steps_of
from telebeam.io.streams.job import StreamJob
from telebeam.transforms.batches import concat
from telebeam.transforms.schema import READINGS

_SECOND = 1_000_000
_ROWS_AT_ONCE = 1_000
_NOTHING = pa.RecordBatch.from_pylist([], TAGGED_ROWS)
_Place = tuple[str, int]
"""Tag and step."""
_TURN_SECONDS = 0.2
"""How long one sink is waited for before another has its turn."""


class TaggedLine:
    """What one sink is still to get, oldest first; waits for nobody.

    Rows that the sink has no room for are left in the lake, where they have been filed, and taken from there: what is
    in memory does not grow with how long it is away.

    Args:
        sink: Where to.
        outlet: Sends to it.
        root: The lake.
        pipeline: Whose.
    """

    def __init__(self, sink: TaggedSinkSpec, outlet: Outlet, root: storage.Location, pipeline: str) -> None:
        self._sink, self._outlet, self._root, self._pipeline = sink, outlet, root, pipeline
        self._under_way: deque[pa.RecordBatch] = deque()
        """Taken by the outlet, and not known to be with the sink."""
        self._left: dict[_Place, None] = {}
        """What is to be offered from the lake, oldest first."""
        self._head: tuple[list[_Place], pa.RecordBatch] | None = None
        """The first of these, as they were read, where the sink had no room for them."""

    def add(self, tag: str, readings: pa.RecordBatch) -> None:
        """Takes readings of a tag that stand in the lake, in files of their steps."""
        if self._sink.tags is not None and tag not in self._sink.tags:
            return
        if not self._left:
            rows = tagged_rows(readings, tag)
            if self._outlet.offer(rows):
                self._under_way.append(rows)
                return
        for step in np.unique(steps_of(_times(readings))).tolist():
            # Where the step waits already, its file says by now what is to be sent.
            self._left[tag, step] = None
            if self._head is not None and (tag, step) in self._head[0]:
                self._head = None

    def move(self) -> None:
        """Offers what is left, as far as there is room, and forgets what the sink has.

        Raises:
            SourceError: A file of the lake can't be read.
        """
        while self._under_way and self._outlet.settled(self._under_way[0]):
            self._under_way.popleft()
        while self._left:
            places, rows = self._head = self._head or self._first()
            if not self._outlet.offer(rows):
                return
            self._head = None
            self._under_way.append(rows)
            for place in places:
                del self._left[place]

    def _first(self) -> tuple[list[_Place], pa.RecordBatch]:
        """The first steps that are left, with as many rows as are sent at a time, about."""
        places: list[_Place] = []
        parts = [_NOTHING]
        for tag, step in self._left:
            places.append((tag, step))
            parts.append(self._read(tag, step))
            if sum(part.num_rows for part in parts) >= _ROWS_AT_ONCE:
                break
        return places, concat(parts)

    def wait(self, seconds: float) -> None:
        """Waits until the sink has what it was offered, at most so many seconds, and offers more.

        Raises:
            SourceError: A file of the lake can't be read.
        """
        if self.pieces:
            self._outlet.flush(seconds)
            self.move()

    @property
    def pieces(self) -> int:
        """How many pieces of time, of a tag each, the sink does not have as far as is known."""
        return len(self._under_way) + len(self._left)

    def _read(self, tag: str, step: int) -> pa.RecordBatch:
        """What the lake has of a step now, which may be nothing any more."""
        hour = step // HOUR
        name = step_file(self._pipeline, hour, step, step + STEP - 1)
        path = f"{partition(f'tagged/tag={tag}', hour)}/{name}.parquet"
        if not storage.exists(self._root, path):
            return _NOTHING
        with open_parquet(self._root, path) as file:
            found = list(row_groups(file, range(file.metadata.num_row_groups), READINGS.names, path))
        return tagged_rows(concat(found), tag) if found else _NOTHING


class TaggedOutlets:
    """A line for each sink of tagged readings, none of which delays another.

    Args:
        job: Whose.
        sinks: Where tagged readings go.
    """

    def __init__(self, job: StreamJob, sinks: Sequence[TaggedSinkSpec]) -> None:
        root, pipeline = storage.locate(job.lake.path), job.pipeline
        kind = replace(TAGGED, kept=kept_for(_out_of_order_seconds(job)))
        self._lines = [
            TaggedLine(sink, outlet, root, pipeline)
            for sink in sinks
            for outlet in shared_dispatcher((sink,), job.lake.path, pipeline, kind).outlets
        ]

    def offer(self, tagged: Iterable[Mapping[str, pa.RecordBatch]]) -> None:
        """Takes tag → readings, as they were filed, and goes on with what is left; waits for nobody.

        Raises:
            SourceError: A file of the lake can't be read; what was taken is not lost.
        """
        for tag, readings in _each(tagged):
            for line in self._lines:
                line.add(tag, readings)
        for line in self._lines:
            line.move()

    @property
    def all_sent(self) -> bool:
        """Whether every sink had all, when something was offered last."""
        return not self.waiting

    @property
    def waiting(self) -> int:
        """Pieces of time, of a tag and a sink each, that wait."""
        return sum(line.pieces for line in self._lines)

    def flush(self, until: float) -> None:
        """Waits until all sinks have all, or until a time of ``time.monotonic``.

        Raises:
            SourceError: A file of the lake can't be read.
        """
        while self.waiting and time.monotonic() < until:
            for line in self._lines:
                line.wait(min(_TURN_SECONDS, max(0.0, until - time.monotonic())))


def _each(tagged: Iterable[Mapping[str, pa.RecordBatch]]) -> Iterator[tuple[str, pa.RecordBatch]]:
    for each in tagged:
        for tag, readings in each.items():
            if readings.num_rows:
                yield tag, readings


def _out_of_order_seconds(job: StreamJob) -> float:
    """How far behind what was made first a step may be made once more, or again after a kill."""
    allowed = max((ends.allowed_lateness for ends in job.lateness.windows), default=0)
    return (MOST_BEHIND + SAVE_EVERY + allowed) / _SECOND


def _times(readings: pa.RecordBatch) -> np.ndarray:
    found: np.ndarray = readings.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
    return found
