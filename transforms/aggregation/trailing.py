"""Mean, deviation, extremes and slope of the last few readings at each reading, many series at once.

The readings of a window are brought together in a binary tree that hangs at its newest reading: what 2 of them say,
what 4 say, and so on.  The tree is the same wherever the window stands in its arrays, and so are the bits.  Two parts
are brought together by the formula of Chan, Golub and LeVeque (Updating Formulae and a Pairwise Algorithm for Computing
Sample Variances, 1979), in which no large sums cancel; a number of readings costs by its logarithm.  Values and times
are taken relative to the newest reading's: a small spread around a large mean keeps its digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from telebeam.transforms.aggregation.exact import HUGE

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MILLION = 1_000_000
_NEAR_OVERFLOW = 2.0**1020
"""Beyond it a difference of two values may be none: means of such values are computed of their quarters."""


@dataclass(frozen=True, eq=False)
class Tails:
    """Some series' readings, each series' behind each other in the order of time.

    Attributes:
        value: float64[n], finite, without negative zeros.
        time: int64[n], µs since the epoch, ascending within a series.
        place: int64[n]: how many readings of its series stand before each.
    """

    value: Doubles
    time: Integers
    place: Integers

    def part(self, readings: slice) -> Tails:
        """Those of some whole series."""
        return Tails(self.value[readings], self.time[readings], self.place[readings])


@dataclass(frozen=True, eq=False)
class Statistics:
    """What the last readings at each place say: arrays as long as ``Tails.value``.

    Attributes:
        count: How many they are.
        mean: Their mean.
        std: The population's deviation; NaN where a value is beyond ±2**480.
        low: The smallest.
        high: The largest.
        trend: The least-squares slope a second; NaN where all have one time, and where a value is beyond ±2**480.
    """

    count: Integers
    mean: Doubles
    std: Doubles
    low: Doubles
    high: Doubles
    trend: Doubles

    def at(self, rows: Integers) -> Statistics:
        """Those at some places."""
        return Statistics(
            self.count[rows], self.mean[rows], self.std[rows], self.low[rows], self.high[rows], self.trend[rows]
        )

    @staticmethod
    def joined(parts: Sequence[Statistics]) -> Statistics:
        """Several, at least one, behind each other."""
        return Statistics(
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.std for part in parts]),
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.trend for part in parts]),
        )


class _Node(NamedTuple):
    """Of up to so many readings that end at each place, with values x and ages a, in µs before the newest."""

    off: Doubles
    """The mean of x, less the newest value."""
    spread: Doubles
    """Σ(x − mean)²."""
    low: Doubles
    high: Doubles
    age: Doubles
    """The mean of a."""
    ages: Doubles
    """Σ(a − age)²."""
    cross: Doubles
    """Σ(x − mean)(a − age)."""


def trailing(tails: Tails, numbers: Sequence[int]) -> list[Statistics]:
    """For each of some numbers what so many last readings at each place say, that of the place included.

    A series has fewer at its beginning.  The statistics are functions of the window's readings in their order alone, to
    the last bit.  Mean and deviation are off by a few units in the last place of the largest magnitude, for a pairwise
    sum's error grows by the logarithm of its length.

    Args:
        tails: The readings.
        numbers: How many, each at least 1.
    """
    value = tails.value
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        nodes = _nodes(tails, numbers)
        means = [value + node.off for node in nodes]
        if len(value) and float(np.abs(value).max()) > _NEAR_OVERFLOW:
            quarters = _nodes(Tails(value * 0.25, tails.time, tails.place), numbers)
            for mean, node, quarter in zip(means, nodes, quarters, strict=True):
                large = np.flatnonzero(_size(node) > _NEAR_OVERFLOW)
                mean[large] = (value[large] * 0.25 + quarter.off[large]) * 4.0
        return [
            _statistics(node, mean, np.minimum(tails.place + 1, number))
            for number, node, mean in zip(numbers, nodes, means, strict=True)
        ]


def _nodes(tails: Tails, numbers: Sequence[int]) -> list[_Node]:
    """The node of each number: its binary digits say of which powers of two it is made, the smallest the newest."""
    value, zero = tails.value, np.zeros(len(tails.value))
    node, width = _Node(zero, zero, value, value, zero, zero, zero), 1
    made: dict[int, tuple[_Node, int]] = {}
    largest = max(numbers, default=0)
    while width <= largest:
        for number in {*numbers}:
            if number & width:
                newer, readings = made.get(number, (None, 0))
                both = node if newer is None else _joined(newer, readings, node, width, tails)
                made[number] = both, readings + width
        if 2 * width <= largest:
            node = _joined(node, width, node, width, tails)
        width *= 2
    return [made[number][0] for number in numbers]


def _joined(newer: _Node, readings: int, older: _Node, width: int, tails: Tails) -> _Node:
    """What the last ``readings`` at each place and up to ``width`` before those say together."""
    before = tails.place[readings:] + 1 - readings
    if not len(before):
        return newer
    none = np.flatnonzero(before <= 0)
    share = np.full(len(before), width / (readings + width))
    few = np.flatnonzero(before < width)
    share[few] = np.maximum(before[few], 0) / (readings + np.maximum(before[few], 0))
    new, old = (_Node(*part) for part in (
        (array[readings:] for array in newer),
        (array[: len(before)] for array in older),
    ))  # fmt: skip
    apart = old.off + (tails.value[: len(before)] - tails.value[readings:]) - new.off
    gone = old.age + (tails.time[readings:] - tails.time[: len(before)]) - new.age
    apart[none] = gone[none] = 0.0
    weight = share * readings
    both = _Node(
        new.off + apart * share,
        _plus(new.spread, old.spread, none) + apart * apart * weight,
        np.minimum(new.low, old.low),
        np.maximum(new.high, old.high),
        new.age + gone * share,
        _plus(new.ages, old.ages, none) + gone * gone * weight,
        _plus(new.cross, old.cross, none) + apart * gone * weight,
    )
    both.low[none], both.high[none] = new.low[none], new.high[none]
    return _Node(*(np.concatenate([first[:readings], then]) for first, then in zip(newer, both, strict=True)))


def _plus(new: Doubles, old: Doubles, none: Integers) -> Doubles:
    """The sum, or where there is nothing old the new."""
    total: Doubles = new + old
    total[none] = new[none]
    return total


def _size(node: _Node) -> Doubles:
    """The largest magnitude of a value."""
    found: Doubles = np.maximum(-node.low, node.high)
    return found


def _statistics(node: _Node, mean: Doubles, count: Integers) -> Statistics:
    huge = _size(node) > HUGE
    std = np.where(huge, np.nan, np.sqrt(node.spread / count))
    sloped = ~huge & (node.ages > 0.0)
    trend = np.full(len(count), np.nan)
    # Ages grow into the past: the slope over time has the other sign.  0.0 − x leaves no negative zero.
    trend[sloped] = 0.0 - node.cross[sloped] / node.ages[sloped] * _MILLION
    return Statistics(count, np.clip(mean, node.low, node.high), std, node.low, node.high, trend)
