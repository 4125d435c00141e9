"""A connection's settings are refused before anything is written."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from telebeam.io.influxdb.spec import InfluxSpec

GOOD = {"url": "https://influx.example.org:8086", "org": "iot", "bucket": "telemetry", "token": "env:TOKEN"}


@pytest.mark.parametrize("url", ["http://localhost:8086", "http://127.0.0.1:8086", "http://[::1]:8086", GOOD["url"]])
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert InfluxSpec(**{**GOOD, "url": url}).url == url


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "http://influx.example.org:8086"}, "unencrypted"),
        ({"url": "http://127.0.0.1.example.org"}, "unencrypted"),
        ({"url": "file:///etc/passwd"}, "not the address"),
        ({"url": "https://host?token=x"}, "not the address"),
        ({"token": "abc123"}, "given by reference"),
        ({"tags": {"device_id": ""}}, "can't name"),
        ({"tags": {"device_id": "time"}}, "can't name"),
        ({"tags": {"device_id": "_field"}}, "can't name"),
        ({"tags": {"device_id": "a\\"}}, "can't name"),
        ({"tags": {"device_id": "unit"}}, "two tags"),
        ({"tags": {"devise": "id"}}, "not one of our tags"),
        ({"measurements": {"readings": "# a"}}, "can't name"),
        ({"measurements": {"windows": "a\nb"}}, "can't name"),
        ({"timeout": 0}, "more than 0s"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        InfluxSpec(**{**GOOD, **change})


def test_plain_http_elsewhere_needs_a_word() -> None:
    assert InfluxSpec(**{**GOOD, "url": "http://influx.lan:8086", "allow_http": True}).allow_http


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="user or a password") as error:
        InfluxSpec(**{**GOOD, "url": "https://me:secret@host:8086"})
    assert "secret" not in error.value.errors()[0]["msg"]
