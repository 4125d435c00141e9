"""Where InfluxDB is and what it gets."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from telebeam.io.secrets import SecretReference
from telebeam.transforms.schema import SERIES
from telebeam.transforms.spec import Duration, Spec, parse_duration

Dataset = Literal["readings", "windows", "scores", "alerts"]
"""What can be written."""

MEASUREMENTS: dict[Dataset, str] = {
    "readings": "iot_measurements",
    "windows": "iot_windows",
    "scores": "iot_measurements",
    "alerts": "iot_alerts",
}
"""Dataset → the measurement that holds it unless ``measurements`` says otherwise; a score is a field of its reading."""

TAGS: dict[Dataset, tuple[str, ...]] = {
    "readings": SERIES,
    "windows": (*SERIES, "window_seconds"),
    "scores": SERIES,
    "alerts": ("rule", "severity", "state", "tenant", "device_id", "sensor_type", "location"),
}
"""Dataset → the columns that are tags."""

TAG_NAMES = tuple(dict.fromkeys((*TAGS["windows"], *TAGS["alerts"])))
"""Every column that is a tag somewhere."""


class InfluxSpec(Spec):
    """An InfluxDB 2 bucket."""

    url: str
    """``https://host:8086``; plain ``http`` is taken for local addresses only, unless ``allow_http`` is set."""
    org: str = Field(min_length=1)
    """The organisation's name."""
    bucket: str = Field(min_length=1)
    """The bucket's name."""
    token: SecretReference
    """A reference to the token: ``env:NAME`` or ``file:PATH``."""
    write: tuple[Dataset, ...] = ("readings", "windows")
    """What is written."""
    measurements: dict[Dataset, str] = Field(default_factory=dict)
    """Other names for ``iot_measurements`` (readings), ``iot_windows`` (windows) and ``iot_alerts`` (alerts)."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Our tag's name → the name that an existing installation uses."""
    batch_points: int = Field(20_000, ge=1, le=500_000)
    """Points a request."""
    timeout: Duration = parse_duration("30s")
    """How long one request may take."""
    max_retries: int = Field(5, ge=0, le=100)
    """Tries after the first one, with growing pauses, before the job gives up."""
    max_retry_time: Duration = parse_duration("60s")
    """No try of a batch begins later than this after its first one."""
    allow_http: bool = False
    """Send the token without TLS to another machine.  For a network that you trust only."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if "@" in parts.netloc:
            # What stands before the @ may be a password: it is not repeated in the message.
            raise ValueError("the address holds a user or a password; give the token as env:NAME or file:PATH instead")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{value!r} is not the address of an InfluxDB; expected https://host:8086")
        return value.rstrip("/")

    @field_validator("timeout", "max_retry_time")
    @classmethod
    def _positive(cls, value: Duration) -> Duration:
        if value.total_seconds() <= 0:
            raise ValueError(f"{value.total_seconds():g}s is not a length of time; expected more than 0s")
        return value

    @field_validator("measurements")
    @classmethod
    def _writable_measurements(cls, value: dict[Dataset, str]) -> dict[Dataset, str]:
        if "scores" in value:
            raise ValueError("a score is a field of its reading's point; name the measurement of readings")
        for name in value.values():
            check_name(name)
        return value

    @field_validator("tags")
    @classmethod
    def _writable_tags(cls, value: dict[str, str]) -> dict[str, str]:
        known = TAG_NAMES
        for ours, theirs in value.items():
            if ours not in known:
                raise ValueError(f"{ours!r} is not one of our tags; expected one of {', '.join(known)}")
            check_name(theirs)
        names = [value.get(name, name) for name in known]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two tags would be named {twice[0]!r}; each needs a name of its own")
        return value

    @model_validator(mode="after")
    def _encrypted_or_local(self) -> InfluxSpec:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.allow_http and not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"{self.url} would carry the token unencrypted to another machine; "
                "expected https, or allow_http: true on a network that you trust"
            )
        return self

    def measurement(self, dataset: Dataset) -> str:
        """The name of the measurement that holds a dataset."""
        return self.measurements.get("readings" if dataset == "scores" else dataset, MEASUREMENTS[dataset])


def check_name(name: str) -> None:
    """Accept a measurement's or a tag's name that line protocol can carry and InfluxDB does not reserve.

    Raises:
        ValueError: It is empty, holds a control character or a backslash, begins with ``_`` or ``#``, or is ``time``.
    """
    if not name or name == "time" or re.search(r"^[_#]|[\\\x00-\x1f\x7f-\x9f]", name):
        raise ValueError(
            f"{name!r} can't name a measurement or a tag; expected neither 'time' nor a leading _ or #, "
            "no backslash, no control character"
        )


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("influx.example.org")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
