"""A live job that dies between any two operations on files, and goes on, leaves the lake of one that did not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.live_windows import Settled
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.notices import Heard
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt, influxdb_path, save, windows_path
from telebeam.transforms.errors import TelebeamError
from telebeam.transforms.schema import WINDOWS
from tests.io.lake.disks import DiedError, dying_after, store, tree
from tests.io.lake.streamed import Partition, at, heard, live, told, windows_files
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT


def said(folder: Path) -> tuple[dict[str, bytes], WindowReceipt, list[str]]:
    """The lake, what its receipt says but for numbers, and what is owed in its order."""
    files = tree(folder)
    name = windows_path("fleet", 60)
    receipt = msgspec.json.decode(files.pop(name), type=WindowReceipt)
    paths = [file.path for file in receipt.owed]
    assert sorted({file.sequence for file in receipt.owed}) == [file.sequence for file in receipt.owed]
    return files, msgspec.structs.replace(receipt, sequence=0, owed=()), paths


@pytest.fixture
def every(pytestconfig: pytest.Config) -> int:
    """How many operations lie between two deaths: to die at each one takes minutes where disks sync slowly."""
    return 1 if pytestconfig.getoption("--long") else 4


PARTS = (
    at(0, 0.1, 1, 59.5, 61, 63, device_id=["aaa", "bbb", "aaa", "aaa", "bbb", "aaa"]),
    at(0.5, 62.5, 66, device_id=["aaa", "ccc", "aaa"]),
)
"""Windows of two hours; then revisions of some and new ones."""


def breaks(lake: LakeSpec, stage: int, operations: int, *, is_store: bool = False) -> Iterator[bool]:
    """A live job of which a stage breaks after so many operations; says whether it did, and goes on with the rest."""
    root = store(Path(lake.path), operations)[0] if is_store else None
    feed = Partition(lake)
    for number, part in enumerate(PARTS):
        notice = feed.file(part)
        if number == stage:
            broke = False
            try:
                with dying_after(10_000 if is_store else operations, Path(lake.path)):
                    live(lake, root=root).settle(heard(notice), influx=True)
            except (DiedError, TelebeamError):
                broke = True
            no_window_twice(lake)
            yield broke
        live(lake).settle(heard(notice), influx=True)


def no_window_twice(lake: LakeSpec) -> None:
    keys = [tuple(row.values()) for row in Lake(lake.path).windows(60, columns=WINDOWS.names[:7]).to_pylist()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("is_store", [False, True], ids=["killed", "failed"])
def test_what_dies_anywhere_and_is_called_again_ends_in_the_same_lake(tmp_path: Path, is_store: bool, every: int):
    whole = LakeSpec(path=str(tmp_path / "whole"))
    assert list(breaks(whole, 0, 10_000)) == [False]
    expected = said(Path(whole.path))
    for stage in (0, 1):
        for operations in range(1 + stage, 400, every):
            lake = LakeSpec(path=str(tmp_path / f"{stage}-{operations}"))
            broke = list(breaks(lake, stage, operations, is_store=is_store))
            assert said(Path(lake.path)) == expected, f"stage {stage} broken after {operations} operations"
            if broke == [False]:
                break
        assert operations > 10


class Influx:
    """What an InfluxDB has that is written file by file, and a delivery that passes over files that are gone."""

    def __init__(self, lake: LakeSpec) -> None:
        self.lake = lake
        self.points: dict[tuple[object, ...], object] = {}

    def deliver(self, settled: Settled) -> None:
        for file in settled.owed:
            path = Path(self.lake.path, file.path)
            rows = pq.read_table(path, partitioning=None).to_pylist() if path.exists() else []
            self.points |= {(row["device_id"], row["window_start"]): row["count"] for row in rows}
            save(storage.locate(self.lake.path), influxdb_path("fleet"), InfluxReceipt(windows={60: file.sequence}))


@pytest.mark.parametrize("stage", [0, 1])
def test_influxdb_ends_with_what_readers_see_whatever_dies(tmp_path: Path, stage: int, every: int):
    for operations in range(1, 400, every):
        lake = LakeSpec(path=str(tmp_path / str(operations)))
        influx = Influx(lake)
        job = breaks(lake, stage, operations)
        broke = next(job)
        influx.deliver(live(lake).settle(Heard(), influx=True))  # a job that begins anew delivers what it finds
        assert not list(job)
        influx.deliver(live(lake).settle(Heard(), influx=True))
        seen = Lake(lake.path).windows(60, columns=["device_id", "window_start", "count"]).to_pylist()
        assert influx.points == {(row["device_id"], row["window_start"]): row["count"] for row in seen}
        if not broke:
            break
    assert operations > 10


def test_readers_see_the_old_windows_or_the_new_while_a_batch_replaces_them(tmp_path: Path):
    template = LakeSpec(path=str(tmp_path / "template"))
    feed = Partition(template)
    for _ in range(3):
        live(template).settle(heard(feed.file(at(0, 1, 3))), influx=False)
    feed.file(at(0.9, 1.9, is_late=[True, True]))
    seen = []
    for operations in range(200):
        lake = LakeSpec(path=str(tmp_path / str(operations)))
        shutil.copytree(template.path, lake.path)
        try:
            with dying_after(operations, Path(lake.path)):
                recompute_windows(lake, 60, MIDNIGHT // HOUR)
        except DiedError:
            seen.append([row[1] for row in told(lake)])
            recompute_windows(lake, 60, MIDNIGHT // HOUR)
            assert told(lake) == [("boiler-1", 4, 3), ("boiler-1", 4, 3), ("boiler-1", 3, 3)]
            assert len(windows_files(lake)) == 1
        else:
            break
    assert [counts for i, counts in enumerate(seen) if counts not in seen[:i]] == [[3, 3], [4, 4, 3]]
