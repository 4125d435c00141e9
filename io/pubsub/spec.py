"""Which subscription is read, and which topic is written to."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from telebeam.transforms.spec import Duration, Spec, parse_duration

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}", re.ASCII)
# Projects of old have their domain before a colon.
_PROJECT = re.compile(r"(?:[a-z0-9][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", re.ASCII)
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_SHORTEST_LEASE, _LONGEST_LEASE = 10.0, 600.0  # Pub/Sub's own bounds
_LONGEST_WORD = 80


def _path(kind: str, value: str) -> str:
    parts = value.split("/")
    expected = f"expected projects/PROJECT/{kind}/NAME"
    if len(parts) != 4 or parts[0] != "projects" or parts[2] != kind:
        raise ValueError(f"{value!r} is not the full name of one of the {kind}; {expected}")
    if not _PROJECT.fullmatch(parts[1]):
        raise ValueError(
            f"{parts[1]!r} is not a project's id; {expected} with a project of 6 to 30 lower-case letters, digits and -"
        )
    if not _NAME.fullmatch(parts[3]) or parts[3].startswith("goog"):
        raise ValueError(
            f"{parts[3]!r} can't name one of the {kind}; "
            "expected a letter and 2 to 254 letters, digits or ._~+%- and no 'goog' at the beginning"
        )
    return value


def _subscription(value: str) -> str:
    return _path("subscriptions", value)


def _topic(value: str) -> str:
    return _path("topics", value)


def _endpoint(value: str | None) -> str | None:
    if value is None:
        return None
    expected = "expected HOST, HOST:443 or, for an emulator on this machine, http://localhost:PORT"
    if "@" in value:
        # What stands before the @ may be a password: it is not repeated in the message.
        raise ValueError(f"the address holds a user or a password; {expected}")
    local = value.startswith("http://")
    try:
        parts = urlsplit(value if local else f"//{value}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{value!r} is not an address; {expected}") from error
    if not parts.hostname or parts.path not in ("", "/") or parts.query or "//" in value[7:]:
        raise ValueError(f"{value!r} is not the address of a Pub/Sub service; {expected}")
    if local and (parts.hostname not in _LOCAL or port is None):
        raise ValueError(f"{value!r} would carry the data unencrypted to another machine; {expected}")
    return value.rstrip("/")


Endpoint = Annotated[str | None, AfterValidator(_endpoint)]
"""``HOST``, ``HOST:PORT`` with TLS, or ``http://localhost:PORT``."""


class PubSubSourceSpec(Spec):
    """A subscription that is pulled from."""

    subscription: Annotated[str, AfterValidator(_subscription)]
    """``projects/PROJECT/subscriptions/NAME``; no other reader may pull from it."""
    timestamp_attribute: str | None = Field(None, min_length=1, max_length=256)
    """The attribute that says when a message was made, RFC 3339 or milliseconds since 1970; without it, or where a
    message has none that can be read, the time at which it was published counts."""
    id_attribute: str | None = Field(None, min_length=1, max_length=256)
    """The attribute that tells a message from others: one that comes with the same text is left out.  Without it, or
    where a message has none, Pub/Sub's own message id."""
    max_outstanding_messages: int = Field(200_000, ge=1, le=10_000_000)
    """Messages that are pulled and not yet durable, at most."""
    max_outstanding_bytes: int = Field(256 * 1024 * 1024, ge=1)
    """Their payloads and attributes, in bytes; exceeded by a few pulls at most."""
    lease: Duration = parse_duration("60s")
    """For how long Pub/Sub leaves a message with this job each time that it asks: 10s to 10m.  After a kill, what was
    pulled and not yet durable is delivered again when this is over."""
    max_lease: Duration = parse_duration("1h")
    """How long a message is kept from others in all: a job that makes no progress for so long gets it again."""
    endpoint: Endpoint = None
    """Another address of Pub/Sub: ``europe-west1-pubsub.googleapis.com``, or ``http://localhost:8085`` for an emulator.
    ``PUBSUB_EMULATOR_HOST`` is honoured where this is not set."""

    @model_validator(mode="after")
    def _possible_leases(self) -> PubSubSourceSpec:
        lease, longest = self.lease.total_seconds(), self.max_lease.total_seconds()
        if not _SHORTEST_LEASE <= lease <= _LONGEST_LEASE:
            raise ValueError(f"lease is {lease:g}s; expected 10s to 10m, what Pub/Sub allows")
        if longest < lease:
            raise ValueError(f"max_lease is {longest:g}s; expected at least lease, {lease:g}s")
        return self

    @property
    def short_name(self) -> str:
        """The subscription's name without its project."""
        return short_name(self.subscription)

    @property
    def stream(self) -> str:
        """Names the subscription in file names, unlike any other one.

        >>> PubSubSourceSpec(subscription="projects/my-fleet/subscriptions/telemetry.eu").stream
        'telemetry-eu-a1eacb'
        """
        digest = blake2b(self.subscription.encode(), digest_size=3).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9_-]', '-', self.short_name)[:_LONGEST_WORD]}-{digest}"


class PubSubSinkSpec(Spec):
    """A topic that is published to."""

    topic: Annotated[str, AfterValidator(_topic)]
    """``projects/PROJECT/topics/NAME``."""
    endpoint: Endpoint = None
    """As the source's ``endpoint``."""


def short_name(path: str) -> str:
    """What stands behind the last slash of a full name.

    >>> short_name("projects/my-fleet/subscriptions/telemetry")
    'telemetry'
    """
    return path.rpartition("/")[2]
