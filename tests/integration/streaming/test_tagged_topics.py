"""Readings that rules tag are in their topics, each once, after kills of the job."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import send, spread
from tests.integration.streaming.harness import kafka_config
from tests.integration.streaming.test_in_order import history
from tests.io.alerts.test_kafka import messages

RULES = [
    {"name": "warm", "when": {"above": 40}, "then": [{"tag": "warm"}]},
    {"name": "hot", "when": {"above": 80}, "then": [{"tag": "hot"}, {"tag": "to.look-at"}]},
]
Told = Counter[tuple[str, str, str, float]]


def filed(lake: Path) -> Told:
    """(tag, device, partition and offset, value) of the lake's tagged readings."""
    found: Told = Counter()
    for path in (lake / "tagged").rglob("*.parquet"):
        (tag,) = [part.removeprefix("tag=") for part in path.parts if part.startswith("tag=")]
        found.update(
            (tag, row["device_id"], f"{row['source_partition']}/{row['source_offset']}", row["value"])
            for row in pq.ParquetFile(path).read().to_pylist()
        )
    return found


def told(kafka: Any, topic: str) -> Told:
    rows = [json.loads(message.value()) for message in messages(kafka, topic)]
    return Counter(
        (row["tag"], row["device_id"], f"{row['source_partition']}/{row['source_offset']}", row["value"])
        for row in rows
    )


def test_tagged_readings_are_in_their_topics_once_after_kills(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    every, some = f"{topic[:60]}-every", f"{topic[:60]}-some"
    for name, partitions in ((topic, 3), (every, 2), (some, 1)):
        kafka.create_topic(name, partitions)
    servers = kafka.bootstrap_servers
    config = kafka_config(
        tmp_path, servers, topic, windows=[{"every": "1m", "allowed_lateness": "1m"}],
        quality={"max_age_days": None}, rules=RULES,
        sinks={"tagged": [
            {"kafka": {"bootstrap_servers": servers, "topic": every}},
            {"kafka": {"bootstrap_servers": servers, "topic": some}, "tags": ["hot"]},
        ]},
    )  # fmt: skip
    sent = spread(history(), 3, seed=1)
    third = len(sent) // 3
    for part in (sent[:third], sent[third : 2 * third]):
        send(servers, topic, part)
        with start(config) as job:
            job.wait_more(len(part) // 2)
            job.kill()
    send(servers, topic, sent[2 * third :])
    with start(config, "--set", "source.kafka.until=end") as job:
        assert job.end() == 0, job.text
    found = filed(job.lake)
    assert {tag for tag, *_ in found} == {"warm", "hot", "to.look-at"}
    assert told(kafka, every) == found
    assert told(kafka, some) == Counter({each: count for each, count in found.items() if each[0] == "hot"})
