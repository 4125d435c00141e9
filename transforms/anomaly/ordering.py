"""Readings in the order in which they are scored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.lanes import Floats, Ints, Mask
from telebeam.transforms.ordering import rank
from telebeam.transforms.schema import SERIES

_SIGN = np.int64(np.iinfo(np.int64).max)


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
        order = np.lexsort((time, series))
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
        number = np.unique(number * (high - low + 1) + (key - low), return_inverse=True)[1].astype(np.int64)
    return number


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
