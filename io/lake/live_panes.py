"""The panes of the windows that are open in a stream, so that their readings are read once for all kinds of windows."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import PIECE_ROWS, Condensing, Piece, RowGroup, RowGroups, Span, overlap, read_into
from telebeam.io.streams.notices import NEVER
from telebeam.transforms.aggregation.grid import Grid
from telebeam.transforms.aggregation.kernel import aggregate, merge
from telebeam.transforms.aggregation.panes import coarsen, finest_first, select
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.aggregation.spec import WindowSpec

MOST_PANES = 250_000
"""Panes that are remembered of a kind of windows, some 1 KB each: for more of them readings are read again instead."""
MOST_PIECES = 8
"""Pieces that are read for panes at once: a backlog has windows that close at once, and panes by the million."""
AHEAD_ROWS = 250_000
"""Readings that are read ahead at once, about: windows that close meanwhile wait for it."""


class LivePanes:
    """Panes of several grids, for those who compute their windows in one process: a cache, and nothing is true by it.

    Row groups are known by their statistics: a file of a unit that was taken back and filed anew under its old name has
    other rows.  What is read for one grid is given to the others too, from the finest to the widest.

    Args:
        root: Where the lake is.
        grids: Of which panes may be asked for.
        piece_rows: Readings that are worked on together, about.
    """

    def __init__(self, root: storage.Location, grids: Iterable[Grid], piece_rows: int) -> None:
        self._root = root
        self._piece_rows = piece_rows
        self._row_groups = RowGroups(root)
        self._kept = {grid: _Kept() for grid in grids}
        self._lock = threading.Lock()

    def split(self, grid: Grid, spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
        """Spans of windows to which late readings came long ago, and those of which panes are or will be remembered."""
        with self._lock:
            kept = self._kept[grid]
            edge = kept.first if kept.panes else NEVER
        older = [(first, min(end, edge)) for first, end in spans if first < edge]
        return older, [(max(first, edge), end) for first, end in spans if end > edge]

    def of(self, grid: Grid, spans: Sequence[Span]) -> Partials | None:
        """The panes of some spans of readings; None where they are not remembered, or are none.

        Raises:
            SourceError: A readings file is damaged.
        """
        if not spans:
            return None
        with self._lock:
            new = self._unknown(grid, spans)
            if new is None or sum(group.rows for group in new) > MOST_PIECES * self._piece_rows:
                return None
            self._read(grid, new)
            kept = self._kept[grid]
            whole = kept.whole()
        return None if whole is None else select(whole, whole.start < spans[-1][1])

    def read_ahead(self, grid: Grid, spans: Sequence[Span]) -> None:
        """Reads some of what :meth:`of` will have to.

        Raises:
            SourceError: A readings file is damaged.
        """
        if not spans:
            return
        with self._lock:
            rows, some = 0, []
            for group in self._unknown(grid, spans) or ():
                if rows >= AHEAD_ROWS:
                    break
                some.append(group)
                rows += group.rows
            self._read(grid, some)

    def _unknown(self, grid: Grid, spans: Sequence[Span]) -> list[RowGroup] | None:
        """The row groups of some spans of which a grid has no panes yet; None where it remembers none of the time."""
        kept = self._kept[grid]
        if kept.is_off or (kept.panes and spans[0][0] < kept.first):
            return None
        groups = self._row_groups.of(spans)
        vanished = {group for group in kept.known if overlap(group.first, group.last, spans)} - {*groups}
        if vanished or not kept.panes:
            kept.forget()
        kept.begin_at(spans[0][0])
        return [group for group in groups if group not in kept.known]

    def _read(self, grid: Grid, groups: Sequence[RowGroup]) -> None:
        for takers, part in self._by_takers(grid, groups):
            reading = Condensing(self._piece_rows, partial(self._add, takers))
            span = min(self._kept[taker].first for taker in takers), max(group.last for group in part) + 1
            try:
                read_into(reading, self._root, Piece((None, None), (span,), part), late=False)
                reading.condense()
            except BaseException:
                # Some of them may be among the panes by now, and none is known: they would be counted twice.
                for taker in takers:
                    self._kept[taker].forget()
                raise
            for taker in takers:
                self._kept[taker].known.update(part)

    def _by_takers(
        self, grid: Grid, groups: Sequence[RowGroup]
    ) -> Iterator[tuple[tuple[Grid, ...], tuple[RowGroup, ...]]]:
        """Row groups with the grids that lack them."""
        found: dict[tuple[Grid, ...], list[RowGroup]] = defaultdict(list)
        for group in groups:
            takers = (each for each, kept in self._kept.items() if each == grid or kept.lacks(group))
            found[tuple(takers)].append(group)
        return ((takers, tuple(part)) for takers, part in found.items())

    def _add(self, takers: tuple[Grid, ...], rows: pa.RecordBatch) -> None:
        made: dict[Grid, Partials] = {}
        for grid, finer in finest_first(takers):
            made[grid] = aggregate(rows, grid) if finer is None else coarsen(made[finer], grid)
            self._kept[grid].add(made[grid])


def live_panes(root: storage.Location, windows: Iterable[WindowSpec], piece_rows: int = PIECE_ROWS) -> LivePanes:
    """Panes for all windows of a job that have some."""
    grids = [window.windowing for window in windows if isinstance(window.windowing, Grid)]
    return LivePanes(root, grids, piece_rows)


class _Kept:
    """What is remembered of a grid."""

    def __init__(self) -> None:
        self.first = 0
        """No pane starts before, in µs since the epoch."""
        self.known: set[RowGroup] = set()
        """All of their readings from ``first`` on are in the panes."""
        self.panes: list[Partials] = []
        self.is_off = False

    def forget(self) -> None:
        self.known, self.panes = set(), []

    def begin_at(self, first: int) -> None:
        self.first = first
        self.known = {group for group in self.known if group.last >= first}

    def lacks(self, group: RowGroup) -> bool:
        """Whether panes are remembered and a row group's readings are to be among them."""
        return bool(self.panes) and group.last >= self.first and group not in self.known

    def add(self, panes: Partials) -> None:
        if self.is_off:
            return
        whole = merge([*self.panes, select(panes, panes.start >= self.first)])
        self.panes = [whole]
        if len(whole) > MOST_PANES:
            self.is_off = True
            self.forget()

    def whole(self) -> Partials | None:
        """All panes; None where there are none."""
        if not self.panes:
            return None
        whole = self.panes[0]
        self.panes = [select(whole, whole.start >= self.first)]
        return self.panes[0]
