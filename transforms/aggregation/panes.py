"""Longer windows from shorter ones: partials of panes are merged, and no reading is looked at again.

A partial's moments count time from its window's start.  To be merged with others it is *rebased*: with d the distance
between the starts, Σ(t+d) = Σt + n·d, Σ(t+d)² = Σt² + 2d·Σt + n·d² and Σ(t+d)x = Σtx + d·Σx.  All of these are sums of
whole numbers in limbs, so that the result has the same bits as one pass over the readings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa

from telebeam.transforms.aggregation import exact
from telebeam.transforms.aggregation.grid import DAY, Grid, Integers
from telebeam.transforms.aggregation.partials import Partials, joined, merge, reduce_runs, take
from telebeam.transforms.batches import codes, constant, with_columns
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.devices.kernel import groups_of
from telebeam.transforms.schema import TIMESTAMP

ANYWHERE = "*"
"""The ``device_id`` of a group of devices wherever they stand: no device's, for those have three characters."""
AT_LOCATION = "*@"
"""The ``device_id`` of a group of devices at one location."""
IN_GROUP = "*#"
"""The ``device_id`` of a group of devices that the registry names."""

Grouping = Literal["group", "location", "all"]
_DEVICE_AND_TIME = ["device_id", "timestamp"]
_SLICE = 4096
"""Panes that are slid together, about: so many take two thirds of the time of all at once for a million readings."""


def rebase(partials: Partials, start: Integers) -> Partials:
    """The same partials as of windows with other starts; they are not merged.

    Args:
        partials: From :func:`~.partials.merge` or another reduction.
        start: int64[n]: µs since the epoch, none behind the former one.
    """
    distance = partials.start - start
    if not distance.any():
        return replace(partials, start=start)
    sums = partials.sums
    count = exact.carry({0: partials.count})
    moved = exact.scale(count, distance)
    twice = exact.add([sums["time"], sums["time"], moved])  # 2 Σt·d + n·d² = d · (2 Σt + n·d)
    return replace(
        partials,
        start=start,
        sums=sums
        | {
            "time": exact.carry(exact.add([sums["time"], moved])),
            "time_square": exact.carry(exact.add([sums["time_square"], exact.scale(exact.carry(twice), distance)])),
            "cross": exact.carry(exact.add([sums["cross"], exact.scale(sums["value"], distance)])),
        },
    )


def coarsen(panes: Partials, grid: Grid) -> Partials:
    """The panes of a grid from narrower ones, each of which lies within one of them."""
    return reduce_runs(rebase(panes, grid.floor(panes.start)))


def slide(panes: Partials, grid: Grid) -> Partials:
    """The windows of a grid from its panes: those that hold at least one of them.

    Windows of 1, 2, 4 … panes are made from each other, and the wanted ones of those: the work grows with the logarithm
    of the panes a window has, not with their number.
    """
    if grid.panes == 1 or not len(panes):
        return panes
    return joined([_slide(part, grid) for part in _by_series(panes)])


def _by_series(panes: Partials) -> Iterator[Partials]:
    """Parts of some :data:`_SLICE` panes, a series in one of them, so that what is merged lies in the cache."""
    keys = [codes(column) for column in panes.series.columns]
    order = np.lexsort(keys)
    changed = np.zeros(len(order), bool)
    for key in keys:
        changed[1:] |= np.diff(key[order]) != 0
    edges = np.flatnonzero(changed)
    first = 0
    while first < len(order):
        behind = edges[np.searchsorted(edges, first + _SLICE) :]
        last = int(behind[0]) if len(behind) else len(order)
        yield take(panes, order[first:last])
        first = last


def _slide(panes: Partials, grid: Grid) -> Partials:
    found: list[Partials] = []
    some, size, covered, left = panes, 1, 0, grid.panes
    while left:
        if left & 1:
            found.append(rebase(some, some.start - covered * grid.every))
            covered += size
        left >>= 1
        if left:
            some = merge([some, rebase(some, some.start - size * grid.every)])
            size *= 2
    return merge(found)


def grouped(windows: Partials, by: Grouping, fleet_of: FleetOf | None = None) -> Partials:
    """The windows of groups of devices: of all of a tenant that measure the same in the same unit.

    Their ``device_id`` is :data:`AT_LOCATION` and ``location`` says where; or :data:`IN_GROUP`, ``location`` is the
    group in which the registry has the device at the window's start, and devices without one are left out; or
    :data:`ANYWHERE`, and ``location`` is null.

    Args:
        windows: Of devices.
        by: What makes a group.
        fleet_of: Gives the registry; needed for groups of it.
    """
    if by == "group" and fleet_of is not None:
        starts = pa.array(windows.start).cast(TIMESTAMP)
        devices = pa.RecordBatch.from_arrays([windows.series.column("device_id"), starts], names=_DEVICE_AND_TIME)
        groups = groups_of(devices, fleet_of().registry)
        there = groups.is_valid().to_numpy(zero_copy_only=False)
        windows, groups = select(windows, there), groups.filter(pa.array(there))
        names = {"device_id": constant(IN_GROUP, len(windows)), "location": groups}
    else:
        names = {"device_id": constant(AT_LOCATION if by == "location" else ANYWHERE, len(windows))}
        if by != "location":
            names["location"] = constant(None, len(windows))
    return reduce_runs(replace(windows, series=with_columns(windows.series, names)))


def select(partials: Partials, mask: np.ndarray) -> Partials:
    """The partials at which a mask is true."""
    return partials if mask.all() else take(partials, np.flatnonzero(mask))


def finest_first(grids: Sequence[Grid]) -> list[tuple[Grid, Grid | None]]:
    """Each grid with another one whose panes its own are made of, given before it; None where it takes readings.

    >>> minute, hour = Grid(60_000_000, 60_000_000), Grid(3_600_000_000, 3_600_000_000)
    >>> [(grid.seconds, parent and parent.seconds) for grid, parent in finest_first([hour, minute])]
    [(60, None), (3600, 60)]
    """
    order: list[tuple[Grid, Grid | None]] = []
    for grid in sorted(grids, key=lambda grid: (grid.zone is not None, grid.every, grid.length)):
        fits = [
            other for other, _ in order if grid.zone is None and other.zone is None and not grid.every % other.every
        ]
        order.append((grid, fits[-1] if fits else None))
    return order


def common_pane(grids: Sequence[Grid], first: int, end: int) -> Grid:
    """The widest panes that divide a span and of which those of some grids are made in it, whole, aligned to the epoch.

    >>> common_pane([Grid(86_400_000_000, 86_400_000_000)], 0, 3_600_000_000).seconds
    3600
    >>> common_pane([Grid(86_400_000_000, 86_400_000_000, "Asia/Kolkata")], 0, 3_600_000_000).seconds
    1800

    Args:
        grids: One at least.
        first: Where the span begins, in µs since the epoch: a multiple of its width.
        end: Where it ends.
    """
    widths = [grid.every for grid in grids if grid.zone is None]
    edges = [edge for grid in grids if grid.zone is not None for edge in grid.starts(first - DAY, end + DAY).tolist()]
    width = math.gcd(end - first, *widths, *edges)
    return Grid(width, width)


def empty_like(partials: Partials) -> Partials:
    """No partials."""
    return take(partials, np.zeros(0, np.int64))


def starts_of(windows: pa.RecordBatch) -> Integers:
    """int64[n]: the windows' starts, µs since the epoch."""
    starts: Integers = windows.column("window_start").cast(pa.int64()).to_numpy(zero_copy_only=False)
    return starts
