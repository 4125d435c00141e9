"""Topics filled as fast as the broker takes messages, and what was acknowledged of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Sent

from benchmarks.streaming.messages import Message
from telebeam.transforms.errors import JobError

PRODUCER = {
    "linger.ms": 20,
    "batch.size": 1 << 20,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 1 << 19,
    "partitioner": "murmur2_random",  # what Java clients do: a device stays in its partition
    "acks": "all",
}
FLUSH_SECONDS = 60
_POLL_EVERY = 1000


@dataclass
class Counted:
    """How many messages the broker has acknowledged."""

    messages: int = 0
    bytes: int = 0
    refused: str = ""

    def __call__(self, error: KafkaError | None, sent: Sent) -> None:
        """Takes one delivery report."""
        if error is not None:
            self.refused = self.refused or str(error)
            return
        self.messages += 1
        self.bytes += len(sent)


def fill(bootstrap_servers: str, topic: str, messages: Iterable[Message], report: Any = None) -> Counted:
    """Sends messages as fast as it goes, each stamped with its own time, and waits until all are acknowledged.

    Args:
        bootstrap_servers: The broker.
        topic: Is there already.
        messages: What to send.
        report: Called with ``(error, message)`` for each; counts unless given.

    Raises:
        JobError: The broker refused one, or not all were acknowledged in time.
    """
    counted = Counted()
    on_delivery = report or counted
    producer = Producer({**PRODUCER, "bootstrap.servers": bootstrap_servers})
    for number, message in enumerate(messages):
        send(producer, topic, message, on_delivery)
        if number % _POLL_EVERY == 0:
            producer.poll(0)
    finish(producer)
    if counted.refused:
        raise JobError(f"{topic}: the broker refused messages: {counted.refused}")
    return counted


def send(producer: Producer, topic: str, message: Message, on_delivery: Any) -> None:
    """Queues one message; waits while the queue is full."""
    while True:
        try:
            producer.produce(
                topic, message.payload, message.key, timestamp=message.time_ms, on_delivery=on_delivery
            )  # fmt: skip
            return
        except BufferError:
            producer.poll(0.05)


def finish(producer: Producer) -> None:
    """Waits until everything was acknowledged.

    Raises:
        JobError: It was not within :data:`FLUSH_SECONDS`.
    """
    try:
        left = producer.flush(FLUSH_SECONDS)
    except KafkaException as error:
        raise JobError(f"the broker does not take messages: {error}") from error
    if left:
        raise JobError(f"{left} messages were not acknowledged within {FLUSH_SECONDS} s")


def now_ms() -> int:
    """The present, ms since 1970."""
    return time.time_ns() // 1_000_000
