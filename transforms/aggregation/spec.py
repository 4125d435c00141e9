"""Which windows are computed, and of how many of the last readings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import PrivateAttr, field_validator, model_validator

from telebeam.transforms.aggregation.grid import Grid
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.spec import Duration, Spec

MOST_WINDOWS = 1440
"""In which one reading may be: a day of windows that start every minute."""
MOST_LAST = 10_000
"""Readings: a series keeps 16 bytes of each."""
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


class WindowSpec(Spec):
    """Windows of event time: fixed (``every``), sliding (``every`` and ``length``) or sessions (``session_gap``).

    Or no span of time but the ``last`` readings of each series.
    """

    every: Duration | None = None
    """How often a window starts, in whole seconds: ``1m``, ``15m``, ``1h``, ``1d``; aligned to the epoch in UTC."""
    length: Duration | None = None
    """How long a window is, a multiple of ``every``: each reading is in ``length / every`` of them.  Unless given, as
    long as ``every``."""
    timezone: str | None = None
    """With ``every: 1d``, the zone whose days the windows are, such as ``Europe/Oslo``; UTC unless given."""
    session_gap: Duration | None = None
    """In place of ``every``: a window of a series ends when it has been silent for so long."""
    last: int | None = None
    """In place of ``every``, and alone: at each reading the statistics of so many last readings of its series, from 2
    to 10,000; rows of ``last_n`` in the lake."""
    longest: Duration = _DAY
    """Where a session is cut that does not end: at multiples of this since the epoch, in UTC."""
    group_by: tuple[Literal["group", "location", "sensor_type", "tenant"], ...] = ()
    """Adds a row for each group of devices: those of a tenant that measure the same in the same unit, and where
    ``location`` is named those at one location, where ``group`` is those of one group of ``devices.registry``.
    ``tenant`` and ``sensor_type`` always tell groups apart."""
    allowed_lateness: Duration = timedelta(0)
    """How long a streaming job goes on revising a window; a batch job has every reading at hand and needs none."""

    early: Duration | None = None
    """How often a streaming job sends a window that is still open to InfluxDB, as it stands; never unless set."""

    _fleet_of: FleetOf | None = PrivateAttr(None)

    @field_validator("every", "length", "session_gap", "longest")
    @classmethod
    def _whole_seconds(cls, value: timedelta | None) -> timedelta | None:
        if value is None:
            return value
        if value < timedelta(seconds=1) or value.microseconds:
            raise ValueError(f"{value.total_seconds():g}s is not a window; expected whole seconds, at least 1s")
        if value > timedelta(days=366):
            raise ValueError(f"{value} is longer than a year")
        return value

    @field_validator("allowed_lateness")
    @classmethod
    def _not_negative(cls, value: timedelta) -> timedelta:
        if value < timedelta(0):
            raise ValueError("lateness can't be negative")
        return value

    @field_validator("early")
    @classmethod
    def _not_all_the_time(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(seconds=1):
            raise ValueError(f"{value.total_seconds():g}s is too often; expected at least 1s")
        return value

    @field_validator("last")
    @classmethod
    def _several(cls, value: int | None) -> int | None:
        if value is not None and not 2 <= value <= MOST_LAST:
            raise ValueError(
                f"the last {value:,} readings are out of range; expected 2 to {MOST_LAST:,}",
                "write {last: 10}; one reading is in the readings themselves, and long spans are {every: 1h}",
            )
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not a time zone; write a name such as UTC or Europe/Oslo") from error
        return value

    @field_validator("group_by")
    @classmethod
    def _one_place(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if {"group", "location"} <= {*value}:
            raise ValueError("group and location do not go together", "write two windows, or leave one of them out")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> WindowSpec:
        found = [name for name in ("every", "session_gap", "last") if getattr(self, name) is not None]
        if len(found) != 1:
            raise ValueError(
                f"found {' and '.join(found) or 'none'}; expected one of every, session_gap and last",
                "write {every: 1m}, {every: 1m, length: 15m}, {session_gap: 10m} or {last: 10}",
            )
        if self.last is not None:
            self._check_last()
        elif self.every is None:
            self._check_session()
        else:
            self._check_grid(self.every)
        return self

    def _check_last(self) -> None:
        for name in sorted(self.model_fields_set - {"last"}):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} does not go with last", f"leave {name} out: the last readings are no span")

    def _check_grid(self, every: timedelta) -> None:
        if "longest" in self.model_fields_set:
            raise ValueError("longest is a setting of sessions", "write session_gap in place of every, or leave it out")
        length = self.length or every
        if length < every or length % every:
            raise ValueError(
                f"a length of {length} is no multiple of every, {every}",
                "windows are made of panes of every: write {every: 1m, length: 15m}, or leave length out",
            )
        if length // every > MOST_WINDOWS:
            raise ValueError(
                f"each reading would be in {length // every:,} windows; expected at most {MOST_WINDOWS:,}",
                "let windows start less often: a larger every",
            )
        if self.timezone is not None and (every, length) != (_DAY, _DAY):
            raise ValueError(
                f"windows of {length} every {every} are no days of a zone",
                "timezone goes with {every: 1d}; others are aligned in UTC",
            )

    def _check_session(self) -> None:
        for name, there in {
            "length": self.length is not None,
            "timezone": self.timezone is not None,
            "group_by": bool(self.group_by),
            "early": self.early is not None,
        }.items():
            if there:
                raise ValueError(f"{name} does not go with session_gap", f"leave {name} out, or write every")
        if self.session_gap is not None and self.session_gap > self.longest:
            raise ValueError(
                f"a gap of {self.session_gap} is longer than the longest session, {self.longest}", "raise longest"
            )

    @property
    def windowing(self) -> Grid | Sessions:
        """Where the windows lie.

        Raises:
            ValueError: They are no spans of time but the last readings.
        """
        if self.last is not None:
            raise ValueError(f"the last {self.last} readings are no span of time")
        if self.session_gap is not None:
            return Sessions(self.session_gap // _MICROSECOND, self.longest // _MICROSECOND)
        every = self.every or _DAY
        return Grid(every // _MICROSECOND, (self.length or every) // _MICROSECOND, self.timezone)

    @property
    def seconds(self) -> int:
        """What ``window_seconds`` says: the window's length, or for sessions the gap below zero."""
        return self.windowing.seconds

    @property
    def touches(self) -> int:
        """The width in µs of the stretches of time by which readers say which windows they touched."""
        return self.windowing.touches

    @property
    def grouping(self) -> Literal["group", "location", "all"] | None:
        """What makes groups of devices; None where there are no groups."""
        if not self.group_by:
            return None
        return "group" if "group" in self.group_by else "location" if "location" in self.group_by else "all"

    @property
    def fleet_of(self) -> FleetOf | None:
        """What gives the registry that names groups."""
        return self._fleet_of

    def with_fleet(self, fleet_of: FleetOf) -> WindowSpec:
        """The same windows, with what gives the registry that names their groups."""
        made = self.model_copy()
        made._fleet_of = fleet_of  # a private attribute, which is no setting and may be set
        return made

    @property
    def words(self) -> str:
        """What the windows are called in messages.

        >>> WindowSpec(every="1m", length="15m").words
        '15m every 1m'
        """
        if self.last is not None:
            return f"the last {self.last} readings"
        if self.session_gap is not None:
            return f"sessions with gaps of {_short(self.session_gap)}"
        every = _short(self.every or _DAY)
        zone = f" in {self.timezone}" if self.timezone else ""
        return f"{_short(self.length)} every {every}" if self.length not in (None, self.every) else f"{every}{zone}"


def check_fixed(windows: Sequence[WindowSpec], where: str) -> None:
    """Refuses windows that can't be computed where the runner says when one has ended, and knows fixed ones alone.

    Args:
        windows: The configuration's; the last readings are no windows of time, and left alone.
        where: Names the runner, such as ``Dataflow``.

    Raises:
        ConfigurationError: One of them slides, is a session, or follows the days of a zone.
    """
    for place, window in enumerate(windows):
        if window.last is not None:
            continue
        windowing = window.windowing
        if not isinstance(windowing, Grid) or windowing.panes > 1 or windowing.zone is not None:
            raise ConfigurationError(
                f"windows[{place}]: {where} computes no windows of {window.words}; expected fixed ones in UTC",
                "leave them out and compute them with a batch job over the lake, or run the stream on prism or flink",
            )


def _short(value: timedelta | None) -> str:
    seconds = int((value or _DAY).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
