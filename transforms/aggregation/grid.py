"""Where windows of event time lie: panes of one width, and windows that are runs of so many panes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

SECOND = 1_000_000
DAY = 86_400 * SECOND
HOUR = 3600 * SECOND
_LONGEST_DAY = 49 * HOUR
"""Of a zone that moved over the date line, an hour of summer time included."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Grid:
    """Windows of one length that start at every pane's edge, aligned to the epoch in UTC or to the days of a zone.

    Fixed windows are those of a single pane.  All instants are µs since the epoch.

    Args:
        every: The panes' width, in µs: whole seconds.
        length: The windows' length, in µs: a multiple of ``every``.
        zone: Whose days the panes are, from midnight to midnight; 23 to 25 hours where clocks change.
    """

    every: int
    length: int
    zone: str | None = None

    @property
    def seconds(self) -> int:
        """What ``window_seconds`` says: the length; 86,400 for a day of a zone, however long it was."""
        return self.length // SECOND

    @property
    def panes(self) -> int:
        """How many panes a window has."""
        return self.length // self.every

    @property
    def touches(self) -> int:
        """The width of the stretches of time by which readers say what they touched."""
        return self.every if self.zone is None else HOUR

    @property
    def reach(self) -> int:
        """How far a window may end behind the stretch, :attr:`touches` wide, of one of its readings."""
        return self.length - self.every if self.zone is None else _LONGEST_DAY

    def floor(self, times: Integers) -> Integers:
        """Where the pane of each instant starts."""
        if self.zone is None:
            return times - times % self.every
        edges = _days(self.zone, times)
        return edges[np.searchsorted(edges, times, side="right") - 1]

    def floor_of(self, instant: int) -> int:
        """Where the pane of an instant starts."""
        return int(self.floor(np.array([instant], np.int64))[0])

    def ends(self, starts: Integers) -> Integers:
        """Where the windows end that start at some edges."""
        if self.zone is None:
            return starts + self.length
        edges = _days(self.zone, starts)
        return edges[np.searchsorted(edges, starts, side="right")]

    def starts(self, first: int, end: int) -> Integers:
        """The edges in [first, end), ascending: where windows start."""
        if first >= end:
            return np.zeros(0, np.int64)
        if self.zone is None:
            return np.arange(-(-first // self.every) * self.every, end, self.every, dtype=np.int64)
        edges = _days(self.zone, np.arange(first, end + DAY, 90 * DAY, dtype=np.int64), np.array([end]))
        return edges[np.searchsorted(edges, first) : np.searchsorted(edges, end)]

    def starts_touched(self, first: int, end: int) -> tuple[int, int]:
        """[first, end), at edges, of the starts of the windows that hold an instant of [first, end)."""
        last = self.floor_of(end - 1)
        after = last + self.every if self.zone is None else int(self.ends(np.array([last]))[0])
        return self.floor_of(first) - (self.length - self.every), after

    def first_open(self, clock: int) -> int:
        """The start of the first window that has not ended when all readings are at or behind a clock."""
        return self.floor_of(clock - (self.length - self.every))


def grid_of(windows: int | Grid) -> Grid:
    """The windows themselves, or fixed ones of so many seconds."""
    return windows if isinstance(windows, Grid) else Grid(windows * SECOND, windows * SECOND)


def _days(zone: str, *times: Integers) -> Integers:
    """The midnights of a zone around some instants, ascending; whole years of them."""
    years = np.concatenate([each.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) for each in times])
    wanted = np.unique(years + 1970).tolist()
    around = sorted({near for year in wanted for near in (year - 1, year, year + 1)})
    edges: Integers = np.unique(np.concatenate([_days_of_year(zone, year) for year in around]))
    return edges


@lru_cache(maxsize=256)
def _days_of_year(zone: str, year: int) -> Integers:
    """The first instants of a zone's days in a year; a midnight that clocks skip is the instant at which they do so."""
    if not 2 <= year <= 9998:  # Python knows no others, and a clock that has finished stands far beyond
        bounds = np.array([year - 1970, year - 1969], "datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        return np.arange(bounds[0], bounds[1], dtype=np.int64) * DAY
    info = ZoneInfo(zone)
    days = (date(year, 1, 1) + timedelta(days=day) for day in range(366))
    midnights = (datetime(day.year, day.month, day.day, tzinfo=info) for day in days if day.year == year)
    return np.array([(midnight.astimezone(UTC) - _EPOCH) // _MICROSECOND for midnight in midnights], np.int64)
