"""The readings before each reading, for detectors that look at the last few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from telebeam.transforms.anomaly.lanes import Floats, History, Ints, Lanes, Slot

BLOCK_READINGS, BLOCK_LANES = 16_384, 2_048
"""Readings, or lanes, that are worked on at a time: their columns stay in the cache."""


@dataclass(frozen=True, eq=False)
class Tail:
    """Some lanes' last numbers and their new ones in one array, so that those before a reading stand before it."""

    last: int
    """How many numbers are remembered."""
    numbers: Floats
    """float64[lanes × last + readings]: each lane's remembered numbers, oldest first, then its new ones."""
    at: Ints
    """int64[readings]: where the new ones stand."""
    first: Ints
    """int64[lanes]: where each lane's remembered ones begin."""
    count: Ints
    """int64[lanes]: how many new ones each has."""

    @staticmethod
    def of(remembered: Floats, new: Floats, count: Ints) -> Tail:
        """The tail of some lanes.

        Args:
            remembered: float64[last, lanes].
            new: float64[readings]: lane after lane.
            count: int64[lanes].
        """
        last, lanes = remembered.shape
        first = np.cumsum(count) - count + np.arange(lanes) * last
        numbers = np.empty(lanes * last + len(new))
        numbers[first[:, np.newaxis] + np.arange(last)] = remembered.T
        at = np.arange(len(new)) + np.repeat((np.arange(lanes) + 1) * last, count)
        numbers[at] = new
        return Tail(last, numbers, at, first, count)

    def remembered(self) -> Floats:
        """float64[last, lanes]: the last numbers of each lane, the new ones among them."""
        found: Floats = self.numbers[self.first + self.count + np.arange(self.last)[:, np.newaxis]]
        return found

    def mean_and_std(self, rows: Ints) -> tuple[Floats, Floats]:
        """Mean and population standard deviation of the ``last`` numbers before some of the new ones.

        Two passes, each from the oldest number to the newest: the order of the sums, and so their bits, does not depend
        on how the readings are laid out.
        """
        at, numbers = self.at[rows], self.numbers
        total = np.zeros(len(at))
        for back in range(self.last, 0, -1):
            total += numbers[at - back]
        mean = total / self.last
        square = np.zeros(len(at))
        for back in range(self.last, 0, -1):
            square += (numbers[at - back] - mean) ** 2
        return mean, np.sqrt(square / self.last)

    def table(self, rows: Ints) -> Floats:
        """float64[rows, last]: the numbers before some of the new ones, oldest first."""
        windows = np.lib.stride_tricks.sliding_window_view(self.numbers, self.last)
        found: Floats = windows[self.at[rows] - self.last]
        return found


def seen(history: History, lanes: Lanes) -> Ints:
    """int64[readings], lane after lane: how many readings of the series came before each."""
    before = history["count"][0]
    ordinal = np.arange(int(lanes.count.sum())) - np.repeat(np.cumsum(lanes.count) - lanes.count, lanes.count)
    found: Ints = ordinal + np.repeat(before, lanes.count)
    return found


def blocks(lanes: Lanes, history: History, *, by_readings: bool = False) -> Iterator[tuple[Lanes, History]]:
    """Some lanes at a time, with views of their histories.

    Args:
        lanes: All of them.
        history: Theirs.
        by_readings: Whether few readings are worked on at a time, all at once; otherwise few lanes, step by step.
    """
    readings = BLOCK_READINGS if by_readings else len(lanes.value) + 1
    for part in lanes.blocks(readings, BLOCK_LANES):
        yield lanes.take(part), {name: array[:, part] for name, array in history.items()}


def row_medians(table: Floats) -> Floats:
    """The median of each row; orders the rows in place."""
    table.sort(axis=1)
    width = table.shape[1]
    found: Floats = (table[:, (width - 1) // 2] + table[:, width // 2]) / 2
    return found


def row_sums(table: Floats) -> Floats:
    """The sum of each row, from its first number to its last."""
    total = np.zeros(len(table))
    for column in range(table.shape[1]):
        total += table[:, column]
    return total


COUNT = Slot(1, np.int64, 0)
"""How many readings a series had."""
