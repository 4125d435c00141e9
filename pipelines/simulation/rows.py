"""Readings on their way into a file, as NumPy columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from telebeam.pipelines.simulation.fleet import Floats, Ints

Codes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class Point(IntEnum):
    """What is wrong with one reading, in the order of ``POINT_FAULTS``."""

    NONE = 0
    SPIKE = 1
    OUT_OF_RANGE = 2
    MISSING = 3


class Record(IntEnum):
    """What is wrong with a record, in the order of ``RECORD_FAULTS``."""

    NONE = 0
    MALFORMED = 1
    FUTURE = 2
    LATE = 3
    DUPLICATE = 4


class Kind(IntEnum):
    """What is wrong with a device for a while, in the order of ``EPISODE_FAULTS``."""

    STUCK = 0
    DRIFT = 1
    LEVEL_SHIFT = 2
    DROPOUT = 3


@dataclass(frozen=True, eq=False)
class Rows:
    """Some readings; a record's readings stand together."""

    position: Ints
    """The reading's number in the order of time."""
    key: Ints
    """Where it stands in the file: its own position, or the one before which it arrives."""
    row: Ints
    """Its sensor in the fleet."""
    timestamp_ms: Ints
    """As it is written."""
    value: Floats
    """In the unit that is written; a missing one is NaN."""
    point: Codes
    """A :class:`Point`."""
    record: Codes
    """A :class:`Record`; of a duplicate only the copy bears it."""
    first: Flags
    """Whether a record begins here."""

    def __len__(self) -> int:
        """How many readings there are."""
        return len(self.position)

    def take(self, indices: Ints | Flags | slice) -> Rows:
        """Those readings, in that order."""
        return Rows(*(getattr(self, field.name)[indices] for field in fields(self)))

    @staticmethod
    def concat(parts: list[Rows]) -> Rows:
        """The parts one after the other."""
        return Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


def runs(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Every number of some runs, with the index of its run.

    >>> index, number = runs(np.array([10, 50]), np.array([2, 3]))
    >>> index.tolist(), number.tolist()
    ([0, 0, 1, 1, 1], [10, 11, 50, 51, 52])
    """
    index = np.repeat(np.arange(len(starts)), counts)
    before = np.cumsum(counts) - counts
    return index, starts[index] + np.arange(len(index)) - before[index]
