"""Scores and alerts are what the lake's readings give in the order of event time, however they came there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.in_order import replay
from telebeam.io.lake.live_order import SAVE_EVERY, LiveOrder
from telebeam.io.lake.past import Past, resume
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.steps import STEP, readings_between
from telebeam.io.streams.notices import IN_ORDER, Notice
from telebeam.io.streams.receipts import InfluxReceipt, influxdb_path, save
from telebeam.transforms.anomaly.spec import RollingZScore
from telebeam.transforms.batches import concat
from telebeam.transforms.lateness import Lateness, lateness_of
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.schema import LAST_N, READINGS
from tests.io.lake.disks import DiedError, dying_after
from tests.io.lake.streamed import MINUTE, Partition, at, heard
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet

ORDER = OrderSpec(
    "fleet",
    (RollingZScore(last=5, threshold=2.0),),
    (
        RuleSpec.model_validate({"name": "high", "when": {"above": 60}, "for": "30s"}),
        RuleSpec.model_validate({"name": "silent", "when": {"absent": "10m"}}),
        RuleSpec.model_validate({
            "name": "odd", "when": {"anomaly": {"above": 0.5}}, "then": [{"command": {"name": "restart"}}],
        }),
    ),
    (2, 5),
)  # fmt: skip
WINDOWS = lateness_of([(60, 120.0)], 10)
ORDERED = ("scores", "alerts", "commands")


def live(lake: LakeSpec, **options: Any) -> LiveOrder:
    return LiveOrder(lake, ORDER, options.pop("lateness", WINDOWS), **options)


def told(lake: LakeSpec) -> dict[str, list[dict[str, Any]]]:
    """All rows of what is made in order, as analysts see them."""
    reader = Lake(lake.path)
    found = {}
    for name in ORDERED:
        table = getattr(reader, name)()
        found[name] = _rows(table)
    for number in ORDER.last:
        files = [pq.read_table(file, partitioning=None) for file in Path(lake.path, f"last_n/n={number}").rglob("*.*")]
        found[f"last_n/n={number}"] = _rows(pa.concat_tables(files)) if files else []
    return found


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by([(column, "ascending") for column in table.column_names]).to_pylist()


def batch_of(lake: LakeSpec, first: int, last: int) -> dict[str, list[dict[str, Any]]]:
    """What a batch job makes of the same readings in a lake of its own."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(lake.path) / "readings", Path(folder) / "readings")
        other = LakeSpec(path=folder)
        list(replay(other, ORDER, first, last))
        return told(other)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[pa.RecordBatch], list[tuple[int, int]]]:
    """Units of two partitions, each sorted by time but for what comes within the lateness, and what happens behind."""
    rows = draw(st.integers(1, 60))
    batch = fleet(rows, seed=draw(st.integers(0, 99)), devices=3, hours=draw(st.sampled_from([0.2, 2.5])))
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=5)))
    times = batch.column("timestamp").cast(pa.int64()).to_numpy()
    jitter = [draw(st.integers(0, 59)) * 1_000_000 for _ in range(rows)]
    order = sorted(range(rows), key=lambda row: times[row] + jitter[row])
    units = [order[a:b] for a, b in zip([0, *cuts], [*cuts, rows], strict=True)]
    return [batch.take(pa.array(unit, pa.int64())) for unit in units], [
        (draw(st.integers(0, 3)), draw(st.integers(2, 9))) for _ in units
    ]


@settings(derandomize=True, deadline=None, max_examples=25)
@given(histories())
def test_live_is_batch_for_any_order_within_the_lateness_and_any_restarts(history):
    units, steps = history
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeSpec(path=folder)
        feed = Partition(lake)
        newest = 0
        work = live(lake)
        for unit, (what, piece) in zip(units, steps, strict=True):
            if unit.num_rows:
                newest = max(newest, unit.column("timestamp").cast(pa.int64()).to_numpy().max())
                feed.file(unit, clock=int(newest) - 10_000_000)
            if what & 1:
                work = live(lake, piece_rows=piece)
            if what & 2:
                told_now = heard(feed.notice())
                work.settle(told_now)
                work.write_down(told_now)
        last = heard(feed.finish())
        work.settle(last)
        work.write_down(last)
        assert told(lake) == batch_of(lake, MIDNIGHT // HOUR - 1, MIDNIGHT // HOUR + 5)


def straggling(lake: LakeSpec) -> list[Notice]:
    """Three minutes of readings; the last unit brings one that is two minutes behind the clock."""
    feed = Partition(lake)
    ten = [second / 60 for second in range(0, 180, 10)]
    first = feed.file(at(*ten), clock=MIDNIGHT + 3 * MINUTE)
    second = feed.file(at(1.25, 3.2, 3.4), clock=MIDNIGHT + 200_000_000)
    third = feed.file(at(9.5), clock=MIDNIGHT + 9 * MINUTE)
    return [first, second, third]


def test_what_comes_behind_the_clock_is_scored_when_its_step_closes_for_good(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    work = live(lake)
    first, second, third = straggling(lake)
    work.settle(heard(first))
    work.settle(heard(second))
    work.settle(heard(third))
    times = [row["timestamp"] for row in told(lake)["scores"]]
    assert len(times) == len(set(times)) == 21  # all but the last, which the clock has not passed


def test_a_step_that_says_the_same_as_before_is_not_owed_again(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    feed = Partition(lake)
    work = live(lake, influx=("scores",))
    notice = heard(feed.file(at(0, 0.2, 0.4), clock=MIDNIGHT + MINUTE))
    owed = work.settle(notice).owed
    assert [file.path[-17:-8] for file in owed] == ["0000-0009", "0010-0019", "0020-0029"]
    save(storage.locate(lake.path), influxdb_path("fleet"), InfluxReceipt(windows={IN_ORDER: owed[-1].sequence}))
    assert work.settle(heard(feed.file(at(20), clock=MIDNIGHT + 20 * MINUTE))).owed == ()


@pytest.mark.parametrize("operations", range(1, 60, 3))
def test_whoever_dies_anywhere_leaves_what_the_next_one_completes(tmp_path: Path, operations: int):
    lake = LakeSpec(path=str(tmp_path))
    feed = Partition(lake)
    for minute in (0, 6, 13):
        feed.file(at(*[minute + part / 5 for part in range(10)]))
    last = heard(feed.finish())
    work = live(lake)
    try:
        with dying_after(operations, tmp_path):
            work.settle(last)
            work.write_down(last)
    except DiedError:
        pass
    again = live(lake)
    again.settle(last)
    again.write_down(last)
    assert told(lake) == batch_of(lake, MIDNIGHT // HOUR, MIDNIGHT // HOUR)


def test_a_second_batch_goes_on_from_what_the_first_has_learned(tmp_path: Path):
    whole, parts = LakeSpec(path=str(tmp_path / "whole")), LakeSpec(path=str(tmp_path / "parts"))
    rows = at(*[float(minute) for minute in range(0, 170, 2)])
    for lake in (whole, parts):
        Partition(lake).file(rows)
    first = MIDNIGHT // HOUR
    list(replay(whole, ORDER, first, first + 2))
    for hour in range(first, first + 3):
        list(replay(parts, ORDER, hour, hour))
    assert told(parts) == told(whole)


def test_a_batch_takes_the_place_of_what_the_live_job_filed(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    feed = Partition(lake)
    feed.file(at(*[part / 6 for part in range(60)], is_late=[part == 30 for part in range(60)]))
    live(lake).settle(heard(feed.finish()))
    assert len(told(lake)["scores"]) == 59
    hour = MIDNIGHT // HOUR
    list(replay(lake, ORDER, hour, hour))
    assert len(told(lake)["scores"]) == 60
    assert told(lake) == batch_of(lake, hour, hour)


@pytest.mark.parametrize("piece_rows", [1, 7, 1000])
def test_pieces_hold_each_reading_once_in_ascending_spans(tmp_path: Path, piece_rows: int):
    lake = LakeSpec(path=str(tmp_path))
    feed = Partition(lake)
    rows = fleet(300, seed=1, devices=4, hours=2.5)
    for first in range(0, 300, 100):
        feed.file(rows.slice(first, 100))
    span = MIDNIGHT, MIDNIGHT + 3 * HOUR
    found = list(readings_between(storage.locate(lake.path), span, late=True, piece_rows=piece_rows))
    edges = [edge for part, _ in found for edge in part]
    assert edges == sorted(edges)
    assert all(edge % STEP == 0 for edge in edges)
    offsets = concat([batch for _, batch in found]).column("source_offset").to_pylist()
    assert sorted(offsets) == sorted(rows.column("source_offset").to_pylist())


def test_without_windows_a_step_waits_ten_minutes_for_stragglers_and_not_for_ever(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    feed = Partition(lake)
    work = live(lake, lateness=Lateness(0, ()))
    notice = heard(feed.file(at(0, 1), clock=MIDNIGHT + 2 * MINUTE + SAVE_EVERY))
    work.settle(notice)
    work.write_down(notice)
    assert not list((tmp_path / "_commits").rglob("*.scores"))
    notice = heard(feed.file(at(20), clock=MIDNIGHT + 20 * MINUTE))
    work.settle(notice)
    work.write_down(notice)
    assert [path.name[:12] for path in (tmp_path / "_commits").rglob("*.scores")] == [
        f"{(MIDNIGHT + 10 * MINUTE) // 1_000_000:012d}"
    ]


def test_readings_that_a_rule_tags_are_handed_on_in_a_dataset_of_their_own(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    rule = RuleSpec.model_validate({"name": "odd", "when": {"above": 5}, "then": [{"tag": "to-look-at"}]})
    Partition(lake).file(at(*map(float, range(10))))
    hour = MIDNIGHT // HOUR
    for _ in range(2):
        list(replay(lake, OrderSpec("fleet", (), (rule,)), hour, hour))
    (file,) = (tmp_path / "tagged" / "tag=to-look-at").rglob("*.parquet")
    table = pq.read_table(file)
    assert table.column("value").to_pylist() == [6.0, 7.0, 8.0, 9.0]
    assert table.column_names == READINGS.names


def test_each_reading_has_a_row_of_its_last_ones_beside_its_score(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    Partition(lake).file(at(0, 0.5, 61, 61.5))
    files = list(replay(lake, ORDER, MIDNIGHT // HOUR, MIDNIGHT // HOUR + 1))
    assert sum(file.rows for file in files if file.dataset == "last_n") == 2 * 4
    path = tmp_path / "last_n/n=2/date=2026-01-01/hour=01/fleet-t0000-0099.parquet"
    table = pq.read_table(path, partitioning=None)
    assert table.schema.equals(LAST_N)
    assert table.select(["n", "count", "mean", "std", "min", "max", "trend_per_second"]).to_pylist() == [
        {"n": 2, "count": 2, "mean": 30.75, "std": 30.25, "min": 0.5, "max": 61.0, "trend_per_second": 60.5 / 3630},
        {"n": 2, "count": 2, "mean": 61.25, "std": 0.25, "min": 61.0, "max": 61.5, "trend_per_second": 0.5 / 30},
    ]


def test_last_readings_need_no_detector_and_no_rule(tmp_path: Path):
    lake = LakeSpec(path=str(tmp_path))
    order = OrderSpec("fleet", (), (), (3,))
    feed = Partition(lake)
    work = LiveOrder(lake, order, WINDOWS)
    feed.file(at(0, 1, 2))
    last = heard(feed.finish())
    assert work.settle(last).last_n == 3
    work.write_down(last)
    live_files = {path.name for path in (tmp_path / "last_n").rglob("*.parquet")}
    assert len(live_files) == 3
    resumed = resume(storage.locate(lake.path), order, MIDNIGHT + HOUR)
    assert resumed is not None
    assert resumed.edge == MIDNIGHT + 2 * MINUTE + STEP
    list(replay(lake, order, MIDNIGHT // HOUR, MIDNIGHT // HOUR))
    assert [path.name for path in (tmp_path / "last_n").rglob("*.parquet")] == ["fleet-t0000-0129.parquet"]


def test_a_past_without_its_last_readings_is_none(tmp_path: Path):
    root = storage.locate(str(tmp_path))
    Past(ORDER, MIDNIGHT).save(root)
    (file,) = tmp_path.rglob("*.last")
    assert resume(root, ORDER, MIDNIGHT) is not None
    file.unlink()
    assert resume(root, ORDER, MIDNIGHT) is None


def test_few_pasts_are_kept_and_those_of_other_rules_until_they_are_old(tmp_path: Path):
    root = storage.locate(str(tmp_path))
    day = 24 * HOUR
    other = OrderSpec("fleet", (), ORDER.rules[:1])
    Past(other, MIDNIGHT).save(root)
    Past(OrderSpec("another", (), ORDER.rules[:1]), MIDNIGHT).save(root)
    for number in range(6):
        Past(ORDER, MIDNIGHT + number * day).save(root)
    assert len(list(tmp_path.rglob("*.scores"))) == len(list(tmp_path.rglob("*.rules"))) == 4 + 1 + 1
    assert len(list(tmp_path.rglob("*.last"))) == 4
    assert resume(root, ORDER, MIDNIGHT + day) is None
    assert resume(root, other, MIDNIGHT) is not None
    Past(ORDER, MIDNIGHT + 31 * day).save(root)
    assert resume(root, other, MIDNIGHT) is None
    assert len(list(tmp_path.rglob("*.scores"))) == 4 + 1


@pytest.mark.parametrize("operations", [1, 20, 60])
def test_what_was_filed_before_the_lake_failed_is_owed_all_the_same(tmp_path: Path, operations: int):
    lake = LakeSpec(path=str(tmp_path))
    feed = Partition(lake)
    feed.file(at(*[part / 6 for part in range(60)]))
    work = LiveOrder(lake, ORDER, WINDOWS, ("scores",))
    last = heard(feed.finish())
    with dying_after(operations, tmp_path), pytest.raises(DiedError):
        work.settle(last)
    owed = {file.path for file in work.settle(last).owed}
    assert owed == {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "scores").rglob("*.parquet")}
