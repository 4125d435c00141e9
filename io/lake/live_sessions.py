"""Sessions of a live job: filed when they have ended, and again where readings came that changed or joined them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import Condensing, Piece, RowGroup, Span, groups_of, joined, overlap, read_into
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.live_grid import Due
from telebeam.io.lake.made import Computed, Wanted, computed
from telebeam.io.lake.revisions import FiledWindows, latest
from telebeam.io.streams.notices import Heard
from telebeam.io.streams.receipts import WindowReceipt
from telebeam.transforms.aggregation.kernel import WINDOWS_IN_FLIGHT
from telebeam.transforms.aggregation.panes import select
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.aggregation.sessions import Sessions, dissolved, holding, missing_from
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import concat

Flags = npt.NDArray[np.bool_]


@dataclass
class _Block:
    """What is remembered of a block: a cache, which follows from the lake."""

    known: set[RowGroup] = field(default_factory=set)
    sessions: Partials | None = None
    closed: int | None = None
    """By which clock all that had ended was filed; None where nobody looked yet."""
    candidates: Flags = field(default_factory=lambda: np.zeros(0, bool))
    """Which of the sessions are due."""


class SessionSource:
    """Sessions.  Held are those of the blocks that are not closed for good, one partial a session.

    Args:
        root: Where the lake is.
        window: Which.
        piece_rows: Readings that are worked on together, about.
    """

    def __init__(self, root: storage.Location, window: WindowSpec, piece_rows: int) -> None:
        if not isinstance(window.windowing, Sessions):
            raise TypeError(f"{window.words} are no sessions")
        self._root = root
        self._window = window
        self._sessions = window.windowing
        self._piece_rows = piece_rows
        self._blocks: dict[int, _Block] = {}
        self._heard: dict[str, int] = {}
        """Partition → the offset below which its records were looked at."""
        self.reach = self._sessions.reach

    def due(self, heard: Heard, receipt: WindowReceipt, clock: int) -> list[Due]:
        """As :meth:`.Source.due`: sessions that ended since, and ended ones to which readings came."""
        fresh, touched = self._touched(heard, receipt)
        for start in {*self._blocks} - {*touched}:
            del self._blocks[start]
        spans: list[Span] = []
        for start in sorted(touched):
            block = self._blocks.setdefault(start, _Block())
            whole = start, start + self._sessions.block
            stretches = joined((max(first, whole[0]), min(end, whole[1])) for first, end in fresh)
            changed = self._update(block, [whole] if block.closed is None else stretches, whole)
            spans += self._candidates(block, changed, clock)
        return list(_by_hour(joined(spans)))

    def windows(self, spans: Sequence[Span]) -> Iterator[Computed]:
        """As :meth:`.Source.windows`."""
        for block in self._blocks.values():
            if block.sessions is not None:
                yield from computed(Wanted(self._window, tuple(spans)), select(block.sessions, block.candidates))

    def gone(self, spans: Sequence[Span], filed: FiledWindows) -> pa.RecordBatch:
        """Rows without readings for sessions that are filed and have become a part of others."""
        rows, _ = filed.rows(spans, (None, None))
        there = latest(rows)
        found = [pa.RecordBatch.from_pylist([], schema=WINDOWS_IN_FLIGHT)]
        alive = [block.sessions for block in self._blocks.values() if block.sessions is not None]
        if there.num_rows and alive:
            lost = missing_from(there, alive)
            found.append(dissolved(there.filter(pa.array(lost)), self._sessions.seconds))
        return concat(found)

    def forget(self) -> None:
        """What was due was not filed: all is read anew."""
        self._blocks.clear()
        self._heard.clear()

    def read_ahead(self, heard: Heard, clock: int) -> None:
        """Nothing: what is remembered of sessions is up to date."""

    def _touched(self, heard: Heard, receipt: WindowReceipt) -> tuple[list[Span], set[int]]:
        """(where readings came that the receipt does not speak of, the blocks that are not closed for good)."""
        fresh: list[Span] = []
        blocks: set[int] = set()
        for part in heard.partitions():
            done = max(receipt.offsets.get(part.name, -1), self._heard.get(part.name, -1))
            self._heard[part.name] = part.next
            stretches = part.touched.get(self._sessions.seconds, ())
            offsets = part.offsets.get(self._sessions.seconds) or (part.next,) * len(stretches)
            for (first, end), offset in zip(stretches, offsets, strict=True):
                blocks |= {*range(self._sessions.floor_of(first), end, self._sessions.block)}
                if offset > done:
                    fresh.append((first, end))
        return joined(fresh), blocks

    def _update(self, block: _Block, spans: Sequence[Span], whole: Span) -> Flags:
        """Reads what is new in some spans; gives which sessions of the block it changed."""
        groups = groups_of(self._root, spans) if spans else []
        vanished = {group for group in block.known if overlap(group.first, group.last, spans)} - {*groups}
        if vanished:
            block.known, block.sessions, block.closed = set(), None, None
            groups = groups_of(self._root, [whole])
        new = [group for group in groups if group not in block.known]
        block.known |= {*groups}
        parts: list[Partials] = []
        if new:
            reading = Condensing(self._piece_rows, partial(self._fold, parts))
            read_into(reading, self._root, Piece((None, None), (whole,), tuple(new)), late=False)
            reading.condense()
        if not parts:
            return np.zeros(0 if block.sessions is None else len(block.sessions), bool)
        block.sessions = self._sessions.merge(parts if block.sessions is None else [block.sessions, *parts])
        return holding(block.sessions, parts[0])

    def _candidates(self, block: _Block, changed: Flags, clock: int) -> Iterator[Span]:
        """Notes which sessions have ended and are new or changed; gives where their starts and readings are."""
        if block.sessions is None:
            block.closed = clock
            return
        ends = self._sessions.ends(block.sessions)
        since = ends > block.closed if block.closed is not None else np.ones(len(ends), bool)
        block.candidates = (ends <= clock) & (changed | since)
        block.closed = clock if block.closed is None else max(block.closed, clock)
        due = select(block.sessions, block.candidates)
        if len(due):
            yield from joined(zip(due.start.tolist(), (due.last.time + 1).tolist(), strict=True))

    def _fold(self, parts: list[Partials], rows: pa.RecordBatch) -> None:
        parts[:] = [self._sessions.merge([*parts, self._sessions.aggregate(rows)])]


def _by_hour(spans: Sequence[Span]) -> Iterator[Due]:
    for hour in sorted({hour for first, end in spans for hour in range(first // HOUR, (end - 1) // HOUR + 1)}):
        yield Due(hour, joined((max(first, hour * HOUR), min(end, (hour + 1) * HOUR)) for first, end in spans))
