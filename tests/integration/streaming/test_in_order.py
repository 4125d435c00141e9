"""Scores and alerts of a live job that is killed are a batch job's, and each alert is sent once."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from telebeam.io.alerts.testing import WebhookServer
from telebeam.io.lake import Lake
from telebeam.io.lake.in_order import replay
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.spec import LakeSpec
from telebeam.pipelines.config import load_config
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import Outgoing, message, send, spread
from tests.integration.streaming.harness import TIME, StreamingJob, kafka_config

BEGIN = 1_767_225_600.0
SECONDS = 240
DETECTORS = [{"detector": "rolling_zscore", "last": 10, "threshold": 4.0}, {"detector": "ewma"}]
RULES = [
    {"name": "hot", "when": {"sensor_type": "temperature", "above": 80, "critical_above": 95}},
    {"name": "long", "when": {"above": 40}, "for": "10s"},
    {"name": "odd", "when": {"anomaly": {"detector": "rolling_zscore", "above": 0.9}}},
    {"name": "gone", "when": {"absent": "45s"}, "then": [{"command": {"name": "reboot"}}]},
]
MADE = ("scores", "alerts", "commands")
LAST = 7


def history() -> list[Outgoing]:
    """Six devices, a reading a second each: with spikes, a warm spell, and one that falls silent for a minute."""
    sent = []
    for second in range(SECONDS):
        for number in range(6):
            value = 20 + 3 * math.sin(second / 9 + number)
            value += 70 if (second, number) in ((60, 1), (61, 1), (150, 4)) else 0
            value += 30 if number == 2 and 90 <= second < 110 else 0
            value += 80 if number == 3 and second == 200 else 0
            if not (number == 5 and 100 <= second < 170):
                sent.append(message(f"device-{number}", BEGIN + second + number / 7, round(value, 3)))
    return sent


def made(lake: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of what is made in order."""
    reader = Lake(str(lake))
    tables = {name: getattr(reader, name)() for name in MADE}
    files = [pq.read_table(path, partitioning=None) for path in (lake / "last_n" / f"n={LAST}").rglob("*.parquet")]
    tables["last_n"] = pa.concat_tables(files)
    return {
        name: table.sort_by([(column, "ascending") for column in table.column_names]).to_pylist()
        for name, table in tables.items()
    }


def by_batch(job: StreamingJob, config: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What a batch job makes of the same readings."""
    shutil.copytree(job.lake / "readings", folder / "readings")
    order = load_config(config, ()).order
    assert order is not None
    hour = int(BEGIN) * 1_000_000 // HOUR
    list(replay(LakeSpec(path=str(folder)), order, hour, hour))
    return made(folder)


def said(servers: str, topic: str, count: int) -> Counter[tuple[str, str]]:
    """(alert_id, state) of the messages of a topic, by how often they are there."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reads-alerts", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: Counter[tuple[str, str]] = Counter()
    until, quiet = time.monotonic() + 60, 0
    while time.monotonic() < until and quiet < 3:
        messages = consumer.consume(100, 1.0)
        quiet = quiet + 1 if not messages and found.total() >= count else 0
        for each in messages:
            headers = dict(each.headers() or ())
            found[headers["alert_id"].decode(), headers["state"].decode()] += 1
    consumer.close()
    return found


def scoring(kafka: Any, topic: str, folder: Path, *sinks: dict[str, Any]) -> tuple[Path, str]:
    """A job's configuration with windows, detectors and rules, and the topic of its alerts."""
    alerts = f"{topic[:60]}-alerts"
    kafka.create_topic(topic, 3)
    kafka.create_topic(alerts, 1)
    servers = kafka.bootstrap_servers
    config = kafka_config(
        folder, servers, topic, windows=[{"every": "1m", "allowed_lateness": "1m"}, {"last": LAST}],
        quality={"max_age_days": None}, anomalies=DETECTORS, rules=RULES,
        sinks={"alerts": [{"kafka": {"bootstrap_servers": servers, "topic": alerts}}, *sinks]},
    )  # fmt: skip
    return config, alerts


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    with WebhookServer() as server:
        yield server


def test_what_is_made_in_order_is_a_batch_jobs_after_kills_and_each_alert_is_sent_once(
    kafka: Any, topic: str, start: Start, webhook: WebhookServer, tmp_path: Path
) -> None:
    config, alerts = scoring(kafka, topic, tmp_path / "stream", {"webhook": {"url": webhook.url}})
    servers = kafka.bootstrap_servers
    messages = spread(history(), 3, seed=1)
    third = len(messages) // 3
    for part in (messages[:third], messages[third : 2 * third]):
        send(servers, topic, part)
        with start(config) as job:
            job.wait_more(len(part) // 2)
            job.kill()
    send(servers, topic, messages[2 * third :])
    with start(config, "--set", "source.kafka.until=end") as job:
        assert job.end() == 0, job.text
    found = made(job.lake)
    assert found == by_batch(job, config, tmp_path / "batch")
    assert len(found["scores"]) == 2 * len(messages)
    assert len(found["last_n"]) == len(messages)
    assert {row["rule"] for row in found["alerts"]} == {"hot", "long", "odd", "gone"}
    assert [row["command"] for row in found["commands"]] == ["reboot"]
    filed = {(row["alert_id"], row["state"]) for row in found["alerts"]}
    sent = said(servers, alerts, len(filed))
    assert set(sent) >= filed
    assert set(sent.values()) == {1}
    assert {(row["alert_id"], row["state"]) for row in webhook.alerts} >= filed


def test_an_alert_that_needs_no_past_is_sent_before_time_has_passed(
    kafka: Any, topic: str, start: Start, webhook: WebhookServer, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    config = kafka_config(
        tmp_path, kafka.bootstrap_servers, topic, rules=RULES[:1], time={**TIME, "max_out_of_orderness": "1h"},
        sinks={"alerts": [{"webhook": {"url": webhook.url}}]},
    )  # fmt: skip
    now = time.time()
    send(kafka.bootstrap_servers, topic, [message("device-1", now, 99.0)])
    with start(config) as job:
        job.wait(lambda: bool(webhook.alerts), "an alert")
        assert [(row["rule"], row["severity"], row["state"]) for row in webhook.alerts] == [
            ("hot", "critical", "firing")
        ]
        assert not (job.lake / "alerts").exists()  # the clock is an hour behind
        job.kill()
    with start(config, "--set", "source.kafka.until=end") as job:
        assert job.end() == 0, job.text
    (filed,) = Lake(str(job.lake)).alerts().to_pylist()
    assert {row["alert_id"] for row in webhook.alerts} == {filed["alert_id"]}
