"""A job that dies between any two operations on files, and is run again, leaves the lake of one that did not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from telebeam.io.lake import Lake
from telebeam.io.lake.layout import hours_of_windows
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.io.storage import Location
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import TelebeamError
from telebeam.transforms.rejects import reject_batch
from tests.io.lake.disks import DiedError, dying_after, store, tree
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, readings

Job = Callable[[Path, "Location | None"], None]


def unit(values: list[float], times: list[int], name: str = "u") -> pa.RecordBatch:
    return readings(values, times).replace_schema_metadata({UNIT: name.encode()})


BEFORE = unit([1.0, 2.0, 3.0], [MIDNIGHT, MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR])
AFTER = unit([1.0, 2.5, 9.0], [MIDNIGHT + HOUR, MIDNIGHT + HOUR + 1, MIDNIGHT + 3 * HOUR])


def rejected(now: int, details: tuple[str, ...]) -> pa.RecordBatch:
    columns = {
        "reason": pa.array(["malformed"] * len(details)), "detail": pa.array(details),
        "payload": pa.array([b"{"] * len(details), pa.large_binary()), "source": pa.array(["a"] * len(details)),
        "source_partition": pa.array([0] * len(details), pa.int32()),
        "source_offset": pa.array(range(len(details)), pa.int64()),
    }  # fmt: skip
    return reject_batch(columns, now).replace_schema_metadata({UNIT: b"u"})


def job(batch: pa.RecordBatch, refused: pa.RecordBatch, folder: Path, root: Location | None) -> None:
    """What a batch job does with a unit: its readings, its rejects, then the windows that it touches."""
    spec = LakeSpec(path=str(folder))
    files = LakeWriter(spec, "readings", root).write(batch)
    LakeWriter(spec, "rejects", root).write(refused)
    for hour in sorted({hour for file in files for hour in hours_of_windows(file.first, file.last, 60)}):
        recompute_windows(spec, 60, hour, root)


def first(folder: Path, root: Location | None = None) -> None:
    job(BEFORE, rejected(MIDNIGHT, ("x", "y")), folder, root)


def second(folder: Path, root: Location | None = None, later: int = 0) -> None:
    job(AFTER, rejected(MIDNIGHT + 4 * HOUR + later, ("x", "y", "z")), folder, root)


def after_the_first(folder: Path) -> None:
    """Makes the lake of the first job, once for all."""
    template = folder.parent / "template"
    if not template.exists():
        first(template)
    shutil.copytree(template, folder)


def killed_at(operations: int, folder: Path) -> bool:
    """Whether a machine that dies after so many operations on files died in the second job."""
    after_the_first(folder)
    try:
        with dying_after(operations, folder):
            second(folder)
    except DiedError:
        return True
    return False


def failed_at(operations: int, folder: Path) -> bool:
    """Whether a store that fails from so many operations on made the second job fail, in words."""
    after_the_first(folder)
    root, handler = store(folder, operations + 1)
    try:
        second(folder, root)
    except TelebeamError as error:
        if "the store is gone" not in error.message:
            raise
        return True
    assert handler.operations < handler.fail_at
    return False


@pytest.mark.parametrize(("broken_at", "is_store"), [(killed_at, False), (failed_at, True)], ids=["killed", "failed"])
def test_what_dies_anywhere_and_is_run_again_ends_in_the_same_lake(broken_at, is_store: bool, tmp_path: Path):
    def root(folder: Path) -> Location | None:
        return store(folder)[0] if is_store else None

    whole = tmp_path / "whole"
    first(whole, root(whole))
    second(whole, root(whole))
    expected = tree(whole)
    for operations in range(500):
        folder = tmp_path / str(operations)
        broke = broken_at(operations, folder)
        no_half_file(folder)
        second(folder, root(folder))
        assert tree(folder) == expected, f"broken after {operations} operations"
        if not broke:
            break
    assert operations > 20
    assert Lake(str(whole)).windows(60)["count"].to_pylist() == [2, 1]


def no_half_file(folder: Path) -> None:
    """Every file that can be seen can be read."""
    lake = Lake(str(folder))
    assert lake.readings().num_rows >= 2
    assert lake.rejects().num_rows >= 1
    assert lake.windows(60).num_rows >= 1


def test_rejects_of_a_run_that_died_keep_their_time_when_it_is_run_again_later(tmp_path: Path):
    for operations in range(500):
        folder = tmp_path / str(operations)
        broke = killed_at(operations, folder)
        times = {row["detail"]: row["rejected_at"] for row in Lake(str(folder)).rejects().to_pylist()}
        second(folder, later=9 * HOUR)
        again = {row["detail"]: row["rejected_at"] for row in Lake(str(folder)).rejects().to_pylist()}
        assert {**again, **times} == again, f"killed after {operations} operations"
        if not broke:
            return
