"""A job that reads Pub/Sub and is killed after it has filed messages and before they are acknowledged.

The long form does it five times in a row: each message is there once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from typing import Any

import duckdb
from google.pubsub_v1.types import PubsubMessage

from telebeam.io.pubsub.client import publisher_client, subscriber_client
from tests.checking.windows import windows_match
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import message
from tests.integration.streaming.harness import LENGTH, filed_rows, wait_until, write_config

TOPIC = "projects/telebeam-test/topics/telemetry"
SUBSCRIPTION = "projects/telebeam-test/subscriptions/telemetry"
LEASE_SECONDS = 10
"""The shortest that Pub/Sub grants."""
BATCH = 200


class Publisher:
    """Publishes readings whose values are running numbers."""

    def __init__(self) -> None:
        self._client, subscriber = publisher_client(None), subscriber_client(None)
        self._client.create_topic(name=TOPIC)
        request = {"name": SUBSCRIPTION, "topic": TOPIC, "ack_deadline_seconds": LEASE_SECONDS}
        subscriber.create_subscription(request=request)
        subscriber.transport.close()
        self._numbers = count()
        self.sent: list[float] = []

    def publish(self, messages: int = BATCH) -> None:
        numbers = [float(next(self._numbers)) for _ in range(messages)]
        made = [message(f"device-{n % 10:03}", time.time() + n / 1e6, n).payload for n in map(int, numbers)]
        self._client.publish(topic=TOPIC, messages=[PubsubMessage(data=payload) for payload in made])
        self.sent += numbers

    def close(self) -> None:
        self._client.transport.close()


def values(lake: Path) -> Counter[float]:
    files = f"read_parquet('{lake}/readings/**/*.parquet', hive_partitioning=false)"
    return Counter(value for (value,) in duckdb.sql(f"select value from {files}").fetchall())


def happens(is_so: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if is_so():
            return True
        time.sleep(0.02)
    return False


def test_what_is_filed_and_not_yet_acknowledged_when_the_job_is_killed_is_there_once(
    pubsub: Any, start: Start, tmp_path: Path, is_long: bool
) -> None:
    source = {"pubsub": {"subscription": SUBSCRIPTION, "lease": f"{LEASE_SECONDS}s"}}
    config = write_config(tmp_path, source)
    publisher = Publisher()
    delays = cycle((0.05, 0.1, 0.2, 0.4, 0.8))  # how fast the machine is decides which of them is right
    for _ in range(5 if is_long else 1):
        with start(config) as job:
            publisher.publish()
            job.wait_more(1)

            def filed_while_deaf(job: Any = job) -> bool:
                """Messages were filed while Pub/Sub took no acknowledgement."""
                publisher.publish()
                time.sleep(next(delays))  # in which they are pulled, and which is less than it takes to file them
                pubsub.pause()
                before = filed_rows(job.lake)
                if happens(lambda: filed_rows(job.lake) > before, 4):
                    job.kill()
                pubsub.resume()
                return not job.is_running

            wait_until(filed_while_deaf, "files without an acknowledgement", pause=0)
    with start(config) as job:
        publisher.publish()
        job.wait(lambda: filed_rows(job.lake) >= len(publisher.sent), "all messages")
        # What was not acknowledged is delivered again when its lease is over.
        redelivered = time.monotonic() + LEASE_SECONDS + 3
        wait_until(lambda: time.monotonic() > redelivered, "another delivery", job=job)
        wait_until(lambda: windows_match(job.lake, [LENGTH]).ok, "windows", job=job, pause=0.5)
        assert job.stop().code == 0
    publisher.close()
    found = values(job.lake)
    assert not set(publisher.sent) - found.keys(), "lost"
    assert found.keys() == set(publisher.sent), "invented"
    assert max(found.values()) == 1, "twice"
    assert windows_match(job.lake, [LENGTH]).ok
