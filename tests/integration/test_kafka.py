"""The feed against a real broker: where it begins, what it survives, what it refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from telebeam.io.kafka.feed import KafkaFeed
from telebeam.io.kafka.feeds import KafkaFeeds, probe
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.io.streams.feed import Partition, Polled, Position
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import ConfigurationError, SourceError

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
