"""Rejects in the lake: read whatever their age, told by their unit's name, and moved once."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.layout import hour_of, stream_file, unit_name
from telebeam.io.lake.rejected import is_of, move_to_replayed, read_rejects, reject_files, units_of, whole_file
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter, beside
from telebeam.transforms.batches import UNIT, with_columns
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.rejects import reject_batch
from telebeam.transforms.schema import MESSAGE, REJECTS, REPLAYED
from tests.io.lake.disks import DiedError, dying_after, tree
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, readings

LATER = MIDNIGHT + 9 * HOUR


def rejected(rows: int, now: int = MIDNIGHT, unit: str | None = "u") -> pa.RecordBatch:
    columns = {
        "reason": pa.array(["malformed"] * rows), "detail": pa.array([f"{row:02d}" for row in range(rows)]),
        "payload": pa.array([b"{"] * rows, pa.large_binary()), "source": pa.array(["a"] * rows),
        "source_partition": pa.array([0] * rows, pa.int32()), "source_offset": pa.array(range(rows), pa.int64()),
    }  # fmt: skip
    batch = reject_batch(columns, now)
    return batch if unit is None else batch.replace_schema_metadata({UNIT: unit.encode()})


def filed(lake: LakeSpec, rows: int = 4) -> tuple[storage.Location, str]:
    (file,) = LakeWriter(lake, "rejects").write(rejected(rows))
    return storage.locate(lake.path), file.path


def make_old(lake: LakeSpec, path: str) -> None:
    file = Path(lake.path, path)
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(list(MESSAGE)), file, store_schema=False)


@pytest.mark.parametrize(
    ("name", "unit", "origin"),
    [
        (unit_name("fleet", "2026/day 1.parquet", "00000-00003") + "-parse", "00000-00003", "table"),
        (unit_name("fleet", "big.parquet", "00001-00001") + "-0001-quality", "00001-00001-0001", "table"),
        (unit_name("fleet", "a.jsonl", "000000262144") + "-devices", "000000262144", "text"),
        (stream_file("fleet", "iot-4f2a91", 3, 12345, 0, 0, 1), "o000000012345", "stream"),
        (stream_file("fleet", "iot-p0001-o1", 3, 10**17, 0, 0, 1), "o100000000000000000", "stream"),
        (unit_name("fleet", "a.jsonl", "bad-file"), "bad-file", "unnamed"),
        ("rows-0123456789ab", "rows-0123456789ab", "unnamed"),
        ("fleetwood-a.jsonl-01234567-000000000000-parse", "parse", "foreign"),
    ],
)
def test_a_name_tells_the_unit_and_what_it_is_of(name: str, unit: str, origin: str):
    (found,) = units_of([f"rejects/date=2026-01-01/hour=00/{name}.parquet"], "fleet")
    assert (found.origin, found.name.endswith(unit)) == (origin, True)
    if origin == "stream":
        assert stream_file("fleet", found.stream, found.number, found.offset, 0, 0, 1) == name


def test_files_of_both_steps_and_of_all_hours_are_of_one_unit():
    base = unit_name("fleet", "a.jsonl", "000000000000")
    paths = [
        f"rejects/date=2026-01-01/hour={hour}/{base}-{step}.parquet"
        for hour in ("00", "01")
        for step in ("parse", "quality")
    ]
    (found,) = units_of(paths, "fleet")
    assert (found.name, found.paths) == (base, tuple(paths))


def test_a_pipeline_whose_name_begins_alike_is_another_one():
    other = unit_name("fleet-2", "a.jsonl", "000000000000")
    (found,) = units_of([f"rejects/date=2026-01-01/hour=00/{other}-parse.parquet"], "fleet")
    assert not is_of(found, "fleet", "a.jsonl")
    assert is_of(found, "fleet-2", "a.jsonl")
    table = unit_name("fleet", "lake/copy.parquet", "00000-00000")
    (found,) = units_of([f"rejects/date=2026-01-01/hour=00/{table}-quality.parquet"], "fleet")
    assert is_of(found, "fleet", "a source that its rows brought along")


def test_files_of_before_are_read_with_nulls_beside_new_ones(lake: LakeSpec):
    root, path = filed(lake)
    make_old(lake, path)
    LakeWriter(lake, "rejects").write(rejected(2, MIDNIGHT + HOUR, "v"))
    assert whole_file(root, path).column("key").null_count == 4
    (only,) = read_rejects(root, path, ["key", "reason"])
    assert only.to_pylist()[0] == {"key": None, "reason": "malformed"}
    assert Lake(lake.path).rejects().schema == REJECTS
    assert Lake(lake.path).rejects().num_rows == 6
    with Lake(lake.path).duckdb() as connection:
        assert connection.sql("select count(*), count(key) from rejects").fetchall() == [(6, 0)]


def test_a_file_of_before_that_lacks_more_is_damaged(lake: LakeSpec):
    root, path = filed(lake)
    file = Path(lake.path, path)
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["detail"]), file, store_schema=False)
    with pytest.raises(SourceError, match="damaged"):
        whole_file(root, path)
    with pytest.raises(SourceError, match="damaged"):
        Lake(lake.path).rejects()


def test_a_unit_of_before_that_is_written_again_keeps_its_times(lake: LakeSpec):
    _, path = filed(lake)
    make_old(lake, path)
    (file,) = LakeWriter(lake, "rejects").write(rejected(4, LATER))
    assert file.path == path
    assert set(Lake(lake.path).rejects()["rejected_at"].cast(pa.int64()).to_pylist()) == {MIDNIGHT}


def test_rows_without_a_unit_are_named_as_before_there_were_messages(lake: LakeSpec):
    LakeWriter(lake, "rejects").write(rejected(2, unit=None))
    (file,) = reject_files(storage.locate(lake.path))
    assert file.endswith("rows-a0231e3b255208e0f16cf2c7.parquet")
    said = with_columns(rejected(2, unit=None), {"key": pa.array(["a", "b"])})
    LakeWriter(lake, "rejects").write(said)
    assert len(reject_files(storage.locate(lake.path))) == 2


@pytest.mark.parametrize("mask", [[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
def test_each_reject_is_in_one_of_the_two_datasets(lake: LakeSpec, mask: list[int]):
    root, path = filed(lake)
    move_to_replayed(lake, root, {path: np.array(mask, bool)}, LATER)
    left, moved = Lake(lake.path).rejects(), Lake(lake.path).replayed()
    assert moved.schema == REPLAYED
    assert moved["source_offset"].to_pylist() == [row for row, is_moved in enumerate(mask) if is_moved]
    assert left["source_offset"].to_pylist() == [row for row, is_moved in enumerate(mask) if not is_moved]
    assert set(moved["replayed_at"].cast(pa.int64()).to_pylist()) <= {LATER}


def test_moving_that_dies_anywhere_and_is_done_again_is_moving_once(lake: LakeSpec, tmp_path: Path):
    for operations in range(100):
        spec = LakeSpec(path=str(tmp_path / str(operations)))
        root, path = filed(spec)
        try:
            with dying_after(operations, Path(spec.path)):
                move_to_replayed(spec, root, {path: np.array([1, 0, 0, 1], bool)}, LATER)
            died = False
        except DiedError:
            died = True
        rows = {
            row["source_offset"]
            for row in [*Lake(spec.path).rejects().to_pylist(), *Lake(spec.path).replayed().to_pylist()]
        }
        assert rows == {0, 1, 2, 3}
        left = whole_file(root, path).column("source_offset").to_pylist()
        move_to_replayed(spec, root, {path: np.isin(left, [0, 3])}, LATER)
        assert Lake(spec.path).rejects()["source_offset"].to_pylist() == [1, 2]
        assert Lake(spec.path).replayed()["source_offset"].to_pylist() == [0, 3]
        if not died:
            return
    raise AssertionError("it does not end")


def test_a_file_that_was_changed_meanwhile_is_left(lake: LakeSpec):
    root, path = filed(lake)
    before = tree(Path(lake.path))
    with pytest.raises(SinkError, match="was changed meanwhile"):
        move_to_replayed(lake, root, {path: np.ones(3, bool)}, LATER)
    assert tree(Path(lake.path)) == before


def test_what_is_added_to_a_unit_is_a_union_and_goes_when_the_unit_is_written_anew(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    unit = readings([1.0], [MIDNIGHT]).replace_schema_metadata({UNIT: b"u"})
    writer.write(unit)
    writer.add("u", readings([2.0], [MIDNIGHT + 1]))
    writer.add("u", readings([3.0, 4.0], [MIDNIGHT + 2, MIDNIGHT + HOUR]))
    assert sorted(Lake(lake.path).readings()["value"].to_pylist()) == [1.0, 2.0, 3.0, 4.0]
    assert sum(beside("u") in path for path in writer.files_of("u")) == 2
    gone = [hour_of(file.path)[0] for file in writer.write(unit) if not file.rows]
    assert gone == [MIDNIGHT, MIDNIGHT + HOUR]
    assert Lake(lake.path).readings()["value"].to_pylist() == [1.0]
    writer.add("u", readings([2.0], [MIDNIGHT + 1]))
    writer.write(unit, (MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR))
    assert sorted(Lake(lake.path).readings()["value"].to_pylist()) == [1.0, 2.0]


def test_an_analyst_reads_old_and_new_files_together(lake: LakeSpec):
    _, path = filed(lake)
    make_old(lake, path)
    LakeWriter(lake, "rejects").write(rejected(2, MIDNIGHT + HOUR, "v"))
    query = f"select count(*) from read_parquet('{lake.path}/rejects/**/*.parquet', union_by_name = true)"
    assert duckdb.sql(query).fetchall() == [(6,)]
