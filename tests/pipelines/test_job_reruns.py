"""A job that runs twice, half, or over a part: the lake is a function of the input and the configuration."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from telebeam.io.lake import Lake
from tests.pipelines.jobs import Job, check_balance, check_windows, job, simulated, tree, window_values

START = datetime(2026, 1, 1, 0, 20, 30, tzinfo=UTC)
END = datetime(2026, 1, 1, 1, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reruns") / "archive"
    simulated(f"parquet:{folder}", profile="home", duration="2h")
    return folder


@pytest.fixture(scope="module")
def full(archive: Path) -> Job:
    made = job(archive.parent / "full", "parquet", archive)
    made.run()
    return made


def within(table: pa.Table, start: datetime, end: datetime) -> pa.Table:
    kind = pa.timestamp("us", "UTC")
    time = table["timestamp"]
    return table.filter(pc.and_(pc.greater_equal(time, pa.scalar(start, kind)), pc.less(time, pa.scalar(end, kind))))


def in_order(table: pa.Table) -> pa.Table:
    names = ("device_id", "timestamp", "sensor_type", "measurement_type", "source", "source_partition", "source_offset")
    return table.sort_by([(name, "ascending") for name in names])


def test_a_second_run_leaves_the_lake_byte_for_byte_as_it_was(full: Job):
    before = tree(full.lake)
    # Another time of the clock: rejected_at stays what the first run wrote.
    full.run(started=datetime(2026, 2, 3, 4, tzinfo=UTC), workers=1)
    assert tree(full.lake) == before


def test_a_ranged_run_after_a_full_one_changes_nothing_but_adds_its_report(full: Job):
    before = tree(full.lake)
    full.run(start=START, end=END)
    after = tree(full.lake)
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert all("quality/" in name for name in after.keys() - before.keys())


def test_a_range_gives_exactly_its_rows_and_touches_nothing_outside(archive: Path, full: Job, tmp_path: Path):
    made = job(tmp_path, "parquet", archive)
    outcome = made.run(start=START, end=END)
    check_balance(made, outcome)
    assert in_order(made.readings()).equals(in_order(within(full.readings(), START, END)))
    first = tree(made.lake)
    later = made.run(start=END, end=END + timedelta(minutes=5))
    assert later.balance.readings == within(full.readings(), END, END + timedelta(minutes=5)).num_rows
    check_windows(made)
    hours = ("date=2026-01-01/hour=00/",)
    outside = {name: digest for name, digest in first.items() if any(hour in name for hour in hours)}
    assert outside
    assert {name: digest for name, digest in tree(made.lake).items() if name in outside} == outside


def test_ranges_one_after_the_other_are_the_whole(archive: Path, full: Job, tmp_path: Path):
    made = job(tmp_path, "parquet", archive)
    made.run(end=START)
    made.run(start=START)
    assert in_order(made.readings()).equals(in_order(full.readings()))
    assert window_values(made) == window_values(full)


def test_another_configuration_leaves_no_stale_row(archive: Path, tmp_path: Path):
    made = job(tmp_path, "parquet", archive, windows=[{"every": "1m"}])
    made.run()
    changed = ["quality.limits={temperature: {max: 1}}", "quality.max_age_days=31.48"]
    outcome = made.run(*changed)
    fresh = job(tmp_path / "fresh", "parquet", archive, windows=[{"every": "1m"}])
    fresh.run(*changed)
    assert 0 < outcome.balance.readings < outcome.balance.rows_in
    assert pc.any(pc.equal(made.rejects()["reason"], "too_old")).as_py()
    check_balance(made, outcome)
    assert in_order(made.readings()).equals(in_order(fresh.readings()))
    assert window_values(made) == window_values(fresh)


def test_two_archives_for_the_same_hours_give_windows_of_both(archive: Path, full: Job, tmp_path: Path):
    second = tmp_path / "second"
    simulated(f"parquet:{second}", profile="home", duration="2h", seed=99)
    made = job(tmp_path, "parquet", archive)
    made.run()
    made.run(f"source.parquet.path={second}", "pipeline=other")
    assert made.readings().num_rows > full.readings().num_rows
    check_windows(made)


def run_and_kill(made: Job, after_seconds: float) -> bool:
    """Runs the command and kills it; tells whether it was killed before its end."""
    command = [sys.executable, "-m", "telebeam.pipelines.cli", "run", str(made.config), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    # The lake's first file is when the job begins to write: what comes before leaves nothing to mend.
    deadline = time.monotonic() + 120
    while child.poll() is None and not (made.lake / "_commits").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        child.wait(timeout=after_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return child.returncode == -signal.SIGKILL


def without_rejected_at(table: pa.Table) -> pa.Table:
    columns = [name for name in table.column_names if name != "rejected_at"]
    keys = [(name, "ascending") for name in ("source", "source_partition", "source_offset", "reason", "detail")]
    return table.select(columns).sort_by(keys)


def staged(made: Job) -> list[Path]:
    return list((made.lake / "_staging").glob("*"))


def check_mended(made: Job, full: Job) -> None:
    made.run()
    ours, theirs = (
        {name: digest for name, digest in tree(lake).items() if name.startswith(("readings/", "windows/"))}
        for lake in (made.lake, full.lake)
    )
    assert ours == theirs
    assert without_rejected_at(made.rejects()).equals(without_rejected_at(full.rejects()))
    assert not staged(made)


def test_a_killed_run_that_runs_again_ends_in_the_same_lake(
    archive: Path, full: Job, tmp_path: Path, pytestconfig: pytest.Config
):
    """Three kills take some 20 s, for each is a process that starts Beam; --long makes them twenty."""
    moments = random.Random(3)
    killed = 0
    for number in range(20 if pytestconfig.getoption("--long") else 3):
        made = job(tmp_path / str(number), "parquet", archive)
        killed += run_and_kill(made, moments.uniform(0, 1.0))
        check_mended(made, full)
    assert killed


def test_what_a_killed_writer_left_staged_is_gone_after_the_next_run(full: Job):
    before = tree(full.lake)
    left = full.lake / "_staging" / "half.parquet.0123"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"PAR1")
    os.utime(left, (0, 0))
    full.run()
    assert not staged(full)
    assert tree(full.lake) == before
    assert Lake(str(full.lake)).readings().num_rows
