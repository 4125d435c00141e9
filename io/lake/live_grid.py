"""Which windows of a grid are due in a live job, and what they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import Condensing, Piece, RowGroup, Span, groups_of, joined, overlap, read_into
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.made import Computed, Wanted, computed, readings_of, windows_of
from telebeam.io.lake.revisions import FiledWindows
from telebeam.io.streams.notices import NEVER, Heard
from telebeam.io.streams.receipts import WindowReceipt
from telebeam.transforms.aggregation.grid import Grid
from telebeam.transforms.aggregation.kernel import WINDOWS_IN_FLIGHT, aggregate, merge, slide
from telebeam.transforms.aggregation.panes import select
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.errors import SourceError

MOST_PANES = 250_000
"""Panes that are remembered, some 1 KB each: for more of them readings are read again instead."""
MOST_PIECES = 8
"""Pieces that are read for panes at once: a backlog has windows that close at once, and panes by the million."""


_REST = 20.0
"""How many times as long as it took reading ahead is left alone: a twentieth of a core at most, however many files."""


class Due(NamedTuple):
    """Windows of an hour that are to be held against what the lake has."""

    hour: int
    """In which they start, since the epoch."""
    spans: list[Span]
    """Of their starts, ascending and disjoint."""


class Source(Protocol):
    """What a live job files windows of."""

    reach: int
    """How far a window may end behind the stretch that a reading of it touched, in µs."""

    def due(self, heard: Heard, receipt: WindowReceipt, clock: int) -> list[Due]:
        """What is due by a clock, ascending: all else is open, or stands in the lake as the receipt says."""

    def windows(self, spans: Sequence[Span]) -> Iterator[Computed]:
        """The windows that are due of those that start in some spans."""

    def gone(self, spans: Sequence[Span], filed: FiledWindows) -> pa.RecordBatch:
        """What takes the place of windows that start in some spans and are filed but are windows no more."""

    def forget(self) -> None:
        """What was due was not filed: it is due again."""

    def read_ahead(self, heard: Heard, clock: int) -> None:
        """Reads what open windows have so far, so that little is left to be done when they close."""


class GridSource:
    """The windows of a grid.

    Args:
        root: Where the lake is.
        window: Which.
        piece_rows: Readings that are worked on together, about.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        root: storage.Location,
        window: WindowSpec,
        piece_rows: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(window.windowing, Grid):
            raise TypeError(f"{window.words} have no grid")
        self._root = root
        self._window = window
        self._grid = window.windowing
        self._piece_rows = piece_rows
        self._panes = _Panes(root, self._grid, piece_rows)
        self._monotonic = monotonic
        self._ahead_from = float("-inf")
        self.reach = self._grid.reach

    def due(self, heard: Heard, receipt: WindowReceipt, clock: int) -> list[Due]:
        """As :meth:`Source.due`: windows that closed since, and closed ones to which readings came."""
        first_open = self._grid.first_open(clock)
        settled = self._grid.first_open(max(receipt.until + self.reach, NEVER))
        spans = []
        for part in heard.partitions():
            done = receipt.offsets.get(part.name, -1)
            stretches = part.touched.get(self._grid.seconds, ())
            offsets = part.offsets.get(self._grid.seconds) or (part.next,) * len(stretches)
            for stretch, offset in zip(stretches, offsets, strict=True):
                first, end = self._grid.starts_touched(*stretch)
                spans.append((max(first, settled) if done >= offset else first, min(end, first_open)))
        return list(self._by_hour(joined(spans)))

    def open(self, heard: Heard, clock: int) -> list[Span]:
        """The spans in which the windows start that are open and to which readings came."""
        first_open = self._grid.first_open(clock)
        touched = (span for part in heard.partitions() for span in part.touched.get(self._grid.seconds, ()))
        starts = (self._grid.starts_touched(*span) for span in touched)
        return joined((max(first, first_open), end) for first, end in starts)

    def windows(self, spans: Sequence[Span]) -> Iterator[Computed]:
        """As :meth:`Source.windows`."""
        older, recent = self._panes.split(spans)
        wanted = Wanted(self._window, tuple(recent))
        found = self._panes.of(joined(readings_of(wanted)))
        if found is None:
            older = list(spans)
        else:
            yield from computed(wanted, slide(found, self._grid))
        if older:
            yield from windows_of(self._root, [Wanted(self._window, tuple(older))], self._piece_rows, late=False)

    def gone(self, spans: Sequence[Span], filed: FiledWindows) -> pa.RecordBatch:
        """Nothing: a window that has a reading keeps it."""
        return pa.RecordBatch.from_pylist([], schema=WINDOWS_IN_FLIGHT)

    def forget(self) -> None:
        """Nothing is remembered of what is due."""

    def read_ahead(self, heard: Heard, clock: int) -> None:
        """As :meth:`Source.read_ahead`; does nothing for a while after it took long."""
        begun = self._monotonic()
        if begun >= self._ahead_from:
            with suppress(SourceError):  # whoever closes the windows reads the file again, and says so
                self._panes.of(joined(readings_of(Wanted(self._window, tuple(self.open(heard, clock))))))
            self._ahead_from = self._monotonic() + _REST * (self._monotonic() - begun)

    def _by_hour(self, spans: Sequence[Span]) -> Iterator[Due]:
        for hour in sorted({hour for first, end in spans for hour in range(first // HOUR, (end - 1) // HOUR + 1)}):
            inside = joined((max(first, hour * HOUR), min(end, (hour + 1) * HOUR)) for first, end in spans)
            if any(len(self._grid.starts(*span)) for span in inside):
                yield Due(hour, inside)


class _Panes:
    """The panes of the last windows, so that their readings are read once: a cache, and nothing is true by it alone.

    Row groups are known by their statistics: a file of a unit that was taken back and filed anew under its old name has
    other rows.
    """

    def __init__(self, root: storage.Location, grid: Grid, piece_rows: int) -> None:
        self._root = root
        self._grid = grid
        self._piece_rows = piece_rows
        self._first = 0
        self._known: set[RowGroup] = set()
        self._panes: list[Partials] = []
        self._is_off = False

    def split(self, spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
        """Spans of windows to which late readings came long ago, and those of which panes are or will be remembered."""
        edge = self._first if self._panes else NEVER
        older = [(first, min(end, edge)) for first, end in spans if first < edge]
        return older, [(max(first, edge), end) for first, end in spans if end > edge]

    def of(self, spans: Sequence[Span]) -> Partials | None:
        """The panes of some spans of readings; None where they are not remembered, or are none."""
        if self._is_off or not spans:
            return None
        groups = groups_of(self._root, spans)
        first = spans[0][0]
        if self._panes and first < self._first:
            return None
        vanished = {group for group in self._known if overlap(group.first, group.last, spans)} - {*groups}
        if vanished or not self._panes:
            self._known, self._panes = set(), []
        self._first = first
        new = [group for group in groups if group not in self._known]
        if sum(group.rows for group in new) > MOST_PIECES * self._piece_rows:
            return None
        try:
            self._read(new)
        except BaseException:
            # Some of them may be among the panes by now, and none is known: they would be counted twice.
            self._known, self._panes = set(), []
            raise
        if self._is_off:
            self._known, self._panes = set(), []
            return None
        self._known = {group for group in (*self._known, *groups) if group.last >= first}
        if not self._panes:
            return None
        whole = merge(self._panes)
        whole = select(whole, whole.start >= first)
        self._panes = [whole]
        return select(whole, whole.start < spans[-1][1])

    def _read(self, groups: Sequence[RowGroup]) -> None:
        if groups:
            span = self._first, max(group.last for group in groups) + 1
            reading = Condensing(self._piece_rows, self._add)
            read_into(reading, self._root, Piece((None, None), (span,), tuple(groups)), late=False)
            reading.condense()

    def _add(self, rows: pa.RecordBatch) -> None:
        if not self._is_off:
            whole = merge([*self._panes, aggregate(rows, self._grid)])
            self._is_off = len(whole) > MOST_PANES
            self._panes = [whole]
