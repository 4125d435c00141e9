"""Quantiles of many groups at once: exact while a group is small, from a histogram above.

Up to :data:`EXACT_VALUES` values a group keeps them all.  Above that it keeps counts in buckets of the logarithmic kind
of DDSketch (Masson, Rim and Lee, VLDB 2019) with HdrHistogram's linear steps within an octave: a value's bucket is read
off the bits of the double, 128 buckets an octave, so no logarithm decides at a boundary.  Both forms are the same in
any order and merge without loss; which one a group has depends on its count alone.

A bucket answers with its middle: each order statistic is within 1/256 of its magnitude.  A quantile is interpolated
between the two order statistics around q · (n − 1), as SQL's ``quantile_cont``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EXACT_VALUES = 128
"""A group of at most so many values keeps them: 1 KiB."""

RELATIVE_ERROR = 1 / 256
"""Of an order statistic from a bucket."""

_HALF_RANGE = 2.0**1023
_SHIFT = 45  # 52 bits of mantissa less the 7 that number the 128 buckets of an octave
_MAGNITUDE = np.int64(0x7FFF_FFFF_FFFF_FFFF)

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """The values of groups: ``values`` of the small ones, ``buckets`` and ``counts`` of the large ones.

    Groups lie one behind the other; ``value_ends[g]`` and ``bucket_ends[g]`` are where group g's end.
    """

    values: Doubles
    value_ends: Integers
    buckets: npt.NDArray[np.int32]
    counts: Integers
    bucket_ends: Integers

    @classmethod
    def of_rows(cls, values: Doubles) -> Distribution:
        """Each value a group of its own."""
        rows = len(values)
        none = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(rows, np.int64)
        return cls(values, np.arange(1, rows + 1), *none)

    def take(self, order: Integers) -> Distribution:
        """The groups at some places."""
        where, ends = _ranges(self.value_ends, order)
        bucket_where, bucket_ends = _ranges(self.bucket_ends, order)
        return Distribution(
            self.values[where], ends, self.buckets[bucket_where], self.counts[bucket_where], bucket_ends
        )

    def merge_runs(self, starts: Integers, totals: Integers) -> Distribution:
        """Runs of groups as one group each.

        Args:
            starts: The first group of each run, ascending from 0; no run is empty.
            totals: How many values each run has.
        """
        last = np.append(starts[1:], len(self.value_ends)) - 1
        value_ends, bucket_ends = self.value_ends[last], self.bucket_ends[last]
        large = totals > EXACT_VALUES
        if not large.any():
            return Distribution(self.values, value_ends, self.buckets, self.counts, bucket_ends)
        sizes = np.diff(value_ends, prepend=0)
        moved = np.repeat(large, sizes)
        groups = np.repeat(np.arange(len(starts)), sizes)[moved]
        bucket_groups = np.repeat(np.arange(len(starts)), np.diff(bucket_ends, prepend=0))
        new = bucket_of(self.values[moved])
        buckets, counts, ends = _count(
            np.concatenate([bucket_groups, groups]),
            np.concatenate([self.buckets, new]),
            np.concatenate([self.counts, np.ones(len(new), np.int64)]),
            len(starts),
        )
        return Distribution(self.values[~moved], np.cumsum(np.where(large, 0, sizes)), buckets, counts, ends)

    def quantiles(self, fractions: tuple[float, ...], low: Doubles, high: Doubles) -> list[Doubles]:
        """Each fraction's quantile of each group; no group is empty.

        Args:
            fractions: Within 0…1.
            low: Each group's smallest value.
            high: Each group's largest value.
        """
        sizes = np.diff(self.value_ends, prepend=0)
        small = sizes > 0
        results = [np.zeros(len(sizes)) for _ in fractions]
        if small.any():
            ordered = _sort_runs(self.values, self.value_ends, sizes)
            first = (self.value_ends - sizes)[small]

            def statistic(rank: Integers) -> Doubles:
                found: Doubles = ordered[first + rank]
                return found

            for result, fraction in zip(results, fractions, strict=True):
                result[small] = _interpolate(sizes[small], fraction, statistic)
        if not small.all():
            self._from_buckets(fractions, ~small, low, high, results)
        return results

    def _from_buckets(
        self, fractions: tuple[float, ...], large: npt.NDArray[np.bool_], low: Doubles, high: Doubles,
        results: list[Doubles],
    ) -> None:  # fmt: skip
        cumulated = np.cumsum(self.counts)
        ends = np.concatenate([[0], cumulated])[self.bucket_ends]
        base = np.concatenate([[0], ends[:-1]])[large]
        totals = (ends - np.concatenate([[0], ends[:-1]]))[large]
        middles = middle_of(self.buckets)

        def statistic(rank: Integers) -> Doubles:
            place = np.searchsorted(cumulated, base + rank, side="right")
            return np.clip(middles[place], low[large], high[large])

        for result, fraction in zip(results, fractions, strict=True):
            result[large] = _interpolate(totals, fraction, statistic)


def bucket_of(values: Doubles) -> npt.NDArray[np.int32]:
    """Each value's bucket: rising with the value, 0 from zero up to 2**-1029.

    Below the smallest normal double, 2**-1022, buckets are 2**-1029 wide, whatever the value.

    >>> bucket_of(np.array([1.0, 1.005, 1.01, -1.0])).tolist()
    [130944, 130944, 130945, -130945]
    """
    bits = np.ascontiguousarray(values).view(np.int64)
    magnitude = (bits & _MAGNITUDE) >> _SHIFT
    return np.where(bits < 0, -1 - magnitude, magnitude).astype(np.int32)


def middle_of(buckets: npt.NDArray[np.int32]) -> Doubles:
    """The middle of each bucket; zero for the two around it."""
    magnitude = np.where(buckets < 0, -1 - buckets, buckets).astype(np.int64)
    lower = (magnitude << _SHIFT).view(np.float64)
    upper = (np.minimum(magnitude + 1, (0x7FF << 7) - 1) << _SHIFT).view(np.float64)
    middle = np.where(magnitude == 0, 0.0, lower + (upper - lower) / 2)
    return np.where(buckets < 0, -middle, middle)


def _interpolate(sizes: Integers, fraction: float, statistic: Callable[[Integers], Doubles]) -> Doubles:
    position = fraction * (sizes - 1)
    below = np.floor(position)
    rank = below.astype(np.int64)
    lower = statistic(rank)
    upper = statistic(np.minimum(rank + 1, sizes - 1))
    share = position - below
    far = np.maximum(np.abs(lower), np.abs(upper)) >= _HALF_RANGE
    with np.errstate(over="ignore", invalid="ignore"):
        result: Doubles = np.minimum(lower + (upper - lower) * share, upper)
    if far.any():
        # Values of unlike signs may lie further apart than a double reaches.  Each group is looked at by itself: which
        # others are worked on with it does not show in its bits.
        result = np.where(far, np.clip(lower * (1 - share) + upper * share, lower, upper), result)
    return result


def _ranges(ends: Integers, order: Integers) -> tuple[Integers, Integers]:
    """(places of the elements of the groups in their new order, their new ends)."""
    sizes = np.diff(ends, prepend=0)
    new_sizes = sizes[order]
    new_ends = np.cumsum(new_sizes)
    starts = (ends - sizes)[order]
    offsets = np.arange(int(new_ends[-1]) if len(new_ends) else 0) - np.repeat(new_ends - new_sizes, new_sizes)
    return np.repeat(starts, new_sizes) + offsets, new_ends


def _count(
    groups: Integers, buckets: npt.NDArray[np.int32], counts: Integers, total: int
) -> tuple[npt.NDArray[np.int32], Integers, Integers]:
    """Counts by (group, bucket), ascending."""
    key = (groups << 20) + (buckets.astype(np.int64) + (1 << 19))  # 19 bits hold a bucket's magnitude and sign
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    summed = np.add.reduceat(counts[order], starts) if len(starts) else np.zeros(0, np.int64)
    key = key[starts]
    ends = np.searchsorted(key >> 20, np.arange(total), side="right")
    return ((key & 0xFFFFF) - (1 << 19)).astype(np.int32), summed, ends


def _sort_runs(values: Doubles, ends: Integers, sizes: Integers) -> Doubles:
    """The values, ascending within each run: rows of a table padded to a power of two, sorted together."""
    ordered = values.copy()
    widths = np.where(sizes > 1, np.maximum(2, 1 << np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)), 0)
    for width in np.unique(widths[widths > 0]).tolist():
        runs = np.flatnonzero(widths == width)
        column = np.arange(width)
        inside = column < sizes[runs, None]
        places = (ends - sizes)[runs, None] + column
        table = np.where(inside, values[np.minimum(places, len(values) - 1)], np.inf)
        table.sort(axis=1)
        ordered[places[inside]] = table[inside]
    return ordered
