"""What stands in ``windows`` is what the lake's readings give, whatever wrote them and in how many pieces."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.io.lake import Lake
from telebeam.io.lake.layout import hours_of_windows
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY, LakeFile, LakeWriter
from telebeam.transforms.aggregation.kernel import aggregate, extract
from telebeam.transforms.batches import UNIT
from telebeam.transforms.schema import WINDOWS, conform
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet, readings

KEY = [(name, "ascending") for name in WINDOWS.names[:7]]


def write(lake: LakeSpec, batch: pa.RecordBatch, unit: str = "u") -> list[LakeFile]:
    return LakeWriter(lake, "readings").write(batch.replace_schema_metadata({UNIT: unit.encode()}))


def recompute(lake: LakeSpec, files: list[LakeFile], seconds: int, **options: int) -> None:
    for hour in sorted({hour for file in files for hour in hours_of_windows(file.first, file.last, seconds)}):
        recompute_windows(lake, seconds, hour, **options)


def expected(batch: pa.RecordBatch, seconds: int) -> pa.Table:
    return pa.Table.from_batches([conform(extract(aggregate(batch, seconds), seconds), WINDOWS)]).sort_by(KEY)


def found(lake: LakeSpec, seconds: int) -> pa.Table:
    return Lake(lake.path).windows(seconds).sort_by(KEY)


@pytest.mark.parametrize("seconds", [1, 60, 420, 3600, 5400, 86400, 7 * 86400])
@pytest.mark.parametrize("start", [MIDNIGHT - 2 * HOUR - 17, -7 * HOUR])
def test_the_windows_are_those_of_all_readings(lake: LakeSpec, seconds: int, start: int):
    batch = fleet(2000, seed=1, hours=5, start=start)
    files = [file for part in range(4) for file in write(lake, batch.slice(part * 500, 500), f"u{part}")]
    recompute(lake, files, seconds)
    assert found(lake, seconds).equals(expected(batch, seconds))


@pytest.mark.parametrize("piece_rows", [1, 700, 10_000])
def test_pieces_do_not_show(lake: LakeSpec, piece_rows: int):
    small = lake.model_copy(update={"row_group_rows": 50})
    batch = fleet(3000, seed=2, devices=40)
    files = write(small, batch.slice(0, 2500), "a") + write(small, batch.slice(2500), "b")
    recompute(lake, files, 60, piece_rows=piece_rows)
    assert found(lake, 60).equals(expected(batch, 60))


def test_one_device_may_have_everything(lake: LakeSpec):
    small = lake.model_copy(update={"row_group_rows": 100})
    batch = fleet(2000, seed=3, devices=1)
    recompute(lake, write(small, batch), 60, piece_rows=10)
    assert found(lake, 60).equals(expected(batch, 60))


def test_a_windows_file_is_sorted_by_device_and_time(lake: LakeSpec):
    draw = np.random.default_rng(1)
    tenants = [f"tenant-{n}" for n in draw.integers(0, 3, 500)]
    devices = [f"dev-{n}" for n in draw.integers(0, 9, 500)]
    small = lake.model_copy(update={"row_group_rows": 30})
    files = write(small, readings([1.0] * 500, tenant=tenants, device_id=devices))
    recompute(lake, files, 60, piece_rows=50)
    table = pq.read_table(next(Path(lake.path, "windows").rglob("*.parquet")), partitioning=None)
    keys = list(zip(*(table[name].to_pylist() for name in SORTED_BY["windows"][:2]), strict=True))
    assert keys == sorted(keys)


def test_two_archives_for_the_same_hours_complete_each_other(lake: LakeSpec):
    batch = fleet(2000, seed=4)
    for part in (0, 1):
        files = write(lake, batch.slice(part * 1000, 1000), f"archive-{part}")
        recompute(lake, files, 3600)
        assert found(lake, 3600).equals(expected(batch.slice(0, (part + 1) * 1000), 3600))


def test_running_again_changes_no_byte(lake: LakeSpec):
    files = write(lake, fleet(2000, seed=5))
    recompute(lake, files, 60)
    path = next(Path(lake.path, "windows").rglob("*.parquet"))
    before = path.read_bytes()
    recompute(lake, files, 60)
    assert path.read_bytes() == before


@pytest.mark.parametrize("seconds", [60, 420, 86400])
def test_the_windows_of_the_last_reading_go_with_it(lake: LakeSpec, seconds: int):
    batch = readings([1.0, 2.0], [MIDNIGHT, MIDNIGHT + 5 * HOUR])
    recompute(lake, write(lake, batch), seconds)
    recompute(lake, write(lake, batch.slice(0, 1)), seconds)
    assert found(lake, seconds).equals(expected(batch.slice(0, 1), seconds))
    recompute(lake, write(lake, batch.slice(0, 0)), seconds)
    assert found(lake, seconds).num_rows == 0
    assert not list(Path(lake.path, "windows").rglob("*.parquet"))


def test_a_day_of_more_files_than_a_process_may_open_is_read(lake: LakeSpec):
    files = [file for unit in range(60) for file in write(lake, readings([float(unit)]), f"u{unit}")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        recompute(lake, files[:1], 86400)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found(lake, 86400)["count"].to_pylist() == [60]


def test_hours_without_readings_have_no_windows(lake: LakeSpec):
    assert recompute_windows(lake, 60, 12) is None
    assert recompute_windows(lake, 86400, 13) is None


def test_a_value_without_a_square_is_filed(lake: LakeSpec):
    recompute(lake, write(lake, readings([1.0, 1e300])), 60)
    row = found(lake, 60).to_pylist()[0]
    assert (row["std"], row["max"]) == (None, 1e300)
