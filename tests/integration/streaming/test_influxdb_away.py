"""InfluxDB in trouble: the lake does not wait for it, and in the end it has everything.

The long form has four times as many messages in each mood and stops the server for a minute, with the same outcome.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from influxdb_client import BucketRetentionRules, InfluxDBClient

from tests.checker import influx_matches
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import Fleet, LiveProducer
from tests.integration.streaming.harness import LENGTH, assert_exact, kafka_config, wait_until
from tests.integration.streaming.moody import moody_proxy

SLACK_SECONDS = 5.0
"""By which a busy machine may be later without a fault of the server's."""


RETENTION_SECONDS = 3600
"""The shortest that InfluxDB grants: what devices send hours late is refused there."""


@pytest.fixture
def bucket(own_influxdb: Any) -> str:
    """A bucket that takes nothing old."""
    with InfluxDBClient(own_influxdb.url, own_influxdb.token, org=own_influxdb.org) as client:
        rules = BucketRetentionRules(type="expire", every_seconds=RETENTION_SECONDS)
        made = client.buckets_api().create_bucket(bucket_name="short", retention_rules=rules, org=own_influxdb.org)
    own_influxdb.bucket = made.name
    return str(made.name)


def lags(lake: Path, begin: float, end: float) -> list[float]:
    """Of each file that was written in a time: seconds from its newest reading to the file."""
    files = [path for path in lake.glob("readings/**/*.parquet") if begin <= path.stat().st_mtime < end]
    newest = "select epoch(max(timestamp)) from read_parquet(?, hive_partitioning=false)"
    found = [(path.stat().st_mtime, duckdb.sql(newest, params=[str(path)]).fetchall()[0][0]) for path in files]
    return sorted(written - moment for written, moment in found if written - moment < 3600)  # without late ones' hours


def median(numbers: list[float]) -> float:
    return numbers[len(numbers) // 2]


def test_a_server_in_trouble_delays_no_reading_of_the_lake_and_has_all_of_them_in_the_end(
    kafka: Any,
    own_influxdb: Any,
    bucket: str,
    topic: str,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_long: bool,
) -> None:
    kafka.create_topic(topic, 2)
    monkeypatch.setenv("INFLUX_STREAM_TOKEN", own_influxdb.token)
    with moody_proxy(own_influxdb.url) as proxy:
        sink = {
            "url": proxy.url,
            "org": own_influxdb.org,
            "bucket": bucket,
            "token": "env:INFLUX_STREAM_TOKEN",
        }
        config = kafka_config(tmp_path, kafka.bootstrap_servers, topic, sinks={"influxdb": sink})
        messages = Fleet(30, seed=5).messages()
        with LiveProducer(kafka.bootstrap_servers, topic, 400, messages) as producer:
            with start(config) as job:
                job.wait_more(2000)
                phases = {"fine": (0.0, time.time())}
                for mood in (503, 429, 401, "hung"):
                    begun, answered = time.time(), proxy.answers[mood] if isinstance(mood, int) else 0
                    proxy.awake.clear()
                    proxy.mood = mood
                    job.wait_more(1500 if not is_long else 6000)
                    if isinstance(mood, int):
                        wait_until(lambda: proxy.answers[mood] > answered, f"an answer {mood}", job=job)  # noqa: B023
                    phases[str(mood)] = (begun, time.time())
                own_influxdb.stop()
                proxy.mood = None
                proxy.awake.set()
                begun = time.time()
                job.wait_more(1500)
                job.kill()
            with start(config) as job:
                job.wait_more(1500)
                wait_until(lambda: time.time() - begun > (60 if is_long else 0), "a minute without a server", job=job)
                phases["stopped"] = (begun, time.time())
                acknowledged = producer.finish()
                own_influxdb.start()
                job.settle(acknowledged)
                closed = datetime.now(UTC)
                verdict = lambda: influx_matches(own_influxdb, job.lake, lengths=[LENGTH], closed_before=closed)  # noqa: E731
                wait_until(lambda: verdict().ok, lambda: f"InfluxDB as the lake: {verdict()}", job=job, pause=1.0)
                assert job.stop().code == 0
    assert_exact(job.lake, acknowledged)
    rejects = f"read_parquet('{job.lake}/rejects/**/*.parquet', hive_partitioning=false)"
    refused = f"select source_partition, source_offset from {rejects} where reason = 'refused_by_sink'"
    hours_late = (
        f"select source_partition, source_offset from read_parquet('{job.lake}/readings/**/*.parquet') where is_late"
    )
    assert duckdb.sql(refused).fetchall()
    assert duckdb.sql(f"{refused} except all {hours_late}").fetchall() == []
    assert duckdb.sql(f"{hours_late} except all {refused}").fetchall() == []
    measured = {phase: lags(job.lake, *span) for phase, span in phases.items()}
    fine = median(measured.pop("fine"))
    del measured["stopped"]  # the restart of the job is in it
    late = {phase: median(found) for phase, found in measured.items() if median(found) > 2 * fine + SLACK_SECONDS}
    assert not late, (fine, late)
