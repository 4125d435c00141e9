"""What the last readings of a series say at each of its readings, in the order of event time.

An :class:`EachLast` is given time in ascending pieces, like :class:`~telebeam.transforms.anomaly.kernel.Scorer`.  How
time is cut into pieces, and whether the past was written down and restored between them, does not show in a bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from telebeam.transforms.aggregation.remembered import Kept, Lanes, read, write
from telebeam.transforms.aggregation.trailing import Integers, Statistics, Tails, trailing
from telebeam.transforms.anomaly.ordering import Ordered, in_order
from telebeam.transforms.anomaly.series import SeriesTable
from telebeam.transforms.errors import JobError
from telebeam.transforms.schema import LAST_N_IN_FLIGHT, SERIES, conform

EXPIRE_AFTER = 30 * 86_400 * 1_000_000
"""µs: a series that was silent for longer begins anew, as one of a detector does unless its settings say otherwise."""
_BLOCK = 16_384
"""Readings that are worked on at a time, about: their columns stay in the cache."""
_OF_READING = (*SERIES, "timestamp", "value", "source", "source_partition", "source_offset")
_READING = pa.schema([LAST_N_IN_FLIGHT.field(name) for name in _OF_READING])
_NO_ROWS: pa.RecordBatch = pa.RecordBatch.from_pylist([], schema=LAST_N_IN_FLIGHT)


class EachLast:
    """The statistics of the last readings of each series, for some numbers of readings at once.

    Args:
        numbers: How many readings, each at least 1.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = tuple(numbers)
        self._series = SeriesTable()
        self._kept = Kept.nothing()
        self._latest: int | None = None

    def advance(self, readings: pa.RecordBatch) -> dict[int, pa.RecordBatch]:
        """For each number ``LAST_N_IN_FLIGHT``, one row for each reading, by series, time and origin.

        The last readings at a reading are itself and those before it in the order of timestamp, source,
        source_partition, source_offset and value.

        Args:
            readings: Columns of ``READINGS``, in any order of rows, none earlier than one of a call before.

        Raises:
            JobError: A reading is earlier than those of a call before.
        """
        if not readings.num_rows or not self._numbers:
            return dict.fromkeys(self._numbers, _NO_ROWS)
        ordered = in_order(readings)
        self._check(ordered.time)
        rows = self._series.rows(ordered.batch, ordered.start)
        kept = self._kept.with_series(len(self._series))
        lanes = _lanes(ordered, rows, self._series.last[rows], kept.length[rows])
        tails = kept.before(ordered.time, ordered.value, lanes)
        found = _statistics(tails, lanes, self._numbers)
        self._kept = kept.after(tails, lanes, max(self._numbers) - 1)
        self._series.last[rows] = ordered.time[np.append(ordered.start[1:], len(ordered.time)) - 1]
        return {number: _rows(ordered.batch, number, part) for number, part in zip(self._numbers, found, strict=True)}

    def expire(self, before: int) -> int:
        """Forgets series without a reading since some time, and says how many.

        Only those are forgotten that would begin anew if they returned now: it shows in no row when this is called.

        Args:
            before: µs since the epoch.
        """
        if self._latest is None:
            return 0
        stays = self._series.last >= min(before, self._latest - EXPIRE_AFTER)
        if not stays.all():
            kept = np.flatnonzero(stays)
            self._series = SeriesTable.of(self._series.keys().take(pa.array(kept)), self._series.last[kept])
            self._kept = self._kept.take(kept)
        return int(np.count_nonzero(~stays))

    def history(self) -> pa.Buffer:
        """All that is remembered, as Arrow IPC and a checksum; :meth:`restored` goes on from it with the same bits."""
        return write(self._kept, self._series, self._numbers, self._latest)

    @classmethod
    def restored(cls, numbers: Sequence[int], buffer: pa.Buffer) -> EachLast:
        """The one whose :meth:`history` a buffer is.

        Args:
            numbers: The same as those of the one that wrote it.
            buffer: What was written.

        Raises:
            JobError: The buffer is damaged, of another version, or of other numbers.
        """
        last = cls(numbers)
        last._kept, last._series, last._latest = read(buffer, last._numbers)
        return last

    @property
    def series(self) -> int:
        """How many series are remembered."""
        return len(self._series)

    @property
    def state_bytes(self) -> int:
        """Bytes of the readings that are remembered, without the names of the series."""
        return sum(array.nbytes for array in self._kept)

    def _check(self, time: Integers) -> None:
        first = int(time.min())
        if self._latest is not None and first < self._latest:
            raise JobError(
                f"a reading of {np.datetime64(first, 'us')}Z came after one of {np.datetime64(self._latest, 'us')}Z; "
                "expected ascending event time",
                "give the pieces of time in their order, each reading in the piece that holds its timestamp",
            )
        self._latest = int(time.max())


def _lanes(ordered: Ordered, rows: Integers, last: Integers, kept: Integers) -> Lanes:
    """The readings' series, and their parts where one begins anew within.

    Args:
        ordered: The readings.
        rows: int64[series]: the row of each series that has some.
        last: int64[series]: when its last reading was; far in the past for a new one.
        kept: int64[series]: how many readings are remembered of it.
    """
    time = ordered.time
    begins = np.zeros(len(time), bool)
    begins[1:] = np.diff(time) > EXPIRE_AFTER
    begins[ordered.start] = True
    start = np.flatnonzero(begins)
    of = np.searchsorted(ordered.start, start, side="right") - 1
    # A series without a reading has the least of all times, from which nothing can be taken.
    goes_on = (kept[of] > 0) & (start == ordered.start[of])
    goes_on[goes_on] = (time[start] - last[of])[goes_on] <= EXPIRE_AFTER
    count = np.diff(np.append(start, len(time)))
    return Lanes(start, count, rows[of], np.where(goes_on, kept[of], 0), np.append(of[1:] != of[:-1], True))


def _statistics(tails: Tails, lanes: Lanes, numbers: Sequence[int]) -> list[Statistics]:
    """For each number the statistics at the new readings, worked out some lanes at a time."""
    new, ends = lanes.new(), lanes.ends
    parts: list[list[Statistics]] = [[] for _ in numbers]
    for first, end in _blocks(ends):
        begin, stop = np.searchsorted(new, (first, end)).tolist()
        at = new[begin:stop] - first
        for part, found in zip(parts, trailing(tails.part(slice(first, end)), numbers), strict=True):
            part.append(found.at(at))
    return [Statistics.joined(part) for part in parts]


def _blocks(ends: Integers) -> Iterator[tuple[int, int]]:
    """Slices of whole lanes with about :data:`_BLOCK` readings each."""
    begin = 0
    while begin < ends[-1]:
        place = min(int(np.searchsorted(ends, begin + _BLOCK)), len(ends) - 1)
        yield begin, int(ends[place])
        begin = int(ends[place])


def _rows(batch: pa.RecordBatch, number: int, said: Statistics) -> pa.RecordBatch:
    of_reading = conform(batch, _READING)
    columns = {name: of_reading.column(name) for name in _OF_READING}
    columns |= {
        "n": pa.array(np.full(len(said.count), number, np.int64)),
        "count": pa.array(said.count),
        "mean": pa.array(said.mean),
        "std": pa.array(said.std, mask=np.isnan(said.std)),
        "min": pa.array(said.low),
        "max": pa.array(said.high),
        "trend_per_second": pa.array(said.trend, mask=np.isnan(said.trend)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in LAST_N_IN_FLIGHT.names], schema=LAST_N_IN_FLIGHT)
