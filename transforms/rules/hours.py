"""Hours of the week in a time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import field_validator

from telebeam.transforms.spec import Spec

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAYS_AHEAD = 9  # a week, and a day to either side for zones and for nights that begin the day before


class ActiveSpec(Spec):
    """When a rule fires: at other times it does not, yet what is firing then still resolves."""

    hours: str = "00:00-24:00"
    """From and to, as in ``08:00-18:00``; ``22:00-06:00`` is a night, which belongs to the day on which it begins."""
    days: tuple[str, ...] = DAYS
    """Days of the week: ``mon`` … ``sun``, or ``mon-fri``."""
    timezone: str = "UTC"
    """The zone whose clock is meant, as in ``Europe/Berlin``."""

    @field_validator("hours")
    @classmethod
    def _two_times(cls, value: str) -> str:
        first, last = _minutes(value)
        if first == last:
            raise ValueError(f"{value} is no time at all", "leave hours out for the whole day")
        return value

    @field_validator("days", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not names:
            raise ValueError("expected a list of days", "write [mon, tue] or mon-fri")
        found = [day for name in names for day in _days(name)]
        return tuple(day for day in DAYS if day in found)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"{value[:60]!r} is not a time zone", "write a name such as Europe/Berlin or UTC"
            ) from error
        return value


class ActiveHours:
    """The hours of a specification, asked by the microsecond.

    Args:
        spec: The hours.
    """

    def __init__(self, spec: ActiveSpec) -> None:
        self._first, self._last = _minutes(spec.hours)
        self._days = {DAYS.index(day) for day in spec.days}
        self._zone = ZoneInfo(spec.timezone)

    def holds(self, moment: int) -> bool:
        """Whether a moment, in µs since 1970, is within: the beginning is, the end is not."""
        local = _local(moment, self._zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self._first < self._last:
            return day in self._days and self._first <= minute < self._last
        if minute >= self._first:
            return day in self._days
        return minute < self._last and (day - 1) % 7 in self._days

    def next(self, moment: int) -> int | None:
        """The first moment from this one on that is within, in µs since 1970; None where there is none in reach."""
        try:
            if self.holds(moment):
                return moment
            return min(
                (begin for begin in self._beginnings(moment) if begin > moment and self.holds(begin)), default=None
            )
        except OverflowError:  # the calendar ends with the year 9999
            return None

    def _beginnings(self, moment: int) -> Iterator[int]:
        """The moments at which the hours may begin: by the clock, and where the clock itself is changed."""
        day = _local(moment, self._zone).date() - timedelta(days=1)
        clock = time(self._first // 60, self._first % 60)
        for _ in range(_DAYS_AHEAD):
            for fold in (0, 1):
                yield _moment(datetime.combine(day, clock, self._zone).replace(fold=fold))
            noon, day = datetime.combine(day, time(12), self._zone), day + timedelta(days=1)
            yield from self._change(_moment(noon), _moment(datetime.combine(day, time(12), self._zone)))

    def _change(self, low: int, high: int) -> Iterator[int]:
        """When within a day the zone's offset changes, if it does."""
        before = self._offset(low)
        if self._offset(high) == before:
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._offset(middle) == before else (low, middle)
        yield high

    def _offset(self, moment: int) -> timedelta | None:
        return _local(moment, self._zone).utcoffset()


def _moment(local: datetime) -> int:
    return (local.astimezone(UTC) - _EPOCH) // _MICROSECOND


def _local(moment: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=moment)).astimezone(zone)


def _minutes(hours: str) -> tuple[int, int]:
    found = _HOURS.fullmatch(hours.strip())
    if found:
        first, last = (int(found[n]) * 60 + int(found[n + 1]) for n in (1, 3))
        if int(found[2]) < 60 and int(found[4]) < 60 and first < 1440 and last <= 1440:
            return first, last
    raise ValueError(f"{hours[:60]!r} is no span of hours", 'write it as in "08:00-18:00"')


def _days(name: Any) -> list[str]:
    ends = [part.strip().lower() for part in str(name).split("-")]
    if len(ends) > 2 or any(end not in DAYS for end in ends):
        raise ValueError(f"{str(name)[:60]!r} is not a day", f"expected {', '.join(DAYS)} or a span such as mon-fri")
    first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
    return [DAYS[(first + n) % 7] for n in range((last - first) % 7 + 1)]
