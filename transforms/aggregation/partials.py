"""What is known of a series in a window before all its readings are in: a value that merges in any order.

One :class:`Partials` holds many of them, column-wise.  A reading is the partial of one reading; everything else is
merging runs of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.aggregation import exact
from telebeam.transforms.aggregation.exact import Limbs
from telebeam.transforms.aggregation.quantiles import Distribution
from telebeam.transforms.batches import READING_BATCH_ROWS, codes, concat, distinct
from telebeam.transforms.ordering import rank
from telebeam.transforms.schema import SERIES

MOMENTS = ("value", "square", "time", "time_square", "cross", "quality")
"""The exact sums: of values, squares, times since the window's start (µs), their squares, times · values, scores."""

_WIDTH_LIMIT = 1 << 62
_ROW = "row"

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """The first or the last reading of each series and window, by (time, offset, partition, source, value)."""

    time: Integers
    offset: Integers
    partition: Integers
    source: pa.DictionaryArray
    value: Doubles

    def take(self, rows: Integers) -> Ends:
        """The ends at some rows."""
        return Ends(
            self.time[rows], self.offset[rows], self.partition[rows], self.source.take(pa.array(rows)), self.value[rows]
        )


@dataclass(frozen=True)
class Partials:
    """Partial aggregates, a row each: a series in a window."""

    series: pa.RecordBatch
    start: Integers
    """The window's start, µs since the epoch."""
    count: Integers
    sums: dict[str, Limbs]
    huge: Integers
    """How many values have no square within a double."""
    low: Doubles
    high: Doubles
    first: Ends
    last: Ends
    distribution: Distribution

    def __len__(self) -> int:
        return len(self.start)


def partials_of(batch: pa.RecordBatch, start: Integers) -> Partials:
    """The partials of a batch of readings, one for each series and start.

    Args:
        batch: :data:`~telebeam.transforms.schema.READINGS_IN_FLIGHT`, or those of its columns that are needed.
        start: int64[n]: where the window of each reading starts, in whole seconds but given in µs since the epoch.
    """
    series = series_of(batch)
    order, starts = _runs([codes(column).astype(np.int64) for column in series.columns], start)
    return partials_of_runs(batch, series, start, np.arange(len(start)) if order is None else order, starts)


def partials_of_runs(
    batch: pa.RecordBatch, series: pa.RecordBatch, start: Integers, rows: Integers, starts: Integers
) -> Partials:
    """The partials of runs of readings, one for each run.

    They are worked on in slices of whole runs that lie in the cache: there, splitting into limbs takes a third of the
    time.

    Args:
        batch: The readings.
        series: Theirs, from :func:`series_of`.
        start: int64[n]: where the window of each reading starts, µs since the epoch.
        rows: An order of the readings that brings those of a run together.
        starts: Where each run begins in that order.
    """
    parts = []
    for first, last in _slices(starts, len(rows)):
        heads = starts[np.searchsorted(starts, first) : np.searchsorted(starts, last)] - first
        parts.append(reduce(_lift(batch, start, rows[first:last]), heads))
    whole = parts[0] if len(parts) == 1 else joined(parts)
    return replace(whole, series=series.take(whole.series.column(_ROW)))


def series_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns that name each reading's series, with equal codes for equal texts."""
    return pa.RecordBatch.from_arrays([distinct(batch.column(name)) for name in SERIES], names=list(SERIES))


def _slices(starts: Integers, rows: int) -> Iterator[tuple[int, int]]:
    """Parts of some :data:`READING_BATCH_ROWS` rows that end where a run does."""
    ends = np.append(starts[1:], rows)
    first = 0
    while first < rows:
        place = min(int(np.searchsorted(ends, first + READING_BATCH_ROWS)), len(ends) - 1)
        last = int(ends[place])
        yield first, last
        first = last
    if not rows:
        yield 0, 0


def _lift(batch: pa.RecordBatch, start: Integers, rows: Integers) -> Partials:
    """Some readings, each as a partial of its own, whose series is the number of its row."""
    taken = pa.array(rows)
    time, value, quality, offset, partition = (column[rows] for column in _numbers(batch))
    value = value + 0.0  # of −0.0 and 0.0 neither is the smaller one: order would decide
    start = start[rows]
    sums, huge = moments(value, (time - start).astype(np.float64), quality)
    ends = Ends(time, offset, partition.astype(np.int64), batch.column("source").take(taken), value)
    return Partials(
        series=pa.RecordBatch.from_arrays([taken], names=[_ROW]),
        start=start,
        count=np.ones(len(rows), np.int64),
        sums=sums,
        huge=huge.astype(np.int64),
        low=value,
        high=value,
        first=ends,
        last=ends,
        distribution=Distribution.of_rows(value),
    )


def times_of(batch: pa.RecordBatch) -> Integers:
    """int64[n]: the event times, µs since the epoch."""
    time: Integers = batch.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
    return time


def _numbers(batch: pa.RecordBatch) -> Iterator[npt.NDArray]:  # type: ignore[type-arg]
    yield times_of(batch)
    for name in ("value", "quality_score", "source_offset", "source_partition"):
        yield batch.column(name).to_numpy(zero_copy_only=False)


def moments(value: Doubles, since: Doubles, quality: Doubles) -> tuple[dict[str, Limbs], npt.NDArray[np.bool_]]:
    """(the addends of :data:`MOMENTS`, which values have no square within a double and count as 0 in squares).

    Args:
        value: The values, finite.
        since: µs since each one's window began.
        quality: The scores.
    """
    size = np.abs(value)
    huge = size > exact.HUGE
    odd = huge | (size < exact.TINY)
    plain = np.where(odd, 0.0, value) if odd.any() else value
    squarable = np.where(huge, 0.0, value) if odd.any() else value
    sums = {
        "value": exact.split(value),
        "square": _split_both(exact.square(plain)),
        "time": exact.split(since),
        "time_square": _split_both(exact.square(since)),
        "cross": _split_both(exact.product(since, squarable)),
        "quality": exact.split(quality),
    }
    return sums, huge


def _split_both(parts: tuple[Doubles, Doubles]) -> Limbs:
    return exact.add([exact.split(parts[0]), exact.split(parts[1])])


def merge(partials: Sequence[Partials]) -> Partials:
    """All partials as one, a row for each series and window: the same bits in any order of the partials."""
    return reduce_runs(partials[0] if len(partials) == 1 else joined(partials))


def joined(parts: Sequence[Partials]) -> Partials:
    """Partials one behind the other, nothing merged."""
    sizes = [len(part) for part in parts]

    def numbers(get: Callable[[Partials], npt.NDArray]) -> npt.NDArray:  # type: ignore[type-arg]
        return np.concatenate([get(part) for part in parts])

    def limbs(moment: str) -> Limbs:
        bins = sorted({k for part in parts for k in part.sums[moment]})
        return {
            k: np.concatenate(
                [part.sums[moment].get(k, np.zeros(n, np.int64)) for part, n in zip(parts, sizes, strict=True)]
            )
            for k in bins
        }

    def ends(get: Callable[[Partials], Ends]) -> Ends:
        return Ends(
            numbers(lambda p: get(p).time),
            numbers(lambda p: get(p).offset),
            numbers(lambda p: get(p).partition),
            pa.concat_arrays([get(part).source for part in parts]),
            numbers(lambda p: get(p).value),
        )

    def running(get: Callable[[Partials], Integers], totals: list[int]) -> Integers:
        bases = np.cumsum([0, *totals[:-1]])
        return np.concatenate([get(part) + base for part, base in zip(parts, bases, strict=True)])

    distribution = Distribution(
        numbers(lambda p: p.distribution.values),
        running(lambda p: p.distribution.value_ends, [len(p.distribution.values) for p in parts]),
        numbers(lambda p: p.distribution.buckets),
        numbers(lambda p: p.distribution.counts),
        running(lambda p: p.distribution.bucket_ends, [len(p.distribution.buckets) for p in parts]),
    )
    return Partials(
        series=concat([part.series for part in parts]),
        start=numbers(lambda p: p.start),
        count=numbers(lambda p: p.count),
        sums={moment: limbs(moment) for moment in MOMENTS},
        huge=numbers(lambda p: p.huge),
        low=numbers(lambda p: p.low),
        high=numbers(lambda p: p.high),
        first=ends(lambda p: p.first),
        last=ends(lambda p: p.last),
        distribution=distribution,
    )


def reduce_runs(rows: Partials) -> Partials:
    """The partials of each series and window merged into one."""
    keys = [codes(column).astype(np.int64) for column in rows.series.columns]
    order, starts = _runs(keys, rows.start)
    return reduce(rows if order is None else take(rows, order), starts)


def reduce(rows: Partials, starts: Integers) -> Partials:
    """Runs of partials, each merged into one; a run has one series, and moments that count from one start.

    Args:
        rows: The partials.
        starts: int64[r]: the first row of each run, ascending from 0; no run is empty.
    """
    if len(starts) == len(rows):
        # Carries are moved all the same: equal sums have equal limbs whether anything was added or not.
        return replace(rows, sums={moment: exact.carry(limbs) for moment, limbs in rows.sums.items()})
    heads = pa.array(starts)
    count = np.add.reduceat(rows.count, starts)
    return Partials(
        series=rows.series.take(heads),
        start=rows.start[starts],
        count=count,
        sums={moment: exact.add_groups(limbs, starts, len(rows)) for moment, limbs in rows.sums.items()},
        huge=np.add.reduceat(rows.huge, starts),
        low=np.minimum.reduceat(rows.low, starts),
        high=np.maximum.reduceat(rows.high, starts),
        first=_pick(rows.first, starts, -1),
        last=_pick(rows.last, starts, 1),
        distribution=rows.distribution.merge_runs(starts, count),
    )


def _runs(keys: list[Integers], start: Integers) -> tuple[Integers | None, Integers]:
    """(an order that brings equal keys together, None where they are; where each run begins in that order)."""
    if not len(start):
        return None, np.zeros(0, np.int64)
    key = _combine([*keys, (start - start.min()) // 1_000_000])
    steps = np.diff(key)
    starts = np.concatenate([[0], np.flatnonzero(steps) + 1])
    if (steps >= 0).all() or (len(starts) < len(key) // 4 and (np.diff(np.sort(key[starts])) > 0).all()):
        return None, starts
    order = np.argsort(key)  # not stable: what is merged does not depend on order
    return order, np.concatenate([[0], np.flatnonzero(np.diff(key[order])) + 1])


def _combine(columns: list[Integers]) -> Integers:
    """One number for each distinct row of some columns of whole numbers."""
    key, width = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        low, high = int(column.min()), int(column.max())
        if low == high:
            continue
        if width * (high - low + 1) >= _WIDTH_LIMIT:
            key = np.unique(key, return_inverse=True)[1].reshape(-1).astype(np.int64)
            width = int(key.max()) + 1
        key = key * (high - low + 1) + (column - low) if width > 1 else column - low
        width *= high - low + 1
    return key


def take(rows: Partials, order: Integers) -> Partials:
    """The partials at some rows, in that order."""
    return Partials(
        series=rows.series.take(pa.array(order)),
        start=rows.start[order],
        count=rows.count[order],
        sums={moment: {k: limb[order] for k, limb in limbs.items()} for moment, limbs in rows.sums.items()},
        huge=rows.huge[order],
        low=rows.low[order],
        high=rows.high[order],
        first=rows.first.take(order),
        last=rows.first.take(order) if rows.last is rows.first else rows.last.take(order),
        distribution=rows.distribution.take(order),
    )


def _pick(ends: Ends, starts: Integers, sign: int) -> Ends:
    """The first (sign −1) or the last (1) of each run."""
    lengths = np.diff(np.append(starts, len(ends.time)))
    extreme = (np.maximum if sign > 0 else np.minimum).reduceat(ends.time, starts)
    rows = np.flatnonzero(ends.time == np.repeat(extreme, lengths))
    if len(rows) > len(starts):
        groups = np.searchsorted(starts, rows, side="right") - 1
        ranks = rank(ends.source.take(pa.array(rows)))
        order = np.lexsort((ends.value[rows], ranks, ends.partition[rows], ends.offset[rows], groups))
        boundary = np.flatnonzero(np.diff(groups[order], prepend=-1) if sign < 0 else np.diff(groups[order], append=-1))
        rows = rows[order[boundary]]
    return ends.take(rows)
