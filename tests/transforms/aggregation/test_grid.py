"""Where windows lie: every instant is in one pane, and days are as long as their zone says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation.grid import DAY, HOUR, SECOND, Grid

FIXED = settings(derandomize=True, deadline=None, max_examples=150)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = (
    "Europe/Oslo", "Pacific/Apia", "America/Sao_Paulo", "America/Havana", "Asia/Kathmandu", "Antarctica/Troll", "UTC",
    "Asia/Beirut", "America/Asuncion", "Africa/Cairo",
)  # fmt: skip
GRIDS = st.one_of(
    st.builds(
        lambda every, panes: Grid(every * SECOND, panes * every * SECOND), st.integers(1, 5000), st.integers(1, 20)
    ),
    st.sampled_from([Grid(DAY, DAY, zone) for zone in ZONES]),
)
INSTANTS = st.integers(0, 2_000_000_000 * SECOND)


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def moment(instant: int) -> datetime:
    return EPOCH + timedelta(microseconds=instant)


@pytest.mark.parametrize(
    ("zone", "instant", "hours"),
    [
        ("Europe/Oslo", "2026-03-29T12:00:00+00:00", 23),
        ("Europe/Oslo", "2026-10-25T12:00:00+00:00", 25),
        ("Europe/Oslo", "2026-07-01T12:00:00+00:00", 24),
        ("Antarctica/Troll", "2026-03-29T12:00:00+00:00", 22),
        ("America/Sao_Paulo", "2018-11-04T12:00:00+00:00", 23),  # at midnight
        ("America/Sao_Paulo", "2018-02-17T12:00:00+00:00", 25),  # from midnight back
        ("Pacific/Apia", "2011-12-31T00:00:00+00:00", 24),  # the 30th was left out
    ],
)
def test_a_day_is_as_long_as_its_zone_says(zone: str, instant: str, hours: int):
    grid = Grid(DAY, DAY, zone)
    start = grid.floor(np.array([micros(instant)]))
    assert (grid.ends(start) - start).tolist() == [hours * HOUR]


@FIXED
@given(st.sampled_from(ZONES), INSTANTS)
def test_all_of_a_day_has_one_date(zone: str, instant: int):
    grid = Grid(DAY, DAY, zone)
    start = grid.floor_of(instant)
    end = int(grid.ends(np.array([start]))[0])
    assert start <= instant < end
    dates = [moment(each).astimezone(ZoneInfo(zone)).date() for each in (start, instant, end - 1)]
    assert dates[0] == dates[1] == dates[2]
    assert moment(start - 1).astimezone(ZoneInfo(zone)).date() < dates[0]


@FIXED
@given(GRIDS, st.lists(INSTANTS, min_size=1, max_size=5))
def test_together_or_alone_an_instant_has_the_same_pane(grid: Grid, instants: list[int]):
    times = np.array(instants, np.int64)
    assert grid.floor(times).tolist() == [grid.floor_of(instant) for instant in instants]
    assert (grid.floor(times) <= times).all()
    assert (grid.floor(grid.floor(times)) == grid.floor(times)).all()


@FIXED
@given(GRIDS, INSTANTS, st.integers(1, 3 * DAY))
def test_the_windows_that_an_instant_touches_are_those_that_hold_it(grid: Grid, first: int, width: int):
    width = min(width, 300 * grid.every)
    low, high = grid.starts_touched(first, first + width)
    starts = grid.starts(low - 2 * grid.length, high + 2 * grid.length)
    ends = grid.ends(starts)
    holding = starts[(starts < first + width) & (ends > first)]
    assert holding.tolist() == grid.starts(low, high).tolist()


@FIXED
@given(GRIDS, INSTANTS)
def test_what_is_behind_the_first_open_window_has_ended(grid: Grid, clock: int):
    starts = grid.starts(clock - 4 * grid.length, clock + 2 * grid.length)
    ended = grid.ends(starts) <= clock
    assert (ended == (starts < grid.first_open(clock))).all()


@FIXED
@given(GRIDS, INSTANTS)
def test_a_window_ends_within_reach_of_the_stretch_of_each_reading(grid: Grid, instant: int):
    stretch = instant - instant % grid.touches + grid.touches
    last = grid.starts(*grid.starts_touched(instant, instant + 1))[-1:]
    assert int(grid.ends(last)[0]) <= stretch + grid.reach


@pytest.mark.parametrize("zone", [None, "Europe/Oslo"])
@pytest.mark.parametrize(
    "instant", [2**62, -(2**62), micros("0001-01-01T00:00:00+00:00"), micros("9999-12-31T23:00:00+00:00")]
)
def test_clocks_beyond_all_years_have_panes_too(zone: str | None, instant: int):
    start = Grid(DAY, DAY, zone).floor_of(instant)
    assert start <= instant < start + 2 * DAY
