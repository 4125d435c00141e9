"""Rules as plainly as they can be written: every half tick, every condition anew from all readings so far.

``2 * tick`` is the instant of a tick with all its readings and ``2 * tick + 1`` is just after it, as in the kernel, but
nothing here is remembered that the readings could tell, and nothing is an array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from telebeam.transforms.rules.conditions import (
    Absent,
    Combined,
    Compare,
    Condition,
    Count,
    Selecting,
    Stuck,
    selections,
)
from telebeam.transforms.rules.conditions import Sequence as Succession
from telebeam.transforms.rules.hours import ActiveHours
from telebeam.transforms.rules.spec import RuleSpec
from tests.transforms.rules.samples import MIDNIGHT, TICK, Row

WEEK, HELD = 28, 360
Key = tuple[str | None, ...]


def column(row: Row, name: str) -> str | None:
    return {
        "tenant": "default", "device_id": row.device, "sensor_type": row.sensor, "measurement_type": row.sensor,
        "unit": "1", "location": row.location,
    }[name]  # fmt: skip


def ticks(duration: Any) -> int:
    return round(duration.total_seconds() * 1e6) // TICK


@dataclass
class State:
    holds: bool = False
    critical: bool = False
    since: int = -(10**9)
    start: int | None = None
    severity: str = ""
    quiet: int = -(10**9)


class Reference:
    """One rule over all rows of a test."""

    def __init__(self, rule: RuleSpec, rows: Sequence[Row]) -> None:
        self.rule = rule
        self.rows = sorted(rows, key=lambda row: row.tick)
        used = {name for part in selections(rule.when) for name, _ in part.where} | set(rule.group_by)
        wide = rule.only.locations is not None or bool(used & {"location", "unit"})
        self.track_columns = ("device_id", "sensor_type", "location") if wide else ("device_id", "sensor_type")
        self.hours = ActiveHours(rule.active) if rule.active else None
        self.timed = any(isinstance(leaf, Absent) for leaf in rule.when.leaves())

    def track(self, row: Row) -> Key:
        return tuple(column(row, name) for name in self.track_columns)

    def key(self, row: Row) -> Key:
        return tuple(column(row, name) for name in self.rule.group_by)

    def selects(self, condition: Selecting, row: Row) -> bool:
        only = self.rule.only
        return (
            all(column(row, name) in texts for name, texts in condition.where)
            and (only.sensor_types is None or row.sensor in only.sensor_types)
            and (only.locations is None or row.location in only.locations)
            and (only.devices is None or any(fnmatchcase(row.device, pattern) for pattern in only.devices))
        )

    def row_holds(self, condition: Selecting, row: Row, critical: bool = False) -> bool:
        """Whether a condition on readings holds for one of them."""
        if isinstance(condition, Stuck):
            before = [other for other in self.rows if self.track(other) == self.track(row) and other.tick <= row.tick]
            return row.tick - self.since(before, row) >= ticks(condition.lasting)
        assert isinstance(condition, Compare)
        if condition.subject == "score":
            return any(self.passes(condition, score, verdict, critical) for score, verdict in self.said(condition, row))
        number = row.value if condition.subject == "value" else self.rate(row)
        return number is not None and self.passes(condition, number, False, critical)

    def since(self, rows: list[Row], row: Row) -> int:
        rows = sorted(rows, key=lambda other: (other.tick, other.value))
        rows = rows[: max(i for i, other in enumerate(rows) if (other.tick, other.value) == (row.tick, row.value)) + 1]
        place = len(rows) - 1
        while place and rows[place - 1].value == row.value and rows[place].tick - rows[place - 1].tick <= WEEK:
            place -= 1
        return rows[place].tick

    def said(self, condition: Compare, row: Row) -> list[tuple[float, bool]]:
        names = "ab" if condition.detector is None else condition.detector
        return [getattr(row, name) for name in names if getattr(row, name) is not None]

    def rate(self, row: Row) -> float | None:
        before = [other for other in self.rows if self.track(other) == self.track(row) and other.tick < row.tick]
        if not before or row.tick - before[-1].tick > WEEK:
            return None
        last = max(other.value for other in before if other.tick == before[-1].tick)
        return (row.value - last) / ((row.tick - before[-1].tick) * TICK / 1e6)

    def passes(self, condition: Compare, number: float, verdict: bool, critical: bool) -> bool:
        if critical:
            bounds = [(condition.critical_above, 1), (condition.critical_below, -1)]
            return any(bound is not None and sign * number > sign * bound for bound, sign in bounds)
        if condition.flagged:
            return verdict
        if not condition.bounded:
            return True
        return (
            (condition.upper is not None and number > condition.upper)
            or (condition.lower is not None and number < condition.lower)
            or (condition.outside is not None and not condition.outside[0] <= number <= condition.outside[1])
            or (condition.inside is not None and condition.inside[0] <= number <= condition.inside[1])
            or (condition.equals is not None and number == condition.equals)
        )

    def track_truth(self, condition: Selecting, track: Key, moment: int, critical: bool) -> bool:
        rows = [row for row in self.rows if self.track(row) == track and 2 * row.tick <= moment]
        state, last = False, None
        for tick in sorted({row.tick for row in rows}):
            if last is not None and tick - last > WEEK:
                state = False
            last = tick
            here = [row for row in rows if row.tick == tick]
            if self.tells(condition, here):
                at = None if critical else self.rule.resolve.at
                if any(self.row_holds(condition, row, critical) for row in here):
                    state = True
                elif at is None or any(self.clears(condition, row, at) for row in here):
                    state = False
        return state and last is not None and moment <= 2 * (last + WEEK)

    def tells(self, condition: Selecting, rows: list[Row]) -> bool:
        is_score = isinstance(condition, Compare) and condition.subject == "score"
        return not is_score or any(self.said(condition, row) for row in rows)  # type: ignore[arg-type]

    def clears(self, condition: Selecting, row: Row, at: float) -> bool:
        assert isinstance(condition, Compare)
        if condition.subject == "score":
            numbers: list[float] = [score for score, _ in self.said(condition, row)]
        else:
            number = row.value if condition.subject == "value" else self.rate(row)
            numbers = [] if number is None else [number]
        return any(number <= at if condition.upper is not None else number >= at for number in numbers)

    def level(self, condition: Selecting, group: Key, moment: int, critical: bool = False) -> bool:
        chosen = [row for row in self.rows if self.key(row) == group and self.selects(condition, row)]
        tracks = {self.track(row) for row in chosen if 2 * row.tick <= moment}
        return any(self.track_truth(condition, track, moment, critical) for track in tracks)

    def known(self, condition: Condition, group: Key, moment: int) -> bool:
        for part in selections(condition):
            chosen = [row for row in self.rows if self.key(row) == group and self.selects(part, row)]
            tracks = {self.track(row) for row in chosen}
            for track in tracks:
                times = [row.tick for row in self.rows if self.track(row) == track and 2 * row.tick <= moment]
                if times and moment <= 2 * (max(times) + WEEK):
                    return True
        return False

    def matches(self, condition: Selecting, group: Key, moment: int) -> list[int]:
        rows = [row for row in self.rows if self.key(row) == group and self.selects(condition, row)]
        found = [row.tick for row in rows if 2 * row.tick <= moment for _ in range(self.weight(condition, row))]
        return sorted(found)

    def weight(self, condition: Selecting, row: Row) -> int:
        """How many matches a reading is: one for each detector that says so."""
        if isinstance(condition, Compare) and condition.subject == "score":
            return sum(self.passes(condition, *said, False) for said in self.said(condition, row))
        return int(self.row_holds(condition, row))

    def truth(self, condition: Condition, group: Key, moment: int) -> bool | None:
        if isinstance(condition, Combined):
            parts = [self.truth(part, group, moment) for part in condition.parts]
            if condition.operator == "not":
                return None if parts[0] is None else not parts[0]
            decisive = condition.operator == "any"
            if decisive in parts:
                return decisive
            return None if None in parts else not decisive
        if self.leaf(condition, group, moment):
            return True
        return False if self.known(condition, group, moment) else None

    def leaf(self, condition: Condition, group: Key, moment: int) -> bool:
        if isinstance(condition, (Compare, Stuck)):
            return self.level(condition, group, moment)
        if isinstance(condition, Absent):
            chosen = [row.tick for row in self.rows if self.key(row) == group and self.selects(condition, row)]
            past = [tick for tick in chosen if 2 * tick <= moment]
            return bool(past) and 2 * (max(past) + ticks(condition.lasting)) < moment <= 2 * (max(past) + HELD)
        if isinstance(condition, Count):
            times = self.matches(condition.of, group, moment)
            n = condition.at_least
            runs = [(times[i - n + 1], times[i]) for i in range(n - 1, len(times))]
            within = ticks(condition.within)
            return any(last - first <= within and moment <= 2 * (first + within) for first, last in runs)
        assert isinstance(condition, Succession)
        firsts = self.matches(condition.first, group, moment)
        within = ticks(condition.within)
        for then in self.matches(condition.then, group, moment):
            before = [tick for tick in firsts if tick < then]
            if before and then - before[-1] <= within and moment <= 2 * (before[-1] + within):
                return True
        return False

    def critical(self, group: Key, moment: int) -> bool:
        leaves = [leaf for leaf in self.rule.when.leaves() if isinstance(leaf, Compare) and leaf.has_critical]
        return any(self.level(leaf, group, moment, critical=True) for leaf in leaves)

    def events(self, end: int) -> list[tuple[int, Key, str, str, int]]:
        """(tick, group, state, severity, start) of every change before some tick."""
        groups = sorted({self.key(row) for row in self.rows}, key=repr)
        return [event for group in groups for event in self.of_group(group, end)]

    def of_group(self, group: Key, end: int) -> list[tuple[int, Key, str, str, int]]:
        state, found = State(), list[tuple[int, Key, str, str, int]]()

        def emit(moment: int, what: str) -> None:
            found.append((moment // 2, group, what, state.severity, state.start or 0))

        def fire(moment: int) -> None:
            state.start, state.severity = moment // 2, "critical" if state.critical else self.rule.severity
            emit(moment, "firing")

        for moment in range(2 * end):
            self.step(state, group, moment, fire, emit)
        return found

    def step(
        self, state: State, group: Key, moment: int, fire: Callable[[int], None], emit: Callable[[int, str], None]
    ) -> None:
        holds, critical = self.truth(self.rule.when, group, moment) is True, self.critical(group, moment)
        stepped = holds != state.holds or critical != state.critical
        if holds != state.holds:
            state.holds, state.since = holds, moment
        state.critical = critical
        if state.start is None:
            earliest = max(state.since + 2 * ticks(self.rule.for_), state.quiet)
            chance = stepped or (moment % 2 == 1 if self.timed else self.has_reading(group, moment))
            if holds and moment >= earliest and chance and self.is_active(moment):
                fire(moment)
        elif holds and critical and state.severity != "critical":
            emit(moment, "resolved")
            fire(moment)
        elif not holds:
            gone = 2 * ticks(self.rule.resolve.for_)
            if gone == 0 or moment >= ((state.since + gone) | 1):
                emit(moment, "resolved")
                state.start, state.quiet = None, moment + 2 * ticks(self.rule.cool_down)

    def has_reading(self, group: Key, moment: int) -> bool:
        return any(
            2 * row.tick == moment and self.key(row) == group and self.is_heard(part, row)
            for row in self.rows
            for part in selections(self.rule.when)
            if self.selects(part, row)
        )

    def is_heard(self, part: Selecting, row: Row) -> bool:
        """A rule on scores looks at readings that were scored."""
        is_score = isinstance(part, Compare) and part.subject == "score"
        return not is_score or row.a is not None or row.b is not None

    def is_active(self, moment: int) -> bool:
        return self.hours is None or self.hours.holds(MIDNIGHT + moment // 2 * TICK)
