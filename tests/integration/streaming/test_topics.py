"""Topics that change under a job: more partitions, deleted and made anew, records deleted before they were read."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import message, send
from tests.integration.streaming.harness import assert_exact, journals, kafka_config, wait_until


def values(lake: Path, topic: str) -> list[float]:
    files = f"read_parquet('{lake}/readings/**/*.parquet', hive_partitioning=false)"
    found = duckdb.sql(f"select value from {files} where source = ? order by value", params=[topic]).fetchall()
    return [value for (value,) in found]


class Numbered:
    """Sends readings whose values are running numbers, so that each can be told from all others."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._next = count()
        self.sent: dict[str, list[float]] = {}

    def send(self, topic: str, *partitions: int, each: int = 20) -> list[Any]:
        numbers = [(partition, float(next(self._next))) for partition in partitions for _ in range(each)]
        self.sent.setdefault(topic, []).extend(number for _, number in numbers)
        messages = [message(f"device-{part}", time.time() + n / 1e6, n, part) for part, n in numbers]
        return send(self._servers, topic, messages)


def test_new_partitions_and_topics_made_anew_are_read_from_their_beginning(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    grown, remade = f"{topic[:60]}-grown", f"{topic[:60]}-remade"
    kafka.create_topic(grown, 1)
    kafka.create_topic(remade, 2)
    config = kafka_config(tmp_path, kafka.bootstrap_servers, grown, remade)
    lake, numbered = tmp_path / "lake", Numbered(kafka.bootstrap_servers)
    acknowledged = numbered.send(grown, 0)

    def all_there(name: str) -> bool:
        return lake.exists() and any(lake.glob("readings/**/*.parquet")) and values(lake, name) == numbered.sent[name]

    def make_anew(*partitions: int, each: int) -> None:
        kafka.delete_topic(remade)
        kafka.create_topic(remade, len(partitions))
        numbered.send(remade, *partitions, each=each)

    numbered.send(remade, 0, 1)
    with start(config) as job:
        job.wait(lambda: all_there(grown) and all_there(remade), "everything")
        kafka.add_partitions(grown, 3)
        acknowledged += numbered.send(grown, 0, 1, 2)
        job.wait(lambda: all_there(grown), "the new partitions")
        make_anew(0, 1, each=30)  # more than before: a reader that goes on at the old offset would find something
        job.wait(lambda: all_there(remade), "the topic that was made anew")
        job.kill()
    make_anew(0, each=5)
    acknowledged += numbered.send(grown, 2)
    with start(config) as job:
        job.wait(lambda: all_there(remade), "the topic that was made anew while the job was down")
        job.settle(acknowledged)
        job.kill()
    assert all_there(grown)
    assert len({stream for stream, _ in journals(lake) if stream.startswith(remade)}) == 3


def test_records_deleted_before_they_were_read_end_the_job_with_their_number_or_are_skipped(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic)
    until_end = ("--set", "source.kafka.until=end")
    numbered = Numbered(kafka.bootstrap_servers)
    acknowledged = numbered.send(topic, 0, each=10)
    with start(config, *until_end) as job:
        assert job.end() == 0, job.text
    later = numbered.send(topic, 0, each=20)
    kafka.delete_records(topic, {0: 15})
    with start(config) as job:
        assert job.end() == 1, job.text
        errors = [line for line in job.said if line.startswith("telebeam: error:")]
        assert len(errors) == 1
        assert "5 records of partition 0" in errors[0]
        assert "offsets 10 to 14" in errors[0]
        assert "on_gap" in job.text
    assert_exact(tmp_path / "lake", acknowledged)
    with start(config, *until_end, "--set", "source.kafka.on_gap=skip") as job:
        assert job.end() == 0, job.text
        assert [line for line in job.said if "5 records" in line], job.text
    assert_exact(tmp_path / "lake", [*acknowledged, *later[5:]])


def test_records_deleted_while_the_job_can_not_read_them_end_it_with_their_number(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    numbered = Numbered(kafka.bootstrap_servers)
    acknowledged = numbered.send(topic, 0, each=10)
    with start(kafka_config(tmp_path, kafka.bootstrap_servers, topic)) as job:
        job.wait_filed(acknowledged)
        job.pause()
        acknowledged += numbered.send(topic, 0, each=1)  # answers the fetch that is under way
        numbered.send(topic, 0, each=20)
        kafka.delete_records(topic, {0: 20})
        job.resume()
        wait_until(lambda: not job.is_running, "the end of the job")
        assert job.end() == 1, job.text
        assert "were deleted before they were read" in job.text
