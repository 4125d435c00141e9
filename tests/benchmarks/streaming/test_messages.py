"""The messages that streaming is measured with are what they say."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import pytest

from benchmarks.streaming.messages import SENSORS, Fleet

END_MS = 1_795_000_000_000


def moment_ms(reading: dict[str, str]) -> int:
    return round(datetime.fromisoformat(reading["timestamp"]).timestamp() * 1000)


@pytest.mark.parametrize("per_message", [1, 100])
def test_a_backlog_has_the_readings_that_were_asked_for_and_ends_now(per_message: int):
    messages = list(Fleet(100, per_message).backlog(30_000, 10_000, END_MS))
    times = [message.time_ms for message in messages]
    assert len(messages) == 30_000 // per_message
    assert times == sorted(times)
    assert END_MS - 3000 <= times[0] < times[-1] <= END_MS


def test_every_series_reports_equally_often():
    readings = [json.loads(message.payload) for message in Fleet(10).backlog(400, 1000, END_MS)]
    series = Counter((reading["device_id"], reading["sensor_type"]) for reading in readings)
    assert len(series) == 10 * len(SENSORS)
    assert set(series.values()) == {10}


def test_a_message_carries_its_own_time():
    for message in Fleet(10).backlog(100, 1000, END_MS):
        assert moment_ms(json.loads(message.payload)) == message.time_ms


def test_a_message_is_keyed_by_its_device():
    assert all(json.loads(message.payload)["device_id"] == message.key for message in Fleet(10).messages(0, [0] * 40))


def test_a_gateways_message_holds_what_its_devices_read_at_one_moment():
    fleet = Fleet(100, 100)
    for message in fleet.messages(0, [END_MS] * 8):
        readings = json.loads(message.payload)
        assert len({(reading["device_id"], reading["sensor_type"]) for reading in readings}) == 100
        assert {reading["metadata"]["gateway"] for reading in readings} == {message.key}
        assert {moment_ms(reading) for reading in readings} == {END_MS}


def test_the_same_number_is_the_same_message():
    assert Fleet(10).messages(7, [END_MS] * 3) == Fleet(10).messages(0, [END_MS] * 10)[7:]


def test_a_few_values_are_out_of_range():
    readings = [json.loads(message.payload) for message in Fleet().messages(0, [0] * 20_000)]
    hot = sum(reading["sensor_type"] == "temperature" and reading["value"] > 100 for reading in readings)
    assert 0 < hot < 20
