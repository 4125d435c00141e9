"""Where alerts, commands and tagged readings are sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from telebeam.io.influxdb.spec import is_loopback
from telebeam.io.kafka.spec import REFERENCE, KafkaSinkSpec
from telebeam.io.pubsub.spec import PubSubSinkSpec
from telebeam.io.secrets import SecretReference
from telebeam.transforms.spec import Duration, Spec, parse_duration

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the least to the most severe."""
ALERTS_TOPIC = "iot-alerts"
"""Where alerts go unless another topic is named."""
COMMANDS_TOPIC = "device-commands"
"""Where commands go unless another topic is named."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_MANAGED = frozenset({
    "connection", "content-encoding", "content-length", "content-type", "expect", "host", "idempotency-key",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "x-telebeam-signature", "x-telebeam-timestamp",
})  # fmt: skip
_CONFIDENTIAL = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
_LONGEST_WORD = 60


class KafkaAlertsSpec(KafkaSinkSpec):
    """A topic that alerts are written to."""

    topic: str = ALERTS_TOPIC
    """The topic; it has to be there, unless the brokers make topics by themselves."""


class KafkaCommandsSpec(KafkaSinkSpec):
    """A topic that commands are written to."""

    topic: str = COMMANDS_TOPIC
    """The topic; it has to be there, unless the brokers make topics by themselves."""


class WebhookSpec(Spec):
    """An address that is called by HTTP."""

    url: str
    """``https://host/path``, or a reference, ``env:NAME``, where the path is a secret; plain ``http`` is taken for this
    machine only, unless ``allow_http`` is set."""
    secret: SecretReference | None = None
    """A reference to the key of the signature: ``env:NAME`` or ``file:PATH``; calls are not signed without it."""
    headers: dict[str, str] = Field(default_factory=dict)
    """More headers; a value may be a reference, and one that opens doors has to be."""
    timeout: Duration = parse_duration("10s")
    """How long one call may take."""
    batch: int = Field(20, ge=1, le=100)
    """At most so many a call: those of one rule at one instant."""
    min_severity: Severity | None = None
    """As the sink's own ``min_severity``; the higher one holds."""
    allow_http: bool = False
    """Call another machine without TLS.  For a network that you trust only."""
    ca_file: str | None = Field(None, min_length=1)
    """A file of certificates (PEM) to trust instead of the system's."""

    @field_validator("timeout")
    @classmethod
    def _positive(cls, value: Duration) -> Duration:
        if not 0 < value.total_seconds() <= 300:
            raise ValueError(f"{value.total_seconds():g}s can't be waited for; expected more than 0s, at most 5m")
        return value

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _HEADER.fullmatch(name):
                raise ValueError(f"{name!r} can't name a header; expected letters, digits and -")
            if name.lower() in _MANAGED:
                raise ValueError(f"the header {name} can't be set: telebeam sets it itself; leave it out")
            if _CONFIDENTIAL.search(name) and not REFERENCE.match(text):
                # The value itself may be the secret: it is not repeated in the message.
                raise ValueError(f"the header {name} is given by reference; expected env:NAME or file:PATH")
            check_header_value(name, text)
        lower = [name.lower() for name in value]
        twice = sorted({name for name in lower if lower.count(name) > 1})
        if twice:
            raise ValueError(f"the header {twice[0]!r} is given twice; expected each once")
        return value

    @model_validator(mode="after")
    def _callable(self) -> WebhookSpec:
        # file:// begins an address, not a reference to a file.
        if not REFERENCE.match(self.url) or self.url.startswith("file://"):
            check_url(self.url, allow_http=self.allow_http)
        return self

    @property
    def place(self) -> str:
        """The address for messages: without its path, which often is a secret.

        >>> WebhookSpec(url="https://hooks.example.org/services/T0/secret").place
        'https://hooks.example.org'
        """
        return self.url if REFERENCE.match(self.url) else place_of(self.url)


class _Target(Spec):
    """What all sinks share."""

    pubsub: PubSubSinkSpec | None = None
    """A Pub/Sub topic."""

    @model_validator(mode="after")
    def _exactly_one(self) -> _Target:
        kinds = [kind for kind in ("kafka", "pubsub", "webhook") if kind in type(self).model_fields]
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(
                f"{found}; expected exactly one of {', '.join(kinds)}", "write a list with an entry for each"
            )
        return self

    @property
    def name(self) -> str:
        """Names the target in messages and in the log of what was sent, unlike any other target.

        >>> AlertSinkSpec(webhook={"url": "https://hooks.example.org/a"}).name
        'webhook-hooks-example-org-f2449e'
        """
        kind, target, where = self._target()
        digest = blake2b("\0".join((kind, target, where)).encode(), digest_size=3).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", where)[:_LONGEST_WORD].strip("-")
        return f"{kind}-{readable}-{digest}"

    def _target(self) -> tuple[str, str, str]:
        kafka: KafkaSinkSpec | None = getattr(self, "kafka", None)
        webhook: WebhookSpec | None = getattr(self, "webhook", None)
        if kafka is not None:
            return "kafka", kafka.bootstrap_servers, kafka.topic
        if self.pubsub is not None:
            return "pubsub", self.pubsub.topic, self.pubsub.topic.rpartition("/")[2]
        if webhook is None:
            raise ValueError("a sink without a target")
        return "webhook", webhook.url, webhook.place.partition("://")[2] or webhook.place


class _Sink(_Target):
    """What alerts and commands share."""

    webhook: WebhookSpec | None = None
    """An address that is called by HTTP."""
    rules: tuple[str, ...] | None = Field(None, min_length=1)
    """Only what these rules give."""


class AlertSinkSpec(_Sink):
    """Where alerts are sent: exactly one of ``kafka``, ``pubsub`` and ``webhook``."""

    kafka: KafkaAlertsSpec | None = None
    """A Kafka topic."""
    min_severity: Severity = "info"
    """Only alerts that are at least so severe."""

    @property
    def severities(self) -> tuple[Severity, ...]:
        """The severities that are sent.

        >>> AlertSinkSpec(webhook={"url": "https://a.org/b", "min_severity": "critical"}).severities
        ('critical',)
        """
        own = self.webhook.min_severity if self.webhook is not None else None
        return SEVERITIES[max(SEVERITIES.index(self.min_severity), SEVERITIES.index(own or "info")) :]


class CommandSinkSpec(_Sink):
    """Where commands are sent: exactly one of ``kafka``, ``pubsub`` and ``webhook``."""

    kafka: KafkaCommandsSpec | None = None
    """A Kafka topic."""

    @model_validator(mode="after")
    def _not_severe(self) -> CommandSinkSpec:
        if self.webhook is not None and self.webhook.min_severity is not None:
            raise ValueError("commands have no severity; leave min_severity out")
        return self


class TaggedSinkSpec(_Target):
    """Where tagged readings are sent: exactly one of ``kafka`` and ``pubsub``."""

    kafka: KafkaSinkSpec | None = None
    """A Kafka topic."""
    tags: tuple[str, ...] | None = Field(None, min_length=1)
    """Only readings with these tags; by default all that rules tag."""

    @field_validator("tags")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({tag for tag in value or () if (value or ()).count(tag) > 1})
        if twice:
            raise ValueError(f"the tag {twice[0][:60]!r} is given twice; expected each once")
        return value


SinkSpec = AlertSinkSpec | CommandSinkSpec | TaggedSinkSpec
"""Any sink."""


def check_sinks(specs: Sequence[SinkSpec]) -> None:
    """Accepts sinks of which no two have one target.

    Raises:
        ValueError: Two have.
    """
    names = [spec.name for spec in specs]
    for spec in specs:
        if names.count(spec.name) > 1:
            webhook = None if isinstance(spec, TaggedSinkSpec) else spec.webhook
            what = "tags" if isinstance(spec, TaggedSinkSpec) else "rules"
            where = webhook.place if webhook is not None else spec.name
            raise ValueError(f"{where} is given twice; expected each target once", f"put the {what} of both into one")


def check_tags(specs: Iterable[TaggedSinkSpec], known: Collection[str]) -> None:
    """Accepts sinks that wait for no tag but those that rules give.

    Args:
        specs: The sinks.
        known: The tags of all rules.

    Raises:
        ValueError: One waits for another.
    """
    for spec in specs:
        for tag in spec.tags or ():
            if tag not in known:
                given = f"rules give {', '.join(sorted(known))}" if known else "no rule gives a tag"
                raise ValueError(
                    f"sinks.tagged: no rule gives the tag {tag[:60]!r}; {given}",
                    f"add then: {{tag: {tag[:60]}}} to a rule, or leave it out of tags",
                )


def check_url(url: str, *, allow_http: bool) -> None:
    """Accepts an address that a webhook may have; messages hold no more of it than its host.

    Raises:
        ValueError: It is no address, holds a login, or would be called without TLS.
    """
    expected = "expected https://host/path"
    if not re.fullmatch(r"[\x21-\x7e]{1,4000}", url):
        raise ValueError("the address is empty, too long or holds spaces or characters beyond ASCII; " + expected)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the address is not understood: {error}; {expected}") from error
    if "@" in parts.netloc:
        raise ValueError(
            "the address holds a user or a password", 'give it as headers: {Authorization: "env:NAME"} instead'
        )
    if parts.scheme not in ("https", "http"):
        raise ValueError(f"the scheme {parts.scheme or '(none)'} can't be called; {expected}")
    if not parts.hostname or "\\" in parts.netloc or port == 0:
        raise ValueError(f"the address names no host; {expected}")
    if parts.fragment:
        raise ValueError(f"the address has a fragment (#…), which is never sent; {expected}")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise ValueError(
            f"{place_of(url)} would carry alerts unencrypted to another machine; {expected}",
            "or set allow_http: true on a network that you trust",
        )


def check_header_value(name: str, text: str) -> None:
    """Accepts what a header can carry; the text is not repeated in the message.

    Raises:
        ValueError: It is empty, or holds line ends or characters beyond ASCII.
    """
    if not re.fullmatch(r"[\x20-\x7e]{1,8000}", text) or text != text.strip():
        raise ValueError(f"the header {name} can't carry its value; expected printable ASCII without spaces around")


def place_of(url: str) -> str:
    """Scheme, host and port of an address.

    >>> place_of("https://hooks.example.org:8443/services/secret?token=1")
    'https://hooks.example.org:8443'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
