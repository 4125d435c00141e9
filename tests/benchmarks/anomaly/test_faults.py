"""What ``auto`` finds of a simulated fleet's faults, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.anomaly.faults import HOUR, MINUTE, Found, judge, report
from benchmarks.anomaly.speed import measure


def label(fault: str, start: int, end: int) -> dict[str, str]:
    times = [str(np.datetime64(at * MINUTE, "us")) + "Z" for at in (start, end)]
    return {"device_id": "a-1", "sensor_type": "t", "fault": fault, "start": times[0], "end": times[1]}


def judged(alarms: list[int], *labels: dict[str, str]) -> dict:
    time = np.arange(24 * 60) * MINUTE
    anomaly = np.zeros(len(time), np.bool_)
    anomaly[alarms] = True
    return judge({("a-1", "t"): Found(time, anomaly)}, list(labels))


def test_a_fault_is_found_while_it_lasts_or_by_the_reading_after():
    for alarm, recall in ((300, 1.0), (310, 1.0), (311, 1.0), (312, 0.0), (299, 0.0)):
        assert judged([alarm], label("drift", 300, 310))["recall"] == {"drift": recall}


def test_a_false_alarm_is_far_from_its_faults_and_counted_once():
    found = judged([320, 334, 336, 340, 400], label("drift", 300, 310))
    assert found["false_alarms"] == {"t": 2}
    assert found["false_alarms_per_device_day"] == pytest.approx(2, rel=0.01)


def test_a_fault_of_the_warm_up_is_not_counted():
    assert judged([], label("spike", 99, 99), label("spike", 100, 100))["faults"] == {"spike": 1}
    assert HOUR == 60 * MINUTE


def test_auto_finds_the_faults_of_a_fleet_and_raises_no_false_alarm(request: pytest.FixtureRequest):
    long = request.config.getoption("--long")
    devices, duration = (24, "3d") if long else (12, "12h")
    found = report({"detector": "auto"}, devices, duration, "10s", seed=7)
    assert found["false_alarms_per_device_day"] <= 0.1
    assert found["recall"].keys() == {"drift", "level_shift", "spike", "stuck"}
    # A few faults of a kind are too few for a share of them: in the short form one of each may be missed.
    for fault, recall in found["recall"].items():
        assert recall >= 0.95 or (not long and (1 - recall) * found["faults"][fault] < 1.5), fault


def test_every_detector_has_a_speed():
    found = measure(1, 0, {"two": (2, 30)})
    assert all(rate > 0 for shape in found.values() for rate in shape.values())
