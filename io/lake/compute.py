"""The lake's readings of some spans of time, in pieces: what is held at a time does not grow with the readings.

A piece is some devices in some time.  Archives are sorted by device and are cut by it; a stream's files each hold
all devices of some seconds and are cut by time.  How they are cut does not show in a bit of the windows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, hour_of, partition, seconds_of
from telebeam.io.lake.parquet import DAMAGED, open_parquet, row_groups
from telebeam.transforms.batches import concat, rows_of
from telebeam.transforms.errors import SourceError
from telebeam.transforms.schema import DICTIONARY, READINGS_IN_FLIGHT, SERIES, conform

NEEDED = (*SERIES, "timestamp", "value", "quality_score", "source", "source_partition", "source_offset")
_TEXTS = [name for name in NEEDED if READINGS_IN_FLIGHT.field(name).type == DICTIONARY]

PIECE_ROWS = 1_000_000
"""Rows that are aggregated together, about."""
_ROWS_OF_A_PANE = 8
"""Readings that take as much room as a pane, about, while they are worked on."""
_HOURS = 48
"""Of which it is remembered where readings stand: some 600 bytes a file."""
_THREADS = 2
"""That read: Arrow decodes without the GIL."""
_THREADS_OF_STORE = 8
"""That wait for an object store, some 30 ms a request."""

Span = tuple[int, int]
"""[first, end) of event time, µs since the epoch."""
Devices = tuple[str | None, str | None]
"""[low, high); None is no bound."""


class RowGroup(NamedTuple):
    """A row group of a readings file, by its statistics."""

    path: str
    number: int
    rows: int
    low: str
    high: str
    """Its devices are within low and high."""
    first: int
    last: int
    """Its times are, in µs since the epoch."""


class Piece(NamedTuple):
    """Some devices in some time, and where their readings are."""

    devices: Devices
    spans: tuple[Span, ...]
    """Ascending and disjoint."""
    groups: tuple[RowGroup, ...]
    panes: tuple[RowGroup, ...] = ()
    """Files of panes that stand for the readings of other row groups."""


class Folds(Protocol):
    """What takes the readings of a piece."""

    def add(self, rows: pa.RecordBatch) -> None:
        """Takes some of them, in any order."""


class Condensing:
    """Gathers readings and hands them on some at a time: a few thousand rows of a file are not worth a fold.

    Args:
        rows: How many are handed on together, at least.
        fold: Takes them.
    """

    def __init__(self, rows: int, fold: Callable[[pa.RecordBatch], None]) -> None:
        self._rows = rows
        self._fold = fold
        self._held: list[pa.RecordBatch] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Takes some readings."""
        if rows.num_rows:
            self._held.append(rows)
        if sum(batch.num_rows for batch in self._held) >= self._rows:
            self.condense()

    def condense(self) -> None:
        """Hands on what is left."""
        if self._held:
            held, self._held = concat(self._held), []
            self._fold(held)


def pieces(
    groups: Sequence[RowGroup],
    spans: Sequence[Span],
    step: int,
    piece_rows: int = PIECE_ROWS,
    panes: Sequence[RowGroup] = (),
) -> Iterator[list[Piece]]:
    """The readings of some spans as pieces: a list for some devices, ascending by device, and in it ascending by time.

    Args:
        groups: Where the readings are.
        spans: Of event time, ascending and disjoint.
        step: At multiples of it behind the beginning of a span it may be cut, in µs.
        piece_rows: Readings in a piece, about.
        panes: Files of panes that stand for readings of other row groups.
    """
    weighed = [*groups, *(file._replace(rows=file.rows * _ROWS_OF_A_PANE) for file in panes)]
    for devices in _device_ranges(weighed, piece_rows):
        rows, files = ([group for group in each if _has_devices(group, devices)] for each in (groups, panes))
        wanted = [group for group in weighed if _has_devices(group, devices)]
        yield [
            Piece(devices, part, _overlapping(rows, part), _overlapping(files, part))
            for part in _time_ranges(wanted, spans, step, piece_rows)
        ]


def _overlapping(groups: Sequence[RowGroup], spans: Sequence[Span]) -> tuple[RowGroup, ...]:
    return tuple(group for group in groups if overlap(group.first, group.last, spans))


def read_into(fold: Folds, root: storage.Location, piece: Piece, *, late: bool = True) -> None:
    """Gives the readings of a piece to what folds them, a row group at a time.

    Args:
        fold: What takes them.
        root: Where the lake is.
        piece: From :func:`pieces`.
        late: Whether readings that came too late for a live job count.

    Raises:
        SourceError: A readings file is damaged.
    """
    columns = NEEDED if late else (*NEEDED, "is_late")
    threads = _THREADS if root.is_local else _THREADS_OF_STORE
    for rows in _ahead(lambda group: _read(root, group, piece, columns), piece.groups, threads):
        fold.add(rows)


def _read(root: storage.Location, group: RowGroup, piece: Piece, columns: Sequence[str]) -> pa.RecordBatch:
    schema = pa.schema([READINGS_IN_FLIGHT.field(name) for name in columns])
    with open_parquet(root, group.path, _TEXTS) as file:
        batches = row_groups(file, [group.number], columns, root.child(group.path))
        return concat([_inside(conform(batch, schema), piece) for batch in batches])


def _ahead(
    work: Callable[[RowGroup], pa.RecordBatch], items: Sequence[RowGroup], threads: int
) -> Iterator[pa.RecordBatch]:
    """Each item's result, in order; a few are worked on ahead, and no more, for they are held."""
    if len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as executor:
        waiting: deque[Future[pa.RecordBatch]] = deque()
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


class RowGroups:
    """Where the readings of a lake stand; a file that is as it was is not opened again.

    Args:
        root: Where the lake is.
    """

    def __init__(self, root: storage.Location) -> None:
        self._root = root
        self._hours: OrderedDict[int, dict[storage.Stamped, tuple[RowGroup, ...]]] = OrderedDict()

    def of(self, spans: Sequence[Span]) -> list[RowGroup]:
        """All row groups with readings of some spans, maybe: files whose names tell of other seconds stay closed.

        Raises:
            SourceError: A readings file is damaged.
        """
        hours = sorted({hour for first, end in spans for hour in range(first // HOUR, (end - 1) // HOUR + 1)})
        groups = [group for hour in hours for group in self._of_hour(hour, spans)]
        while len(self._hours) > max(_HOURS, len(hours)):
            self._hours.popitem(last=False)
        return groups

    def _of_hour(self, hour: int, spans: Sequence[Span]) -> list[RowGroup]:
        former = self._hours.pop(hour, {})
        known = self._hours[hour] = {}
        for file in storage.stamped_below(self._root, partition("readings", hour)):
            if file in former:
                known[file] = former[file]
            elif overlap(*(seconds_of(file.path) or hour_of(file.path)), spans):
                known[file] = tuple(_statistics(self._root, file.path))
        return [group for groups in known.values() for group in groups if overlap(group.first, group.last, spans)]


def groups_of(root: storage.Location, spans: Sequence[Span]) -> list[RowGroup]:
    """As :meth:`RowGroups.of`, for once."""
    return RowGroups(root).of(spans)


def _statistics(root: storage.Location, path: str) -> Iterator[RowGroup]:
    """A file's row groups; it is closed again, for the files of a day are more than a process may have open."""
    begin, end = seconds_of(path) or hour_of(path)
    with open_parquet(root, path) as file:
        names = file.schema_arrow.names
        if not {*NEEDED} <= {*names}:
            raise SourceError(f"{root.child(path)} has no {', '.join(sorted({*NEEDED} - {*names}))}", DAMAGED)
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            device, time = (group.column(names.index(name)).statistics for name in ("device_id", "timestamp"))
            if device is None or time is None or not (device.has_min_max and time.has_min_max):
                raise SourceError(f"{root.child(path)} has no statistics of devices and times", DAMAGED)
            if not begin <= time.min_raw <= time.max_raw <= end:
                raise SourceError(f"{root.child(path)} says that it has readings of other hours", DAMAGED)
            yield RowGroup(path, number, group.num_rows, device.min, device.max, time.min_raw, time.max_raw)


def _device_ranges(groups: Sequence[RowGroup], piece_rows: int) -> list[Devices]:
    """Ranges of devices with some readings each.

    Files are cut where most of what was begun has ended: row groups on both sides of a cut are read twice, and those
    of a stream hold all devices.
    """
    ended = sorted((group.high, group.rows) for group in groups)
    highs, totals = [high for high, _ in ended], [0, *accumulate(rows for _, rows in ended)]
    cuts: list[str] = []
    rows, before, begin = 0, 0, None
    for group in sorted(groups, key=lambda group: (group.low, group.rows)):
        if rows >= piece_rows and group.low != begin:
            straddling = before - totals[bisect_left(highs, group.low)]
            if 2 * straddling <= rows:
                cuts.append(group.low)
                rows = 0
        begin = group.low if rows == 0 else begin
        rows += group.rows
        before += group.rows
    bounds = [None, *cuts, None]
    return list(pairwise(bounds))


def _time_ranges(
    groups: Sequence[RowGroup], spans: Sequence[Span], step: int, piece_rows: int
) -> list[tuple[Span, ...]]:
    """Spans cut into parts, with some readings each where the readings are spread evenly."""
    if sum(group.rows for group in groups) <= 2 * piece_rows:
        return [tuple(spans)]
    starts = np.concatenate([np.arange(first, end, step) for first, end in spans])
    ends = np.concatenate([np.minimum(np.arange(first, end, step) + step, end) for first, end in spans])
    rows = np.zeros(len(starts) + 1)
    for group in groups:
        first, last = (max(int(np.searchsorted(starts, t, "right")) - 1, 0) for t in (group.first, group.last))
        rows[first] += group.rows / (last - first + 1)
        rows[last + 1] -= group.rows / (last - first + 1)
    part = np.cumsum(np.cumsum(rows[:-1])) // piece_rows
    cuts = _changes(part)
    return [
        tuple(joined(zip(run, run_ends, strict=True)))
        for run, run_ends in zip(np.split(starts, cuts), np.split(ends, cuts), strict=True)
    ]


def _changes(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    places: npt.NDArray[np.int64] = np.flatnonzero(np.diff(numbers)) + 1
    return places


def joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in any order as ascending and disjoint ones.

    >>> joined([(3, 4), (0, 1), (1, 2), (3, 4)])
    [(0, 2), (3, 4)]
    """
    found: list[Span] = []
    for first, end in sorted((int(first), int(end)) for first, end in spans if first < end):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((first, end))
    return found


def overlap(first: int, last: int, spans: Sequence[Span]) -> bool:
    """Whether an instant from first to last is in one of some spans."""
    return any(first < end and last >= begin for begin, end in spans)


def _has_devices(group: RowGroup, devices: Devices) -> bool:
    low, high = devices
    return (low is None or group.high >= low) and (high is None or group.low < high)


def within(time: npt.NDArray[np.int64], spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Which instants are in one of some spans, ascending and disjoint."""
    edges = np.array([edge for span in spans for edge in span], np.int64)
    inside: npt.NDArray[np.bool_] = np.searchsorted(edges, time, side="right") % 2 == 1
    return inside


def of_devices(column: pa.DictionaryArray, devices: Devices) -> npt.NDArray[np.bool_]:
    """Which rows are of some devices."""
    mask = np.ones(len(column), bool)
    for bound, compare in zip(devices, (pc.greater_equal, pc.less), strict=True):
        if bound is not None:
            fits = np.asarray(compare(column.dictionary, bound))
            mask &= fits[column.indices.to_numpy(zero_copy_only=False)]
    return mask


def _inside(rows: pa.RecordBatch, piece: Piece) -> pa.RecordBatch:
    mask = within(rows.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False), piece.spans)
    mask &= of_devices(rows.column("device_id"), piece.devices)
    if "is_late" in rows.schema.names:
        mask &= ~rows.column("is_late").to_numpy(zero_copy_only=False)
    return rows_of(rows, mask)
