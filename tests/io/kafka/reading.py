"""A reader of a topic that remembers what it got, and a producer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer

from telebeam.io.kafka.feed import KafkaFeed
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.io.streams.feed import Partition, Polled, Position

SECONDS = 60
"""How long anything may take on a busy machine."""


def nowhere(partition: Partition) -> int | None:
    return None


class Reader:
    """A feed and all that it has handed out."""

    def __init__(self, feed: KafkaFeed) -> None:
        self.feed = feed
        self.polled: list[Polled] = []

    def until(self, is_so: Callable[[Reader], bool]) -> Reader:
        deadline = time.monotonic() + SECONDS
        while not is_so(self):
            assert time.monotonic() < deadline, f"not within {SECONDS} s; got {self.payloads()}"
            self.polled += self.feed.poll(0.2)
        return self

    def get(self, count: int) -> list[bytes]:
        """All payloads once there are so many."""
        return self.until(lambda reader: len(reader.payloads()) >= count).payloads()

    def payloads(self) -> list[bytes]:
        return [row["payload"] for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        return [row for polled in self.polled for row in polled.envelopes.to_pylist()]

    def next(self) -> dict[Partition, int]:
        return {polled.partition: polled.next for polled in self.polled}

    def is_at(self, offset: int) -> bool:
        """Whether all partitions that there are now were read up to an offset."""
        at = self.next()
        return bool(self.feed.partitions()) and all(at.get(it) == offset for it in self.feed.partitions())


@contextmanager
def reading(
    servers: str, topic: str, position: Position = nowhere, *, group: str = "readers", index: int = 0, readers: int = 1,
    discovery_seconds: float = 0.3, **settings: Any,
) -> Iterator[Reader]:  # fmt: skip
    spec = KafkaSourceSpec(bootstrap_servers=servers, topics=(topic,), **settings)
    feed = KafkaFeed(spec, group, index, readers, discovery_seconds=discovery_seconds)
    try:
        feed.open(position)
        yield Reader(feed)
    finally:
        feed.close()
        feed.close()


def put(kafka: Any, topic: str, *payloads: bytes | None, **message: Any) -> None:
    # Idempotent, for a retry by any other producer may change the order.
    settings = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0, "enable.idempotence": True}
    producer = Producer({**settings, "message.max.bytes": 20_000_000})
    for payload in payloads:
        producer.produce(topic, payload, **{"partition": 0, **message})
    assert producer.flush(SECONDS) == 0


def numbered(prefix: str, count: int) -> list[bytes]:
    return [f"{prefix}{number}".encode() for number in range(count)]
