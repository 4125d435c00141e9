"""The feed while topics come and go, records are deleted, and the broker is away."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import uuid4

import pytest

from telebeam.io.kafka.feed import KafkaFeed
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import SourceError
from tests.io.kafka.reading import SECONDS, Reader, nowhere, numbered, put, reading


@pytest.fixture
def topic(kafka: Any) -> str:
    return kafka.create_topic(f"t-{uuid4().hex[:8]}", 1)


# What changes while it runs


def test_a_new_partition_is_found_and_read_from_its_beginning(kafka: Any, topic: str):
    put(kafka, topic, b"a")
    with reading(kafka.bootstrap_servers, topic, start="latest") as reader:
        reader.until(lambda it: bool(it.polled))
        kafka.add_partitions(topic, 3)
        put(kafka, topic, b"b", partition=2)
        assert reader.get(1) == [b"b"]
        assert {partition.number for partition in reader.feed.partitions()} == {0, 1, 2}


@pytest.mark.parametrize("more", [2, 12], ids=["shorter than before", "longer than before"])
def test_a_recreated_topic_is_another_stream_and_nothing_of_it_is_missed(
    kafka: Any, topic: str, more: int, caplog: pytest.LogCaptureFixture
):
    put(kafka, topic, *numbered("old", 5))
    with reading(kafka.bootstrap_servers, topic, discovery_seconds=60) as reader:
        reader.get(5)
        (old,) = reader.feed.partitions()
        kafka.delete_topic(topic)
        kafka.create_topic(topic, 1)
        put(kafka, topic, *numbered("new", more))
        reader.until(lambda it: it.feed.partitions() != {old} and it.is_at(more))
        (new,) = reader.feed.partitions()
        assert (new.stream != old.stream, new.stream[:-7], new.number) == (True, topic, 0)
        assert reader.payloads() == numbered("old", 5) + numbered("new", more)
        origins = [(p.partition, row["source_offset"]) for p in reader.polled for row in p.envelopes.to_pylist()]
        assert origins == [(old, n) for n in range(5)] + [(new, n) for n in range(more)]
        reader.feed.commit({old: 5})
    assert "made anew" in caplog.text


def test_a_deleted_topic_is_waited_for(kafka: Any, topic: str, caplog: pytest.LogCaptureFixture):
    with reading(kafka.bootstrap_servers, topic) as reader:
        (old,) = reader.feed.partitions()
        kafka.delete_topic(topic)
        reader.until(lambda it: "no topic" in caplog.text)
        assert reader.feed.drained(old)
        kafka.create_topic(topic, 1)
        put(kafka, topic, b"again")
        assert reader.get(1) == [b"again"]


def test_a_deleted_topic_does_not_hold_up_its_neighbour(kafka: Any, topic: str):
    neighbour = kafka.create_topic(f"t-{uuid4().hex[:8]}", 1)
    spec = KafkaSourceSpec(bootstrap_servers=kafka.bootstrap_servers, topics=(topic, neighbour))
    feed = KafkaFeed(spec, "g", discovery_seconds=0.3)
    feed.open(nowhere)
    kafka.delete_topic(topic)
    put(kafka, neighbour, b"a", b"b")
    assert Reader(feed).get(2) == [b"a", b"b"]
    put(kafka, neighbour, b"c")
    assert Reader(feed).get(1) == [b"c"]
    feed.close()


def test_records_that_were_deleted_unread_stop_the_job_with_their_number(kafka: Any, topic: str):
    put(kafka, topic, *numbered("", 10))
    kafka.delete_records(topic, {0: 7})
    with (
        pytest.raises(SourceError, match="5 records of partition 0") as caught,
        reading(kafka.bootstrap_servers, topic, lambda partition: 2),
    ):
        pass
    assert "on_gap: skip" in caught.value.hint


def test_records_that_were_deleted_unread_are_skipped_where_that_is_wanted(
    kafka: Any, topic: str, caplog: pytest.LogCaptureFixture
):
    put(kafka, topic, *numbered("", 10))
    kafka.delete_records(topic, {0: 7})
    with reading(kafka.bootstrap_servers, topic, lambda partition: 2, on_gap="skip") as reader:
        assert reader.get(3) == [b"7", b"8", b"9"]
        assert list(reader.next().values()) == [10]
    assert "5 records" in caplog.text


@pytest.mark.parametrize("on_gap", ["fail", "skip"])
def test_retention_that_overtakes_a_reader_is_noticed(kafka: Any, topic: str, on_gap: str):
    # The client's queue is small and its messages large: what it has not fetched yet is deleted.
    put(kafka, topic, *[bytes(900_000)] * 60)
    config = {"queued.max.messages.kbytes": 1024, "queued.min.messages": 1, "fetch.message.max.bytes": 1024}
    with reading(kafka.bootstrap_servers, topic, on_gap=on_gap, config=config) as reader:
        kafka.delete_records(topic, {0: 59})
        if on_gap == "fail":
            with pytest.raises(SourceError, match="were deleted before they were read"):
                reader.until(lambda it: it.is_at(60))
        else:
            reader.until(lambda it: it.is_at(60))
            offsets = [row["source_offset"] for row in reader.rows()]
            assert offsets == [*range(len(offsets) - 1), 59]


def test_a_position_behind_the_end_of_the_log_is_refused(kafka: Any, topic: str):
    with (
        pytest.raises(SourceError, match="ends at offset 0"),
        reading(kafka.bootstrap_servers, topic, lambda partition: 5, on_gap="skip"),
    ):
        pass


# A broker that is away


@pytest.mark.parametrize("away", ["stop", "kill"])
def test_a_broker_that_comes_back_loses_and_repeats_nothing(
    own_kafka: Any, away: str, caplog: pytest.LogCaptureFixture
):
    topic = own_kafka.create_topic("t", 1)
    put(own_kafka, topic, *numbered("a", 1000))
    with reading(own_kafka.bootstrap_servers, topic) as reader:
        (partition,) = reader.feed.partitions()
        reader.get(1000)
        reader.until(lambda it: it.feed.drained(partition))
        caplog.clear()  # a new broker's group may have been waited for at the start
        getattr(own_kafka, away)()
        reader.until(lambda it: "waiting for it" in caplog.text)
        assert not reader.feed.drained(partition)
        reader.feed.commit(reader.next())
        own_kafka.start_again()
        put(own_kafka, topic, *numbered("b", 1000))
        assert reader.get(2000) == numbered("a", 1000) + numbered("b", 1000)
        reader.until(lambda it: it.feed.drained(partition))


def test_a_broker_that_is_not_there_yet_is_waited_for(own_kafka: Any, caplog: pytest.LogCaptureFixture):
    topic = own_kafka.create_topic("t", 1)
    put(own_kafka, topic, b"a")
    own_kafka.stop()
    found: list[bytes] = []

    def read() -> None:
        with reading(own_kafka.bootstrap_servers, topic) as reader:
            found.extend(reader.get(1))

    thread = threading.Thread(target=read)
    thread.start()
    deadline = time.monotonic() + SECONDS
    while "waiting for it" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not found
    own_kafka.start_again()
    thread.join(SECONDS)
    assert found == [b"a"]
    assert "Connection refused" in caplog.text


def test_closing_ends_a_wait_for_the_broker():
    spec = KafkaSourceSpec(bootstrap_servers=f"127.0.0.1:{free_port()}", topics=("t",))
    feed = KafkaFeed(spec, "g")
    timer = threading.Timer(0.5, feed.close)
    timer.start()
    with pytest.raises(SourceError, match="reading ended before"):
        feed.open(nowhere)
    timer.join()
