"""Which windows of a grid are due in a live job, and what they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import Span, joined
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.live_panes import LivePanes
from telebeam.io.lake.made import Computed, Wanted, computed, readings_of, windows_of
from telebeam.io.lake.revisions import FiledWindows
from telebeam.io.streams.notices import NEVER, Heard
from telebeam.io.streams.receipts import WindowReceipt
from telebeam.transforms.aggregation.grid import Grid
from telebeam.transforms.aggregation.kernel import WINDOWS_IN_FLIGHT, slide
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.errors import SourceError

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
        panes: Those of the windows that are open; of this grid alone unless given.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        root: storage.Location,
        window: WindowSpec,
        piece_rows: int,
        panes: LivePanes | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(window.windowing, Grid):
            raise TypeError(f"{window.words} have no grid")
        self._root = root
        self._window = window
        self._grid = window.windowing
        self._piece_rows = piece_rows
        self._panes = panes or LivePanes(root, [self._grid], piece_rows)
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
        older, recent = self._panes.split(self._grid, spans)
        wanted = Wanted(self._window, tuple(recent))
        found = self._panes.of(self._grid, joined(readings_of(wanted)))
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
                spans = joined(readings_of(Wanted(self._window, tuple(self.open(heard, clock)))))
                self._panes.read_ahead(self._grid, spans)
            self._ahead_from = self._monotonic() + _REST * (self._monotonic() - begun)

    def _by_hour(self, spans: Sequence[Span]) -> Iterator[Due]:
        for hour in sorted({hour for first, end in spans for hour in range(first // HOUR, (end - 1) // HOUR + 1)}):
            inside = joined((max(first, hour * HOUR), min(end, (hour + 1) * HOUR)) for first, end in spans)
            if any(len(self._grid.starts(*span)) for span in inside):
                yield Due(hour, inside)
