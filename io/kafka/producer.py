"""Messages to a topic, and whether the brokers have them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from telebeam.io.kafka.client import admin_settings, make_client, producer_settings
from telebeam.io.kafka.cluster import ANSWER_SECONDS, PROBE_SECONDS, Cluster, NewTopic, patiently
from telebeam.io.kafka.errors import Complaints, ErrorListener, refusal
from telebeam.io.kafka.spec import ClientValue, KafkaSinkSpec
from telebeam.transforms.errors import AwayError, SinkError

_LOG = logging.getLogger(__name__)

Delivered = Callable[[KafkaError | None, Message], None]

_SERVE_EVERY = 4_096
"""Messages between two looks at what the client reports."""


class KafkaWriter:
    """Writes messages and knows of those that were not taken.

    A message counts as written when all in-sync replicas have it; the client sends again what is not acknowledged,
    and the brokers keep one copy.  One that stays unacknowledged (``message.timeout.ms``: five minutes) is an error.

    Args:
        servers: The brokers to ask first.
        config: The client's settings, with references for secrets.
        delivered: Gets each message when it is acknowledged or given up; costs a third of the speed.
    """

    def __init__(self, servers: str, config: Mapping[str, ClientValue], delivered: Delivered | None = None) -> None:
        self._where = f"Kafka at {servers}"
        self._listener = ErrorListener(self._where, SinkError)
        self._complaints = Complaints(_LOG)
        self._delivered = delivered
        self._failed: KafkaError | None = None
        self._failures = 0
        settings = {**producer_settings(servers, config), "delivery.report.only.error": delivered is None}
        self._producer: Any = make_client(Producer, settings, error_cb=self._listener, on_delivery=self._report)

    def write(self, topic: str, payloads: Iterable[bytes], keys: Iterable[bytes | None]) -> None:
        """Hands messages to the client; waits where it holds as many as it may.

        Raises:
            SinkError: The broker refuses the login, the topic or a message.
        """
        produce = self._producer.produce
        for number, (payload, key) in enumerate(zip(payloads, keys, strict=True)):
            while True:
                try:
                    produce(topic, payload, key)
                    break
                except BufferError:
                    self._serve(0.05)
                except KafkaException as error:
                    answer = error.args[0]
                    raise refusal(answer, f"{self._where}: topic {topic}", SinkError) or SinkError(
                        f"{self._where} takes no message for topic {topic}: {answer.str()}"
                    ) from error
            if number % _SERVE_EVERY == 0:
                self._serve(0.0)

    def serve(self) -> None:
        """Takes what the client reports.

        Raises:
            SinkError: As :meth:`flush`.
        """
        self._serve(0.0)

    def flush(self, seconds: float | None = None) -> None:
        """Waits until every message is acknowledged or given up.

        Args:
            seconds: At most so long; without end where nothing is given, for the client gives up by itself.

        Raises:
            SinkError: A message was not taken, or the time is over.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while len(self._producer):
            self._producer.flush(0.2)
            self._check()
            if deadline is not None and time.monotonic() > deadline:
                raise SinkError(
                    f"{self._where} has not acknowledged {len(self._producer):,} message(s) within {seconds:g} s: "
                    f"{self._listener.trouble or 'no answer'}"
                )
            if self._listener.trouble and len(self._producer):
                self._complaints.say(f"{self._where}: {self._listener.trouble}; waiting for it")
        self._check()

    def close(self) -> None:
        """Drops what was not acknowledged and ends the connection."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _serve(self, seconds: float) -> None:
        self._producer.poll(seconds)
        self._check()

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures += 1
            self._failed = self._failed or error
        if self._delivered is not None:
            self._delivered(error, message)

    def _check(self) -> None:
        self._listener.check()
        if self._failed is not None:
            failed, count = self._failed, self._failures
            self._failed, self._failures = None, 0
            raise refusal(failed, self._where, SinkError) or SinkError(
                f"{self._where} did not take {count:,} message(s): {failed.str()}", "is the broker there?"
            )


def ensure_topic(spec: KafkaSinkSpec, partitions: int) -> int:
    """How many partitions a topic has, which is created where it is absent.

    Args:
        spec: The topic.
        partitions: How many it gets.

    Raises:
        SinkError: No broker answers within :data:`PROBE_SECONDS`, or it makes no topics.
    """
    cluster = Cluster(spec.bootstrap_servers, spec.config, SinkError)
    pause = threading.Event().wait
    try:
        found = patiently(
            lambda: cluster.topics(cluster.ask_topics([spec.topic]), may_miss=True), _LOG.debug, pause, PROBE_SECONDS
        )
    except AwayError as error:
        raise SinkError(f"{error.message} (tried for {PROBE_SECONDS:g} s)", "is this the broker's address?") from error
    if spec.topic in found:
        return found[spec.topic].partitions
    admin = make_client(AdminClient, admin_settings(spec.bootstrap_servers, spec.config))
    try:
        made = admin.create_topics([NewTopic(spec.topic, partitions, -1)], operation_timeout=ANSWER_SECONDS)
        made[spec.topic].result(PROBE_SECONDS)
    except KafkaException as error:
        answer = error.args[0]
        if answer.code() != KafkaError.TOPIC_ALREADY_EXISTS:
            where = f"{cluster.where}: topic {spec.topic}"
            raise refusal(answer, where, SinkError) or SinkError(f"{where} can't be made: {answer.str()}") from error
    return partitions
