"""Conditions on readings: what is true of a track from one of its readings to the next."""

from __future__ import annotations

import numpy as np

from telebeam.transforms.rules.conditions import Compare, ReadingCondition
from telebeam.transforms.rules.presence import Presence
from telebeam.transforms.rules.rows import Doubles, Rows
from telebeam.transforms.rules.steps import Integers, Mask, Steps, fold
from telebeam.transforms.rules.tracks import Grouping, Selection, grown

_MICROSECONDS = 1_000_000


class Marks:
    """For rows of one call, where a condition holds; of no row that it does not select.

    Args:
        condition: The condition.
        selection: Which tracks it selects.
        critical: Whether its critical bounds are meant.
    """

    def __init__(self, condition: ReadingCondition, selection: Selection, critical: bool = False) -> None:
        self.condition, self.selection, self.critical = condition, selection, critical
        self.of_scores = isinstance(condition, Compare) and condition.subject == "score"

    def holds(self, rows: Rows) -> Mask:
        """bool[n]: the condition's own answer for each row; of rows that it does not select it says nothing."""
        condition = self.condition
        if not isinstance(condition, Compare):
            lasting = int(condition.lasting.total_seconds() * _MICROSECONDS)
            return rows.time - rows.since >= lasting
        if condition.flagged and rows.scored is not None:
            holds = rows.scored.flagged
        else:
            numbers = self.numbers(rows)
            holds = condition.is_critical(numbers) if self.critical else condition.holds(numbers)
        heard = self.heard(rows)
        return holds if heard is None else holds & heard

    def numbers(self, rows: Rows) -> Doubles:
        """What is compared."""
        if isinstance(self.condition, Compare) and self.condition.subject == "rate":
            return rows.rate
        return rows.value if rows.scored is None or not self.of_scores else rows.scored.score

    def heard(self, rows: Rows) -> Mask | None:
        """Which rows are the detector's; None for all."""
        if rows.scored is None or not isinstance(self.condition, Compare) or self.condition.detector is None:
            return None
        names = rows.scored.names
        code = names.index(self.condition.detector) if self.condition.detector in names else -2
        return rows.scored.detector == code

    def selected(self, rows: Rows) -> Mask:
        """bool[n]: which rows are of a track that it selects."""
        return self.selection.mask[rows.track]


class Level:
    """A condition on readings over time: it holds for a group while it holds for one of the group's tracks.

    Args:
        marks: The condition.
        grouping: The groups.
        at: Where it ceases to hold, if that isn't where it begins to.
    """

    def __init__(self, marks: Marks, grouping: Grouping, at: float | None = None) -> None:
        self.marks, self.grouping, self._at = marks, grouping, at
        self.truth: Mask = np.zeros(0, np.bool_)
        """By track."""
        self.counts: Integers = np.zeros(0, np.int64)
        """By group, of how many tracks it is true."""
        self.found: Mask | None = None
        """For the rows of the last call, where it holds."""

    def extend(self, tracks: int, groups: int) -> None:
        """Makes room for new tracks and groups."""
        self.truth = grown(self.truth, tracks, False)
        self.counts = grown(self.counts, groups, 0)

    def keep(self, tracks: Integers, groups: Integers) -> None:
        """Keeps some tracks and groups and numbers them anew."""
        self.truth, self.counts = self.truth[tracks], self.counts[groups]

    def advance(self, rows: Rows, seen: Presence) -> Steps:
        """The group's steps of one call."""
        changed = self._changes(rows, seen)
        left, moment = seen.left
        over = self.truth[left]
        gone = (left[over], moment[over], np.zeros(np.count_nonzero(over), np.bool_))
        self.truth[left] = False
        track, moment, truth = (np.concatenate(both) for both in zip(changed, gone, strict=True))
        return fold(self.grouping.of_track[track], moment, np.where(truth, 1, -1), self.counts)

    def _changes(self, rows: Rows, seen: Presence) -> tuple[Integers, Integers, Mask]:
        """(track, moment, truth) of each change of a track's truth."""
        own = self.found = self.marks.holds(rows)
        holds = rows.any_of_instant(own)
        told = self._told(rows, holds)
        if told is None and not len(seen.returned[0]):
            return self._between_neighbours(rows, holds)
        selected = self.marks.selected(rows)
        places = np.flatnonzero(selected if told is None else told & selected)
        track, moment, truth = rows.track[places], 2 * rows.time[places], holds[places]
        if len(seen.returned[0]):
            track = np.concatenate([track, seen.returned[0]])
            moment = np.concatenate([moment, seen.returned[1]])
            truth = np.concatenate([truth, np.zeros(len(seen.returned[0]), np.bool_)])
            order = np.lexsort((moment, track))
            track, moment, truth = track[order], moment[order], truth[order]
        return self._differing(track, moment, truth)

    def _between_neighbours(self, rows: Rows, holds: Mask) -> tuple[Integers, Integers, Mask]:
        """The changes where each row says something: the quick way, without a copy of the rows."""
        change = np.empty(len(rows), np.bool_)
        np.not_equal(holds[1:], holds[:-1], out=change[1:])
        change[rows.starts] = holds[rows.starts] != self.truth[rows.owners]
        places = np.flatnonzero(change)
        places = places[self.marks.selection.mask[rows.track[places]]]
        chosen = self.marks.selection.mask[rows.owners]
        self.truth[rows.owners[chosen]] = holds[rows.ends[chosen]]
        return rows.track[places], 2 * rows.time[places], holds[places]

    def _told(self, rows: Rows, holds: Mask) -> Mask | None:
        """The rows that say anything; None where each does."""
        heard, condition = self.marks.heard(rows), self.marks.condition
        if self._at is None or not isinstance(condition, Compare):
            return None if heard is None else rows.any_of_instant(heard)
        over = condition.clears(self.marks.numbers(rows), self._at)
        return holds | rows.any_of_instant(over if heard is None else over & heard)

    def _differing(self, track: Integers, moment: Integers, truth: Mask) -> tuple[Integers, Integers, Mask]:
        begin = np.ones(len(track), np.bool_)
        np.not_equal(track[1:], track[:-1], out=begin[1:])
        before = np.empty_like(truth)
        before[1:] = truth[:-1]
        before[begin] = self.truth[track[begin]]
        last = np.append(np.flatnonzero(begin)[1:], len(track)) - 1 if len(track) else np.empty(0, np.int64)
        self.truth[track[last]] = truth[last]
        change = truth != before
        return track[change], moment[change], truth[change]
