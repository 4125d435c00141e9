"""The feed against a real broker: what it hands out, where it begins, what it refuses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from telebeam.io.kafka.feed import KafkaFeed
from telebeam.io.kafka.feeds import KafkaFeeds, probe
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import ConfigurationError, SourceError
from tests.io.kafka.reading import SECONDS, nowhere, numbered, put, reading


@pytest.fixture
def topic(kafka: Any) -> str:
    return kafka.create_topic(f"t-{uuid4().hex[:8]}", 1)


@pytest.fixture
def big_topic(kafka: Any) -> str:
    return kafka.create_topic(f"t-{uuid4().hex[:8]}", 1, {"max.message.bytes": "20000000"})


# What is handed out


def test_every_record_is_handed_out_once_in_order_with_its_origin(kafka: Any):
    topic = kafka.create_topic(f"t-{uuid4().hex[:8]}", 3)
    for number in range(3):
        put(kafka, topic, *numbered(f"{number}-", 20_001), partition=number, key=b"devices/a/telemetry")
    with reading(kafka.bootstrap_servers, topic) as reader:
        reader.get(60_003)
        reader.until(lambda it: all(it.feed.drained(partition) for partition in it.feed.partitions()))
        assert reader.feed.behind() == 0
        rows = reader.rows()
        for number in range(3):
            own = [row for row in rows if row["source_partition"] == number]
            assert [row["source_offset"] for row in own] == list(range(20_001))
            assert [row["payload"] for row in own] == numbered(f"{number}-", 20_001)
        assert {(row["source"], row["key"]) for row in rows} == {(topic, "devices/a/telemetry")}
        assert reader.next() == dict.fromkeys(reader.feed.partitions(), 20001)
        assert not reader.feed.finished()
        times = [at for polled in reader.polled for at in polled.times.tolist()]
        assert all(abs(at / 1e6 - time.time()) < 120 for at in times)


def test_readers_share_the_partitions_and_each_is_read_by_one(kafka: Any):
    topic = kafka.create_topic(f"t-{uuid4().hex[:8]}", 5)
    found = []
    for index in range(6):
        with reading(kafka.bootstrap_servers, topic, index=index, readers=6) as reader:
            found += [partition.number for partition in reader.feed.partitions()]
            assert reader.feed.poll(0.0) is not None
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_a_tombstone_is_no_record_and_an_empty_payload_is_one(kafka: Any, topic: str):
    put(kafka, topic, b"", None, b"x", None, key=b"k")
    with reading(kafka.bootstrap_servers, topic) as reader:
        reader.until(lambda it: it.is_at(4))
        assert [(row["source_offset"], row["payload"]) for row in reader.rows()] == [(0, b""), (2, b"x")]


def test_headers_stand_in_a_column_where_there_are_some(kafka: Any, topic: str):
    put(kafka, topic, b"a", headers=[("site", b"north"), ("site", b"south"), ("empty", None)])
    with reading(kafka.bootstrap_servers, topic) as reader:
        reader.get(1)
        assert reader.rows()[0]["headers"] == [("site", b"north"), ("site", b"south"), ("empty", None)]


def test_a_message_of_ten_megabytes_comes_whole(kafka: Any, big_topic: str):
    large = bytes(10_000_000)
    put(kafka, big_topic, b"before", large, b"after")
    with reading(kafka.bootstrap_servers, big_topic) as reader:
        assert reader.get(3) == [b"before", large, b"after"]


def test_gaps_that_a_transaction_leaves_are_passed(kafka: Any, topic: str):
    settings = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic, "log_level": 0}
    producer = Producer(settings)
    producer.init_transactions(SECONDS)
    for payload, ends in ((b"kept", producer.commit_transaction), (b"aborted", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic, payload, partition=0)
        producer.flush(SECONDS)
        ends(SECONDS)
    with reading(kafka.bootstrap_servers, topic, until="end") as reader:
        reader.until(lambda it: it.feed.finished())
        assert reader.payloads() == [b"kept"]
        assert list(reader.next().values()) == [4]
        assert reader.feed.behind() == 0


# Where reading begins and ends


def test_the_position_decides_before_the_start(kafka: Any, topic: str):
    put(kafka, topic, *numbered("", 10))
    with reading(kafka.bootstrap_servers, topic, lambda partition: 7, start="earliest") as reader:
        assert reader.get(3) == [b"7", b"8", b"9"]


def test_committed_goes_on_where_the_group_is_and_misses_nothing_without_it(kafka: Any, topic: str):
    put(kafka, topic, *numbered("", 10))
    with reading(kafka.bootstrap_servers, topic, group=topic) as reader:
        assert len(reader.get(10)) == 10
        reader.feed.commit(dict.fromkeys(reader.feed.partitions(), 6))
    with reading(kafka.bootstrap_servers, topic, group=topic) as reader:
        assert reader.get(4) == [b"6", b"7", b"8", b"9"]


def test_latest_says_where_it_begins_before_anything_comes(kafka: Any, topic: str):
    put(kafka, topic, *numbered("old", 5))
    with reading(kafka.bootstrap_servers, topic, start="latest") as reader:
        reader.until(lambda it: bool(it.polled))
        assert list(reader.next().values()) == [5]
        put(kafka, topic, b"new")
        assert reader.get(1) == [b"new"]


def test_a_time_starts_with_the_first_record_from_then_on_and_ends_before_it(kafka: Any, topic: str):
    for number in range(6):
        put(kafka, topic, b"%d" % number, timestamp=1_767_225_600_000 + number * 1000)
    at = "2026-01-01T00:00:0{}Z".format
    with reading(kafka.bootstrap_servers, topic, start=at(2), until=at(4)) as reader:
        reader.until(lambda it: it.feed.finished())
        assert reader.payloads() == [b"2", b"3"]
    with reading(kafka.bootstrap_servers, topic, start="2026-01-02T00:00:00Z") as reader:
        reader.until(lambda it: bool(it.polled))
        assert list(reader.next().values()) == [6]
    with (
        pytest.raises(SourceError, match="lies ahead"),
        reading(kafka.bootstrap_servers, topic, until="2999-01-01T00:00:00Z"),
    ):
        pass


def test_a_read_until_the_end_finishes_where_the_end_was(kafka: Any, topic: str):
    put(kafka, topic, *numbered("", 10))
    with reading(kafka.bootstrap_servers, topic, until="end") as reader:
        put(kafka, topic, *numbered("later", 10))
        reader.until(lambda it: it.feed.finished())
        assert reader.payloads() == numbered("", 10)
        assert reader.feed.poll(0.3) == []


def test_an_empty_topic_is_at_its_end_and_drained(kafka: Any, topic: str):
    with reading(kafka.bootstrap_servers, topic, until="end") as reader:
        assert reader.feed.finished()
    with reading(kafka.bootstrap_servers, topic) as reader:
        reader.until(lambda it: all(it.feed.drained(partition) for partition in it.feed.partitions()))


# What is refused


def refused(spec: KafkaSourceSpec) -> SourceError:
    began = time.monotonic()
    with pytest.raises(SourceError) as probed:
        probe(spec, seconds=4)
    assert time.monotonic() - began < 8
    return probed.value


def test_a_wrong_password_is_said_at_once(kafka: Any, topic: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KAFKA_PASSWORD", "not-the-password")
    config: Mapping[str, Any] = {**kafka.login(), "sasl.password": "env:KAFKA_PASSWORD"}
    spec = KafkaSourceSpec(bootstrap_servers=kafka.sasl_bootstrap_servers, topics=(topic,), config=dict(config))
    error = refused(spec)
    assert "refuses the login" in error.message
    assert "sasl.password" in error.hint
    assert "not-the-password" not in str(error)
    with pytest.raises(SourceError, match="refuses the login"):
        KafkaFeed(spec, "g").open(nowhere)


def test_the_right_password_is_taken_from_where_it_is_kept(kafka: Any, topic: str, monkeypatch: pytest.MonkeyPatch):
    login = kafka.login()
    monkeypatch.setenv("KAFKA_PASSWORD", login["sasl.password"])
    put(kafka, topic, b"a")
    config = {**login, "sasl.password": "env:KAFKA_PASSWORD"}
    with reading(kafka.sasl_bootstrap_servers, topic, config=config) as reader:
        assert reader.get(1) == [b"a"]


def test_an_unknown_topic_is_said_at_once_and_not_created(kafka: Any):
    spec = KafkaSourceSpec(bootstrap_servers=kafka.bootstrap_servers, topics=("no-such-topic",))
    assert "no-such-topic: there is no such topic" in refused(spec).message
    with pytest.raises(SourceError, match="no such topic"):
        KafkaFeed(spec, "g").open(nowhere)
    assert "no-such-topic" not in kafka.admin.list_topics(timeout=SECONDS).topics


def test_a_probe_of_nobody_says_whom_it_could_not_reach():
    error = refused(KafkaSourceSpec(bootstrap_servers=f"127.0.0.1:{free_port()}", topics=("t",)))
    assert "Connection refused" in error.message


def test_a_setting_that_the_client_does_not_know_is_named(kafka: Any, topic: str):
    spec = KafkaSourceSpec(bootstrap_servers=kafka.bootstrap_servers, topics=(topic,), config={"fetch.mni.bytes": 1})
    with pytest.raises(ConfigurationError, match=r"fetch\.mni\.bytes"):
        probe(spec)


def test_feeds_know_how_many_partitions_there_are(kafka: Any, topic: str):
    feeds = KafkaFeeds(KafkaSourceSpec(bootstrap_servers=kafka.bootstrap_servers, topics=(topic,)), "g")
    assert feeds.partition_count() == 1
    assert topic in feeds.probe()
