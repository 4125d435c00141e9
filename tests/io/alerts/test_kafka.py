"""Alerts in a real topic: each once, in order, whatever is killed."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from telebeam.io import storage
from telebeam.io.alerts.dispatcher import Dispatcher
from telebeam.io.alerts.kafka import KafkaSender
from telebeam.io.alerts.kafka_tail import topic_ends
from telebeam.io.alerts.messages import ALERT
from telebeam.io.alerts.senders import probe
from telebeam.io.alerts.sentlog import SentLog
from telebeam.io.alerts.spec import AlertSinkSpec, KafkaAlertsSpec
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import AwayError, SinkError
from tests.io.alerts.samples import alerts, eventually, keys, numbered

SECONDS = 30


@pytest.fixture
def topic(kafka: Any) -> str:
    return ready(kafka, kafka.create_topic(f"alerts-{uuid4().hex[:8]}", 3), 3)


def ready(kafka: Any, topic: str, partitions: int) -> str:
    """The topic once every question about it is answered: for a moment a broker denies what it has just made."""

    def has_them() -> bool:
        try:
            ends = topic_ends(KafkaAlertsSpec(bootstrap_servers=kafka.bootstrap_servers, topic=topic))
        except (SinkError, AwayError):
            return False
        return len(ends.offsets) == partitions

    assert eventually(has_them, SECONDS)
    return topic


def sink(kafka: Any, topic: str, **settings: Any) -> AlertSinkSpec:
    return AlertSinkSpec(kafka={"bootstrap_servers": kafka.bootstrap_servers, "topic": topic, **settings})


def messages(kafka: Any, topic: str) -> list[Any]:
    """All messages, partition by partition."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "g", "log_level": 0,
                         "enable.partition.eof": True, "auto.offset.reset": "earliest"})  # fmt: skip
    parts = consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, part, 0) for part in parts])
    found, ended = [], 0
    while ended < len(parts):
        message = consumer.poll(SECONDS)
        assert message is not None
        if message.error():
            ended += 1
        else:
            found.append(message)
    consumer.close()
    return sorted(found, key=lambda message: (message.partition(), message.offset()))


def ids(found: list[Any]) -> list[str]:
    return [json.loads(message.value())["alert_id"] for message in found]


class Notes:
    """Positions that are as durable as this object."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}

    def __call__(self, positions: Mapping[str, int]) -> None:
        self.now = dict(positions)


def sender(spec: AlertSinkSpec, notes: Notes, pipeline: str = "fleet") -> KafkaSender:
    assert spec.kafka is not None
    return KafkaSender(spec.kafka, ALERT, pipeline, notes.now, notes)


def send(made: KafkaSender, rows: pa.RecordBatch) -> Any:
    try:
        return made.send(rows)
    finally:
        made.close()


def test_a_message_is_json_with_headers_and_its_device_for_a_key(kafka: Any, topic: str, root: storage.Location):
    rows = alerts({}, {"device_id": None, "state": "resolved", "message": "é\n"}, {"device_id": "é/1"})
    made = Dispatcher([sink(kafka, topic)], root, "fleet")
    assert made.offer(rows)
    assert made.flush(SECONDS)
    made.close()
    found = {ids([message])[0]: message for message in messages(kafka, topic)}
    assert {name: message.key().decode() for name, message in found.items()} == {
        "a0": "boiler-1",
        "a1": "a1",
        "a2": "é/1",
    }
    assert dict(found["a1"].headers()) == {
        "alert_id": b"a1", "state": b"resolved", "rule": b"overheated", "severity": b"critical", "pipeline": b"fleet",
    }  # fmt: skip
    assert json.loads(found["a1"].value())["message"] == "é\n"
    assert json.loads(found["a0"].value())["timestamp"] == "2026-01-01T00:00:00.000000Z"


def test_a_device_has_its_alerts_in_one_partition_and_in_order(kafka: Any, topic: str, root: storage.Location):
    made = Dispatcher([sink(kafka, topic)], root, "fleet")
    for start in range(0, 3000, 500):
        made.offer(numbered(500, start))
    assert made.flush(SECONDS)
    made.close()
    found = messages(kafka, topic)
    assert len(found) == len(set(ids(found))) == 3000
    for device in {message.key() for message in found}:
        own = [message for message in found if message.key() == device]
        assert len({message.partition() for message in own}) == 1
        numbers = [int(name[1:]) for name in ids(own)]
        assert numbers == sorted(numbers)


KILLED = """
import os, signal, sys
from telebeam.io import storage
from telebeam.io.alerts.dispatcher import Dispatcher
from telebeam.io.alerts.sentlog import SentLog
from telebeam.io.alerts.spec import AlertSinkSpec
from tests.io.alerts.samples import numbered

class Dying(SentLog):
    left = int(sys.argv[4])
    def add(self, delivered, failed=()):
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Dying.left -= 1
        super().add(delivered, failed)

import telebeam.io.alerts.dispatcher as module
module.SentLog = Dying
servers, topic, lake, _, start, count = sys.argv[1:]
spec = AlertSinkSpec(kafka={"bootstrap_servers": servers, "topic": topic})
made = Dispatcher([spec], storage.locate(lake), "fleet")
made.offer(numbered(int(count), int(start)))
made.flush(60)
"""


@pytest.mark.parametrize("additions", [0, 1])
def test_a_kill_between_sending_and_the_log_repeats_nothing(
    kafka: Any, topic: str, root: storage.Location, additions: int, pytestconfig: pytest.Config
):
    if additions and not pytestconfig.getoption("--long"):
        pytest.skip("a kill before the first entry is the harder one; --long kills after it too")
    where = [kafka.bootstrap_servers, topic, root.path, str(additions)]
    checkout = Path(__file__).resolve().parents[3]
    for start, count in [("0", "1500"), ("500", "3000")]:
        # Chunks of a thousand: the process dies after the first or the second of them.
        done = subprocess.run([sys.executable, "-c", KILLED, *where, start, count], cwd=checkout, check=False)
        assert done.returncode == -signal.SIGKILL
    made = Dispatcher([sink(kafka, topic)], root, "fleet")
    made.offer(numbered(3500))
    assert made.flush(SECONDS)
    assert made.settled(numbered(3500))
    made.close()
    found = ids(messages(kafka, topic))
    assert len(found) == len(set(found)) == 3500


def test_what_a_killed_writer_has_sent_is_found_and_logged_though_it_is_never_offered_again(
    kafka: Any, topic: str, root: storage.Location
):
    notes = Notes()
    spec = sink(kafka, topic)
    assert len(send(sender(spec, notes), alerts({}, {}, {})).delivered) == 3
    # Killed here: nothing of it is logged, and the positions are those of before.
    sent = send(sender(spec, notes), alerts({"alert_id": "other"}))
    assert set(sent.delivered) == {*keys(alerts({}, {}, {})), *keys(alerts({"alert_id": "other"}))}
    assert sent.positions != notes.now


def test_only_the_tail_since_the_noted_positions_is_read(kafka: Any, topic: str):
    notes, spec = Notes(), sink(kafka, topic)
    first = send(sender(spec, notes), numbered(100))
    again = Notes()
    again.now = send(sender(spec, notes), numbered(1, 100)).positions
    assert len(first.delivered) == 100
    # With positions behind the first hundred, they are not found: the log knows them.
    assert [key.id for key in send(sender(spec, again), numbered(1, 101)).delivered] == ["a100", "a101"]


def test_another_pipelines_alerts_of_the_same_id_are_not_taken_for_ours(kafka: Any, topic: str):
    ours, theirs = Notes(), Notes()
    spec = sink(kafka, topic)
    send(sender(spec, ours), alerts({"alert_id": "mine"}))
    send(sender(spec, theirs, "other"), alerts({}))
    assert [key.id for key in send(sender(spec, ours), alerts({})).delivered] == ["mine", "a0"]
    assert len(messages(kafka, topic)) == 3


def test_strangers_in_the_topic_are_passed_over(kafka: Any, topic: str):
    notes, spec = Notes(), sink(kafka, topic)
    send(sender(spec, notes), alerts({"alert_id": "mine"}))
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    fake = [("pipeline", b"fleet"), ("state", b"firing")]
    for value, headers in (
        (b"text", []), (None, [("alert_id", b"a0"), *fake]), (b"{}", [("alert_id", b"a0"), *fake]),
        (b'{"timestamp":"2026-01-01T00:00:00Z"}', [("alert_id", b"\xff"), *fake]),
        (b'{"timestamp":"2026-01-01T00:00:00"}', [("alert_id", b"a0"), *fake]),
        (b'{"timestamp":"2026-01-01T00:00:00Z"}', [("alert_id", None), *fake]),
    ):  # fmt: skip
        producer.produce(topic, value, headers=headers, partition=0)
    producer.flush(SECONDS)
    assert [key.id for key in send(sender(spec, notes), alerts({})).delivered] == ["mine", "a0"]


def test_partitions_that_are_added_and_topics_that_are_made_again_are_searched_whole(kafka: Any, topic: str):
    notes, spec = Notes(), sink(kafka, topic)
    send(sender(spec, notes), numbered(20))
    kafka.add_partitions(topic, 6)
    more = numbered(20, 20)
    ready(kafka, topic, 6)
    send(sender(spec, notes), more)
    found = {key.id for key in send(sender(spec, notes), numbered(1, 40)).delivered}
    assert found == {f"a{n}" for n in range(41)}
    kafka.delete_topic(topic)
    ready(kafka, kafka.create_topic(topic, 1), 1)
    assert [key.id for key in send(sender(spec, notes), alerts({"alert_id": "new"})).delivered] == ["new"]
    assert [key.id for key in send(sender(spec, notes), alerts({"alert_id": "newer"})).delivered] == ["new", "newer"]


def test_an_alert_that_is_too_large_is_refused_for_good_and_no_other(kafka: Any, root: storage.Location):
    topic = kafka.create_topic(f"alerts-{uuid4().hex[:8]}", 1, {"max.message.bytes": "2000"})
    ready(kafka, topic, 1)
    rows = alerts({}, {"message": "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))}, {}, {"message": "x" * 2_000_000})
    sent = send(sender(sink(kafka, topic), Notes()), rows)
    assert sent.trouble is None
    assert {failed.key.id for failed in sent.failed} == {"a1", "a3"}
    assert all("large" in failed.reason for failed in sent.failed)
    assert ids(messages(kafka, topic)) == ["a0", "a2"]


def test_a_topic_that_is_absent_is_said_and_gets_its_alerts_once_it_is_there(kafka: Any, root: storage.Location):
    topic = f"alerts-{uuid4().hex[:8]}"
    spec = sink(kafka, topic, config={"message.timeout.ms": 1500})
    with pytest.raises(SinkError, match=topic):
        probe(spec)
    made = Dispatcher([spec], root, "fleet")
    made.offer(numbered(3))
    assert eventually(lambda: topic in next(iter(made.counts().values())).trouble, 40)
    kafka.create_topic(topic, 1)
    assert made.flush(SECONDS)
    made.close()
    assert ids(messages(kafka, topic)) == ["a0", "a1", "a2"]
    assert probe(spec) == f"topic {topic} with 1 partition(s)"


def test_a_wrong_password_is_said(kafka: Any, topic: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "password").write_text("very-secret")
    login = {**kafka.login(), "sasl.password": f"file:{tmp_path / 'password'}"}
    spec = AlertSinkSpec(kafka={"bootstrap_servers": kafka.sasl_bootstrap_servers, "topic": topic, "config": login})
    sent = send(sender(spec, Notes()), alerts({}))
    assert "refuses the login" in str(sent.trouble)
    assert "very-secret" not in str(sent.trouble) + repr(spec) + spec.name


def test_a_broker_that_is_away_is_trouble_and_ends_at_once():
    spec = AlertSinkSpec(kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    sent = send(sender(spec, Notes()), alerts({}))
    assert sent.trouble is not None
    assert sent.delivered == ()


def test_a_broker_that_pauses_in_the_middle_gets_each_alert_once(
    root: storage.Location, request: pytest.FixtureRequest
):
    if not request.config.getoption("--long"):
        pytest.skip("a broker of its own takes a while to start; --long runs it")
    own_kafka = request.getfixturevalue("own_kafka")
    topic = own_kafka.create_topic("alerts", 2)
    quick = {"message.timeout.ms": 1500, "socket.timeout.ms": 1200}
    made = Dispatcher([sink(own_kafka, topic, config=quick)], root, "fleet")
    made.offer(numbered(10))
    assert made.flush(SECONDS)
    own_kafka.pause()
    made.offer(numbered(500))
    assert eventually(lambda: next(iter(made.counts().values())).trouble != "", SECONDS)
    own_kafka.resume()
    assert made.flush(60)
    made.close()
    found = ids(messages(own_kafka, topic))
    assert len(found) == len(set(found)) == 500


def test_a_sender_is_neither_printed_nor_pickled(kafka: Any, topic: str):
    made = sender(sink(kafka, topic), Notes())
    assert repr(made) == f"KafkaSender({kafka.bootstrap_servers}, {topic})"
    with pytest.raises(TypeError, match="holds secrets"):
        pickle.dumps(made)
    made.close()
    made.close()


def test_a_restart_notes_where_it_ended(kafka: Any, topic: str, root: storage.Location):
    spec = sink(kafka, topic)
    assert isinstance(spec.kafka, KafkaAlertsSpec)
    for start in (0, 10):
        made = Dispatcher([spec], root, "fleet", writer="reader-1")
        made.offer(numbered(10, start))
        assert made.flush(SECONDS)
        made.close()
    noted = SentLog(root, "fleet", spec.name).positions()
    assert sum(offset for name, offset in noted.items() if name != "begun") == 10
