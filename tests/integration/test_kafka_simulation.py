"""A simulation in a real topic, and what the broker says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition

from telebeam.pipelines.cli import main
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.pipelines.simulation import Pace, simulate, simulation_spec
from telebeam.transforms.errors import SinkError

FAULTS = {"malformed": 0.05, "late": 0.02, "duplicate": 0.05, "missing": 0.01}


@pytest.fixture
def topic() -> str:
    return f"s-{uuid4().hex[:8]}"


def held(kafka: Any, topic: str) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """(partition, offset) → (key, payload) of all that the broker has."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "g", "enable.partition.eof": True})
    parts = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, part, 0) for part in parts])
    found, ends = {}, 0
    while ends < len(parts):
        for message in consumer.consume(10_000, 1.0):
            if message.error():
                ends += 1
            else:
                found[message.partition(), message.offset()] = (message.key(), message.value())
    consumer.close()
    return found


def test_what_is_acknowledged_is_what_the_broker_has(
    kafka: Any, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    spec = simulation_spec(devices=30, interval="10s", duration="10m", shape="mixed", faults=FAULTS)
    file = tmp_path / "acks.arrow"
    report = simulate(spec, f"kafka:{kafka.bootstrap_servers}/{topic}", acknowledged=file)
    found = held(kafka, topic)
    acknowledged = pa.ipc.open_stream(file).read_all().to_pylist()
    assert {(row["partition"], row["offset"]): row["payload"] for row in acknowledged} == {
        place: payload for place, (_, payload) in found.items()
    }
    assert report.acknowledged == report.records == len(found)
    assert {part for part, _ in found} == {0, 1, 2, 3}
    plain = simulate(spec, f"jsonl:{tmp_path}/same.jsonl")
    lines = plain.paths[0].read_bytes().split(b"\n")[:-1]
    assert sorted(payload for _, payload in found.values()) == sorted(lines)
    assert (report.expected, report.faults) == (plain.expected, plain.faults)
    assert len(report.truth.read_bytes().splitlines()) == sum(report.faults.values())
    by_device: dict[bytes, set[int]] = {}
    for (part, _), (key, payload) in found.items():
        by_device.setdefault(key, set()).add(part)
        if payload.startswith(b'{"device_id":"') and payload.endswith(b"}") and b"\xff" not in payload:
            assert payload.split(b'"')[3].lstrip(b"\x01") in (key, b"\\u0001")
    assert all(len(parts) == 1 for parts in by_device.values())


def test_the_topic_that_is_there_keeps_its_partitions(kafka: Any, topic: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    kafka.create_topic(topic, 2)
    simulate(simulation_spec(), f"kafka:{kafka.bootstrap_servers}/{topic}")
    assert {part for part, _ in held(kafka, topic)} == {0, 1}


def test_the_command_sends_live_and_says_what_was_taken(
    kafka: Any, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    to = f"kafka:{kafka.bootstrap_servers}/{topic}"
    main_arguments = [
        "simulate",
        "--devices",
        "10",
        "--duration",
        "2s",
        "--live",
        "--rate",
        "200",
        "--to",
        to,
        "--json",
    ]
    with pytest.raises(SystemExit) as done:
        main(main_arguments)
    assert done.value.code in (0, None)
    report = json.loads(capsys.readouterr().out)
    assert report["acknowledged"] == report["records"] == len(held(kafka, topic))
    assert 300 < report["readings"] < 500
    assert report["paths"] == []
    assert Path(report["truth"]).exists()


def test_a_broker_that_is_not_there_is_said_and_leaves_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SinkError, match="Connection refused"):
        simulate(simulation_spec(), f"kafka:127.0.0.1:{free_port()}/t", pace=Pace())
    assert list(tmp_path.iterdir()) == []
