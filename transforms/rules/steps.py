"""Truth over time: for each group the moments at which something begins or ceases to hold.

A moment is counted in half microseconds: ``2 * t`` is the instant *t* with all its readings, ``2 * t + 1`` is just
after it.  What ends because time has passed ends just after, so that a reading at the very edge still counts; and what
an instant's readings say is read when all of them are in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

EARLIEST = -(1 << 62)
"""Before every moment."""


class Steps(NamedTuple):
    """Changes of truth, by group and moment; within a group each is another truth than the one before."""

    group: Integers
    moment: Integers
    truth: Mask


class Span(NamedTuple):
    """The moments that a call decides: [floor, horizon)."""

    floor: int
    horizon: int


NO_INTEGERS = np.empty(0, np.int64)
NO_STEPS = Steps(NO_INTEGERS, NO_INTEGERS, np.empty(0, np.bool_))


def firsts(keys: npt.NDArray[np.int64]) -> Mask:
    """Where in sorted keys another one begins."""
    found = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=found[1:])
    return found


def fold(group: Integers, moment: Integers, delta: Integers, counts: Integers) -> Steps:
    """Holds while at least one of its parts does: ups and downs of parts to the steps of their group.

    Args:
        group: The group of each change of a part.
        moment: When it is.
        delta: 1 where a part begins to hold, -1 where it ceases to.
        counts: By group, how many parts hold before; brought up to date in place.
    """
    if not len(group):
        return NO_STEPS
    order = np.lexsort((moment, group))
    group, moment, delta = group[order], moment[order], delta[order]
    heads = np.flatnonzero(firsts(group) | firsts(moment))
    group, moment = group[heads], moment[heads]
    total = np.cumsum(np.add.reduceat(delta, heads))
    begin = firsts(group)
    before_group = np.concatenate([[0], total[:-1]])[begin]
    lengths = np.diff(np.append(np.flatnonzero(begin), len(group)))
    after = total + np.repeat(counts[group[begin]] - before_group, lengths)
    before = np.empty_like(after)
    before[1:] = after[:-1]
    before[begin] = counts[group[begin]]
    counts[group] = after  # of several places of one group the last one stays
    changed = (before > 0) != (after > 0)
    return Steps(group[changed], moment[changed], after[changed] > 0)


def edges(group: Integers, start: Integers, end: Integers, span: Span) -> Steps:
    """Holds within intervals [start, end): their edges that fall into a span.

    Args:
        group: Each interval's group, ascending.
        start: Ascending within a group.
        end: Not descending within a group.
        span: What lies before it was handed out earlier; what lies behind it is not decided yet.
    """
    if not len(group):
        return NO_STEPS
    same = ~firsts(group)
    begins, ends = np.ones(len(group), np.bool_), np.ones(len(group), np.bool_)
    touches = same[1:] & (start[1:] <= end[:-1])
    begins[1:], ends[:-1] = ~touches, ~touches
    group = np.concatenate([group[begins], group[ends]])
    moment = np.concatenate([start[begins], end[ends]])
    truth = np.arange(len(group)) < np.count_nonzero(begins)
    inside = (moment >= span.floor) & (moment < span.horizon)
    group, moment, truth = group[inside], moment[inside], truth[inside]
    order = np.lexsort((moment, group))
    return Steps(group[order], moment[order], truth[order])


def running_maximum(group: Integers, numbers: Integers) -> Integers:
    """For each place the largest number of its group up to there; groups stand together."""
    largest, shift = numbers.copy(), 1
    while shift < len(numbers):
        same = group[shift:] == group[:-shift]
        if not same.any():
            break
        largest[shift:] = np.where(same, np.maximum(largest[shift:], largest[:-shift]), largest[shift:])
        shift *= 2
    return largest


def known_at(steps: Steps, before: Mask, group: Integers, moment: Integers) -> Mask:
    """The truth at some moments, changes of that very moment included.

    Args:
        steps: The changes.
        before: By group, the truth before all of them.
        group: The group of each question.
        moment: Its moment.
    """
    if not len(steps.group):
        return before[group]
    asked = np.arange(len(steps.group) + len(group)) >= len(steps.group)
    groups = np.concatenate([steps.group, group])
    order = np.lexsort((asked, np.concatenate([steps.moment, moment]), groups))
    latest = np.maximum.accumulate(np.where(asked[order], -1, np.arange(len(order))))
    step = np.where(latest >= 0, order[latest], 0)  # a step's place among all is its place among the steps
    valid = (latest >= 0) & (groups[step] == groups[order])
    found = np.where(valid, steps.truth[np.where(valid, step, 0)], before[groups[order]])
    answers = np.empty(len(order), np.bool_)
    answers[order] = found
    return answers[len(steps.group) :]


def moments_of(several: Sequence[Steps]) -> tuple[Integers, Integers]:
    """Every (group, moment) at which one of several changes, once and in order."""
    group = np.concatenate([steps.group for steps in several])
    moment = np.concatenate([steps.moment for steps in several])
    order = np.lexsort((moment, group))
    group, moment = group[order], moment[order]
    once = firsts(group) | firsts(moment)
    return group[once], moment[once]


def changes(group: Integers, moment: Integers, truth: Mask, before: Mask) -> Steps:
    """The steps of a truth that is known at some moments, in order: where it differs from the one before."""
    begin = firsts(group)
    former = np.empty_like(truth)
    former[1:] = truth[:-1]
    former[begin] = before[group[begin]]
    differs = truth != former
    return Steps(group[differs], moment[differs], truth[differs])
