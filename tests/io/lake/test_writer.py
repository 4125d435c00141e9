"""A unit is in the lake once: whatever was there before, however often it is written."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY, LakeFile, LakeWriter
from telebeam.transforms.batches import UNIT, with_columns
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.rejects import reject_batch
from telebeam.transforms.schema import DATASETS, QUALITY, READINGS, conform
from tests.io.lake.disks import tree
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet, readings, shuffled


def named(batch: pa.RecordBatch, unit: str = "fleet-a-0") -> pa.RecordBatch:
    return batch.replace_schema_metadata({UNIT: unit.encode()})


def rejects(details: list[str], now: int) -> pa.RecordBatch:
    rows = len(details)
    columns = {
        "reason": pa.array(["malformed"] * rows), "detail": pa.array(details),
        "payload": pa.array([b"{"] * rows, pa.large_binary()), "source": pa.array(["a.jsonl"] * rows),
        "source_partition": pa.array([0] * rows, pa.int32()), "source_offset": pa.array(range(rows), pa.int64()),
    }  # fmt: skip
    return named(reject_batch(columns, now))


def ids(files: list[LakeFile]) -> dict[str, int]:
    return {file.path.split("/hour=")[1]: file.rows for file in files}


def test_a_unit_written_twice_is_written_once(lake: LakeSpec):
    batch = named(fleet(3000, seed=1, hours=5))
    LakeWriter(lake, "readings").write(batch)
    before = tree(Path(lake.path))
    again = LakeWriter(lake, "readings").write(batch)
    assert tree(Path(lake.path)) == before
    assert sum(file.rows for file in again) == 3000
    assert len([path for path in before if path.endswith(".parquet")]) == 5


def test_the_order_and_the_encoding_of_the_rows_do_not_show(lake: LakeSpec):
    batch = fleet(3000, seed=1)
    LakeWriter(lake, "readings").write(named(batch))
    before = Lake(lake.path).readings()
    LakeWriter(lake, "readings").write(named(shuffled(batch, 2)))
    assert Lake(lake.path).readings().equals(before)


def test_a_file_holds_no_texts_of_other_hours(lake: LakeSpec):
    rows = 2000
    devices = [f"device-{n:04d}-{'x' * 100}" for n in range(rows)]
    times = [MIDNIGHT + n % 20 * HOUR for n in range(rows)]
    LakeWriter(lake, "readings").write(named(readings([1.0] * rows, times, device_id=devices)))
    sizes = [path.stat().st_size for path in Path(lake.path).rglob("*.parquet")]
    assert len(sizes) == 20
    assert max(sizes) < 10_000


def test_a_unit_that_falls_into_other_hours_takes_its_old_files_along(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    writer.write(named(readings([1.0, 2.0], [MIDNIGHT, MIDNIGHT + HOUR])))
    moved = writer.write(named(readings([1.0, 2.0], [MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR])))
    name = "fleet-a-0.parquet"
    assert ids(moved) == {f"01/{name}": 1, f"02/{name}": 1, f"00/{name}": 0}
    assert Lake(lake.path).readings().num_rows == 2


def test_hours_that_were_left_are_told_again_for_their_windows_may_not_be_computed_yet(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    writer.write(named(readings([1.0], [MIDNIGHT])))
    batch = named(readings([1.0], [MIDNIGHT + HOUR]))
    first, second = writer.write(batch), writer.write(batch)
    assert first == second
    assert [file.rows for file in second] == [1, 0]


def test_a_unit_without_rows_takes_all_its_files_away(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    batch = named(fleet(100, seed=1))
    writer.write(batch)
    assert [file.rows for file in writer.write(batch.slice(0, 0))] == [0]
    assert Lake(lake.path).readings().num_rows == 0


def test_units_keep_to_themselves(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    writer.write(named(readings([1.0]), "one"))
    writer.write(named(readings([2.0]), "two"))
    writer.write(named(readings([3.0]).slice(0, 0), "one"))
    assert Lake(lake.path).readings()["value"].to_pylist() == [2.0]


@pytest.mark.parametrize("start", [0, 90, 3600, 5000])
def test_a_span_keeps_what_is_outside_of_it(lake: LakeSpec, start: int):
    writer = LakeWriter(lake, "readings")
    times = [MIDNIGHT + minute * 60_000_000 for minute in range(0, 180, 10)]
    writer.write(named(readings([1.0] * 18, times)))
    span = MIDNIGHT + start * 1_000_000, MIDNIGHT + start * 1_000_000 + HOUR
    inside = [time for time in times if span[0] <= time < span[1]]
    for _ in range(2):
        writer.write(named(readings([2.0] * (len(inside) - 1), inside[1:])), span)
        rows = Lake(lake.path).readings(columns=["timestamp", "value"]).to_pylist()
        assert len(rows) == 17
        assert sum(row["value"] == 2.0 for row in rows) == len(inside) - 1
    writer.write(named(readings([1.0]).slice(0, 0)), span)
    assert Lake(lake.path).readings().num_rows == 18 - len(inside)


def test_rejects_keep_the_time_at_which_they_were_first_rejected(lake: LakeSpec):
    writer = LakeWriter(lake, "rejects")
    writer.write(rejects(["a", "b"], MIDNIGHT))
    before = tree(Path(lake.path))
    writer.write(rejects(["a", "b"], MIDNIGHT + 5 * HOUR))
    assert tree(Path(lake.path)) == before
    writer.write(rejects(["a", "b", "c"], MIDNIGHT + 6 * HOUR))
    rows = Lake(lake.path).rejects()
    found = dict(zip(rows["detail"].to_pylist(), rows["rejected_at"].cast(pa.int64()).to_pylist(), strict=True))
    assert found == {"a": MIDNIGHT, "b": MIDNIGHT, "c": MIDNIGHT + 6 * HOUR}
    writer.write(rejects(["c"], MIDNIGHT + 7 * HOUR))
    # A reject that is another row of its source is another reject.
    assert Lake(lake.path).rejects()["rejected_at"].cast(pa.int64()).to_pylist() == [MIDNIGHT + 7 * HOUR]


def test_rows_without_a_unit_are_named_by_what_they_say(lake: LakeSpec):
    writer = LakeWriter(lake, "rejects")
    plain = rejects(["a"], MIDNIGHT).replace_schema_metadata(None)
    writer.write(plain)
    before = tree(Path(lake.path))
    later = rejects(["x", "a"], MIDNIGHT + 9 * HOUR).replace_schema_metadata(None).slice(1)
    offset = pa.array([0], pa.int64())
    writer.write(with_columns(later, {"source_offset": offset}))
    assert tree(Path(lake.path)) == before


def test_a_report_of_a_run_without_a_reading_is_filed(lake: LakeSpec):
    row = {"pipeline": "fleet", "scope": "total", "total": 3, "valid": 0, "invalid": 3, "valid_rate": 0.0,
           "quality_mean": 0.0, "top_issues": []}  # fmt: skip
    LakeWriter(lake, "quality").write(named(pa.RecordBatch.from_pylist([row], schema=QUALITY)))
    assert Lake(lake.path).quality("fleet")["total"].to_pylist() == [3]


# What is written


def test_rows_are_sorted_by_device_and_time(lake: LakeSpec):
    files = LakeWriter(lake, "readings").write(named(shuffled(fleet(2000, seed=3), 1)))
    table = pq.read_table(Path(lake.path) / files[0].path, partitioning=None)
    keys = list(zip(*(table[name].to_pylist() for name in SORTED_BY["readings"]), strict=True))
    assert keys == sorted(keys)


def test_every_reader_sees_the_contracts_schema(lake: LakeSpec):
    file = LakeWriter(lake, "readings").write(named(fleet(100, seed=3)))[0]
    path = Path(lake.path) / file.path
    assert pq.read_schema(path) == READINGS
    frame = pd.read_parquet(path)
    assert frame["timestamp"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert frame["device_id"].dtype == "str"
    described = {
        row[0]: row[1]
        for row in duckdb.sql(f"describe from read_parquet('{path}', hive_partitioning=false)").fetchall()
    }
    assert described["timestamp"] == "TIMESTAMP WITH TIME ZONE"
    assert described["issues"] == "VARCHAR[]"
    assert {described[name] for name in ("tenant", "device_id", "unit", "location", "source")} == {"VARCHAR"}


def test_pages_have_checksums_and_are_compressed(lake: LakeSpec):
    file = LakeWriter(lake, "readings").write(named(fleet(100, seed=3)))[0]
    group = pq.read_metadata(Path(lake.path) / file.path).row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
    assert all(group.column(i).statistics is not None for i in (1, 2))


HOSTILE = ["../../etc/passwd", "/etc/passwd", "a\u202eb", "'; drop table", "date=2020-01-01/x", "%2e%2e%2f", "ü" * 256]


def test_no_device_id_reaches_a_path(lake: LakeSpec):
    batch = readings([1.0] * len(HOSTILE), device_id=HOSTILE, tenant=HOSTILE)
    for unnamed in (named(batch), batch):
        for file in LakeWriter(lake, "readings").write(unnamed):
            assert file.path.startswith("readings/date=2026-01-01/hour=00/")
            assert not any(text in file.path for text in HOSTILE)
    assert sorted(set(Lake(lake.path).readings()["device_id"].to_pylist())) == sorted(HOSTILE)


def test_nothing_that_is_staged_looks_like_data(lake: LakeSpec):
    root = storage.locate(lake.path)
    LakeWriter(lake, "readings").write(named(fleet(100, seed=1)))
    storage.probe(root)
    assert [path.name for path in Path(lake.path, "_staging").iterdir()] == []
    left, shared = Path(lake.path, "_staging", "left"), Path(lake.path, storage.shared_name())
    for file in (left, shared):
        file.write_bytes(b"half")
    storage.clean_staging(root, before=0)
    assert (left.exists(), shared.exists()) == (True, True)
    storage.clean_staging(root, before=time.time() + 3600)
    assert (left.exists(), shared.exists()) == (False, True)
    storage.clean_staging(root, before=time.time() + 2 * 86400)
    assert not shared.exists()
    assert not [path for path in Path(lake.path).rglob("*.parquet") if "_staging" in path.parts]


# What does not take it


def test_a_full_disk_is_a_sink_error_and_leaves_nothing_visible(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(SinkError, match=r"hint: check the disk's space"):
            writer.write(named(fleet(20_000, seed=1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(Path(lake.path).rglob("*.parquet"))
    assert not list(Path(lake.path, "_staging").iterdir())
    assert sum(file.rows for file in writer.write(named(fleet(20_000, seed=1)))) == 20_000


def test_a_path_that_is_a_file_is_a_sink_error(tmp_path: Path):
    (tmp_path / "lake").write_text("a file")
    with pytest.raises((SinkError, SourceError), match="lake"):
        LakeWriter(LakeSpec(path=str(tmp_path / "lake")), "readings").write(named(readings([1.0])))


def test_a_folder_that_takes_no_files_is_a_sink_error(tmp_path: Path):
    folder = tmp_path / "shut"
    folder.mkdir()
    folder.chmod(0o500)
    path = "/proc/lake" if os.access(folder, os.W_OK) else str(folder / "lake")  # for root no folder is shut, but /proc
    with pytest.raises(SinkError, match="can't be written"):
        LakeWriter(LakeSpec(path=path), "readings").write(named(readings([1.0])))


def test_a_damaged_list_of_files_is_named(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    writer.write(named(readings([1.0])))
    commit = next(Path(lake.path).rglob("*.json"))
    for text in ("", "[]", '{"files": 1}', "\ufffd"):
        commit.write_text(text)
        with pytest.raises(SinkError, match=str(commit)):
            writer.write(named(readings([1.0])))


@pytest.mark.parametrize("dataset", sorted(DATASETS))
def test_nothing_is_written_for_a_unit_that_never_had_rows(lake: LakeSpec, dataset: str):
    batch = conform(pa.RecordBatch.from_pylist([], schema=DATASETS[dataset]), DATASETS[dataset])
    assert LakeWriter(lake, dataset).write(named(batch)) == []
    assert tree(Path(lake.path)) == {}
