"""The conditions of a rule, each with what it knows of the past, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from telebeam.transforms.rules.conditions import (
    Absent,
    Compare,
    Condition,
    Count,
    ReadingCondition,
    Selecting,
    Sequence,
    Stuck,
)
from telebeam.transforms.rules.levels import Level, Marks
from telebeam.transforms.rules.presence import Presence
from telebeam.transforms.rules.rows import Rows
from telebeam.transforms.rules.spans import Frequency, Silence, Succession, matches_of
from telebeam.transforms.rules.spec import GROUP, RuleSpec
from telebeam.transforms.rules.steps import Integers, Mask, Span, Steps, fold
from telebeam.transforms.rules.tracks import Grouping, Selection, Tracks, grown

Test = Callable[[str | None], bool]


class Call(NamedTuple):
    """What a book is given at once."""

    readings: Rows
    scores: Rows
    seen: Presence
    span: Span

    def rows_for(self, marks: Marks) -> Rows:
        """The rows that a condition is about."""
        return self.scores if marks.of_scores else self.readings


class Leaf:
    """One condition of a rule.

    Attributes:
        marks: The rows by which it is explained, if it is about rows.
        held: By group, whether it holds at the end of the last call.
    """

    def __init__(self, rule: RuleSpec, condition: Condition, tracks: Tracks, grouping: Grouping) -> None:
        def marks(part: ReadingCondition) -> Marks:
            return Marks(part, selection_of(rule, part, tracks))

        self.marks: tuple[Marks, ...] = ()
        self.held: Mask = np.zeros(0, np.bool_)
        self.level: Level | None = None
        self.span: Silence | Frequency | Succession | None = None
        if isinstance(condition, (Compare, Stuck)):
            self.marks = (marks(condition),)
            self.level = Level(self.marks[0], grouping, rule.resolve.at)
        elif isinstance(condition, Absent):
            self.span = Silence(condition, selection_of(rule, condition, tracks), grouping)
        elif isinstance(condition, Count):
            self.marks = (marks(condition.of),)
            self.span = Frequency(condition, self.marks[0], grouping)
        elif isinstance(condition, Sequence):
            self.marks = (marks(condition.then),)
            self.span = Succession(condition, marks(condition.first), self.marks[0], grouping)
        self.grouping = grouping

    def extend(self, tracks: int, groups: int) -> None:
        """Makes room for new tracks and groups."""
        self.held = grown(self.held, groups, False)
        if self.level is not None:
            self.level.extend(tracks, groups)
        if isinstance(self.span, Silence):
            self.span.extend(groups)

    def keep(self, tracks: Integers, groups: Integers, anew: Integers) -> None:
        """Keeps some tracks and groups and numbers them anew."""
        self.held = self.held[groups]
        if self.level is not None:
            self.level.keep(tracks, groups)
        if isinstance(self.span, Silence):
            self.span.keep(groups)
        elif self.span is not None:
            self.span.keep(anew)

    def advance(self, call: Call) -> Steps:
        """The group's steps of one call."""
        if self.level is not None:
            return self.level.advance(call.rows_for(self.level.marks), call.seen)
        if isinstance(self.span, Silence):
            return self.span.advance(call.readings, call.span)
        if isinstance(self.span, Frequency):
            return self.span.advance(_matches(self.span.marks, call, self.grouping), call.span)
        if isinstance(self.span, Succession):
            first = _matches(self.span.first, call, self.grouping)
            return self.span.advance(first, _matches(self.span.then, call, self.grouping), call.span)
        raise TypeError("a leaf without a condition")

    def settle(self, steps: Steps) -> None:
        """Takes the steps of the call for past."""
        self.held[steps.group] = steps.truth  # of several of one group the last one stays


def _matches(marks: Marks, call: Call, grouping: Grouping) -> tuple[Integers, Integers]:
    return matches_of(marks, call.rows_for(marks), grouping)


class Known:
    """Whether anything is known of a condition: it is while a track that it selects is remembered.

    Args:
        selections: The condition's.
        grouping: The groups.
    """

    def __init__(self, selections: list[Selection], grouping: Grouping) -> None:
        self._selections, self._grouping = selections, grouping
        self.counts: Integers = np.zeros(0, np.int64)
        """By group, how many tracks are known."""
        self.held: Mask = np.zeros(0, np.bool_)

    def extend(self, groups: int) -> None:
        """Makes room for new groups."""
        self.counts, self.held = grown(self.counts, groups, 0), grown(self.held, groups, False)

    def keep(self, groups: Integers) -> None:
        """Keeps some groups and numbers them anew."""
        self.counts, self.held = self.counts[groups], self.held[groups]

    def selected(self, tracks: Integers) -> Mask:
        """Which of some tracks count."""
        found: Mask = np.zeros(len(tracks), np.bool_)
        for selection in self._selections:
            found |= selection.mask[tracks]
        return found

    def advance(self, seen: Presence) -> Steps:
        """The group's steps of one call."""
        track = np.concatenate([seen.appeared[0], seen.returned[0], seen.left[0]])
        moment = np.concatenate([seen.appeared[1], seen.returned[1], seen.left[1]])
        delta = np.where(np.arange(len(track)) < len(seen.appeared[0]), 1, -1)
        chosen = self.selected(track)
        return fold(self._grouping.of_track[track[chosen]], moment[chosen], delta[chosen], self.counts)

    def settle(self, steps: Steps) -> None:
        """Takes the steps of the call for past."""
        self.held[steps.group] = steps.truth


def selection_of(rule: RuleSpec, condition: Selecting, tracks: Tracks) -> Selection:
    """The tracks that a condition of a rule looks at: what the condition selects, of what the rule looks at."""
    only = rule.only
    wants: list[tuple[str, Test]] = [(column, _one_of(texts)) for column, texts in condition.where]
    for column, texts in (("tenant", only.tenants), ("location", only.locations), ("sensor_type", only.sensor_types)):
        if texts is not None:
            wants.append((column, _one_of(texts)))
    if rule.names_group:
        wants.append((GROUP, _is_known if only.groups is None else _one_of(only.groups)))
    if only.devices is not None:
        wants.append(("device_id", _like(only.devices)))
    return tracks.selection(wants)


def _one_of(texts: tuple[str, ...]) -> Test:
    known = frozenset(texts)
    return lambda text: text in known


def _is_known(text: str | None) -> bool:
    return text is not None


def _like(patterns: tuple[str, ...]) -> Test:
    plain = [pattern.replace("[", "[[]") for pattern in patterns]  # brackets are a device id's own
    return lambda text: text is not None and any(fnmatchcase(text, pattern) for pattern in plain)


def columns_used(rule: RuleSpec, selecting: Iterator[Selecting]) -> set[str]:
    """The columns that decide whether a rule looks at a reading, and in which group."""
    used = {column for condition in selecting for column, _ in condition.where} | set(rule.group_by)
    used |= {"location"} if rule.only.locations is not None else set()
    return used | ({GROUP} if rule.names_group else set())
