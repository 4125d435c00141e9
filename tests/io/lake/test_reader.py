"""The lake as an analyst sees it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from telebeam.io.lake import Lake
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.transforms.aggregation.kernel import aggregate, extract
from telebeam.transforms.batches import UNIT, with_columns
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import DATASETS, READINGS, WINDOWS, conform
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet, readings

START = datetime(2026, 1, 1, tzinfo=UTC)


def fill(lake: LakeSpec, hours: float = 30, rows: int = 3000) -> pa.Table:
    batch = fleet(rows, seed=1, hours=hours)
    for file in LakeWriter(lake, "readings").write(batch.replace_schema_metadata({UNIT: b"u"})):
        recompute_windows(lake, 60, file.first // HOUR)
    return pa.Table.from_batches([conform(batch, READINGS)])


@pytest.mark.parametrize(
    ("start", "end"),
    [(None, None), (0, None), (None, 3600), (3600, 7200), (5000, 5001), (86400, 90000), (86399.5, 86400.5), (-9, 0)],
)
def test_a_range_of_time_holds_its_start_and_not_its_end(lake: LakeSpec, start: float | None, end: float | None):
    table = fill(lake)
    begin, stop = (None if edge is None else START + timedelta(seconds=edge) for edge in (start, end))
    mask = np.ones(len(table), bool)
    times = table["timestamp"].to_numpy()
    if begin is not None:
        mask &= times >= np.datetime64(begin.replace(tzinfo=None))
    if stop is not None:
        mask &= times < np.datetime64(stop.replace(tzinfo=None))
    found = Lake(lake.path).readings(begin, stop)
    assert found.schema == READINGS
    assert sorted(found["source_offset"].to_pylist()) == sorted(
        table["source_offset"].filter(pa.array(mask)).to_pylist()
    )


def test_a_time_may_be_of_any_zone_but_must_be_of_one(lake: LakeSpec):
    fill(lake)
    kathmandu = START.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert Lake(lake.path).readings(kathmandu).equals(Lake(lake.path).readings(START))
    with pytest.raises(ConfigurationError, match="names no zone"):
        Lake(lake.path).readings(datetime(2026, 1, 1))


def test_devices_and_columns_are_chosen(lake: LakeSpec):
    table = fill(lake)
    found = Lake(lake.path).readings(devices=["dev-1", "dev-2", "no such"], columns=["value", "device_id"])
    assert found.column_names == ["value", "device_id"]
    assert len(found) == pc.sum(pc.is_in(table["device_id"], pa.array(["dev-1", "dev-2"]))).as_py()
    assert Lake(lake.path).readings(devices=[]).num_rows == 0
    windows = Lake(lake.path).windows(60, devices=["dev-1"], columns=["mean"])
    assert windows.column_names == ["mean"]
    assert 0 < len(windows) < Lake(lake.path).windows(60).num_rows


def test_an_unknown_column_is_named(lake: LakeSpec):
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"readings has no valeu\n.*device_id"):
            Lake(lake.path).readings(columns=["valeu"])
        fill(lake, rows=3)


def revisions(lake: LakeSpec) -> None:
    first, second = readings([1.0, 2.0], location=None), readings([1.0, 2.0, 9.0], location=None)
    other = extract(aggregate(readings([5.0], device_id="dev-2"), 60), 60)
    for revision, rows in enumerate([extract(aggregate(first, 60), 60), extract(aggregate(second, 60), 60, 1)]):
        unit = {UNIT: f"pane-{revision}".encode()}
        LakeWriter(lake, "windows").write(rows.replace_schema_metadata(unit))
    LakeWriter(lake, "windows").write(other.replace_schema_metadata({UNIT: b"other"}))
    # As the lake has windows: by length.
    folder = Path(lake.path) / "windows"
    moved = folder / "window_seconds=60"
    moved.mkdir()
    for date in list(folder.glob("date=*")):
        date.rename(moved / date.name)


def test_the_highest_revision_of_a_window_is_the_window(lake: LakeSpec):
    revisions(lake)
    rows = Lake(lake.path).windows(60).sort_by("device_id").to_pylist()
    assert [(row["device_id"], row["count"], row["revision"]) for row in rows] == [("boiler-1", 3, 1), ("dev-2", 1, 0)]
    with Lake(lake.path).duckdb() as connection:
        found = connection.sql("select device_id, count, revision from windows order by 1").fetchall()
    assert found == [("boiler-1", 3, 1), ("dev-2", 1, 0)]


@pytest.mark.parametrize("name", ["lake", "o'lake", 'a "lake"', "a[1]*?", "date=2020-01-01", "lake #1 50% ü"])
def test_a_lakes_own_path_may_hold_any_sign(tmp_path: Path, name: str):
    spec = LakeSpec(path=str(tmp_path / name))
    table = fill(spec, hours=2, rows=100)
    lake = Lake(spec.path)
    assert lake.readings(START, START + timedelta(hours=1)).num_rows > 0
    with lake.duckdb() as connection:
        assert connection.sql("select count(*) from readings").fetchall() == [(len(table),)]
        assert connection.sql("select count(*) from windows").fetchall() == [(lake.windows(60).num_rows,)]


def test_a_lake_in_a_path_like_a_neighbours_does_not_see_the_neighbours_files(tmp_path: Path):
    fill(LakeSpec(path=str(tmp_path / "lake-a")), rows=10)
    fill(LakeSpec(path=str(tmp_path / "lake-?")), rows=20)
    with Lake(str(tmp_path / "lake-?")).duckdb() as connection:
        assert connection.sql("select count(*) from readings").fetchall() == [(20,)]


def test_an_empty_lake_has_empty_tables_of_the_contracts_columns(tmp_path: Path):
    lake = Lake(str(tmp_path / "nothing"))
    assert lake.readings().schema == READINGS
    assert lake.windows(60).schema == WINDOWS
    assert lake.rejects().schema == DATASETS["rejects"]
    assert lake.quality("fleet").schema == DATASETS["quality"]
    with lake.duckdb() as connection:
        assert connection.sql("show tables").fetchall() == []


def test_rejects_are_read_by_when_they_were_rejected(lake: LakeSpec):
    row = {"reason": "malformed", "detail": "", "payload": b"\xff\x00", "source": "a", "source_partition": 0,
           "source_offset": 7, "rejected_at": START}  # fmt: skip
    batch = pa.RecordBatch.from_pylist([row], schema=DATASETS["rejects"])
    LakeWriter(lake, "rejects").write(batch.replace_schema_metadata({UNIT: b"u"}))
    found = Lake(lake.path).rejects(START, START + timedelta(microseconds=1))
    assert found.to_pylist()[0] | row == found.to_pylist()[0]
    assert Lake(lake.path).rejects(START + timedelta(microseconds=1)).num_rows == 0


def test_windows_before_1970_are_read(lake: LakeSpec):
    batch = readings([1.0], [-1]).replace_schema_metadata({UNIT: b"u"})
    LakeWriter(lake, "readings").write(batch)
    recompute_windows(lake, 60, -1)
    moment = datetime(1969, 12, 31, 23, 59, tzinfo=UTC)
    assert Lake(lake.path).windows(60, moment, moment + timedelta(minutes=1)).num_rows == 1


def test_reading_imports_no_beam(lake: LakeSpec):
    fill(lake, rows=10)
    program = (
        "import sys; from telebeam.io.lake import Lake; lake = Lake(sys.argv[1]);"
        "lake.readings(); lake.windows(60); lake.duckdb().close();"
        "sys.exit('apache_beam' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, lake.path], cwd=lake.path, check=False).returncode == 0


def test_a_repr_names_the_lake_and_a_message_no_login():
    lake = Lake("s3://key:secret@bucket/lake?region=us-east-1")
    assert repr(lake) == "Lake('s3://…@bucket/lake?region=us-east-1')"


def test_a_null_location_is_a_series_of_its_own(lake: LakeSpec):
    batch = readings([1.0, 2.0], [MIDNIGHT] * 2)
    located = with_columns(batch, {"location": pa.array([None, "hall"]).dictionary_encode()})
    LakeWriter(lake, "readings").write(located.replace_schema_metadata({UNIT: b"u"}))
    recompute_windows(lake, 60, MIDNIGHT // HOUR)
    assert Lake(lake.path).windows(60)["location"].to_pylist() == [None, "hall"]
