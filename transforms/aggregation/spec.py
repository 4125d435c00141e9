"""Which windows are computed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import field_validator, model_validator

from telebeam.transforms.aggregation.grid import Grid
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.spec import Duration, Spec

MOST_WINDOWS = 1440
"""In which one reading may be: a day of windows that start every minute."""
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


class WindowSpec(Spec):
    """Windows of event time: fixed (``every``), sliding (``every`` and ``length``) or sessions (``session_gap``)."""

    every: Duration | None = None
    """How often a window starts, in whole seconds: ``1m``, ``15m``, ``1h``, ``1d``; aligned to the epoch in UTC."""
    length: Duration | None = None
    """How long a window is, a multiple of ``every``: each reading is in ``length / every`` of them.  Unless given, as
    long as ``every``."""
    timezone: str | None = None
    """With ``every: 1d``, the zone whose days the windows are, such as ``Europe/Oslo``; UTC unless given."""
    session_gap: Duration | None = None
    """In place of ``every``: a window of a series ends when it has been silent for so long."""
    longest: Duration = _DAY
    """Where a session is cut that does not end: at multiples of this since the epoch, in UTC."""
    group_by: tuple[Literal["location", "sensor_type", "tenant"], ...] = ()
    """Adds a row for each group of devices: those of a tenant that measure the same in the same unit, and where
    ``location`` is named those at one location.  ``tenant`` and ``sensor_type`` always tell groups apart."""
    allowed_lateness: Duration = timedelta(0)
    """How long a streaming job goes on revising a window; a batch job has every reading at hand and needs none."""

    early: Duration | None = None
    """How often a streaming job sends a window that is still open to InfluxDB, as it stands; never unless set."""

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

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not a time zone; write a name such as UTC or Europe/Oslo") from error
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> WindowSpec:
        if (self.every is None) == (self.session_gap is None):
            found = "neither" if self.every is None else "both"
            raise ValueError(
                f"found {found} of every and session_gap; expected one",
                "write {every: 1m}, {every: 1m, length: 15m} or {session_gap: 10m}",
            )
        if self.every is None:
            self._check_session()
        else:
            self._check_grid(self.every)
        return self

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
        """Where the windows lie."""
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
    def by_location(self) -> bool | None:
        """Whether groups of devices are of one location; None where there are no groups."""
        return "location" in self.group_by if self.group_by else None

    @property
    def words(self) -> str:
        """What the windows are called in messages.

        >>> WindowSpec(every="1m", length="15m").words
        '15m every 1m'
        """
        if self.session_gap is not None:
            return f"sessions with gaps of {_short(self.session_gap)}"
        every = _short(self.every or _DAY)
        zone = f" in {self.timezone}" if self.timezone else ""
        return f"{_short(self.length)} every {every}" if self.length not in (None, self.every) else f"{every}{zone}"


def check_fixed(windows: Sequence[WindowSpec], where: str) -> None:
    """Refuses windows that can't be computed where the runner says when one has ended, and knows fixed ones alone.

    Args:
        windows: The configuration's.
        where: Names the runner, such as ``Dataflow``.

    Raises:
        ConfigurationError: One of them slides, is a session, or follows the days of a zone.
    """
    for place, window in enumerate(windows):
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
