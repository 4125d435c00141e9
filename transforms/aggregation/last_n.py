"""What the last readings of each series say: their number, mean, deviation, ends and slope, however they came.

The last N readings are those of the highest (time, offset, partition, source, value), so that they do not depend on the
order of arrival, and N readings a series are all that has to be kept: the last N of two parts are among the last N of
each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from telebeam.transforms.aggregation.kernel import rows_of_windows
from telebeam.transforms.aggregation.partials import Integers, partials_of_runs, series_of, times_of
from telebeam.transforms.batches import codes, concat
from telebeam.transforms.ordering import rank
from telebeam.transforms.schema import READINGS_IN_FLIGHT, SERIES

KEPT = (*SERIES, "timestamp", "value", "quality_score", "source", "source_partition", "source_offset")
_SCHEMA = pa.schema([READINGS_IN_FLIGHT.field(name) for name in KEPT])


@dataclass(frozen=True)
class LastN:
    """The last readings of each series: a value with ``create``, ``add``, ``merge`` and ``extract``.

    Args:
        readings: At most ``number`` a series, sorted by series and by the order above.
        number: How many are kept.
    """

    readings: pa.RecordBatch
    number: int

    @classmethod
    def create(cls, number: int) -> LastN:
        """Of no readings yet.

        Raises:
            ValueError: The number is not positive.
        """
        if number < 1:
            raise ValueError(f"the last {number} readings are none; expected at least 1")
        return cls(pa.RecordBatch.from_pylist([], schema=_SCHEMA), number)

    def add(self, batch: pa.RecordBatch) -> LastN:
        """With more readings, in any order; a reading that is added twice counts twice."""
        both = concat([self.readings, batch.select(list(KEPT)).cast(_SCHEMA)])
        order, starts = _ordered(both)
        edges = np.append(starts, len(order))
        behind = np.repeat(edges[1:], np.diff(edges))
        kept = order[behind - np.arange(len(order)) <= self.number]
        return LastN(both.take(pa.array(kept)), self.number)

    def merge(self, others: Sequence[LastN]) -> LastN:
        """Of the readings of all, as if they had been added to one."""
        return self.add(concat([other.readings for other in others])) if others else self

    def extract(self) -> pa.RecordBatch:
        """A row a series in the columns of windows: from the first of its last readings to the last one.

        ``window_start`` and ``window_end`` are the times of the two, and ``window_seconds`` is 0.  The aggregates are
        defined as those of windows, ``trend_per_second`` being the slope.
        """
        order, starts = _ordered(self.readings)
        time = times_of(self.readings)
        start = np.empty(len(time), np.int64)
        start[order] = np.repeat(time[order][starts], np.diff(np.append(starts, len(time))))
        partials = partials_of_runs(self.readings, series_of(self.readings), start, order, starts)
        return rows_of_windows(partials, partials.last.time, 0)


def _ordered(readings: pa.RecordBatch) -> tuple[Integers, Integers]:
    """(the order by series, time, offset, partition, source and value; where each series begins in it)."""
    if not readings.num_rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    keys = [codes(column) for column in series_of(readings).columns]
    numbers = [readings.column(name).to_numpy(zero_copy_only=False) for name in ("value", "source_partition")]
    value, partition = numbers
    offset = readings.column("source_offset").to_numpy(zero_copy_only=False)
    by = (value + 0.0, rank(readings.column("source")), partition, offset, times_of(readings), *keys)
    order = np.lexsort(by)
    begins = np.zeros(len(order), bool)
    begins[0] = True
    for key in keys:
        begins[1:] |= np.diff(key[order]) != 0
    return order, np.flatnonzero(begins)
