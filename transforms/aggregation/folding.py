"""Many kinds of windows from readings that are given once: the finest panes from readings, all else from panes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.aggregation.grid import Grid, Integers
from telebeam.transforms.aggregation.kernel import aggregate, extract, merge, rows_of_windows, slide
from telebeam.transforms.aggregation.panes import coarsen, finest_first, select
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.batches import concat

Span = tuple[int, int]
"""[first, end) of event time, µs since the epoch."""

END = 1 << 62
"""Behind all readings."""


class Kind(NamedTuple):
    """Windows that are wanted of some spans."""

    windowing: Grid | Sessions
    spans: tuple[Span, ...]
    """In which they start; ascending and disjoint."""


class Made(NamedTuple):
    """Windows that hold all of their readings."""

    place: int
    """Which of the kinds they are."""
    partials: Partials

    def rows(self, windowing: Grid | Sessions) -> pa.RecordBatch:
        """Their rows, sorted by series and start."""
        if isinstance(windowing, Sessions):
            return rows_of_windows(self.partials, windowing.ends(self.partials), windowing.seconds)
        return extract(self.partials, windowing)


class _Windows(Protocol):
    """What makes one kind of windows of readings."""

    def add(self, readings: pa.RecordBatch) -> None:
        """Takes readings."""

    def close(self, until: int) -> Partials | None:
        """The windows with an end at or before an instant, each given once."""


class Fold:
    """Windows of several kinds, of readings that come in any cut: how they are cut does not show in a bit of them.

    Held are some readings, the panes of windows that are still open, and nothing else.

    Args:
        kinds: What is wanted.
        held_rows: Readings that are worked on together, about.
    """

    def __init__(self, kinds: Sequence[Kind], held_rows: int) -> None:
        self._held_rows = held_rows
        self._held: list[pa.RecordBatch] = []
        self._rows = 0
        grids = {kind.windowing: place for place, kind in enumerate(kinds) if isinstance(kind.windowing, Grid)}
        self._made: list[tuple[int, _Windows]] = []
        self._grids: dict[Grid, _GridWindows] = {}
        for grid, parent in finest_first(list(grids)):
            self._grids[grid] = _GridWindows(kinds[grids[grid]], None if parent is None else self._grids[parent])
            self._made.append((grids[grid], self._grids[grid]))
        for place, kind in enumerate(kinds):
            if isinstance(kind.windowing, Sessions):
                self._made.append((place, _SessionWindows(kind.windowing, kind.spans)))

    def add(self, readings: pa.RecordBatch) -> None:
        """Takes readings; those of former calls to :meth:`close` may not be before its instant."""
        if readings.num_rows:
            self._held.append(readings)
            self._rows += readings.num_rows
        if self._rows >= 2 * self._held_rows:
            self._condense()

    def add_panes(self, panes: Partials) -> None:
        """Takes panes in the place of their readings: each lies within one pane of every grid; sessions take none."""
        for windows in self._grids.values():
            windows.add_panes(panes)

    def close(self, until: int = END) -> Iterator[Made]:
        """The wanted windows with an end at or before an instant, which hold all of their readings by now.

        Windows that no reading came to are none.
        """
        self._condense()
        for place, windows in self._made:
            made = windows.close(until)
            if made is not None and len(made):
                yield Made(place, made)

    def _condense(self) -> None:
        if self._held:
            readings = concat(self._held)
            self._held, self._rows = [], 0
            for _, windows in self._made:
                windows.add(readings)


class _GridWindows:
    """The windows of a grid, from readings or from the panes of a finer one."""

    def __init__(self, kind: Kind, parent: _GridWindows | None) -> None:
        if not isinstance(kind.windowing, Grid):
            raise TypeError("sessions have no panes")
        self._grid = kind.windowing
        self._spans = kind.spans
        self._parent = parent
        self._open: list[Partials] = []
        self._new: list[Partials] = []
        self._given = -END  # windows that start before were given
        self.fresh: Partials | None = None
        """The panes of what came since the last :meth:`close`."""

    def add(self, readings: pa.RecordBatch) -> None:
        if self._parent is None:
            _append(self._new, aggregate(readings, self._grid))

    def add_panes(self, panes: Partials) -> None:
        if self._parent is None:
            _append(self._new, coarsen(panes, self._grid))

    def close(self, until: int) -> Partials | None:
        self.fresh = self._fresh()
        panes = [*self._open, *([] if self.fresh is None else [self.fresh])]
        if not panes:
            return None
        whole = merge(panes)
        first_open = self._grid.first_open(until)
        windows = slide(whole, self._grid)
        done = (windows.start >= self._given) & (windows.start < first_open)
        self._given = first_open
        self._open = [] if until >= END else [select(whole, whole.start >= first_open)]
        return select(windows, done & _within(windows.start, self._spans))

    def _fresh(self) -> Partials | None:
        if self._parent is not None:
            finer = self._parent.fresh
            return None if finer is None else coarsen(finer, self._grid)
        fresh = merge(self._new) if self._new else None
        self._new = []
        return fresh


class _SessionWindows:
    """The sessions of readings; they are given when all readings are there."""

    def __init__(self, sessions: Sessions, spans: tuple[Span, ...]) -> None:
        self._sessions = sessions
        self._spans = spans
        self._parts: list[Partials] = []

    def add(self, readings: pa.RecordBatch) -> None:
        self._parts.append(self._sessions.aggregate(readings))
        if sum(map(len, self._parts[1:])) > len(self._parts[0]):
            self._parts = [self._sessions.merge(self._parts)]

    def close(self, until: int) -> Partials | None:
        if until < END or not self._parts:
            return None
        whole = self._sessions.merge(self._parts)
        self._parts = []
        return select(whole, _within(whole.start, self._spans))


def _append(parts: list[Partials], part: Partials) -> None:
    """Merging costs as much as there is: when it has doubled, each partial is merged a few times at most."""
    parts.append(part)
    if sum(map(len, parts[1:])) > len(parts[0]):
        parts[:] = [merge(parts)]


def _within(starts: Integers, spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    edges = np.array([edge for span in spans for edge in span], np.int64)
    inside: npt.NDArray[np.bool_] = np.searchsorted(edges, starts, side="right") % 2 == 1
    return inside
