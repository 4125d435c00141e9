"""What a job that is killed or told to end leaves in the lake.

The long form kills it twenty times, by the seed, in eight minutes at 800 messages a second: none was lost, twice or
invented, and all windows were DuckDB's.
"""

from __future__ import annotations

import random
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.checker import late_matches, read_topic
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import Fleet, LiveProducer, Mix, rows_in
from tests.integration.streaming.harness import (
    DRAIN_SECONDS,
    LENGTH,
    assert_exact,
    filed_rows,
    journals,
    kafka_config,
)

HOSTILE = Mix(poison=0.01, duplicates=0.1, hot=0.9)


def test_nothing_is_lost_or_there_twice_however_often_the_job_is_killed(
    kafka: Any, topic: str, start: Start, tmp_path: Path, is_long: bool
) -> None:
    drawn = random.Random(4)
    kafka.create_topic(topic, 4)
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic)
    with LiveProducer(kafka.bootstrap_servers, topic, 800, Fleet(60, HOSTILE, seed=4).messages()) as producer:
        for number in range(20 if is_long else 2):
            with start(config) as job:
                if number % 4 != 3:  # now and then it does not live to see its first file
                    job.wait_more()
                time.sleep(drawn.uniform(0, 4))
                job.kill()
        with start(config) as job:
            job.wait_more(500)
            acknowledged = list(producer.finish())
            job.settle(acknowledged)
            stopped = job.stop()
    assert (stopped.code, job.said[1:]) == (0, [])
    assert_exact(tmp_path / "lake", acknowledged, stored=read_topic(kafka.bootstrap_servers, [topic]))
    late, flagged_otherwise, some = late_matches(
        tmp_path / "lake", {LENGTH: timedelta(minutes=10)}, timedelta(seconds=1), producer.taken.stamp_table()
    )
    assert late
    assert not flagged_otherwise, some
    counts = [journal["counts"] for journal in journals(tmp_path / "lake").values()]
    assert sum(each["rows_in"] for each in counts) == rows_in(acknowledged)
    assert sum(each["readings"] + each["rejects"] + each["duplicates"] for each in counts) == rows_in(acknowledged)
    assert sum(each["late"] for each in counts) == late


def test_a_job_that_is_told_to_end_files_what_it_has_and_says_the_balance(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic)
    balances = []
    with LiveProducer(kafka.bootstrap_servers, topic, 800) as producer:
        for run in range(2):
            with start(config) as job:
                before = filed_rows(job.lake)
                job.wait_more(200)
                if run:
                    acknowledged = list(producer.finish())
                    job.settle(acknowledged)
                code, seconds, summary = job.stop()
                assert (code, seconds < DRAIN_SECONDS) == (0, True), (seconds, job.text)
                balances.append(summary["balance"])
                assert summary["balance"]["in"] == filed_rows(job.lake) - before
                assert job.statuses[-1]["done"]
                assert job.statuses[-1]["balance"] == summary["balance"]
    assert_exact(tmp_path / "lake", acknowledged)
    assert all(b["in"] == b["readings"] + b["rejects"] + b["duplicates"] for b in balances)
    assert sum(balance["in"] for balance in balances) == rows_in(acknowledged)
