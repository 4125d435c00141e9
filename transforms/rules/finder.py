"""The readings of a group: the next one, and the one that explains an alert."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from telebeam.transforms.rules.leaves import Call
from telebeam.transforms.rules.program import Program
from telebeam.transforms.rules.rows import Rows
from telebeam.transforms.rules.spec import GROUP
from telebeam.transforms.rules.steps import Integers, Mask
from telebeam.transforms.schema import SERIES

_SENSOR_TYPE, _MEASUREMENT_TYPE = SERIES.index("sensor_type"), SERIES.index("measurement_type")
"""Their places in a track's key, whose columns begin as those of a series do."""


class Reading(NamedTuple):
    """What an alert says of a reading."""

    sensor_type: str | None
    measurement_type: str | None
    location: str | None
    group: str | None
    """The registry's, of its device at its time; None where the rule does not ask for it."""
    value: float
    expected: float | None
    score: float | None


class View:
    """The rows of one batch that a rule looks at, by group.

    Args:
        rows: The batch's rows.
        program: The rule.
        call: The call.
    """

    def __init__(self, rows: Rows, program: Program, call: Call) -> None:
        self.rows, self._program, self._call = rows, program, call
        chosen = np.flatnonzero(program.selected(rows))
        group = program.grouping.of_track[rows.owners[chosen]]
        order = np.argsort(group, kind="stable")
        self._group: Integers = group[order]
        self._slices: dict[int, list[tuple[int, int]]] = {}
        self._starts, self._ends = rows.starts[chosen[order]], rows.ends[chosen[order]] + 1

    @cached_property
    def matching(self) -> Mask:
        """Which rows are such as the rule waits for."""
        return self._program.matching(self.rows, self._call)

    def slices(self, group: int) -> list[tuple[int, int]]:
        """Where the tracks of a group stand."""
        known = self._slices.get(group)
        if known is None:
            first, last = self._group.searchsorted((group, group + 1)).tolist()
            known = list(zip(self._starts[first:last].tolist(), self._ends[first:last].tolist(), strict=True))
            self._slices[group] = known
        return known

    def next_time(self, group: int, time: int) -> int | None:
        """The time of the group's first row that is not earlier than some time."""
        found = []
        for start, end in self.slices(group):
            place = start + int(self.rows.time[start:end].searchsorted(time))
            if place < end:
                found.append(int(self.rows.time[place]))
        return min(found, default=None)

    def at(self, group: int, time: int) -> list[int]:
        """The group's rows of an instant."""
        found: list[int] = []
        for start, end in self.slices(group):
            place = start + int(self.rows.time[start:end].searchsorted(time))
            while place < end and self.rows.time[place] == time:
                found.append(place)
                place += 1
        return found


class Finder:
    """Looks for readings of a rule's groups within a call.

    Args:
        program: The rule.
        call: The call.
    """

    def __init__(self, program: Program, call: Call) -> None:
        self._program, self._call = program, call

    @cached_property
    def _views(self) -> list[View]:
        kinds = self._program.kinds_of_rows
        return [
            View(rows, self._program, self._call)
            for rows, used in ((self._call.scores, kinds.scores), (self._call.readings, kinds.readings))
            if used and len(rows)
        ]

    def next_moment(self, group: int, earliest: int, end: int) -> int | None:
        """The first moment of a reading that is in [earliest, end), in half microseconds."""
        times = [view.next_time(group, (earliest + 1) // 2) for view in self._views]
        moment = min((2 * time for time in times if time is not None), default=end)
        return moment if moment < end else None

    def explain(self, group: int, time: int, fires: bool) -> Reading | None:
        """The reading of an instant that says most of why an alert fires, or resolves; None where there is none.

        Scores come before readings, readings that match before others (the other way round where it resolves), then
        the first track by its texts, and of its readings the last by value.
        """
        for view in self._views:
            places = view.at(group, time)
            if len(places) == 1:
                return _reading(view.rows, places[0])
            if places:
                return _reading(view.rows, min(places, key=lambda place: self._rank(view, place, fires)))
        return None

    def _rank(self, view: View, place: int, fires: bool) -> tuple[bool, list[tuple[bool, str]], int]:
        key = view.rows.tracks.keys[view.rows.track[place]]
        return bool(view.matching[place]) != fires, [(text is not None, text or "") for text in key], -place


def _reading(rows: Rows, place: int) -> Reading:
    key = rows.tracks.keys[rows.track[place]]
    expected = score = None
    if rows.scored is not None:
        score, guess = float(rows.scored.score[place]), float(rows.scored.expected[place])
        expected = None if np.isnan(guess) else guess
    sensor_type, measurement_type = key[_SENSOR_TYPE], key[_MEASUREMENT_TYPE]
    group = key[-1] if rows.tracks.columns[-1] == GROUP else None
    value = float(rows.value[place])
    return Reading(sensor_type, measurement_type, rows.location(place), group, value, expected, score)
