"""Which readings came too late: a function of a partition's records in their order, and of nothing else.

Neither batches nor the wall clock nor other partitions have a say, so that the same records are late in every run,
however often it was killed and however its bundles fell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import with_columns

Micros = npt.NDArray[np.int64]


class WindowEnds(NamedTuple):
    """A window length and how long its windows wait for late readings, both in µs."""

    length: int
    allowed_lateness: int


@dataclass(frozen=True)
class Lateness:
    """What is too late.

    The clock before a record is the largest event time of the records before it, each capped at the time at which the
    record was stamped, less ``max_out_of_orderness``.  A device whose clock is fast moves it no further than that.  A
    reading is late where all of its windows had been closed for good by then, ``allowed_lateness`` included.

    Args:
        max_out_of_orderness: In µs.
        windows: Those that are computed; where there are none, nothing is late.
    """

    max_out_of_orderness: int
    windows: tuple[WindowEnds, ...]

    def mark(
        self, readings: pa.RecordBatch, offsets: Micros, stamped: Micros, newest: int
    ) -> tuple[pa.RecordBatch, int]:
        """The readings with ``is_late``, and the newest event time of all so far.

        Args:
            readings: Of one partition.
            offsets: int64[n], ascending: of the records that they came from, among others.
            stamped: int64[n]: when those were stamped, µs since 1970; negative where nobody did.
            newest: The newest event time before them, µs since 1970; not yet less ``max_out_of_orderness``.
        """
        if not readings.num_rows:
            return readings, newest
        event = readings.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
        record = np.searchsorted(offsets, readings.column("source_offset").to_numpy(zero_copy_only=False))
        stamp = stamped[record]
        capped = np.where(stamp >= 0, np.minimum(event, stamp), event)
        of_record = np.full(len(offsets), newest, np.int64)
        np.maximum.at(of_record, record, capped)
        running = np.maximum.accumulate(of_record)
        before = np.concatenate([[newest], running[:-1]])[record] - self.max_out_of_orderness
        late = self._closed_for_good(event, before)
        return with_columns(readings, {"is_late": pa.array(late)}), max(newest, int(running[-1]))

    def _closed_for_good(self, event: Micros, clock: Micros) -> npt.NDArray[np.bool_]:
        late = np.full(len(event), bool(self.windows))
        for length, lateness in self.windows:
            late &= event - event % length + length + lateness <= clock
        return late


def lateness_of(seconds: Sequence[tuple[int, float]], max_out_of_orderness: float) -> Lateness:
    """The :class:`Lateness` of windows given as (length, allowed lateness), all in seconds.

    >>> lateness_of([(60, 0)], 10).windows
    (WindowEnds(length=60000000, allowed_lateness=0),)
    """
    ends = tuple(WindowEnds(length * 1_000_000, round(allowed * 1e6)) for length, allowed in seconds)
    return Lateness(round(max_out_of_orderness * 1e6), ends)
