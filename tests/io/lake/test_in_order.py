"""A batch job files what is made in order the same for any size of pieces, and stops where the lake is damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io.lake.in_order import replay, sorted_by
from telebeam.io.lake.spec import LakeSpec
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.ordering import sort_order
from tests.io.lake.disks import DiedError, dying_after
from tests.io.lake.streamed import Partition, at
from tests.io.lake.test_order import ORDER, told
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet, readings, shuffled

FIRST = MIDNIGHT // HOUR
COLUMNS = ("device_id", "timestamp", "sensor_type", "unit", "source_partition", "source_offset", "source", "value")


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(0, 60), st.integers(0, 2**32))
def test_rows_are_sorted_as_by_all_columns_at_once(rows, seed):
    draw = np.random.default_rng(seed)
    few = {name: draw.integers(0, 2, rows).tolist() for name in ("source_partition", "source_offset")}
    texts = {name: [f"{name}-{n}" for n in draw.integers(0, 2, rows)] for name in ("device_id", "source", "unit")}
    times = (MIDNIGHT + draw.integers(0, 3, rows)).tolist()
    batch = shuffled(readings(draw.integers(0, 3, rows).astype(float).tolist(), times, **few, **texts), seed)
    order = sort_order(batch, COLUMNS)
    expected = batch if order is None else batch.take(pa.array(order))
    assert sorted_by(batch, COLUMNS).to_pylist() == expected.to_pylist()


@pytest.mark.parametrize("piece_rows", [60, 700])
def test_the_size_of_pieces_shows_in_no_row(tmp_path: Path, piece_rows: int):
    found = []
    for name, size in (("whole", 10_000), ("pieces", piece_rows)):
        lake = LakeSpec(path=str(tmp_path / name))
        Partition(lake).file(fleet(1500, seed=3, devices=4, hours=1.2))
        list(replay(lake, ORDER, FIRST, FIRST + 1, piece_rows=size))
        found.append(told(lake))
    assert found[0] == found[1]


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_hour_stops_the_job_and_nothing_is_remembered(tmp_path: Path, number: int):
    lake = LakeSpec(path=str(tmp_path))
    Partition(lake).file(at(5, 65))
    damaged = sorted((tmp_path / "readings").rglob("*.parquet"))[number]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    before = set(threading.enumerate())
    with pytest.raises(SourceError, match=str(damaged)):
        list(replay(lake, ORDER, FIRST, FIRST + 1))
    assert not list((tmp_path / "_commits").rglob("*.scores"))
    assert not {each for each in threading.enumerate() if each.name.startswith("telebeam-")} - before


def test_a_lake_that_takes_no_scores_stops_the_job_and_nothing_is_remembered(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    Partition(lake).file(at(5, 65))
    (tmp_path / "scores").write_text("a file where a folder belongs")
    with pytest.raises((SinkError, SourceError), match="scores"):
        list(replay(lake, ORDER, FIRST, FIRST + 1))
    assert not list((tmp_path / "_commits").rglob("*.scores"))


@pytest.mark.parametrize("operations", range(1, 20, 4))
def test_a_batch_that_dies_anywhere_is_mended_by_the_next(tmp_path: Path, operations: int):
    lake, other = LakeSpec(path=str(tmp_path / "dies")), LakeSpec(path=str(tmp_path / "lives"))
    for each in (lake, other):
        Partition(each).file(at(*map(float, range(0, 100, 10))))
    try:
        with dying_after(operations, tmp_path / "dies"):
            list(replay(lake, ORDER, FIRST, FIRST + 1, piece_rows=3))
    except DiedError:
        pass
    for each in (lake, other):
        list(replay(each, ORDER, FIRST, FIRST + 1, piece_rows=3))
    assert told(lake) == told(other)
