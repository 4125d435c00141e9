"""Readings to windows.

``aggregate`` makes partials of a batch, ``merge`` brings partials together, ``slide`` makes windows of several panes,
``extract`` reads the windows off.  All of them give the same bits whatever the order of the readings and however they
are split into batches, because sums are exact (:mod:`.exact`) and quantiles and ends do not depend on order
(:mod:`.quantiles`, :mod:`.partials`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from telebeam.transforms.aggregation import exact
from telebeam.transforms.aggregation.grid import Grid, Integers, grid_of
from telebeam.transforms.aggregation.panes import slide
from telebeam.transforms.aggregation.partials import Partials, merge, partials_of, times_of
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.schema import SERIES, WINDOWS, conform, in_flight

__all__ = ["WINDOWS_IN_FLIGHT", "aggregate", "extract", "merge", "slide"]

WINDOWS_IN_FLIGHT = in_flight(WINDOWS)
_MILLION = 1_000_000
_NEAR_OVERFLOW = 2.0**990
"""From here on the error of a quotient is taken in whole numbers, for its halves overflow."""
_ILL_CONDITIONED = 2.0**-50
"""Where a difference keeps so little of what it is taken from, 106 bits are too few: it is taken in whole numbers."""


def aggregate(batch: pa.RecordBatch, windows: int | Grid) -> Partials:
    """Partials of a batch of readings for the panes of a grid, or for fixed windows of some seconds."""
    return partials_of(batch, grid_of(windows).floor(times_of(batch)))


def extract(partials: Partials, windows: int | Grid, revision: int = 0) -> pa.RecordBatch:
    """The windows' rows, sorted by series and start.

    ``std`` is the population's, √(Σx²/n − (Σx/n)²); ``trend_per_second`` is the least-squares slope
    (n Σtx − Σt Σx) / (n Σt² − (Σt)²).  ``std`` and the slope are null where a value is beyond ±2**480, and the slope
    where all timestamps are equal.  ``sum`` is infinite where it is beyond a double.

    Args:
        partials: From :func:`merge`: one for each series and window.
        windows: Their grid, or the length of fixed ones in seconds.
        revision: 0 for a window's first row.
    """
    grid = grid_of(windows)
    return rows_of_windows(partials, grid.ends(partials.start), grid.seconds, revision)


def rows_of_windows(partials: Partials, ends: Integers, seconds: int, revision: int = 0) -> pa.RecordBatch:
    """The windows' rows as of :func:`extract`, with ends and ``window_seconds`` as they are given."""
    rows = len(partials)
    std, trend = _spread(partials)
    p50, p95, p99 = partials.distribution.quantiles((0.5, 0.95, 0.99), partials.low, partials.high)
    total = exact.to_double_double(partials.sums["value"], rows)
    count = partials.count.astype(np.float64)
    plain = partials.huge == 0
    sloped = plain & (partials.last.time > partials.first.time)
    columns: dict[str, pa.Array] = {name: partials.series.column(name) for name in SERIES}
    columns |= {
        "window_start": pa.array(partials.start),
        "window_end": pa.array(ends),
        "window_seconds": pa.array(np.full(rows, seconds, np.int64)),
        "count": pa.array(partials.count),
        "mean": pa.array(_mean(partials, total)),
        "std": pa.array(std, mask=~plain),
        "min": pa.array(partials.low),
        "max": pa.array(partials.high),
        "sum": pa.array(total[0]),
        "first": pa.array(partials.first.value),
        "last": pa.array(partials.last.value),
        "p50": pa.array(p50),
        "p95": pa.array(p95),
        "p99": pa.array(p99),
        "trend_per_second": pa.array(trend, mask=~sloped),
        "quality_mean": pa.array(exact.divide(exact.to_double_double(partials.sums["quality"], rows), count)[0]),
        "revision": pa.array(np.full(rows, revision, np.int32)),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    batch = conform(batch, WINDOWS_IN_FLIGHT)
    order = sort_order(batch, [*SERIES, "window_start"])
    return batch if order is None else batch.take(pa.array(order))


def _mean(partials: Partials, total: tuple[exact.Doubles, exact.Doubles]) -> exact.Doubles:
    """The mean of each row; a sum beyond a double may have one within."""
    beyond = np.isinf(total[0])
    with np.errstate(invalid="ignore", over="ignore"):
        mean: exact.Doubles = exact.divide(total, partials.count.astype(np.float64))[0]
    for row in np.flatnonzero(beyond | (np.abs(total[0]) > _NEAR_OVERFLOW)).tolist():
        mean[row] = exact.to_double(*exact.to_integer(partials.sums["value"], row), int(partials.count[row]))
    return mean


def _spread(partials: Partials) -> tuple[np.ndarray, np.ndarray]:
    """(population standard deviation, slope a second) of each row."""
    rows = len(partials)
    count = partials.count.astype(np.float64)
    sums = {name: exact.to_double_double(limbs, rows) for name, limbs in partials.sums.items()}
    squares, times_squared = sums["square"], sums["time_square"]
    exact_count = (count, np.zeros(rows))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        left = exact.multiply(exact_count, squares)
        moment = exact.subtract(left, exact.multiply(sums["value"], sums["value"]))[0]
        spread = exact.subtract(exact.multiply(exact_count, times_squared), exact.multiply(sums["time"], sums["time"]))[
            0
        ]
        cross = exact.multiply(exact_count, sums["cross"])
        slope = exact.subtract(cross, exact.multiply(sums["time"], sums["value"]))[0]
        varied = partials.high > partials.low
        for row in np.flatnonzero(varied & (moment < _ILL_CONDITIONED * left[0]) & (partials.huge == 0)).tolist():
            moment[row] = _exact_moment(partials, row)
        std = np.where(varied, np.sqrt(np.maximum(moment, 0.0)) / count, 0.0)
        trend = np.where(varied, slope / spread * _MILLION, 0.0)
    return std, trend


def _exact_moment(partials: Partials, row: int) -> float:
    """The moment n Σx² − (Σx)², taken in whole numbers."""
    squares, square_bin = exact.to_integer(partials.sums["square"], row)
    total, bin_ = exact.to_integer(partials.sums["value"], row)
    lowest = min(square_bin, 2 * bin_)
    squares <<= exact.BITS * (square_bin - lowest)
    product = (total * total) << (exact.BITS * (2 * bin_ - lowest))
    return exact.to_double(int(partials.count[row]) * squares - product, lowest)
