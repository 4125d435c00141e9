"""A rule at work: its conditions put together, for each group over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from telebeam.transforms.rules.conditions import Absent, Combined, Compare, Condition, selections
from telebeam.transforms.rules.leaves import Call, Known, Leaf, selection_of
from telebeam.transforms.rules.levels import Level, Marks
from telebeam.transforms.rules.life import Life
from telebeam.transforms.rules.rows import Rows
from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.rules.steps import NO_STEPS, Integers, Mask, Steps, changes, fold, known_at, moments_of
from telebeam.transforms.rules.tracks import Tracks, grown


class Truths(NamedTuple):
    """What a call makes of a rule: when it holds, and when that is critical."""

    holds: Steps
    critical: Steps


class Kinds(NamedTuple):
    """Which rows a rule looks at."""

    readings: bool
    scores: bool


class Program:
    """A rule with what it knows of the past.

    Args:
        rule: The rule.
        tracks: The tracks that it is about.
    """

    def __init__(self, rule: RuleSpec, tracks: Tracks) -> None:
        self.rule = rule
        self.grouping = tracks.grouping(rule.group_by)
        found = list(_with_sign(rule.when, True))
        self.leaves = [Leaf(rule, condition, tracks, self.grouping) for condition, _ in found]
        self.marks = [marks for leaf, (_, sign) in zip(self.leaves, found, strict=True) if sign for marks in leaf.marks]
        """The rows by which its alerts are explained: none of those that must not be."""
        self.looks_at = [selection_of(rule, part, tracks) for part in selections(rule.when)]
        scores = [isinstance(part, Compare) and part.subject == "score" for part in selections(rule.when)]
        self.kinds_of_rows = Kinds(not all(scores), any(scores))
        self.is_timed = any(isinstance(condition, Absent) for condition, _ in found)
        """Whether it may fire without a reading."""
        self.is_plain = len(found) == 1 and found[0][0] is rule.when
        self.known = [self._known(condition, tracks) for condition, _ in found] if _negates(rule.when) else []
        self.criticals = [
            Level(Marks(part, selection_of(rule, part, tracks), critical=True), self.grouping)
            for part in (condition for condition, _ in found)
            if isinstance(part, Compare) and part.has_critical
        ]
        self.critical_counts: Integers = np.zeros(0, np.int64)
        self.held: Mask = np.zeros(0, np.bool_)
        """By group, whether the rule holds at the end of the last call."""
        self.before: Mask = self.held
        """The same at the end of the call before."""
        self.lives: dict[int, Life] = {}
        """By group, where there is anything to remember."""
        self.waiting: set[int] = set()
        """Groups in which something may happen without another step."""

    def _known(self, condition: Condition, tracks: Tracks) -> Known:
        parts = [selection_of(self.rule, part, tracks) for part in selections(condition)]
        return Known(parts, self.grouping)

    def extend(self, tracks: int, groups: int) -> None:
        """Makes room for new tracks and groups."""
        self.held = grown(self.held, groups, False)
        self.critical_counts = grown(self.critical_counts, groups, 0)
        for leaf in self.leaves:
            leaf.extend(tracks, groups)
        for level in self.criticals:
            level.extend(tracks, groups)
        for known in self.known:
            known.extend(groups)

    def keep(self, tracks: Integers, groups: Integers, anew: Integers) -> None:
        """Keeps some tracks and groups and numbers them anew."""
        self.held, self.critical_counts = self.held[groups], self.critical_counts[groups]
        for leaf in self.leaves:
            leaf.keep(tracks, groups, anew)
        for level in self.criticals:
            level.keep(tracks, groups)
        for known in self.known:
            known.keep(groups)
        self.lives = {int(anew[group]): life for group, life in self.lives.items()}
        self.waiting = {int(anew[group]) for group in self.waiting}

    def advance(self, call: Call) -> Truths:
        """When the rule holds within a call."""
        leaf_steps = [leaf.advance(call) for leaf in self.leaves]
        known_steps = [known.advance(call.seen) for known in self.known]
        self.before = self.held.copy()
        holds = leaf_steps[0] if self.is_plain else self._combined(leaf_steps, known_steps)
        self.held[holds.group] = holds.truth
        for leaf, steps in zip(self.leaves, leaf_steps, strict=True):
            leaf.settle(steps)
        for known, steps in zip(self.known, known_steps, strict=True):
            known.settle(steps)
        return Truths(holds, self._critical(call))

    def _combined(self, leaves: list[Steps], known: list[Steps]) -> Steps:
        group, moment = moments_of([*leaves, *known])
        if not len(group):
            return NO_STEPS
        everything = np.ones(len(group), np.bool_)
        answers = []
        for place, steps in enumerate(leaves):
            truth = known_at(steps, self.leaves[place].held, group, moment)
            told = known_at(known[place], self.known[place].held, group, moment) if known else everything
            answers.append((truth, told & ~truth))
        holds, _ = _evaluate(self.rule.when, iter(answers))
        return changes(group, moment, holds, self.held)

    def _critical(self, call: Call) -> Steps:
        parts = [level.advance(call.rows_for(level.marks), call.seen) for level in self.criticals]
        if not parts:
            return NO_STEPS
        group, moment, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
        return fold(group, moment, np.where(truth, 1, -1), self.critical_counts)

    def selected(self, rows: Rows) -> Mask:
        """For each track with rows, in the order of ``rows.starts``, whether the rule looks at it."""
        found: Mask = np.zeros(len(rows.starts), np.bool_)
        for selection in self.looks_at:
            found |= selection.mask[rows.owners]
        return found

    def matching(self, rows: Rows, call: Call) -> Mask:
        """bool[n]: the rows by which the rule's alerts are explained."""
        found: Mask = np.zeros(len(rows), np.bool_)
        for marks in self.marks:
            if call.rows_for(marks) is rows:
                found |= marks.holds(rows) & marks.selected(rows)
        return found


def _with_sign(condition: Condition, sign: bool) -> Iterator[tuple[Condition, bool]]:
    """Each leaf, and whether it has to hold rather than not to."""
    if not isinstance(condition, Combined):
        yield condition, sign
        return
    for part in condition.parts:
        yield from _with_sign(part, sign != (condition.operator == "not"))


def _negates(condition: Condition) -> bool:
    if not isinstance(condition, Combined):
        return False
    return condition.operator == "not" or any(_negates(part) for part in condition.parts)


def _evaluate(condition: Condition, answers: Iterator[tuple[Mask, Mask]]) -> tuple[Mask, Mask]:
    """(where it is true, where it is false): Kleene's logic, for what nothing is known of is neither.

    Args:
        condition: The condition.
        answers: The same of each leaf, in order.
    """
    if not isinstance(condition, Combined):
        return next(answers)
    parts = [_evaluate(part, answers) for part in condition.parts]
    if condition.operator == "not":
        return parts[0][1], parts[0][0]
    true, false = parts[0]
    for more_true, more_false in parts[1:]:
        if condition.operator == "all":
            true, false = true & more_true, false | more_false
        else:
            true, false = true | more_true, false & more_false
    return true, false
