"""Conditions of time: what begins and ends at moments at which there may be no reading."""

from __future__ import annotations

import numpy as np

from telebeam.transforms.rules.conditions import Absent, Count, Sequence
from telebeam.transforms.rules.levels import Marks
from telebeam.transforms.rules.rows import Rows
from telebeam.transforms.rules.steps import (
    EARLIEST,
    NO_INTEGERS,
    Integers,
    Span,
    Steps,
    edges,
    firsts,
    running_maximum,
)
from telebeam.transforms.rules.tracks import Grouping, Selection, grown

HELD = 90 * 86_400 * 1_000_000
"""µs for which an absence is held: a device that is gone for a quarter of a year does not come back by itself."""
_MICROSECONDS = 1_000_000


class Silence:
    """Holds for a group from when it has been silent for some time until its next reading.

    Args:
        condition: How long.
        selection: Whose readings count.
        grouping: The groups.
    """

    def __init__(self, condition: Absent, selection: Selection, grouping: Grouping) -> None:
        self.grouping, self._selection = grouping, selection
        self._lasting = round(condition.lasting.total_seconds() * _MICROSECONDS)
        self.last: Integers = np.empty(0, np.int64)
        """By group, the last reading."""

    def extend(self, groups: int) -> None:
        """Makes room for new groups."""
        self.last = grown(self.last, groups, EARLIEST)

    def keep(self, groups: Integers) -> None:
        """Keeps some groups and numbers them anew."""
        self.last = self.last[groups]

    def holds_on(self, groups: int, moment: int) -> np.ndarray:
        """By group, whether its silence is still of interest at some time, in µs."""
        last = self.last[:groups]
        held: np.ndarray = (last != EARLIEST) & (last + HELD >= moment)
        return held

    def advance(self, rows: Rows, span: Span) -> Steps:
        """The group's steps of one call."""
        heard = self._heard(rows) if len(rows) else (NO_INTEGERS,) * 3
        present = np.unique(heard[0])
        quiet = self._quiet(present, span)
        known = present[self.last[present] != EARLIEST]
        group = np.concatenate([heard[0], known])
        start = np.concatenate([heard[1], self.last[known]])
        end = np.concatenate([heard[2], self.last[known]])
        order = np.lexsort((start, group))
        group, start = group[order], start[order]
        latest = running_maximum(group, end[order])
        final = np.append(firsts(group)[1:], np.ones(min(len(group), 1), np.bool_))
        following = np.append(start[1:], start[:1])
        following = np.where(final, latest + HELD + 1, following)
        silent = following - latest > self._lasting
        self.last[group[final]] = latest[final]
        parts = (
            np.concatenate([group[silent], quiet]),
            np.concatenate([latest[silent], self.last[quiet]]),
            np.concatenate([following[silent], self.last[quiet] + HELD + 1]),
        )
        order = np.lexsort((parts[1], parts[0]))
        group, latest, following = (part[order] for part in parts)
        forgotten = 2 * (latest + HELD) + 1
        return edges(group, 2 * (latest + self._lasting) + 1, np.minimum(2 * following, forgotten), span)

    def _heard(self, rows: Rows) -> tuple[Integers, Integers, Integers]:
        """(group, first, last) of stretches of a track in which it is never silent for so long."""
        breaks = np.empty(0, np.int64)
        if rows.time.max() - rows.time.min() > self._lasting:
            breaks = np.flatnonzero(np.diff(rows.time) > self._lasting) + 1
            breaks = breaks[rows.track[breaks] == rows.track[breaks - 1]]
        starts = np.sort(np.concatenate([rows.starts, breaks]))
        ends = np.append(starts[1:], len(rows)) - 1
        track = rows.track[starts]
        chosen = self._selection.mask[track]
        return self.grouping.of_track[track[chosen]], rows.time[starts[chosen]], rows.time[ends[chosen]]

    def _quiet(self, present: Integers, span: Span) -> Integers:
        """Groups without a reading whose silence begins or is forgotten in this call."""
        last = self.last[: len(self.grouping)]
        begins, ends = 2 * (last + self._lasting) + 1, 2 * (last + HELD) + 1
        due = (begins >= span.floor) & (begins < span.horizon) | (ends >= span.floor) & (ends < span.horizon)
        due &= last != EARLIEST
        due[present] = False
        return np.flatnonzero(due)


class Frequency:
    """Holds for a group from a match that is one of so many within some time, until they no longer are.

    Args:
        condition: How many within which time.
        marks: What a match is.
        grouping: The groups.
    """

    def __init__(self, condition: Count, marks: Marks, grouping: Grouping) -> None:
        self.grouping, self.marks = (grouping, marks)
        self._within = round(condition.within.total_seconds() * _MICROSECONDS)
        self._least = condition.at_least
        self.group = self.time = NO_INTEGERS

    def keep(self, anew: Integers) -> None:
        """Numbers the groups anew; -1 for one that is forgotten."""
        kept = anew[self.group] >= 0
        self.group, self.time = anew[self.group[kept]], self.time[kept]

    def advance(self, matches: tuple[Integers, Integers], span: Span) -> Steps:
        """The group's steps of one call.

        Args:
            matches: (group, time) of the readings that match.
            span: What the call decides.
        """
        group = np.concatenate([self.group, matches[0]])
        time = np.concatenate([self.time, matches[1]])
        order = np.lexsort((time, group))
        group, time = group[order], time[order]
        back = self._least - 1
        place = np.arange(back, len(group))
        place = place[(group[place] == group[place - back]) & (time[place] - time[place - back] <= self._within)]
        end = 2 * (time[place - back] + self._within) + 1
        steps = edges(group[place], 2 * time[place], end, span)
        self._retain(group, time, span)
        return steps

    def _retain(self, group: Integers, time: Integers, span: Span) -> None:
        """Remembers the last matches of each group that may still be among so many."""
        from_end = np.append(np.flatnonzero(firsts(group)), len(group))
        after = np.repeat(from_end[1:], np.diff(from_end)) - np.arange(len(group))
        kept = (after <= self._least) & (2 * (time + self._within) + 1 >= span.horizon)
        self.group, self.time = group[kept], time[kept]


class Succession:
    """Holds for a group from a second match that follows a first one in time, until that one is too long ago.

    Args:
        condition: Within which time.
        first: What the first match is.
        then: What the second one is.
        grouping: The groups.
    """

    def __init__(self, condition: Sequence, first: Marks, then: Marks, grouping: Grouping) -> None:
        self.grouping, self.first, self.then = grouping, first, then
        self._within = round(condition.within.total_seconds() * _MICROSECONDS)
        self.group = self.time = self.end = NO_INTEGERS
        """Each group's last first match, and until when the succession holds."""

    def keep(self, anew: Integers) -> None:
        """Numbers the groups anew; -1 for one that is forgotten."""
        kept = anew[self.group] >= 0
        self.group, self.time, self.end = anew[self.group[kept]], self.time[kept], self.end[kept]

    def advance(self, first: tuple[Integers, Integers], then: tuple[Integers, Integers], span: Span) -> Steps:
        """The group's steps of one call.

        Args:
            first: (group, time) of the first matches.
            then: Of the second ones; one at the same instant as a first match does not follow it.
            span: What the call decides.
        """
        group = np.concatenate([self.group, first[0], then[0]])
        time = np.concatenate([self.time, first[1], then[1]])
        second = np.arange(len(group)) >= len(self.group) + len(first[0])
        order = np.lexsort((~second, time, group))
        group, time, second = group[order], time[order], second[order]
        place = np.maximum.accumulate(np.where(second, -1, np.arange(len(group))))
        follows = second & (place >= 0)
        follows[follows] = group[place[follows]] == group[follows]
        follows[follows] = time[follows] - time[place[follows]] <= self._within
        held = self.end != EARLIEST
        groups = np.concatenate([self.group[held], group[follows]])
        starts = np.concatenate([np.full(np.count_nonzero(held), EARLIEST), 2 * time[follows]])
        ends = np.concatenate([self.end[held], 2 * (time[place[follows]] + self._within) + 1])
        order = np.lexsort((starts, groups))
        groups, starts, ends = groups[order], starts[order], ends[order]
        steps = edges(groups, starts, ends, span)
        self._retain(group[~second], time[~second], (groups, ends), span)
        return steps

    def _retain(self, group: Integers, time: Integers, open_: tuple[Integers, Integers], span: Span) -> None:
        """Remembers of each group its last first match, and the end of what holds beyond the call."""
        last = np.append(firsts(group)[1:], np.ones(min(len(group), 1), np.bool_))
        last &= 2 * (time + self._within) + 1 >= span.horizon
        self.group, self.time = group[last], time[last]
        self.end = np.full(len(self.group), EARLIEST)
        groups, ends = open_
        lasting = ends >= span.horizon
        groups, ends = groups[lasting], ends[lasting]  # ascending ends: of several the last one stays
        self.end[np.searchsorted(self.group, groups)] = ends


def matches_of(marks: Marks, rows: Rows, grouping: Grouping) -> tuple[Integers, Integers]:
    """(group, time) of the rows that match."""
    places = np.flatnonzero(marks.holds(rows))
    places = places[marks.selection.mask[rows.track[places]]]
    return grouping.of_track[rows.track[places]], rows.time[places]
