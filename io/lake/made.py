"""The windows that the lake's readings give: readings are read once, in pieces, for all kinds of windows together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import PIECE_ROWS, Devices, Span, joined, pieces, read_into, within
from telebeam.transforms.aggregation.folding import END, Fold, Kind, Made
from telebeam.transforms.aggregation.grid import HOUR, Grid
from telebeam.transforms.aggregation.kernel import merge
from telebeam.transforms.aggregation.panes import ANYWHERE, grouped, select
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.aggregation.spec import WindowSpec

GROUPS: Devices = (ANYWHERE, ANYWHERE + "\x7f")
"""Between these are the ``device_id`` of all groups."""


class Wanted(NamedTuple):
    """Windows of a kind that start in some spans."""

    kind: WindowSpec
    spans: tuple[Span, ...]
    """Ascending and disjoint."""


class Computed(NamedTuple):
    """Some windows of a kind."""

    kind: WindowSpec
    devices: Devices
    """Those that they are of."""
    rows: pa.RecordBatch
    """Sorted by series and start; at least one."""


def windows_of(
    root: storage.Location, wanted: Sequence[Wanted], piece_rows: int = PIECE_ROWS, *, late: bool = True
) -> Iterator[Computed]:
    """The windows that the lake's readings give; where there are groups of devices, theirs come last.

    Args:
        root: Where the lake is.
        wanted: Which; each kind once.
        piece_rows: Readings that are worked on together, about; the windows are the same for any number.
        late: Whether readings that came too late for a live job count.

    Raises:
        SourceError: A readings file is damaged.
    """
    spans = joined(span for each in wanted for span in readings_of(each))
    if not spans:
        return
    kinds = [Kind(each.kind.windowing, each.spans) for each in wanted]
    groups: list[list[Partials]] = [[] for _ in wanted]
    for parts in pieces(root, spans, _step(wanted), piece_rows):
        fold = Fold(kinds, piece_rows)
        for number, piece in enumerate(parts, 1):
            read_into(fold, root, piece, late=late)
            for made in fold.close(END if number == len(parts) else piece.spans[-1][1]):
                kind = wanted[made.place].kind
                yield Computed(kind, piece.devices, made.rows(kind.windowing))
                if kind.grouping is not None:
                    part = groups[made.place]
                    part.append(grouped(made.partials, kind.grouping, kind.fleet_of))
                    part[:] = [merge(part)]
    for place, (each, part) in enumerate(zip(wanted, groups, strict=True)):
        if part and len(part[0]):
            yield Computed(each.kind, GROUPS, Made(place, part[0]).rows(each.kind.windowing))


def computed(wanted: Wanted, windows: Partials) -> Iterator[Computed]:
    """The rows of windows that start in the wanted spans, and of groups of their devices."""
    kind = wanted.kind
    there = select(windows, within(windows.start, wanted.spans))
    if len(there):
        yield Computed(kind, (None, None), Made(0, there).rows(kind.windowing))
        if kind.grouping is not None:
            groups = grouped(there, kind.grouping, kind.fleet_of)
            if len(groups):
                yield Computed(kind, GROUPS, Made(0, groups).rows(kind.windowing))


def readings_of(wanted: Wanted) -> Iterator[Span]:
    """The spans in which the readings of some windows are."""
    windowing = wanted.kind.windowing
    for first, end in wanted.spans:
        if isinstance(windowing, Grid):
            starts = windowing.starts(first, end)
            if len(starts):
                yield int(starts[0]), int(windowing.ends(starts[-1:])[0])
        else:
            yield windowing.floor_of(first), windowing.floor_of(end - 1) + windowing.block


def _step(wanted: Sequence[Wanted]) -> int:
    steps = [each.kind.windowing.touches for each in wanted if isinstance(each.kind.windowing, Grid)]
    return min(steps, default=HOUR)
