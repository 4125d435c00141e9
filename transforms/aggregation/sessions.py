"""Sessions: windows of a series that end when it has been silent for some time.

Each reading is a session from its time to its time + gap, and sessions that overlap are one, as Beam's ``Sessions``
have it: readings that are ``gap`` apart or more are in two.  A series that never falls silent would have one without
end, so sessions are cut at the edges of *blocks* of event time: what a session is depends on the readings of its block
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.aggregation.grid import SECOND, Integers
from telebeam.transforms.aggregation.panes import rebase, starts_of
from telebeam.transforms.aggregation.partials import (
    Partials,
    joined,
    partials_of_runs,
    reduce,
    series_of,
    take,
    times_of,
)
from telebeam.transforms.batches import codes, concat, distinct
from telebeam.transforms.schema import AGGREGATES, SERIES, WINDOWS, conform, in_flight

_STRETCH = 300 * SECOND
"""Short enough that few files are of one, long enough that those of a day are no long list."""


@dataclass(frozen=True)
class Sessions:
    """Windows of a series that end with its silence, or with their block.

    Args:
        gap: The silence, in µs: whole seconds.
        block: The blocks' width, in µs; they are aligned to the epoch in UTC.
    """

    gap: int
    block: int

    @property
    def seconds(self) -> int:
        """What ``window_seconds`` says: the gap, below zero, so that no length of a window is the same."""
        return -self.gap // SECOND

    @property
    def touches(self) -> int:
        """The width of the stretches of time by which readers say what they touched."""
        return _STRETCH

    @property
    def reach(self) -> int:
        """How far a session may end behind the stretch, :attr:`touches` wide, of one of its readings."""
        return self.block

    def floor_of(self, instant: int) -> int:
        """Where the block of an instant starts."""
        return instant - instant % self.block

    def ends(self, sessions: Partials) -> Integers:
        """Where sessions end: ``gap`` behind the last reading, or with their block."""
        block_end = sessions.start - sessions.start % self.block + self.block
        return np.minimum(sessions.last.time + self.gap, block_end)

    def aggregate(self, batch: pa.RecordBatch) -> Partials:
        """The sessions of a batch of readings, sorted by series and start; ``start`` is that of the first reading."""
        series, time = series_of(batch), times_of(batch)
        keys = [codes(column) for column in series.columns]
        order = np.lexsort((time, *keys))
        starts = self._breaks([key[order] for key in keys], time[order], time[order])
        start = np.empty(len(time), np.int64)
        start[order] = np.repeat(time[order][starts], np.diff(np.append(starts, len(time))))
        return partials_of_runs(batch, series, start, order, starts)

    def merge(self, sessions: Sequence[Partials]) -> Partials:
        """The sessions of all readings from those of parts of them: the same bits for any parts in any order."""
        every = sessions[0] if len(sessions) == 1 else joined(sessions)
        keys = [codes(column) for column in every.series.columns]
        order = np.lexsort((every.start, *keys))
        rows = take(every, order)
        last = self._running_last([key[order] for key in keys], rows)
        starts = self._breaks([key[order] for key in keys], rows.start, last)
        lengths = np.diff(np.append(starts, len(rows)))
        return reduce(rebase(rows, np.repeat(rows.start[starts], lengths)), starts)

    def _running_last(self, keys: list[npt.NDArray[np.int32]], rows: Partials) -> Integers:
        """The last reading's time of all sessions up to each one, within its series and block."""
        if not len(rows):
            return rows.last.time
        run = np.cumsum(_changes([*keys, rows.start // self.block]))
        times, ranks = np.unique(rows.last.time, return_inverse=True)
        # Each run's ranks are above all of those of the run before, so that one pass serves all.
        base = run * len(times)
        found: Integers = times[np.maximum.accumulate(base + ranks) - base]
        return found

    def _breaks(self, keys: list[npt.NDArray[np.int32]], first: Integers, last: Integers) -> Integers:
        """Where a session begins among rows sorted by series and time."""
        if not len(first):
            return np.zeros(0, np.int64)
        begins = _changes([*keys, first // self.block])
        begins[1:] |= first[1:] - last[:-1] >= self.gap
        begins[0] = True
        return np.flatnonzero(begins)


def holding(sessions: Partials, parts: Partials) -> npt.NDArray[np.bool_]:
    """Which of some sessions hold one of others that were merged into them."""
    both = joined([sessions, parts])
    is_part = np.arange(len(both)) >= len(sessions)
    keys = [codes(column) for column in both.series.columns]
    order = np.lexsort((is_part, both.start, *keys))  # behind each session come its parts
    places = np.flatnonzero(~is_part[order])
    held = np.zeros(len(sessions), bool)
    held[order[places]] = np.diff(np.append(places, len(order))) > 1
    return held


def missing_from(rows: pa.RecordBatch, sessions: Sequence[Partials]) -> npt.NDArray[np.bool_]:
    """Which rows of windows are none of some sessions, by series and start."""
    names = [each.series for each in sessions]
    series = concat([rows.select(list(SERIES)), *names])
    start = np.concatenate([starts_of(rows), *(each.start for each in sessions)])
    is_row = np.arange(len(start)) < rows.num_rows
    keys = [codes(distinct(column)) for column in series.columns]
    order = np.lexsort((is_row, start, *keys))  # behind a session comes its row
    alone = np.ones(len(order), bool)
    same = ~_changes([*(key[order] for key in keys), start[order]])
    alone[1:] = ~same[1:]
    missing = np.zeros(len(order), bool)
    missing[order] = alone
    return missing[: rows.num_rows]


def dissolved(rows: pa.RecordBatch, seconds: int) -> pa.RecordBatch:
    """What is filed for sessions that have become a part of others: rows of no length, without readings or values."""
    starts = rows.column("window_start")
    none = pa.array(np.full(rows.num_rows, np.nan))
    columns = {name: rows.column(name) for name in (*SERIES, "window_start")}
    columns |= {"window_end": starts, "window_seconds": pa.array(np.full(rows.num_rows, seconds, np.int64))}
    columns |= {"count": pa.array(np.zeros(rows.num_rows, np.int64)), **dict.fromkeys(AGGREGATES, none)}
    columns["revision"] = pa.array(np.zeros(rows.num_rows, np.int32))
    return conform(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), in_flight(WINDOWS))


def _changes(columns: Sequence[npt.NDArray]) -> npt.NDArray[np.bool_]:  # type: ignore[type-arg]
    """Whether each row differs from the one before in some column; the first one does not."""
    changed = np.zeros(len(columns[0]), bool)
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed
