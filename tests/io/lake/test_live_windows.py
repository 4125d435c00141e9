"""The windows of a live job are those of the lake's readings that were not late, however they came there."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.layout import hours_of_windows
from telebeam.io.lake.live_windows import Settled
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.notices import NEVER, Heard, Notice, OwedWindows
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt, influxdb_path, load, save, windows_path
from telebeam.io.streams.touched import Stretch
from telebeam.transforms.aggregation.kernel import aggregate, extract
from telebeam.transforms.batches import concat, rows_of
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.schema import WINDOWS, conform
from tests.io.lake.disks import tree
from tests.io.lake.streamed import KEY, MINUTE, Partition, at, heard, live, told, windows_files
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet, readings


def expected(rows: pa.RecordBatch, seconds: int) -> pa.Table:
    """The windows by one pass over the rows, late ones left out."""
    in_time = rows_of(rows, ~rows.column("is_late").to_numpy(zero_copy_only=False))
    windows = conform(extract(aggregate(in_time, seconds), seconds), WINDOWS)
    return pa.Table.from_batches([windows]).sort_by(KEY).drop_columns("revision")


def found(lake: LakeSpec, seconds: int) -> pa.Table:
    return Lake(lake.path).windows(seconds).sort_by(KEY).drop_columns("revision")


# Live = batch


@st.composite
def histories(draw: st.DrawFn) -> tuple[pa.RecordBatch, list[int], list[tuple[int, int]], int]:
    """Readings, which unit each is of, what happens (unit, what is done behind it), and a length of windows."""
    rows = draw(st.integers(1, 24))
    units = draw(st.integers(1, 5))
    batch = fleet(rows, seed=draw(st.integers(0, 99)), devices=3, hours=draw(st.sampled_from([0.1, 3.0])))
    late = [draw(st.integers(0, 5)) == 0 for _ in range(rows)]
    batch = batch.set_column(batch.schema.get_field_index("is_late"), "is_late", pa.array(late))
    owners = [draw(st.integers(0, units - 1)) for _ in range(rows)]
    steps = [(unit, draw(st.integers(0, 7))) for unit in draw(st.permutations(range(units)))]
    return batch, owners, steps, draw(st.sampled_from([60, 420, 3600, 86_400]))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(histories())
def test_live_is_batch_for_any_order_splitting_and_interleaving(history):
    batch, owners, steps, seconds = history
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeSpec(path=folder)
        partitions = [Partition(lake, number, 2, (seconds,)) for number in (0, 1)]
        last: list[Notice] = []
        for unit, what in steps:
            rows = batch.filter(pa.array([owner == unit for owner in owners]))
            feed = partitions[unit % 2]
            if rows.num_rows:
                feed.file(rows)
            if what & 1:
                feed.look_at_receipts()
            last.append(feed.notice())
            if what & 2:  # else the notice is lost, or overtaken
                live(lake, seconds, piece_rows=3).settle(heard(*last), influx=bool(what & 4))
        last += [feed.finish() for feed in partitions]
        live(lake, seconds, piece_rows=5).settle(heard(*last), influx=True)
        assert found(lake, seconds).equals(expected(batch, seconds))


def test_a_batch_of_hours_equals_the_live_job(lake: LakeSpec, tmp_path: Path):
    """Both ways over the same files, late ones aside."""
    batch = fleet(2000, seed=9, hours=3)
    feed = Partition(lake)
    for start in np.arange(0, 2000, 250).tolist():
        notice = feed.file(batch.slice(start, 250))
        live(lake).settle(heard(notice), influx=False)
    live(lake).settle(heard(feed.finish()), influx=False)
    before = found(lake, 60)
    for hour in hours_of_windows(MIDNIGHT, MIDNIGHT + 3 * HOUR, 60):
        recompute_windows(lake, 60, hour)
    assert found(lake, 60).equals(before)
    assert load(storage.locate(lake.path), windows_path("fleet", 60), WindowReceipt).owed == ()


@pytest.mark.parametrize(("seconds", "piece_rows"), [(60, 10), (60, 100), (420, 1)])
def test_pieces_do_not_show(tmp_path: Path, seconds: int, piece_rows: int):
    batch = fleet(1000, seed=2, devices=40, hours=0.5)
    trees = []
    for size in (piece_rows, 5000):
        lake = LakeSpec(path=str(tmp_path / f"lake-{size}"))
        feed = Partition(lake, lengths=(seconds,))
        for start in range(0, 1000, 250):
            feed.file(batch.slice(start, 250))
        live(lake, seconds, piece_rows=size).settle(heard(feed.finish()), influx=True)
        assert found(lake, seconds).equals(expected(batch, seconds))
        trees.append(tree(Path(lake.path)))
    assert trees[0] == trees[1]


def test_each_length_has_windows_of_its_own(lake: LakeSpec):
    batch = fleet(500, seed=3, hours=3)
    feed = Partition(lake, lengths=(60, 3600))
    feed.file(batch)
    for seconds in (60, 3600):
        live(lake, seconds).settle(heard(feed.finish()), influx=False)
        assert found(lake, seconds).equals(expected(batch, seconds))


def test_a_days_window_holds_the_readings_of_all_its_hours(lake: LakeSpec):
    batch = fleet(500, seed=4, hours=30)
    feed = Partition(lake, lengths=(86_400,))
    feed.file(batch)
    live(lake, 86_400).settle(heard(feed.finish()), influx=False)
    assert found(lake, 86_400).equals(expected(batch, 86_400))


def test_a_backlog_becomes_one_file_an_hour(lake: LakeSpec):
    feed = Partition(lake)
    feed.file(fleet(1000, seed=5, hours=3))
    live(lake).settle(heard(feed.finish()), influx=False)
    assert len(windows_files(lake)) == 3


# When


def test_an_open_window_is_not_filed(lake: LakeSpec):
    feed = Partition(lake)
    notice = feed.file(at(0, 1, 1.5))
    live(lake).settle(heard(notice), influx=False)
    assert told(lake) == [("boiler-1", 1, 0)]
    feed.clock = MIDNIGHT + 2 * MINUTE - 1
    assert live(lake).settle(heard(feed.notice()), influx=False).rows == 0
    feed.clock += 1
    assert live(lake).settle(heard(feed.notice()), influx=False).rows == 1


def test_nothing_is_filed_as_long_as_a_reader_was_not_heard(lake: LakeSpec):
    first, second = (Partition(lake, number, readers=2) for number in (0, 1))
    notice = first.file(at(0, 5))
    assert live(lake).settle(heard(notice), influx=True) == Settled(0, ())
    assert live(lake).settle(heard(notice, second.notice()), influx=True) == Settled(0, ())
    assert not Path(lake.path, "windows").exists()
    assert live(lake).settle(heard(notice, second.file(at(2))), influx=True).rows == 1


def test_what_has_closed_stays_closed_when_the_clock_is_put_back(lake: LakeSpec):
    feed = Partition(lake)
    live(lake).settle(heard(feed.file(at(0, 5))), influx=False)
    feed.file(at(0.5))
    feed.clock = MIDNIGHT - HOUR  # a feed with old readings has appeared
    live(lake).settle(heard(feed.notice()), influx=False)
    assert told(lake) == [("boiler-1", 2, 1)]
    feed.look_at_receipts()
    assert feed.touched[60] == [(MIDNIGHT + 5 * MINUTE, MIDNIGHT + 6 * MINUTE, 2)]


def test_a_bounded_read_that_finished_does_not_close_what_a_later_one_brings(lake: LakeSpec):
    live(lake).settle(heard(Partition(lake).finish()), influx=False)
    feed = Partition(lake)
    feed.file(at(0, 1))
    live(lake).settle(heard(feed.finish()), influx=False)
    assert len(told(lake)) == 2
    feed.look_at_receipts()
    feed.clock = NEVER
    assert live(lake).settle(heard(feed.file(at(7.5, 8))), influx=False).rows == 1


def test_late_readings_are_in_no_window(lake: LakeSpec):
    feed = Partition(lake)
    batch = at(0, 0.1, 0.2, 3, is_late=[False, True, False, False])
    live(lake).settle(heard(feed.file(batch)), influx=False)
    assert told(lake) == [("boiler-1", 2, 0)]


def test_a_window_of_late_readings_alone_is_none(lake: LakeSpec):
    feed = Partition(lake)
    feed.file(at(0, is_late=[True]))
    feed.touched[60] = [Stretch(MIDNIGHT, MIDNIGHT + MINUTE, 1)]
    assert live(lake).settle(heard(feed.finish()), influx=True) == Settled(0, ())


def test_only_what_the_seconds_in_names_tell_is_opened(lake: LakeSpec):
    feed = Partition(lake)
    for minute in range(5):
        feed.file(at(minute, minute + 0.5))
    for file in Path(lake.path, "readings").rglob("*-s0180-*"):
        file.write_bytes(b"never looked at")
    feed.clock = MIDNIGHT + 3 * MINUTE
    assert live(lake).settle(heard(feed.notice()), influx=False).rows == 3


# Revisions


def test_revisions_count_from_nought_and_the_reader_sees_the_last(lake: LakeSpec):
    feed = Partition(lake)
    counts = []
    for _ in range(4):
        live(lake).settle(heard(feed.file(at(0.5, 3))), influx=False)
        counts.append([row[1:] for row in told(lake)])
    assert counts == [[(count, count - 1)] for count in (1, 2, 3, 4)]
    assert len(windows_files(lake)) == 4
    with Lake(lake.path).duckdb() as connection:
        assert connection.sql("select count, revision from windows").fetchall() == [(4, 3)]


def test_only_what_has_changed_is_revised(lake: LakeSpec):
    feed = Partition(lake)
    live(lake).settle(heard(feed.file(at(0, 0.1, 3, device_id=["aaa", "bbb", "aaa"]))), influx=False)
    feed.file(at(0.2, 0.3, device_id=["bbb", "ccc"]))
    assert live(lake).settle(heard(feed.notice()), influx=False).rows == 2
    assert told(lake) == [("aaa", 1, 0), ("bbb", 2, 1), ("ccc", 1, 1)]


def test_a_notice_that_comes_again_changes_nothing(lake: LakeSpec):
    feed = Partition(lake)
    notice = feed.file(fleet(300, seed=6, hours=2))
    first = live(lake).settle(heard(notice), influx=True)
    before = tree(Path(lake.path))
    again = live(lake).settle(heard(notice), influx=True)
    assert again == Settled(0, first.owed)
    assert tree(Path(lake.path)) == before


def test_windows_that_are_computed_again_and_are_the_same_are_not_filed(lake: LakeSpec):
    feed = Partition(lake)
    live(lake).settle(heard(feed.file(at(0, 0.5, 3))), influx=True)
    before = windows_files(lake)
    feed.next += 1  # whatever it was, it left the window as it is
    assert live(lake).settle(heard(feed.notice()), influx=True).rows == 0
    assert windows_files(lake) == before


def test_windows_that_two_jobs_filed_at_once_are_filed_once_more(lake: LakeSpec, tmp_path: Path):
    one, other = LakeSpec(path=str(tmp_path / "one")), LakeSpec(path=str(tmp_path / "other"))
    for spec, minutes in ((one, (0, 3)), (other, (0, 0.5, 3))):
        live(spec).settle(heard(Partition(spec).file(at(*minutes))), influx=False)
    for spec in (one, other):
        shutil.copytree(Path(spec.path, "windows"), Path(lake.path, "windows"), dirs_exist_ok=True)
    assert len(windows_files(lake)) == 2
    assert told(lake) == [("boiler-1", 2, 0)]
    live(lake).settle(heard(Partition(lake).file(at(0, 0.5, 3))), influx=False)
    assert told(lake) == [("boiler-1", 2, 1)]


@pytest.mark.parametrize("value", [-0.0, 1e300, 5e-324, 1.7e308])
def test_an_odd_value_is_filed_once(lake: LakeSpec, value: float):
    feed = Partition(lake)
    feed.file(readings([value, value], [MIDNIGHT, MIDNIGHT]))
    live(lake).settle(heard(feed.finish()), influx=False)
    feed.next += 1
    assert live(lake).settle(heard(feed.notice()), influx=False).rows == 0


# Beside a batch job


def test_a_batch_takes_the_place_of_a_live_jobs_windows(lake: LakeSpec):
    feed = Partition(lake)
    for _ in range(2):
        live(lake).settle(heard(feed.file(at(0, 3))), influx=False)
    feed.file(at(0.9, is_late=[True]))
    for _ in range(2):
        recompute_windows(lake, 60, MIDNIGHT // HOUR)
        assert windows_files(lake) == ["windows-60-490896.parquet"]
        assert told(lake) == [("boiler-1", 3, 2), ("boiler-1", 2, 2)]


def test_a_live_job_leaves_a_batchs_windows_where_they_are_right(lake: LakeSpec):
    feed = Partition(lake)
    feed.file(at(0, 1))
    recompute_windows(lake, 60, MIDNIGHT // HOUR)
    settled = live(lake).settle(heard(feed.finish()), influx=True)
    assert settled.rows == 0
    assert [file.path.rpartition("/")[2] for file in settled.owed] == windows_files(lake)
    assert windows_files(lake) == ["windows-60-490896.parquet"]


def test_a_live_job_revises_a_batchs_windows_where_readings_came(lake: LakeSpec):
    feed = Partition(lake)
    feed.file(at(0, 1))
    recompute_windows(lake, 60, MIDNIGHT // HOUR)
    feed.file(at(0.5))
    live(lake).settle(heard(feed.finish()), influx=False)
    assert told(lake) == [("boiler-1", 2, 1), ("boiler-1", 1, 0)]


# Owed to InfluxDB


def test_files_are_owed_in_their_order_until_they_are_delivered(lake: LakeSpec):
    feed = Partition(lake)
    for number in (1, 2, 3):
        settled = live(lake).settle(heard(feed.file(at(0.5, 3))), influx=True)
        assert [file.sequence for file in settled.owed] == list(range(1, number + 1))
    save(storage.locate(lake.path), influxdb_path("fleet"), InfluxReceipt(windows={60: 2}))
    assert [file.sequence for file in live(lake).settle(Heard(), influx=True).owed] == [3]
    assert live(lake).settle(heard(feed.notice()), influx=False).owed == ()


def test_a_lost_receipt_makes_all_be_delivered_once_more(lake: LakeSpec):
    feed = Partition(lake)
    root = storage.locate(lake.path)
    for _ in range(2):
        first = live(lake).settle(heard(feed.file(at(0.5, 3))), influx=True)
    save(root, influxdb_path("fleet"), InfluxReceipt(windows={60: 2}))
    storage.remove(root, windows_path("fleet", 60))
    again = live(lake).settle(heard(feed.notice()), influx=True)
    assert again == Settled(0, (OwedWindows(3, first.owed[-1].path),))


def test_without_influxdb_nothing_is_owed(lake: LakeSpec):
    assert live(lake).settle(heard(Partition(lake).file(at(0, 3))), influx=False) == Settled(1, ())


# Bad lakes


def test_a_damaged_readings_file_is_named(lake: LakeSpec):
    feed = Partition(lake)
    feed.file(at(0, 3))
    file = next(Path(lake.path, "readings").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SourceError, match=file.name):
        live(lake).settle(heard(feed.notice()), influx=False)


@pytest.mark.parametrize("is_open", [True, False])
def test_what_was_read_before_a_file_failed_is_counted_once(lake: LakeSpec, is_open: bool):
    feed = Partition(lake)
    for unit in range(4):
        feed.file(at(*[(unit * 25 + n) / 110 for n in range(25)]))
    files = sorted(Path(lake.path, "readings").rglob("*.parquet"))
    whole = files[-1].read_bytes()
    files[-1].write_bytes(whole[:-9])
    work = live(lake, piece_rows=20)
    if is_open:  # nobody has to know of it before the window closes
        assert work.settle(heard(feed.notice()), influx=False).rows == 0
    else:
        with pytest.raises(SourceError, match=files[-1].name):
            work.settle(heard(replace(feed.notice(), clock=MIDNIGHT + MINUTE)), influx=False)
    files[-1].write_bytes(whole)
    work.settle(heard(feed.finish()), influx=False)
    assert told(lake) == [("boiler-1", 100, 0)]


def test_a_name_that_tells_of_other_seconds_than_the_file_is_an_error(lake: LakeSpec):
    feed = Partition(lake)
    feed.file(at(0, 0.5, 3))
    file = next(Path(lake.path, "readings").rglob("*.parquet"))
    file.rename(file.with_name(file.name.replace("s0000-0180", "s0000-0010")))
    with pytest.raises(SourceError, match="other"):
        live(lake).settle(heard(feed.notice()), influx=False)


def test_a_lake_that_takes_nothing_is_a_sink_error(lake: LakeSpec):
    feed = Partition(lake)
    notice = feed.file(at(0, 3))
    Path(lake.path, "windows").write_text("in the way")
    with pytest.raises((SinkError, SourceError)):
        live(lake).settle(heard(notice), influx=False)
    Path(lake.path, "windows").unlink()
    assert live(lake).settle(heard(notice), influx=False).rows == 1


# Early


def test_open_windows_are_given_as_they_stand_and_not_filed(lake: LakeSpec):
    feed = Partition(lake)
    notice = feed.file(at(0, 1, 1.2, 2, 2.5, is_late=[False, False, False, False, True]))
    windows = live(lake, early=timedelta(seconds=5))
    before = tree(Path(lake.path))
    given = concat(list(windows.peek(heard(notice), now=100.0)))
    assert given.column("count").to_pylist() == [1]
    assert tree(Path(lake.path)) == before
    assert list(windows.peek(heard(notice), now=104.9)) == []
    assert len(list(windows.peek(heard(notice), now=105.0))) == 1
    assert list(live(lake).peek(heard(notice), now=0.0)) == []
