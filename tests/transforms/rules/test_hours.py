from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.rules.hours import DAYS, ActiveHours, ActiveSpec
from tests.transforms.rules.samples import HOUR, MIDNIGHT

MINUTE = HOUR // 60
CHANGES = [
    int(datetime(2026, *day, tzinfo=UTC).timestamp() * 1e6) for day in ((3, 29), (10, 25), (4, 5), (3, 8))
]  # fmt: skip


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1e6)


@pytest.mark.parametrize(
    ("spec", "moment", "within"),
    [
        ({"hours": "08:00-18:00"}, (2026, 1, 1, 8, 0), True),
        ({"hours": "08:00-18:00"}, (2026, 1, 1, 18, 0), False),
        ({"hours": "08:00-18:00", "timezone": "Europe/Berlin"}, (2026, 1, 1, 7, 0), True),
        ({"hours": "08:00-18:00", "timezone": "Europe/Berlin"}, (2026, 7, 1, 6, 0), True),
        ({"hours": "22:00-06:00", "days": "fri"}, (2026, 1, 3, 5, 59), True),
        ({"hours": "22:00-06:00", "days": "fri"}, (2026, 1, 2, 5, 59), False),
        ({"days": ["sat", "SUN"]}, (2026, 1, 4, 23, 59), True),
        ({"days": "fri-mon"}, (2026, 1, 6, 0, 0), False),
        ({"days": "fri-mon"}, (2026, 1, 5, 0, 0), True),
    ],
)
def test_hours_are_those_of_the_zones_clock(spec: dict, moment: tuple[int, ...], within: bool):
    assert ActiveHours(ActiveSpec(**spec)).holds(at(*moment)) is within


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    st.sampled_from([MIDNIGHT, *CHANGES]),
    st.integers(-30, 30),
    st.integers(0, 47),
    st.integers(1, 47),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York"]),
)
def test_the_next_moment_is_the_first_of_all_minutes(
    day: int, hours: int, first: int, length: int, days: set[str], zone: str
):
    last = (first + length) % 48
    span = f"{first // 2:02}:{first % 2 * 30:02}-{last // 2:02}:{last % 2 * 30:02}"
    active = ActiveHours(ActiveSpec(hours=span, days=tuple(days), timezone=zone))
    start = day + hours * HOUR
    expected = next(start + n * MINUTE for n in range(9 * 24 * 60) if active.holds(start + n * MINUTE))
    assert active.next(start) == expected


def test_a_moment_at_the_end_of_the_calendar_has_no_next():
    active = ActiveHours(ActiveSpec(hours="08:00-18:00", days=("mon",)))
    assert active.next(at(9999, 12, 31, 23)) is None
