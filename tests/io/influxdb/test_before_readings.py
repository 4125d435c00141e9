"""What is few goes before the readings, and does not keep them for long."""

from __future__ import annotations

from contextlib import closing

from telebeam.io.influxdb.live import (
    GIVE_WAY_EVERY,
    GIVE_WAY_SECONDS,
    LivePoints,
    before_readings,
    live_points,
)
from telebeam.io.influxdb.spec import InfluxSpec
from tests.io.influxdb.test_client import Border
from tests.io.influxdb.test_live import Clock, border, readings, spec

__all__ = ["border", "spec"]


def test_readings_wait_for_what_goes_first_a_second_at_most_and_seldom(border: Border, spec: InfluxSpec) -> None:
    clock = Clock()
    with closing(LivePoints(spec, clock=clock)) as live:
        live.give_way()
        live.offer(readings(0), 1)
        assert not live.settled(1, 0.2)
        live.go_on()
        assert live.settled(1, 5)
        live.give_way()  # so soon again that readings go on
        live.offer(readings(1), 2)
        assert live.settled(2, 5)
        clock.now += GIVE_WAY_EVERY
        live.give_way()
        clock.now += GIVE_WAY_SECONDS
        live.offer(readings(2), 3)
        assert live.settled(3, 5)


def test_readings_of_this_process_wait_for_what_goes_before_them(border: Border, spec: InfluxSpec) -> None:
    with before_readings(spec):
        pass  # nobody sends readings
    live = live_points(spec)
    with before_readings(spec):
        live.offer(readings(0), 1)
        assert not live.settled(1, 0.2)
    assert live.settled(1, 5)
    live.close()
