"""Windows that can't be are refused, in words that say what to write."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from telebeam.transforms.aggregation.grid import DAY, SECOND, Grid
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.aggregation.spec import WindowSpec, check_fixed
from telebeam.transforms.errors import ConfigurationError


@pytest.mark.parametrize(
    ("settings", "windowing", "seconds", "words"),
    [
        ({"every": "1m"}, Grid(60 * SECOND, 60 * SECOND), 60, "1m"),
        ({"every": "1m", "length": "15m"}, Grid(60 * SECOND, 900 * SECOND), 900, "15m every 1m"),
        ({"every": "15m", "length": "15m"}, Grid(900 * SECOND, 900 * SECOND), 900, "15m"),
        ({"every": "1d", "timezone": "Europe/Oslo"}, Grid(DAY, DAY, "Europe/Oslo"), 86_400, "1d in Europe/Oslo"),
        ({"session_gap": "90s"}, Sessions(90 * SECOND, DAY), -90, "sessions with gaps of 90s"),
    ],
)
def test_settings_say_where_windows_lie(settings: dict[str, Any], windowing: Any, seconds: int, words: str):
    window = WindowSpec(**settings)
    assert (window.windowing, window.seconds, window.words) == (windowing, seconds, words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "found none; expected one of every, session_gap and last"),
        ({"every": "1m", "session_gap": "1m"}, "found every and session_gap"),
        ({"last": 10, "every": "1m"}, "found every and last"),
        ({"last": 10, "session_gap": "1m"}, "found session_gap and last"),
        ({"last": 10, "length": "1m"}, "length does not go with last"),
        ({"last": 10, "longest": "1h"}, "longest does not go with last"),
        ({"last": 10, "timezone": "Europe/Oslo"}, "timezone does not go with last"),
        ({"last": 10, "group_by": ["location"]}, "group_by does not go with last"),
        ({"last": 10, "allowed_lateness": "1m"}, "allowed_lateness does not go with last"),
        ({"last": 10, "early": "1m"}, "early does not go with last"),
        ({"last": 0}, "the last 0 readings are out of range; expected 2 to 10,000"),
        ({"last": 1}, "the last 1 readings are out of range"),
        ({"last": 10_001}, "the last 10,001 readings are out of range"),
        ({"every": "15m", "length": "1m"}, "no multiple of every"),
        ({"every": "1m", "length": "90s"}, "no multiple of every"),
        ({"every": "1s", "length": "1d"}, "86,400 windows"),
        ({"every": "1m", "length": "0s"}, "at least 1s"),
        ({"every": "1h", "timezone": "Europe/Oslo"}, "no days of a zone"),
        ({"every": "1d", "length": "2d", "timezone": "Europe/Oslo"}, "no days of a zone"),
        ({"every": "1d", "timezone": "Mars/Olympus"}, "not a time zone"),
        ({"every": "1d", "timezone": "../etc/passwd"}, "not a time zone"),
        ({"every": "1m", "longest": "1h"}, "longest is a setting of sessions"),
        ({"every": "1m", "group_by": ["device_id"]}, "location"),
        ({"session_gap": "2d"}, "longer than the longest session"),
        ({"session_gap": "10m", "early": "1s"}, "early does not go with session_gap"),
        ({"session_gap": "10m", "length": "1h"}, "length does not go with session_gap"),
        ({"session_gap": "10m", "group_by": ["location"]}, "group_by does not go with session_gap"),
        ({"session_gap": "1500ms"}, "whole seconds"),
    ],
)
def test_windows_that_cant_be_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        WindowSpec(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"every": "1m", "length": "2m"}, {"session_gap": "1m"}, {"every": "1d", "timezone": "Europe/Oslo"}],
)
def test_what_a_runner_cant_compute_is_refused_with_its_place(settings: dict[str, Any]):
    check_fixed([WindowSpec(every="1m"), WindowSpec(every="1h", group_by=("location",))], "Dataflow")
    with pytest.raises(ConfigurationError, match=r"windows\[1\]: Dataflow computes no windows of"):
        check_fixed([WindowSpec(every="1m"), WindowSpec(**settings)], "Dataflow")


@pytest.mark.parametrize("number", [2, 10_000])
def test_the_last_readings_are_no_span_of_time(number: int):
    window = WindowSpec(last=number)
    assert window.words == f"the last {number} readings"
    with pytest.raises(ValueError, match="no span of time"):
        _ = window.seconds
    check_fixed([window], "Dataflow")
