"""Which windows wait to be computed: event time cut into stretches, each with the last offset that touched it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MOST_STRETCHES = 1_000
"""A stream of scattered late readings would make a list without end; beyond this, neighbours are taken as one."""


class Stretch(NamedTuple):
    """[first, end) of event time in µs, at the edges of windows or of their panes."""

    first: int
    end: int
    offset: int
    """The partition's records that touched it are below this."""


def touch(stretches: Iterable[Stretch], times: npt.NDArray[np.int64], length: int, offset: int) -> list[Stretch]:
    """The stretches with those of the windows that some event times fall into.

    >>> touch([Stretch(0, 20, 5)], np.array([11, 25, 31]), 10, 9)
    [Stretch(first=0, end=10, offset=5), Stretch(first=10, end=40, offset=9)]

    Args:
        stretches: Disjoint and ascending.
        times: µs since 1970.
        length: Of the stretches, in µs.
        offset: Behind the records that the times come from.
    """
    starts = np.unique(times - times % length)
    if not len(starts):
        return list(stretches)
    breaks = np.flatnonzero(np.diff(starts) != length) + 1
    runs = [Stretch(int(run[0]), int(run[-1]) + length, offset) for run in np.split(starts, breaks)]
    return _fewer(_joined([*_outside(stretches, runs), *runs]))


def settle(stretches: Iterable[Stretch], until: int, length: int, offset: int) -> list[Stretch]:
    """What is left when all windows with an end ≤ ``until`` hold all records below an offset.

    >>> settle([Stretch(0, 30, 5), Stretch(30, 40, 9)], 25, 10, 5)
    [Stretch(first=20, end=30, offset=5), Stretch(first=30, end=40, offset=9)]
    """
    done = until - until % abs(length)  # what sessions are called by lies below zero
    return [
        stretch if stretch.offset > offset else stretch._replace(first=max(stretch.first, done))
        for stretch in stretches
        if stretch.offset > offset or stretch.end > done
    ]


def _outside(stretches: Iterable[Stretch], runs: list[Stretch]) -> list[Stretch]:
    """The parts of stretches that no run covers."""
    left = []
    for stretch in stretches:
        first = stretch.first
        for run in runs:
            if run.end <= first or run.first >= stretch.end:
                continue
            if run.first > first:
                left.append(stretch._replace(first=first, end=run.first))
            first = run.end
        if first < stretch.end:
            left.append(stretch._replace(first=first))
    return left


def _joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for stretch in sorted(stretches):
        if joined and joined[-1].end == stretch.first and joined[-1].offset == stretch.offset:
            joined[-1] = joined[-1]._replace(end=stretch.end)
        else:
            joined.append(stretch)
    return joined


def _fewer(stretches: list[Stretch]) -> list[Stretch]:
    """No more than so many: the narrowest gaps are closed, which makes some windows be computed once more."""
    while len(stretches) > MOST_STRETCHES:
        gaps = [after.first - before.end for before, after in pairwise(stretches)]
        widest = sorted(gaps)[len(gaps) // 2]
        merged = [stretches[0]]
        for gap, stretch in zip(gaps, stretches[1:], strict=True):
            if gap <= widest:
                last = merged[-1]
                merged[-1] = Stretch(last.first, stretch.end, max(last.offset, stretch.offset))
            else:
                merged.append(stretch)
        stretches = merged
    return stretches
