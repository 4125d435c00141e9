"""A broker that isn't there: when the job starts, for a while, or all of a sudden.

The long form keeps it away for 20 s each time, with the same outcome.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.checker import read_topic
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import LiveProducer
from tests.integration.streaming.harness import DRAIN_SECONDS, assert_exact, kafka_config


def test_a_broker_that_is_absent_stopped_hung_or_killed_costs_time_and_nothing_else(
    own_kafka: Any, topic: str, start: Start, tmp_path: Path, is_long: bool
) -> None:
    away_seconds = 20 if is_long else 2
    own_kafka.create_topic(topic, 4)
    config = kafka_config(tmp_path, own_kafka.bootstrap_servers, topic)
    own_kafka.stop()
    with start(config) as job:
        job.wait(lambda: "waiting for it" in job.text, "a word that the broker is waited for")
        own_kafka.start_again()
        with LiveProducer(own_kafka.bootstrap_servers, topic) as producer:
            job.wait_more(500)
            own_kafka.stop()
            time.sleep(away_seconds)
            own_kafka.start_again()
            job.wait_more(500)
            own_kafka.pause()
            time.sleep(away_seconds)
            own_kafka.resume()
            job.wait_more(500)
            own_kafka.kill()
            time.sleep(away_seconds)
            own_kafka.start_again()
            job.wait_more(500)
            acknowledged = producer.finish()
        job.settle(acknowledged)
        stored = list(read_topic(own_kafka.bootstrap_servers, [topic]))
        assert_exact(job.lake, acknowledged, stored=stored)
        own_kafka.kill()
        stopped = job.stop()
        assert stopped.code == 0, job.text
        assert stopped.seconds < DRAIN_SECONDS, "a job ends in time, with or without its broker"
    assert_exact(job.lake, acknowledged, stored=stored)


def test_a_job_that_waits_for_its_broker_ends_when_it_is_told_to(start: Start, tmp_path: Path) -> None:
    with start(kafka_config(tmp_path, "127.0.0.1:9", "telemetry")) as job:
        job.wait(lambda: "waiting for it" in job.text, "a word that the broker is waited for")
        stopped = job.stop()
    assert stopped.code == 0, job.text
    assert stopped.seconds < DRAIN_SECONDS
    assert stopped.summary["balance"]["in"] == 0
