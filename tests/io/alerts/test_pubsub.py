"""Alerts in a Pub/Sub topic."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from telebeam.io import storage
from telebeam.io.alerts.dispatcher import Dispatcher
from telebeam.io.alerts.messages import ALERT, COMMAND
from telebeam.io.alerts.pubsub import PubSubSender
from telebeam.io.alerts.senders import probe
from telebeam.io.alerts.spec import AlertSinkSpec
from telebeam.io.pubsub.client import publisher_client, subscriber_client
from telebeam.io.pubsub.spec import PubSubSinkSpec
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import SinkError, UnreachableError
from tests.io.alerts.samples import alerts, commands, eventually, numbered

TOPIC = "projects/telebeam-test/topics/iot-alerts"
SUBSCRIPTION = "projects/telebeam-test/subscriptions/alerts"
SINK = AlertSinkSpec(pubsub={"topic": TOPIC})
SPEC = PubSubSinkSpec(topic=TOPIC)


@pytest.fixture
def inbox(pubsub: Any) -> Iterator[Any]:
    """Gives what was published, in order."""
    publisher, subscriber = publisher_client(None), subscriber_client(None)
    publisher.create_topic(name=TOPIC)
    request = {"name": SUBSCRIPTION, "topic": TOPIC, "enable_message_ordering": True, "ack_deadline_seconds": 60}
    subscriber.create_subscription(request=request)

    def pull(count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            answer = subscriber.pull(subscription=SUBSCRIPTION, max_messages=1000, timeout=10)
            found += [each.message for each in answer.received_messages]
            acks = [each.ack_id for each in answer.received_messages]
            subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=acks)
        return found

    yield pull
    publisher.transport.close()
    subscriber.transport.close()


def test_a_message_is_json_with_attributes_and_its_device_for_an_ordering_key(pubsub: Any, inbox: Any):
    made = PubSubSender(SPEC, ALERT, "fleet")
    rows = alerts({}, {"device_id": None}, {"device_id": "é" * 700}, {"rule": "x" * 2000})
    sent = made.send(rows)
    assert (len(sent.delivered), sent.failed, sent.trouble) == (4, (), None)
    found = {json.loads(message.data)["alert_id"]: message for message in inbox(4)}
    assert dict(found["a0"].attributes) == {
        "alert_id": "a0", "state": "firing", "rule": "overheated", "severity": "critical", "pipeline": "fleet",
    }  # fmt: skip
    assert [found[name].ordering_key for name in ("a0", "a1")] == ["boiler-1", "a1"]
    assert len(found["a2"].ordering_key) == 32
    assert "rule" not in found["a3"].attributes
    assert json.loads(found["a3"].data)["rule"] == "x" * 2000
    with pytest.raises(TypeError, match="make one there"):
        pickle.dumps(made)
    made.close()
    made.close()


def test_a_device_has_its_alerts_in_order(pubsub: Any, inbox: Any, root: storage.Location):
    made = Dispatcher([SINK], root, "fleet")
    made.offer(numbered(1200))
    assert made.flush(30)
    made.close()
    again = Dispatcher([SINK], root, "fleet")
    again.offer(numbered(1201))
    assert again.flush(30)
    again.close()
    found = inbox(1201)
    assert len(found) == 1201
    for device in {message.ordering_key for message in found}:
        numbers = [int(message.attributes["alert_id"][1:]) for message in found if message.ordering_key == device]
        assert numbers == sorted(numbers)


def test_commands_carry_what_can_be_filtered_by(pubsub: Any, inbox: Any):
    made = PubSubSender(SPEC, COMMAND, "fleet")
    made.send(commands({"payload": '{"a": 1}'}))
    made.close()
    (message,) = inbox(1)
    assert dict(message.attributes) == {
        "command_id": "c0", "rule": "overheated", "command": "stop", "pipeline": "fleet",
    }  # fmt: skip
    assert json.loads(message.data)["payload"] == {"a": 1}


def test_an_alert_beyond_ten_megabytes_is_refused_for_good_and_no_other(pubsub: Any, inbox: Any):
    made = PubSubSender(SPEC, ALERT, "fleet")
    sent = made.send(alerts({}, {"message": "x" * 10_000_001}, {"message": "y" * 4_000_000}, {}))
    made.close()
    assert [failed.key.id for failed in sent.failed] == ["a1"]
    assert [key.id for key in sent.delivered] == ["a0", "a2", "a3"]
    assert len(inbox(3)) == 3


def test_a_topic_that_is_absent_is_said(pubsub: Any):
    with pytest.raises(SinkError, match="knows no topic"):
        probe(SINK)
    made = PubSubSender(SPEC, ALERT, "fleet")
    sent = made.send(alerts({}))
    made.close()
    assert "knows no topic" in str(sent.trouble)
    assert sent.delivered == sent.failed == ()


def test_a_service_that_goes_away_gets_what_it_has_missed(pubsub: Any, inbox: Any, root: storage.Location):
    assert probe(SINK) == f"topic {TOPIC}"
    made = Dispatcher([SINK], root, "fleet")
    made.offer(numbered(5))
    assert made.flush(30)
    assert len(inbox(5)) == 5
    pubsub.pause()
    made.offer(numbered(10))
    assert not made.flush(0.5)
    pubsub.resume()
    assert eventually(lambda: made.flush(0.1), 40)
    made.close()
    assert {message.attributes["alert_id"] for message in inbox(5)} == {f"a{n}" for n in range(5, 10)}


def test_nobody_there_is_trouble(monkeypatch: pytest.MonkeyPatch):
    spec = PubSubSinkSpec(topic=TOPIC, endpoint=f"http://127.0.0.1:{free_port()}")
    made = PubSubSender(spec, ALERT, "fleet")
    assert isinstance(made.send(alerts({})).trouble, UnreachableError)
    made.close()
