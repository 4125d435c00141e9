"""Which topics are read and written, and how a broker is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, field_validator

from telebeam.transforms.spec import Spec

ClientValue = str | bool | int | float
"""A value of the client's own configuration."""

SECRET_KEYS = frozenset({
    "sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password",
})  # fmt: skip
"""Settings that are given by reference only."""
REFERENCE = re.compile(r"(?:env|file):.")
"""How the value of any setting that is taken from elsewhere begins."""

_OURS = "telebeam sets it itself; leave it out"
_WHERE = "name the brokers in bootstrap_servers"
_COMMITS = "offsets are committed when their readings are durable, not before; leave it out"
_BY_HAND = "partitions are assigned, not subscribed to; leave it out"
MANAGED: dict[str, str] = {
    "bootstrap.servers": _WHERE,
    "metadata.broker.list": _WHERE,
    "group.id": "name the group in group_id",
    "group.instance.id": _BY_HAND,
    "group.protocol": _BY_HAND,
    "partition.assignment.strategy": _BY_HAND,
    "enable.auto.commit": _COMMITS,
    "auto.commit.interval.ms": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "offset.store.method": _COMMITS,
    "auto.offset.reset": "say it as start: earliest, latest or a time",
    "enable.partition.eof": _OURS,
    "enable.idempotence": _OURS,
    "acks": "a record counts as written when all replicas have it; leave it out",
    "request.required.acks": "a record counts as written when all replicas have it; leave it out",
    "transactional.id": "telebeam writes without transactions; leave it out",
    "plugin.library.paths": "libraries are not loaded by configuration; leave it out",
}
"""Settings of the client that are refused, with what to do instead."""

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(r"(?:(?:SASL_)?(?:PLAINTEXT|SSL)://)?(?:\[[0-9A-Fa-f:.]+\]|[^\s,:/@\[\]]+)(?::(?P<port>\d{1,5}))?")


class KafkaSourceSpec(Spec):
    """Topics of a Kafka cluster, one record a message or many."""

    bootstrap_servers: str
    """The brokers to ask first: ``host:port``, several with commas between."""
    topics: tuple[str, ...] = Field(min_length=1)
    """The topics, each once."""
    group_id: str | None = Field(None, min_length=1, max_length=255)
    """The consumer group that offsets are committed for; the pipeline's name where nothing is given."""
    start: str = "committed"
    """Where a partition begins of which the lake has nothing yet.

    ``committed`` (by the group, and ``earliest`` where it has committed nothing), ``earliest``, ``latest``, or the
    first record from a time on, as ``2026-01-01T00:00:00Z``.
    """
    until: str | None = None
    """Makes it a read that finishes: at the ``end`` that topics have when it begins, or at a time that has passed."""
    readers: int | None = Field(None, ge=1, le=1024)
    """How many readers share the partitions; chosen by the job where nothing is given."""
    on_gap: Literal["fail", "skip"] = "fail"
    """What happens when records were deleted before they were read: the job fails, or warns and goes on behind them."""
    config: dict[str, ClientValue] = Field(default_factory=dict)
    """Settings of the client, librdkafka, by its names: TLS, SASL, sizes.  Passwords are references: ``env:NAME``."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        return check_servers(value)

    @field_validator("topics")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for topic in value:
            check_topic(topic)
        twice = sorted({topic for topic in value if value.count(topic) > 1})
        if twice:
            raise ValueError(f"the topic {twice[0]!r} is given twice; expected each once")
        return value

    @field_validator("start")
    @classmethod
    def _known_start(cls, value: str) -> str:
        return (
            value
            if value in ("committed", "earliest", "latest")
            else check_moment(value, "committed, earliest, latest")
        )

    @field_validator("until")
    @classmethod
    def _known_end(cls, value: str | None) -> str | None:
        return value if value in (None, "end") else check_moment(str(value), "end")

    @field_validator("config")
    @classmethod
    def _client_settings(cls, value: dict[str, ClientValue]) -> dict[str, ClientValue]:
        return check_client_settings(value)


class KafkaSinkSpec(Spec):
    """A topic that is written."""

    bootstrap_servers: str
    """The brokers to ask first: ``host:port``, several with commas between."""
    topic: str
    """The topic; it has to be there, unless the brokers make topics by themselves."""
    config: dict[str, ClientValue] = Field(default_factory=dict)
    """Settings of the client, librdkafka, by its names: TLS, SASL, sizes.  Passwords are references: ``env:NAME``."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        return check_servers(value)

    @field_validator("topic")
    @classmethod
    def _named(cls, value: str) -> str:
        return check_topic(value)

    @field_validator("config")
    @classmethod
    def _client_settings(cls, value: dict[str, ClientValue]) -> dict[str, ClientValue]:
        return check_client_settings(value)


def check_servers(value: str) -> str:
    """The brokers' addresses without white space.

    >>> check_servers("a:9092, b:9092")
    'a:9092,b:9092'

    Raises:
        ValueError: One is no address.
    """
    servers = [part.strip() for part in value.split(",")]
    for server in servers:
        found = _SERVER.fullmatch(server)
        if "@" in server:
            # What stands before the @ may be a password: it is not repeated in the message.
            raise ValueError("an address holds a user or a password; give them in config, as sasl.username")
        if not found or not 0 < int(found["port"] or 9092) < 65_536:
            raise ValueError(f"{server!r} is not a broker's address; expected host:port")
    return ",".join(servers)


def check_topic(value: str) -> str:
    """A topic's name.

    Raises:
        ValueError: Kafka knows no topics of such a name.
    """
    if not _TOPIC.fullmatch(value) or value in (".", ".."):
        raise ValueError(f"{value!r} can't name a topic; expected 1 to 249 letters, digits, ., - and _")
    return value


def check_moment(value: str, others: str) -> str:
    """A time with a zone, as it was written.

    Raises:
        ValueError: It is no time, or names no zone.
    """
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not understood; expected {others} or a time as 2026-01-01T00:00:00Z") from error
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} names no zone; write {moment.isoformat()}Z for UTC")
    return value


def milliseconds(moment: str) -> int:
    """A checked time in milliseconds since 1970, as brokers count.

    >>> milliseconds("1970-01-01T01:00:01+01:00")
    1000
    """
    since = datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def check_client_settings(config: Mapping[str, ClientValue]) -> dict[str, ClientValue]:
    """Settings of the client that may be handed through.

    Raises:
        ValueError: One is telebeam's own, or a secret is not given by reference.
    """
    for key, value in config.items():
        if key in MANAGED:
            raise ValueError(f"{key} can't be set: {MANAGED[key]}")
        if key.endswith("_cb"):
            raise ValueError(f"{key} is a function of a program; it can't be set by configuration")
        if key in SECRET_KEYS and not (isinstance(value, str) and REFERENCE.match(value)):
            # The value itself may be the secret: it is not repeated in the message.
            raise ValueError(f"{key} is given by reference; expected env:NAME or file:PATH")
    return dict(config)
