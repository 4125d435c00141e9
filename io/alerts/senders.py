"""Which sender a sink has, made where it is used: the clients of brokers are imported when one is needed."""

from __future__ import annotations

import socket
import ssl
import threading
from functools import partial
from urllib.parse import urlsplit

from telebeam.io.alerts.messages import Kind
from telebeam.io.alerts.sender import Sender
from telebeam.io.alerts.sentlog import SentLog
from telebeam.io.alerts.spec import SinkSpec, TaggedSinkSpec, WebhookSpec
from telebeam.io.alerts.webhook import WebhookSender, resolved_headers, resolved_url
from telebeam.io.secrets import resolve_secret
from telebeam.transforms.errors import UnreachableError
from telebeam.transforms.extras import needing

PROBE_SECONDS = 8.0
"""How long a preflight check may take."""


def make_sender(
    spec: SinkSpec, kind: Kind, pipeline: str, log: SentLog, writer: str, stopping: threading.Event
) -> Sender:
    """The sender of a sink, with its secrets resolved.

    Args:
        spec: The sink.
        kind: What is sent.
        pipeline: The pipeline's name.
        log: The sink's log, for positions in a topic.
        writer: Who notes these positions.
        stopping: Ends the pauses between tries when it is set.

    Raises:
        ConfigurationError: A secret is not there, or a package that this sink needs is not installed.
        SinkError: There is no login.
        SourceError: The log can't be read.
    """
    if not isinstance(spec, TaggedSinkSpec) and spec.webhook is not None:
        return WebhookSender(spec.webhook, kind, sleep=stopping.wait)
    extra = "pubsub" if spec.pubsub is not None else "kafka"
    with needing(extra, f"sending to {extra}"):
        if spec.pubsub is not None:
            from telebeam.io.alerts.pubsub import PubSubSender

            return PubSubSender(spec.pubsub, kind, pipeline)
        from telebeam.io.alerts.kafka import KafkaSender

    if spec.kafka is None:
        raise ValueError("a sink without a target")
    positions, note = log.positions(), partial(log.note, writer)
    return KafkaSender(spec.kafka, kind, pipeline, positions, note, stopping=stopping.is_set)


def probe(spec: SinkSpec) -> str:
    """Resolves a sink's secrets and reaches its target, without sending anything; says what was found.

    A webhook's host is connected to, with TLS where it has it; it is not called, because it might take that for an
    alert.

    Raises:
        ConfigurationError: A secret is not there, or a package that this sink needs is not installed.
        SinkError: The target can't be reached, refuses the login or does not know the topic.
    """
    if not isinstance(spec, TaggedSinkSpec) and spec.webhook is not None:
        return _probe_webhook(spec.webhook)
    extra = "pubsub" if spec.pubsub is not None else "kafka"
    with needing(extra, f"sending to {extra}"):
        if spec.pubsub is not None:
            from telebeam.io.alerts.pubsub import probe as probe_pubsub

            return probe_pubsub(spec.pubsub)
        from telebeam.io.alerts.kafka import probe as probe_kafka
    if spec.kafka is None:
        raise ValueError("a sink without a target")
    return probe_kafka(spec.kafka)


def _probe_webhook(spec: WebhookSpec) -> str:
    parts = urlsplit(resolved_url(spec))
    resolved_headers(spec)
    if spec.secret is not None:
        resolve_secret(spec.secret)
    host, https = parts.hostname or "", parts.scheme == "https"
    seconds = min(PROBE_SECONDS, spec.timeout.total_seconds())
    try:
        with socket.create_connection((host, parts.port or (443 if https else 80)), seconds) as connection:
            if https:
                ssl.create_default_context(cafile=spec.ca_file).wrap_socket(connection, server_hostname=host).close()
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{spec.place} can't be reached: {error}", "check the webhook's url") from error
    return f"{spec.place} answers"
