"""What is seen from outside of a running job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.streaming.watch import LakeWatch, MemoryWatch, descendants, percentiles


def test_a_lakes_files_are_noted_once_and_counted(tmp_path: Path):
    watch = LakeWatch(tmp_path)
    watch()
    folder = tmp_path / "readings" / "date=2026-01-01" / "hour=00"
    folder.mkdir(parents=True)
    for name, rows in (("a.parquet", 3), ("b.parquet.tmp", 5)):
        pq.write_table(pa.table({"x": range(rows)}), folder / name)
    watch()
    first = dict(watch.seen)
    watch()
    assert watch.seen == first
    assert [(file.path.name, file.rows) for file in watch.files()] == [("a.parquet", 3)]


def test_a_file_that_went_away_is_not_counted(tmp_path: Path):
    folder = tmp_path / "readings"
    folder.mkdir()
    pq.write_table(pa.table({"x": [1]}), folder / "a.parquet")
    watch = LakeWatch(tmp_path)
    watch()
    (folder / "a.parquet").unlink()
    assert watch.files() == []


def test_the_slope_is_that_of_the_samples_after_the_start():
    watch = MemoryWatch(0)
    watch.samples = [{"seconds": s, "job": 1e9 if s < 60 else 2e8 + 3e6 * s / 60} for s in range(300)]
    assert watch.slope("job", 60) == pytest.approx(3)
    assert np.isnan(watch.slope("prism", 60))
    assert watch.peak("job") == 1000


def test_a_process_and_what_it_started_are_added_up():
    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc to read from")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in descendants(os.getpid())
        watch = MemoryWatch(os.getpid())
        watch()
        assert watch.peak("job") > 10
    finally:
        child.communicate(b"\n")
    assert child.pid not in descendants(os.getpid())


def test_percentiles_of_nothing_are_no_numbers():
    assert percentiles([1.0] * 19 + [9.0])["p50"] == 1
    assert np.isnan(percentiles([])["p95"])
