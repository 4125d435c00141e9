"""Where InfluxDB is and what it gets."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from telebeam.io.secrets import SecretReference
from telebeam.transforms.spec import Duration, Spec, parse_duration


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
    write: tuple[Literal["readings", "windows"], ...] = ("readings", "windows")
    """What is written."""
    measurements: dict[Literal["readings", "windows"], str] = Field(default_factory=dict)
    """Other names for ``iot_measurements`` (readings) and ``iot_windows`` (windows)."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Our tag's name → the name that an existing installation uses."""
    batch_points: int = Field(20_000, ge=1, le=500_000)
    """Points a request."""
    timeout: Duration = parse_duration("30s")
    """How long one request may take."""
    max_retries: int = Field(5, ge=0, le=100)
    """Tries after the first one, with growing pauses, before the job gives up."""
    max_retry_time: Duration = parse_duration("60s")
    """The longest time that all tries of one batch may take."""
    allow_http: bool = False
    """Send the token without TLS to another machine.  For a network that you trust only."""

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is not the address of an InfluxDB; expected https://host:8086")
        return value
