"""The programs that the streaming job is timed against read everything and compute what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from benchmarks.streaming.load import fill
from benchmarks.streaming.messages import Fleet
from tests.checker import read_acknowledged, read_topic

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benchmarks" / "streaming" / "peers"
MESSAGES = 3000
END_MS = 1_795_000_020_000


@pytest.fixture(scope="module")
def full(kafka: Any) -> tuple[str, str]:
    """A broker's address and a topic of four partitions with two minutes of a small fleet."""
    kafka.create_topic("peers", 4)
    counted = fill(kafka.bootstrap_servers, "peers", Fleet(20).backlog(MESSAGES, 25, END_MS))
    assert counted.messages == MESSAGES
    return kafka.bootstrap_servers, "peers"


def said(program: str, where: tuple[str, str], *options: object, folder: Path) -> dict[str, Any]:
    words = ["--bootstrap-servers", where[0], "--topic", where[1], *map(str, options)]
    done = subprocess.run(
        [sys.executable, PEERS / program, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_was_loaded_is_in_the_topic_in_its_order(full: tuple[str, str]):
    stored = list(read_topic(full[0], [full[1]]))
    assert {payload for *_, payload in stored} == {m.payload for m in Fleet(20).backlog(MESSAGES, 25, END_MS)}
    assert len(stored) == MESSAGES
    assert len({partition for _, partition, *_ in stored}) == 4


def test_the_bare_consumer_reads_and_parses_everything(full: tuple[str, str], tmp_path: Path):
    found = said("limit.py", full, "--poll-messages", 500, folder=tmp_path)
    assert found["total"] == MESSAGES
    assert 0 < found["messages"] == found["readings"] < MESSAGES
    assert found["seconds"] > 0


def test_per_element_beam_computes_the_windows(full: tuple[str, str], prism: Path, tmp_path: Path):
    output = tmp_path / "out"
    found = said("textbook_beam.py", full, "--output", output, "--prism_location", prism, folder=tmp_path)
    assert found["messages"] == MESSAGES
    readings = [json.loads(message.payload) for message in Fleet(20).backlog(MESSAGES, 25, END_MS)]
    con = duckdb.connect()
    con.register("readings", pa.Table.from_pylist(readings))
    expected = con.sql(
        """select device_id, sensor_type, count(*) as count, avg(value) as mean, min(value) as min, max(value) as max
        from readings where not ((sensor_type = 'temperature' and value not between -50 and 100)
            or (sensor_type = 'humidity' and value not between 0 and 100)
            or (sensor_type = 'pressure' and value not between 800 and 1200)
            or (sensor_type = 'voltage' and value not between 0 and 50))
        group by device_id, sensor_type, time_bucket(interval 1 minute, timestamp::timestamptz) order by all"""
    ).fetchall()
    lines = con.sql(f"from read_json('{output}/windows-*')").project("device_id, sensor_type, count, mean, min, max")
    written = lines.order("all").fetchall()
    assert [row[:3] for row in written] == [row[:3] for row in expected]
    assert [row[3:] for row in written] == [pytest.approx(row[3:]) for row in expected]


def test_a_fleet_that_reports_now_keeps_its_rate_and_writes_down_what_was_acknowledged(kafka: Any, tmp_path: Path):
    kafka.create_topic("now", 2)
    listed = tmp_path / "acknowledged.arrow"
    words = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic", "now", "--rate", "2000", "--seconds", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming.produce", *words, "--acknowledged", listed],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["messages"] == figures["acknowledged"] == pytest.approx(4000, rel=0.1)
    assert sorted(read_acknowledged(listed)) == sorted(read_topic(kafka.bootstrap_servers, ["now"]))
