"""A topic with one subscription on a real server, and a feed of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from google.pubsub_v1.types import PubsubMessage

from telebeam.io.pubsub.client import publisher_client, subscriber_client
from telebeam.io.pubsub.feed import PubSubFeed
from telebeam.io.pubsub.spec import PubSubSourceSpec
from telebeam.io.streams.feed import Partition, Polled

TOPIC = "projects/telebeam-test/topics/telemetry"
SUBSCRIPTION = "projects/telebeam-test/subscriptions/telemetry"
DEADLINE = 2
"""Seconds: the server grants shorter leases than Pub/Sub does."""


class Telemetry:
    """A topic with one subscription, and how to publish to it."""

    def __init__(self, **settings: Any) -> None:
        self.publisher, self.subscriber = publisher_client(None), subscriber_client(None)
        self.publisher.create_topic(name=TOPIC)
        request = {"name": SUBSCRIPTION, "topic": TOPIC, "ack_deadline_seconds": DEADLINE}
        self.subscriber.create_subscription(request={**request, **settings})

    def publish(self, *messages: PubsubMessage) -> list[str]:
        ids: list[str] = []
        for start in range(0, len(messages), 1000):
            answer = self.publisher.publish(topic=TOPIC, messages=list(messages[start : start + 1000]))
            ids += answer.message_ids
        return ids

    def left(self) -> list[bytes]:
        """What another reader would get now."""
        answer = self.subscriber.pull(subscription=SUBSCRIPTION, max_messages=1000, timeout=10)
        return [received.message.data for received in answer.received_messages]

    def close(self) -> None:
        self.publisher.transport.close()
        self.subscriber.transport.close()


def spec(**changes: Any) -> PubSubSourceSpec:
    # Leases shorter than Pub/Sub has them, so that tests need not wait for them.
    changes = {"lease": timedelta(seconds=DEADLINE), **changes}
    return PubSubSourceSpec(subscription=SUBSCRIPTION).model_copy(update=changes)


@contextmanager
def feed_of(given: PubSubSourceSpec, position: int | None = None) -> Iterator[PubSubFeed]:
    feed = PubSubFeed(given)
    feed.open(lambda partition: position)
    try:
        yield feed
    finally:
        feed.close()


def numbered(count: int) -> list[PubsubMessage]:
    return [PubsubMessage(data=b"%d" % number) for number in range(count)]


def polled(feed: PubSubFeed, rows: int, seconds: float = 20.0) -> list[Polled]:
    """So many rows, or what came within so many seconds."""
    found: list[Polled] = []
    until = time.monotonic() + seconds
    while sum(each.envelopes.num_rows for each in found) < rows and time.monotonic() < until:
        found += feed.poll(0.1)
    return found


def payloads(found: list[Polled]) -> list[bytes]:
    return [payload for each in found for payload in each.envelopes.column("payload").to_pylist()]


def partition_of(feed: PubSubFeed) -> Partition:
    (partition,) = feed.partitions()
    return partition


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def deliveries(feed: PubSubFeed) -> int:
    assert feed._connection is not None
    return sum(len(pulled.ack_ids) for pulled, _ in list(feed._connection.leases._held.values()))
