"""Windows as a function of the lake: what stands in ``windows`` is what the readings of its hours give.

A batch job computes windows from the readings that it has just written rather than from what flew by: so it needs no
shuffle whose memory grows with the data, a second archive for the same hours completes their windows instead of
replacing them, and a job that was killed half way is mended by running it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, hour_of, partition
from telebeam.io.lake.parquet import DAMAGED, open_parquet, row_groups, to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY, LakeFile
from telebeam.transforms.aggregation.kernel import WINDOWS_IN_FLIGHT, aggregate, extract, merge
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.batches import canonical, concat, rows_of
from telebeam.transforms.errors import SourceError
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.schema import DATASETS, DICTIONARY, READINGS_IN_FLIGHT, SERIES, conform

NEEDED = (*SERIES, "timestamp", "value", "quality_score", "source", "source_partition", "source_offset")
_SCHEMA = pa.schema([READINGS_IN_FLIGHT.field(name) for name in NEEDED])
_TEXTS = [field.name for field in _SCHEMA if field.type == DICTIONARY]

PIECE_ROWS = 1_000_000
"""Rows that are aggregated together: what is held at a time does not grow with the readings of an hour."""


def windows_path(seconds: int, hour: int) -> str:
    """The file of all windows of a length that start in an hour."""
    return f"{partition('windows', hour, seconds)}/windows-{seconds}-{hour}.parquet"


class _Group(NamedTuple):
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


Devices = tuple[str | None, str | None]
"""[low, high); None is no bound."""


def recompute_windows(
    spec: LakeSpec, seconds: int, hour: int, root: storage.Location | None = None, piece_rows: int = PIECE_ROWS
) -> LakeFile | None:
    """Computes and files the windows of a length that start in an hour (in hours since the epoch).

    Args:
        spec: The lake.
        seconds: The windows' length.
        hour: Hours since the epoch.
        root: Where the lake is, if not where the spec's path leads.
        piece_rows: Rows that are aggregated together, about; the windows are the same for any number.

    Returns:
        What was written; None where there is no reading.

    Raises:
        SourceError: A readings file is damaged.
        SinkError: The lake does not take the windows.
    """
    root = root or storage.locate(spec.path)
    path = windows_path(seconds, hour)
    windows = [batch for batch in _windows_of(root, seconds, hour, piece_rows) if batch.num_rows]
    if not windows:
        storage.remove(root, path)
        return None
    storage.publish(root, path, to_parquet(_one_dictionary(windows), DATASETS["windows"], spec))
    starts = [pc.min_max(batch.column("window_start")) for batch in windows]
    return LakeFile(
        "windows",
        path,
        sum(batch.num_rows for batch in windows),
        min(start["min"].value for start in starts),
        max(start["max"].value for start in starts),
    )


def _one_dictionary(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A Parquet writer takes batches whose dictionaries agree, or plain ones."""
    if len(batches) == 1:
        yield canonical(batches[0])
    else:
        yield from (conform(batch, DATASETS["windows"]) for batch in batches)


def _windows_of(root: storage.Location, seconds: int, hour: int, piece_rows: int) -> Iterator[pa.RecordBatch]:
    length = seconds * 1_000_000
    first = -(-hour * HOUR // length) * length
    last = ((hour + 1) * HOUR - 1) // length * length
    if first > last:
        return
    end = last + length
    groups = [
        group
        for part in range(first // HOUR, (end - 1) // HOUR + 1)
        for path in storage.files_below(root, partition("readings", part))
        for group in _groups(root, path)
        if group.last >= first and group.first < end
    ]
    for devices in _device_ranges(groups, piece_rows):
        wanted = [group for group in groups if _overlaps(group, devices)]
        yield _piece(root, wanted, (first, end), devices, seconds, piece_rows)


def _groups(root: storage.Location, path: str) -> Iterator[_Group]:
    """A file's row groups; it is closed again, for the files of a day are more than a process may have open."""
    with open_parquet(root, path) as file:
        names = file.schema_arrow.names
        if not {*NEEDED} <= {*names}:
            raise SourceError(f"{root.child(path)} has no {', '.join(sorted({*NEEDED} - {*names}))}", DAMAGED)
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            device, time = (group.column(names.index(name)).statistics for name in ("device_id", "timestamp"))
            if device is None or time is None or not (device.has_min_max and time.has_min_max):
                raise SourceError(f"{root.child(path)} has no statistics of devices and times", DAMAGED)
            begin, end = hour_of(path)
            if not begin <= time.min_raw <= time.max_raw <= end:
                raise SourceError(f"{root.child(path)} says that it has readings of other hours", DAMAGED)
            yield _Group(path, number, group.num_rows, device.min, device.max, time.min_raw, time.max_raw)


def _device_ranges(groups: Sequence[_Group], piece_rows: int) -> list[Devices]:
    """Ranges of devices with some readings each; files are sorted by device."""
    cuts: list[str] = []
    rows, begin = 0, None
    for group in sorted(groups, key=lambda group: (group.low, group.rows)):
        if rows >= piece_rows and group.low != begin:
            cuts.append(group.low)
            rows = 0
        begin = group.low if rows == 0 else begin
        rows += group.rows
    bounds = [None, *cuts, None]
    return list(pairwise(bounds))


def _overlaps(group: _Group, devices: Devices) -> bool:
    low, high = devices
    return (low is None or group.high >= low) and (high is None or group.low < high)


def _piece(
    root: storage.Location,
    groups: Sequence[_Group],
    span: tuple[int, int],
    devices: Devices,
    seconds: int,
    piece_rows: int,
) -> pa.RecordBatch:
    """The windows of some devices, in the order of the lake's files."""
    partials: list[Partials] = []
    held: list[pa.RecordBatch] = []
    for path in dict.fromkeys(group.path for group in groups):
        wanted = [group.number for group in groups if group.path == path]
        with open_parquet(root, path, _TEXTS) as file:
            for batch in row_groups(file, wanted, NEEDED, root.child(path)):
                held.append(_inside(conform(batch, _SCHEMA), span, devices))
                # A device with more readings than a piece should have is condensed as it comes.
                if sum(rows.num_rows for rows in held) >= 2 * piece_rows:
                    partials.append(aggregate(concat(held), seconds))
                    held = []
    if any(rows.num_rows for rows in held):
        partials.append(aggregate(concat(held), seconds))
    if not partials:
        return pa.RecordBatch.from_pylist([], schema=WINDOWS_IN_FLIGHT)
    windows = extract(merge(partials), seconds)
    order = sort_order(windows, SORTED_BY["windows"])
    return windows if order is None else windows.take(pa.array(order))


def _inside(rows: pa.RecordBatch, span: tuple[int, int], devices: Devices) -> pa.RecordBatch:
    time = rows.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
    mask = (time >= span[0]) & (time < span[1])
    column = rows.column("device_id")
    for bound, compare in zip(devices, (pc.greater_equal, pc.less), strict=True):
        if bound is not None:
            fits = np.asarray(compare(column.dictionary, bound))
            mask &= fits[column.indices.to_numpy(zero_copy_only=False)]
    return rows_of(rows, mask)
