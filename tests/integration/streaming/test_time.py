"""Clocks that are wrong and partitions that are silent: nothing is lost, nobody else is late, windows close."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from tests.checker import late_matches
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import LiveProducer, Outgoing, message, reading, send
from tests.integration.streaming.harness import LENGTH, assert_exact, journals, kafka_config

PARTITIONS, SILENT = 8, 7
HOUR = 3600.0
YEAR_9999 = json.dumps({**reading("device-0", 0, 1.0), "timestamp": "9999-12-31T23:59:59Z"}).encode()
LATENESS = timedelta(minutes=1)


WRONG_BY = (2 * HOUR, -2 * HOUR, 100.0, -30.0)


def wrong_clocks() -> Iterator[Outgoing]:
    """Partitions 0 to 6: each has a device that is right, and some have one whose clock is wrong."""
    yield Outgoing(YEAR_9999, "device-0", 0)
    for number in count():
        partition = number % SILENT
        yield message(f"right-{partition}", time.time(), number, partition)
        if partition < len(WRONG_BY) and number > 2 * SILENT:
            yield message(f"wrong-{partition}", time.time() + WRONG_BY[partition], number, partition)


def newest_closed(lake: Path) -> float:
    receipt = lake / "_commits" / "receipts" / "fleet" / f"windows-{LENGTH}.json"
    return json.loads(receipt.read_bytes())["until"] / 1e6 if receipt.exists() else 0.0


def test_wrong_clocks_and_a_silent_partition_keep_no_window_open_and_make_nobody_else_late(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    kafka.create_topic(topic, PARTITIONS)
    windows = [{"every": f"{LENGTH}s", "allowed_lateness": f"{LATENESS.seconds}s"}]
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic, windows=windows)
    lake = tmp_path / "lake"
    begun = time.time()
    silent = [message("silent", begun + n / 10, n, SILENT) for n in range(10)]
    acknowledged = send(kafka.bootstrap_servers, topic, silent)
    with start(config) as job, LiveProducer(kafka.bootstrap_servers, topic, 150, wrong_clocks()) as producer:
        # Windows close although a partition is silent.
        job.wait(lambda: newest_closed(lake) > begun + 6, "windows are closed beside a silent partition")
        # It wakes with what it had to say meanwhile: all windows of it have closed.
        old = [message("silent", begun + 0.5 + n / 10, 100 + n, SILENT) for n in range(40)]
        acknowledged += send(kafka.bootstrap_servers, topic, old)
        acknowledged += producer.finish()
        now = datetime.now(UTC)
        job.settle(acknowledged, closed_before=now)
        assert job.stop().code == 0
    assert_exact(lake, acknowledged, closed_before=now)
    con = duckdb.connect()
    con.execute(f"create view readings as from read_parquet('{lake}/readings/**/*.parquet', hive_partitioning=false)")
    con.execute(f"create view rejects as from read_parquet('{lake}/rejects/**/*.parquet', hive_partitioning=false)")
    con.execute(f"create view windows as from read_parquet('{lake}/windows/**/*.parquet', hive_partitioning=false)")
    assert con.sql("select distinct reason from rejects").fetchall() == [("future",)]
    assert con.sql("select count(*) from rejects where payload = ?", params=[YEAR_9999]).fetchall() == [(1,)]
    assert con.sql("from readings where device_id = 'wrong-0'").fetchall() == []
    late = con.sql("select device_id, count(*) from readings where is_late group by all").fetchall()
    hours_behind = con.sql("select count(*) from readings where device_id = 'wrong-1'").fetchall()[0][0]
    assert late == [("wrong-1", hours_behind)]
    revised = con.sql("select count(*) from windows where device_id = 'silent' and revision > 0").fetchall()[0][0]
    assert revised, "what woke with old readings revises its windows"
    flagged = late_matches(lake, {LENGTH: LATENESS}, timedelta(seconds=1), producer.taken.stamp_table())
    assert flagged[1] == 0, flagged
    assert {number for _, number in journals(lake)} == set(range(PARTITIONS))
