"""The windows that the lake's readings give: readings are read once, in pieces, for all kinds of windows together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import (
    PIECE_ROWS,
    Devices,
    Piece,
    Span,
    groups_of,
    joined,
    overlap,
    pieces,
    read_into,
    within,
)
from telebeam.io.lake.hour_panes import HourPanes, KeepPanes, panes_of, that_stand
from telebeam.io.lake.layout import hour_of
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
    root: storage.Location,
    wanted: Sequence[Wanted],
    piece_rows: int = PIECE_ROWS,
    *,
    late: bool = True,
    given: Iterable[HourPanes] = (),
    keep: KeepPanes | None = None,
) -> Iterator[Computed]:
    """The windows that the lake's readings give; where there are groups of devices, theirs come last.

    Args:
        root: Where the lake is.
        wanted: Which; each kind once.
        piece_rows: Readings that are worked on together, about; the windows are the same for any number.
        late: Whether readings that came too late for a live job count.
        given: Panes that were kept of some hours; the readings of those that still stand are not read.
        keep: Takes the panes of an hour.

    Raises:
        SourceError: A readings file is damaged.
    """
    spans = joined((*(span for each in wanted for span in readings_of(each)), *([] if keep is None else [keep.span])))
    if not spans:
        return
    kinds = [Kind(each.kind.windowing, each.spans) for each in wanted]
    if keep is not None and Kind(keep.grid, (keep.span,)) not in kinds:
        kinds.append(Kind(keep.grid, (keep.span,)))
    groups: list[list[Partials]] = [[] for _ in wanted]
    for parts in _pieces(root, spans, _step(wanted), piece_rows, [*given], keep):
        fold = Fold(kinds, piece_rows)
        for number, piece in enumerate(parts, 1):
            read_into(fold, root, piece, late=late)
            for panes in panes_of(root, piece):
                fold.add_panes(panes)
            for made in fold.close(END if number == len(parts) else piece.spans[-1][1]):
                if keep is not None and kinds[made.place].windowing == keep.grid:
                    keep.add(made.partials)
                if made.place == len(wanted):
                    continue
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


def _pieces(
    root: storage.Location,
    spans: Sequence[Span],
    step: int,
    piece_rows: int,
    given: Sequence[HourPanes],
    keep: KeepPanes | None,
) -> Iterator[list[Piece]]:
    inside = [each for each in given if overlap(each.hour * HOUR, (each.hour + 1) * HOUR - 1, spans)]
    # Whole hours, for what is there of them decides whether their panes stand.
    groups = groups_of(root, joined((*spans, *((each.hour * HOUR, (each.hour + 1) * HOUR) for each in inside))))
    if keep is not None:
        keep.begin(groups)
    stand = that_stand(root, inside, groups)
    hours = {each.hour * HOUR for each in stand}
    left = [group for group in groups if hour_of(group.path)[0] not in hours]
    return pieces(left, spans, step, piece_rows, [file for each in stand for file in each.files])


def _step(wanted: Sequence[Wanted]) -> int:
    steps = [each.kind.windowing.touches for each in wanted if isinstance(each.kind.windowing, Grid)]
    return min(steps, default=HOUR)
