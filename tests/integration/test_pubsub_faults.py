"""The feed and the sink against a Pub/Sub server that is away, hangs, or refuses."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from google.pubsub_v1.types import PubsubMessage

from telebeam.io.pubsub.feed import PubSubFeed, PubSubFeeds
from telebeam.io.pubsub.ptransforms import WriteToPubSub
from telebeam.io.pubsub.sink import RowPublisher
from telebeam.io.pubsub.spec import PubSubSinkSpec
from telebeam.transforms.errors import SinkError, SourceError
from tests.io.pubsub.telemetry import (
    SUBSCRIPTION,
    TOPIC,
    Telemetry,
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


# A server that is away


class Cable:
    """A port that leads to a server as long as it is plugged in."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._target = (host, int(port))
        self._listener: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as found:
            self._port = found.getsockname()[1]
        self._open: list[socket.socket] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def plug(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def unplug(self) -> None:
        for each in (self._listener, *self._open):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._listener, self._open = None, []

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def cable(pubsub: Any) -> Iterator[Cable]:
    found = Cable(pubsub.endpoint)
    yield found
    found.unplug()


def test_a_server_that_is_absent_at_first_is_waited_for(
    telemetry: Telemetry, cable: Cable, caplog: pytest.LogCaptureFixture
):
    telemetry.publish(*numbered(10))
    feed = PubSubFeed(spec(endpoint=cable.endpoint))
    with ThreadPoolExecutor(1) as executor:
        opening = executor.submit(feed.open, lambda partition: None)
        assert eventually(lambda: "waiting for it" in caplog.text)
        assert not opening.done()
        cable.plug()
        opening.result(timeout=20)
    assert len(payloads(polled(feed, 10))) == 10
    feed.close()
    assert caplog.text.count("waiting for it") == 1  # within ten seconds


def test_a_server_that_goes_and_comes_back_gets_what_was_committed_meanwhile(telemetry: Telemetry, cable: Cable):
    cable.plug()
    telemetry.publish(*numbered(1_000))
    with feed_of(spec(endpoint=cable.endpoint, lease=timedelta(seconds=600))) as feed:
        found = polled(feed, 1_000)
        cable.unplug()
        feed.commit({partition_of(feed): 1_000})
        telemetry.publish(PubsubMessage(data=b"meanwhile"))
        assert polled(feed, 1, seconds=1.0) == []
        cable.plug()
        assert payloads(polled(feed, 1)) == [b"meanwhile"]
        # What was not acknowledged in time comes again, and is acknowledged when it is polled.
        assert eventually(lambda: not feed.poll(0.05) and _numbers(feed) == {1_000} and not _unsent(feed))
    assert len(payloads(found)) == 1_000
    assert eventually(lambda: telemetry.left() == [b"meanwhile"])


def _numbers(feed: PubSubFeed) -> set[int]:
    assert feed._connection is not None
    return {number for pulled, _ in list(feed._connection.leases._held.values()) for number in pulled.numbers.tolist()}


def _unsent(feed: PubSubFeed) -> list[str]:
    assert feed._connection is not None
    return feed._connection.leases._durable


def test_a_server_that_does_not_answer_is_not_taken_for_an_empty_one(telemetry: Telemetry, pubsub: Any):
    with feed_of(spec()) as feed:
        pubsub.pause()
        try:
            assert polled(feed, 1, seconds=1.5) == []
            assert not feed.drained(partition_of(feed))
        finally:
            pubsub.resume()
        assert eventually(lambda: feed.drained(partition_of(feed)))


def test_a_server_that_went_away_is_not_taken_for_an_empty_one(telemetry: Telemetry, cable: Cable):
    cable.plug()
    with feed_of(spec(endpoint=cable.endpoint)) as feed:
        assert eventually(lambda: feed.drained(partition_of(feed)))
        cable.unplug()
        assert eventually(lambda: not feed.drained(partition_of(feed)))
        assert polled(feed, 1, seconds=1.0) == []
        assert not feed.drained(partition_of(feed))


def test_closing_takes_seconds_even_if_the_server_is_away(telemetry: Telemetry, cable: Cable):
    cable.plug()
    telemetry.publish(*numbered(10))
    feed = PubSubFeed(spec(endpoint=cable.endpoint))
    feed.open(lambda partition: None)
    polled(feed, 10)
    cable.unplug()
    feed.commit({partition_of(feed): 5})
    begun = time.monotonic()
    feed.close()
    feed.close()
    assert time.monotonic() - begun < 8


# Refusals


def test_a_missing_subscription_is_said_within_ten_seconds(pubsub: Any):
    begun = time.monotonic()
    for attempt in (lambda: PubSubFeed(spec()).open(lambda partition: None), PubSubFeeds(spec()).probe):
        with pytest.raises(SourceError, match=r"knows no subscription .*telemetry(?s:.*)hint: .*create"):
            attempt()
    assert time.monotonic() - begun < 10


def test_a_subscription_that_is_deleted_while_it_is_read_ends_the_job(telemetry: Telemetry):
    telemetry.publish(*numbered(10))
    with feed_of(spec()) as feed:
        polled(feed, 10)
        telemetry.subscriber.delete_subscription(subscription=SUBSCRIPTION)
        with pytest.raises(SourceError, match="knows no subscription"):
            polled(feed, 1)


def test_a_push_subscription_is_refused(pubsub: Any):
    telemetry = Telemetry(push_config={"push_endpoint": "https://example.org/push"})
    with pytest.raises(SourceError, match=r"pushes its messages(?s:.*)hint: .*pull"):
        PubSubFeeds(spec()).probe()
    telemetry.close()


def test_a_probe_tells_a_server_that_is_away(pubsub: Any):
    pubsub.stop()
    with pytest.raises(SourceError, match=r"does not answer"):
        PubSubFeeds(spec()).probe()


# The sink


def test_rows_are_published_as_one_json_message_each(telemetry: Telemetry):
    batch = pa.RecordBatch.from_pydict(
        {"device_id": ["a", None, ""], "value": [1.5, 2.0, float("nan")], "alert_type": ["hot", None, "cold"]}
    )
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        batches = pipeline | beam.Create([batch])
        _ = batches | WriteToPubSub(PubSubSinkSpec(topic=TOPIC))
    answer = telemetry.subscriber.pull(subscription=SUBSCRIPTION, max_messages=10)
    rows = {each.message.data: dict(each.message.attributes) for each in answer.received_messages}
    assert [json.loads(row) for row in sorted(rows, reverse=True)] == [
        {"value": 2.0},
        {"device_id": "a", "value": 1.5, "alert_type": "hot"},
        {"device_id": "", "alert_type": "cold"},
    ]
    assert rows[b'{"device_id":"a","value":1.5,"alert_type":"hot"}'] == {"device_id": "a"}


def test_many_rows_are_published_in_requests_that_pubsub_takes(telemetry: Telemetry):
    rows = [{"device_id": f"d-{number}", "text": "x" * (2_500_000 if number < 3 else 10)} for number in range(2_500)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        batches = pipeline | beam.Create([pa.RecordBatch.from_pylist(rows)])
        _ = batches | WriteToPubSub(PubSubSinkSpec(topic=TOPIC))
    with feed_of(spec()) as feed:
        found = polled(feed, 2_500)
        assert {json.loads(payload)["device_id"] for payload in payloads(found)} == {row["device_id"] for row in rows}
        assert len(payloads(found)) == 2_500


def test_a_missing_topic_fails_the_bundle_in_words(pubsub: Any):
    batch = pa.RecordBatch.from_pydict({"value": [1]})
    with pytest.raises(SinkError, match="knows no topic"), beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create([batch]) | WriteToPubSub(PubSubSinkSpec(topic=TOPIC))


def test_a_row_that_is_too_large_for_the_server_fails_at_once(telemetry: Telemetry):
    publisher = RowPublisher(PubSubSinkSpec(topic=TOPIC))
    publisher.add(pa.RecordBatch.from_pydict({"text": ["x" * 5_000_000]}))
    begun = time.monotonic()
    with pytest.raises(SinkError, match="too large"):
        publisher.flush()
    assert time.monotonic() - begun < 5
    publisher.close()


def test_a_topic_that_is_away_for_long_fails_the_bundle_in_words(pubsub: Any):
    pubsub.stop()
    publisher = RowPublisher(PubSubSinkSpec(topic=TOPIC), retry_seconds=1.0)
    publisher.add(pa.RecordBatch.from_pydict({"value": [1]}))
    with pytest.raises(SinkError, match="does not answer"):
        publisher.flush()
    publisher.close()
