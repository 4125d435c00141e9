"""The feed against a Pub/Sub server: what is delivered, delivered again, and what is in it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.pubsub_v1.types import PubsubMessage

from telebeam.io.streams.feed import Polled
from telebeam.io.streams.seen import SeenIds
from tests.io.pubsub.telemetry import (
    DEADLINE,
    SUBSCRIPTION,
    Telemetry,
    deliveries,
    eventually,
    feed_of,
    numbered,
    partition_of,
    payloads,
    polled,
    spec,
)


@pytest.fixture
def telemetry(pubsub: Any) -> Iterator[Telemetry]:
    found = Telemetry()
    yield found
    found.close()


# Delivery


def test_every_message_is_polled_once_under_ascending_numbers(pubsub: Any):
    telemetry = Telemetry(ack_deadline_seconds=10)
    telemetry.publish(*numbered(20_000))
    with feed_of(spec(lease=timedelta(seconds=60)), position=500) as feed:
        found = polled(feed, 20_000)
        offsets = np.concatenate([each.envelopes.column("source_offset").to_numpy() for each in found])
        assert sorted(map(int, payloads(found))) == list(range(20_000))
        assert offsets.tolist() == list(range(500, 20_500))
        assert found[-1].next == 20_500
        feed.commit({partition_of(feed): 20_500})
        assert eventually(lambda: feed.poll(0.1) == [] and feed.drained(partition_of(feed)), 30.0)
        assert polled(feed, 1, seconds=1.0) == []
        assert feed.behind() == 0
        assert not feed.finished()
    assert telemetry.left() == []
    telemetry.close()


def test_only_what_is_committed_is_acknowledged_and_the_rest_comes_back_at_once(telemetry: Telemetry):
    telemetry.publish(*numbered(3_000))
    with feed_of(spec(lease=timedelta(seconds=600))) as feed:
        before = payloads(polled(feed, 3_000))
        feed.commit({partition_of(feed): 1_234})
    with feed_of(spec(), position=1_234) as again:
        found = polled(again, 3_000 - 1_234)
        assert sorted(payloads(found)) == sorted(before[1_234:])
        assert found[0].envelopes.column("source_offset")[0].as_py() == 1_234
        assert polled(again, 1, seconds=0.5) == []


KILLED = """
import sys
from datetime import timedelta
from telebeam.io.pubsub.feed import PubSubFeed
from telebeam.io.pubsub.sink import RowPublisher
from telebeam.io.pubsub.spec import PubSubSourceSpec
from telebeam.io.streams.seen import SeenIds

feed = PubSubFeed(PubSubSourceSpec(subscription=sys.argv[1]).model_copy(update={"lease": timedelta(seconds=1)}))
feed.open(lambda partition: None)
seen = SeenIds()
while len(seen) < int(sys.argv[2]):
    for polled in feed.poll(0.1):
        seen.add(polled.ids.to_numpy(), 0.0)
with open(sys.argv[3], "wb") as file:
    file.write(seen.to_buffer())
print("filed", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_reader_had_filed_comes_again_and_is_known_by_its_ids(telemetry: Telemetry, tmp_path: Any):
    telemetry.publish(*numbered(2_000))
    command = [sys.executable, "-c", KILLED, SUBSCRIPTION, "2000", str(tmp_path / "seen")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "filed\n"
        killed.send_signal(signal.SIGKILL)
    seen = SeenIds.from_buffer(pa.py_buffer((tmp_path / "seen").read_bytes()))
    telemetry.publish(PubsubMessage(data=b"new"))
    with feed_of(spec(), position=2_000) as feed:
        found = polled(feed, 2_001)
        known = np.concatenate([seen.known(each.ids.to_numpy()) for each in found if each.ids is not None])
        assert len(known) == 2_001
        assert [payload for payload, is_known in zip(payloads(found), known, strict=True) if not is_known] == [b"new"]


def test_a_message_is_kept_from_others_for_as_long_as_it_is_not_durable(telemetry: Telemetry):
    telemetry.publish(*numbered(1_500))
    with feed_of(spec()) as feed:
        polled(feed, 1_000)  # the others lie in the feed's queue
        until = time.monotonic() + 2 * DEADLINE
        while time.monotonic() < until:
            assert telemetry.left() == []


def test_what_comes_again_while_it_is_not_durable_is_given_once_and_acknowledged_with_the_first(telemetry: Telemetry):
    telemetry.publish(*numbered(100))
    # Given up before it was renewed: the server delivers it again to the same feed.
    with feed_of(spec(max_lease=timedelta(seconds=0))) as feed:
        found = polled(feed, 100)
        assert eventually(lambda: feed.poll(0.1) == [] and deliveries(feed) > 100)
        feed.commit({partition_of(feed): found[-1].next})
        assert eventually(lambda: telemetry.left() == [])
        assert polled(feed, 1, seconds=1.5 * DEADLINE) == []
    assert len(payloads(found)) == 100
    assert telemetry.left() == []


def test_what_comes_again_after_it_became_durable_is_acknowledged_again(telemetry: Telemetry):
    with feed_of(spec(id_attribute="n")) as feed:
        telemetry.publish(PubsubMessage(data=b"first", attributes={"n": "7"}))
        found = polled(feed, 1)
        feed.commit({partition_of(feed): found[-1].next})
        telemetry.publish(PubsubMessage(data=b"again", attributes={"n": "7"}))
        assert polled(feed, 1, seconds=0.5) == []
        telemetry.publish(PubsubMessage(data=b"other", attributes={"n": "8"}))
        assert payloads(polled(feed, 1)) == [b"other"]
        assert eventually(lambda: deliveries(feed) == 1)
    assert eventually(lambda: telemetry.left() == [b"other"])


def test_messages_of_one_ordering_key_keep_their_order(pubsub: Any):
    telemetry = Telemetry(enable_message_ordering=True)
    keys = [f"devices/d-{number}/telemetry" for number in range(20)]
    telemetry.publish(*[PubsubMessage(data=b"%d" % n, ordering_key=keys[n % 20]) for n in range(400)])
    with feed_of(spec()) as feed:
        found: list[Polled] = []
        while sum(each.envelopes.num_rows for each in found) < 400:
            found += polled(feed, 1)
            feed.commit({partition_of(feed): found[-1].next})
    rows = [row for each in found for row in each.envelopes.select(["key", "payload"]).to_pylist()]
    for key in keys:
        numbers = [int(row["payload"]) for row in rows if row["key"] == key]
        assert numbers == sorted(numbers)
    telemetry.close()


# Contents


def test_attributes_are_headers_and_the_key_and_the_time(telemetry: Telemetry):
    ids = telemetry.publish(
        PubsubMessage(data=b"{}", attributes={"deviceId": "boiler-1", "made": "2026-01-01T00:00:00.5+01:00"}),
        PubsubMessage(data=b"", attributes={"made": "1767225600001"}),
        PubsubMessage(data=b"plain"),
    )
    with feed_of(spec(timestamp_attribute="made")) as feed:
        found = polled(feed, 3)
        rows = {row["payload"]: row for each in found for row in each.envelopes.to_pylist()}
        times = dict(zip(payloads(found), np.concatenate([each.times for each in found]).tolist(), strict=True))
    assert len(ids) == 3
    assert rows[b"{}"]["key"] == "devices/boiler-1/telemetry"
    assert rows[b"{}"]["source"] == "telemetry"
    assert rows[b"{}"]["source_partition"] == 0
    assert dict(rows[b""]["headers"]) == {"made": b"1767225600001"}
    assert times[b"{}"] == 1767222000500000
    assert times[b""] == 1767225600001000
    assert abs(times[b"plain"] / 1e6 - time.time()) < 60


def test_large_messages_come_whole(telemetry: Telemetry):
    large = bytes(range(256)) * 4096
    for _ in range(12):
        telemetry.publish(PubsubMessage(data=large))
    with feed_of(spec(max_outstanding_bytes=2_000_000)) as feed:
        found = polled(feed, 1)
        while len(payloads(found)) < 12:
            feed.commit({partition_of(feed): found[-1].next})
            found += polled(feed, 1)
    assert payloads(found) == [large] * 12


def test_no_more_is_outstanding_than_is_allowed(telemetry: Telemetry):
    telemetry.publish(*numbered(2_000))
    with feed_of(spec(max_outstanding_messages=150)) as feed:
        total = 0
        while total < 2_000:
            rows = len(payloads(polled(feed, 150, seconds=0.3)))
            assert rows <= 150
            total += rows
            feed.commit({partition_of(feed): total})
