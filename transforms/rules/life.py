"""The life of an alert: when it fires, when it becomes critical, when it resolves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from telebeam.transforms.rules.hours import ActiveHours
from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.rules.steps import EARLIEST

Shown = tuple[str | None, str | None, str | None, str | None]
"""Sensor type, measurement type, location and group of an alert."""
NextReading = Callable[[int, int], int | None]
"""The first moment of a reading of the group that is in [from, to), or None."""


@dataclass(slots=True)
class Life:
    """What is remembered of a rule in a group; moments in half microseconds."""

    holds: bool = False
    critical: bool = False
    since: int = EARLIEST
    """When the condition last came to hold, or ceased to."""
    start: int | None = None
    """When the alert that is firing began, in µs."""
    severity: str = ""
    quiet_until: int = EARLIEST
    """Before this it does not fire again."""
    shown: Shown = (None, None, None, None)
    """Those of the reading that fired it."""

    @property
    def waits(self) -> bool:
        """Whether something may happen without another step."""
        return self.holds == (self.start is None)

    def is_over(self, horizon: int) -> bool:
        """Whether nothing has to be remembered any more."""
        return not self.holds and self.start is None and self.quiet_until <= horizon


class Event(NamedTuple):
    """A change of an alert."""

    moment: int
    fires: bool
    start: int
    severity: str


Step = tuple[int, bool | None, bool | None]
"""(moment, whether it holds from now on, whether that is critical); None for what does not change."""


class Course:
    """How a rule's alerts follow from when it holds.

    Args:
        rule: The rule.
        is_timed: Whether it may fire without a reading.
    """

    def __init__(self, rule: RuleSpec, is_timed: bool) -> None:
        self._severity = rule.severity
        self._lasting = 2 * round(rule.for_.total_seconds() * 1e6)
        self._cool_down = 2 * round(rule.cool_down.total_seconds() * 1e6)
        self._gone_for = 2 * round(rule.resolve.for_.total_seconds() * 1e6)
        self._hours = ActiveHours(rule.active) if rule.active is not None else None
        self._is_timed = is_timed

    def run(self, life: Life, steps: list[Step], horizon: int, next_reading: NextReading) -> Iterator[Event]:
        """The events of one group within a call; its life is brought up to date.

        Args:
            life: What is remembered of it.
            steps: The changes of truth, in order.
            horizon: What lies from here on is not decided.
            next_reading: Looks for readings of the group within the call.
        """
        for moment, holds, critical in steps:
            yield from self._wait(life, moment, next_reading)
            if critical is not None:
                life.critical = critical
            if holds is not None and holds != life.holds:
                life.holds, life.since = holds, moment
            yield from self._at_step(life, moment)
        yield from self._wait(life, horizon, next_reading)

    def _at_step(self, life: Life, moment: int) -> Iterator[Event]:
        """What a step itself brings about."""
        if life.start is None:
            if life.holds and self._earliest(life) <= moment and self._is_active(moment):
                yield self._fire(life, moment)
        elif life.holds and life.critical and life.severity != "critical":
            yield self._resolve(life, moment)
            yield self._fire(life, moment)
        elif not life.holds and not self._gone_for:
            yield self._resolve(life, moment)
            life.quiet_until = moment + self._cool_down

    def _wait(self, life: Life, end: int, next_reading: NextReading) -> Iterator[Event]:
        """What comes about before some moment, by readings that change nothing or by time alone."""
        if life.holds and life.start is None:
            moment = self._next_chance(self._earliest(life), end, next_reading)
            if moment is not None:
                yield self._fire(life, moment)
        elif life.start is not None and not life.holds:
            moment = (life.since + self._gone_for) | 1
            if moment < end:
                yield self._resolve(life, moment)
                life.quiet_until = moment + self._cool_down

    def _next_chance(self, earliest: int, end: int, next_reading: NextReading) -> int | None:
        """The first moment before an end at which it may fire."""
        while earliest < end:
            moment = earliest | 1 if self._is_timed else next_reading(earliest, end)
            if moment is None or moment >= end:
                return None
            if self._hours is None or self._hours.holds(moment // 2):
                return moment
            begin = self._hours.next(moment // 2)
            if begin is None:
                return None
            earliest = 2 * begin
        return None

    def _earliest(self, life: Life) -> int:
        return max(life.since + self._lasting, life.quiet_until)

    def _is_active(self, moment: int) -> bool:
        return self._hours is None or self._hours.holds(moment // 2)

    def _fire(self, life: Life, moment: int) -> Event:
        life.start = moment // 2
        life.severity = "critical" if life.critical else self._severity
        return Event(moment, True, life.start, life.severity)

    def _resolve(self, life: Life, moment: int) -> Event:
        start, life.start = life.start, None
        return Event(moment, False, moment // 2 if start is None else start, life.severity)
