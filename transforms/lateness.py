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

from telebeam.transforms.aggregation.grid import Grid
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import with_columns

Micros = npt.NDArray[np.int64]


class WindowEnds(NamedTuple):
    """When windows end that a reading may be in, and how long they wait for late readings; in µs."""

    length: int
    """From the start of the last window that a reading is in to its end."""
    allowed_lateness: int
    every: int
    """How often windows start."""
    zone: str | None = None
    """Whose days they are, in place of the two."""

    def last(self, event: Micros) -> Micros:
        """The end of the last window that each reading is in."""
        if self.zone is not None:
            days = Grid(self.every, self.length, self.zone)
            return days.ends(days.floor(event))
        return event - event % self.every + self.length

    def open_since(self, clock: int) -> int:
        """The earliest event time that is not late by a clock; all in µs since 1970."""
        behind = clock - self.allowed_lateness
        if self.zone is not None:
            return Grid(self.every, self.length, self.zone).floor_of(behind)
        last_closed = behind - self.length
        return last_closed - last_closed % self.every + self.every


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
        for ends in self.windows:
            late &= ends.last(event) + ends.allowed_lateness <= clock
        return late


def lateness_of(windows: Sequence[WindowSpec | tuple[int, float]], max_out_of_orderness: float) -> Lateness:
    """The :class:`Lateness` of windows, or of fixed ones given as (length, allowed lateness); all in seconds.

    A session of which a reading is the last one ends ``gap`` behind it, whatever else there is: later sessions of the
    same series do not keep an old reading in time.

    >>> lateness_of([(60, 0)], 10).windows
    (WindowEnds(length=60000000, allowed_lateness=0, every=60000000, zone=None),)
    """
    return Lateness(round(max_out_of_orderness * 1e6), tuple(map(_ends_of, windows)))


def _ends_of(windows: WindowSpec | tuple[int, float]) -> WindowEnds:
    if isinstance(windows, tuple):
        length, allowed = windows
        return WindowEnds(length * 1_000_000, round(allowed * 1e6), length * 1_000_000)
    windowing, allowed = windows.windowing, windows.allowed_lateness.total_seconds()
    if isinstance(windowing, Sessions):
        return WindowEnds(windowing.gap, round(allowed * 1e6), 1)
    return WindowEnds(windowing.length, round(allowed * 1e6), windowing.every, windowing.zone)
