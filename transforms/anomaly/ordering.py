"""Readings in the order in which they are scored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.lanes import Floats, Ints, Mask
from telebeam.transforms.ordering import rank
from telebeam.transforms.schema import SERIES

_SIGN = np.int64(np.iinfo(np.int64).max)
_WIDTH_LIMIT = 1 << 62
_SEEN_PER_ROW = 8
"""Up to so many times as many numbers as rows, marking those that occur is quicker than sorting the rows."""


class Ordered(NamedTuple):
    """A batch sorted by series, timestamp, origin and value."""

    batch: pa.RecordBatch
    value: Floats
    time: Ints
    start: Ints
    """Where each series begins."""


def in_order(batch: pa.RecordBatch) -> Ordered:
    """The rows by series, timestamp, source, source_partition, source_offset and value, a total order.

    Args:
        batch: Not empty.
    """
    series, time = _series(batch), rank(batch.column("timestamp")).astype(np.int64, copy=False)
    order = np.arange(batch.num_rows)
    if not _ascending(series, time):
        order = _by_series_and_time(series, time)
    ordered_series, ordered_time = series[order], time[order]
    tied = (ordered_series[1:] == ordered_series[:-1]) & (ordered_time[1:] == ordered_time[:-1])
    if tied.any():
        _settle(batch, order, ordered_series, ordered_time, tied)
    if (np.diff(order) != 1).any():
        batch = batch.take(pa.array(order))
    begins = np.concatenate([[True], ordered_series[1:] != ordered_series[:-1]])
    value = batch.column("value").to_numpy(zero_copy_only=False)
    return Ordered(batch, value, ordered_time, np.flatnonzero(begins))


def _series(batch: pa.RecordBatch) -> Ints:
    """A number for each row's series, in the order of the key columns."""
    number = np.zeros(batch.num_rows, np.int64)
    for name in SERIES:
        key = rank(batch.column(name)).astype(np.int64, copy=False)
        low, high = int(key.min()), int(key.max())
        if low == high:
            continue
        # Dense again after each column, so that the next product can't overflow.
        number = _dense(number * (high - low + 1) + (key - low))
    return number


def _dense(numbers: Ints) -> Ints:
    """Numbers from 0 on in the same order, equal ones alike; none is negative."""
    size = int(numbers.max()) + 1
    if size > _SEEN_PER_ROW * len(numbers):
        return np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    seen = np.zeros(size, np.bool_)
    seen[numbers] = True
    dense: Ints = (np.cumsum(seen) - 1)[numbers]
    return dense


def _by_series_and_time(series: Ints, time: Ints) -> Ints:
    """The stable order; of one number a row where both fit into one, which takes a third of the time."""
    first = int(time.min())
    span = int(time.max()) - first + 1
    if (int(series.max()) + 1) * span >= _WIDTH_LIMIT:
        return np.lexsort((time, series))
    return np.argsort(series * span + (time - first), kind="stable")


def _ascending(series: Ints, time: Ints) -> bool:
    step = np.diff(series)
    return bool(((step > 0) | ((step == 0) & (np.diff(time) >= 0))).all())


def _settle(batch: pa.RecordBatch, order: Ints, series: Ints, time: Ints, tied: Mask) -> None:
    """Puts rows of one series and time in the order of origin and value, within ``order``."""
    among = np.flatnonzero(np.concatenate([tied, [False]]) | np.concatenate([[False], tied]))
    rows = batch.take(pa.array(order[among]))
    bits = rows.column("value").to_numpy(zero_copy_only=False).view(np.int64)
    value = np.where(bits < 0, bits ^ _SIGN, bits)  # in the order of the doubles, −0.0 before 0.0
    origin = [rank(rows.column(name)) for name in ("source_offset", "source_partition", "source")]
    order[among] = order[among][np.lexsort((value, *origin, time[among], series[among]))]
