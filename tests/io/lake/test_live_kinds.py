"""Sliding windows, days of a zone, sessions and groups of a live job are those of the lake's readings too."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io.lake import Lake
from telebeam.io.lake.layout import HOUR, hours_of
from telebeam.io.lake.live_windows import LiveWindows
from telebeam.io.lake.recompute import recompute_together, recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.notices import Notice
from telebeam.transforms.aggregation.folding import END, Fold, Kind
from telebeam.transforms.aggregation.grid import DAY, SECOND
from telebeam.transforms.aggregation.panes import grouped
from telebeam.transforms.aggregation.partials import times_of
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import concat, rows_of
from telebeam.transforms.errors import SourceError
from telebeam.transforms.schema import WINDOWS, conform
from tests.io.lake.disks import DiedError, dying_after
from tests.io.lake.streamed import KEY, MINUTE, Partition, at, heard
from tests.transforms.aggregation.samples import MIDNIGHT, fleet, readings

SLIDING = WindowSpec(every="1m", length="15m")
WIDE = WindowSpec(every="1h", length="1d", group_by=("location",))
OSLO = WindowSpec(every="1d", timezone="Europe/Oslo")
SESSIONS = WindowSpec(session_gap="2m", longest="1h")
GROUPS = WindowSpec(every="1m", group_by=("sensor_type",))
KINDS = (SLIDING, WIDE, OSLO, SESSIONS, GROUPS, WindowSpec(session_gap="10m"))
ALWAYS = ((-(10**17), 10**17),)


def expected(rows: pa.RecordBatch, window: WindowSpec, *, late: bool = False) -> pa.Table:
    """The windows of one pass over the rows; late ones are left out unless told."""
    rows = rows if late else rows_of(rows, ~rows.column("is_late").to_numpy(zero_copy_only=False))
    fold = Fold([Kind(window.windowing, ALWAYS)], 10**6)
    fold.add(rows)
    made = [pa.RecordBatch.from_pylist([], schema=WINDOWS)]
    for each in fold.close(END):
        groups = [] if window.grouping is None else [grouped(each.partials, window.grouping)]
        parts = [each, *(each._replace(partials=group) for group in groups)]
        made += [conform(part.rows(window.windowing), WINDOWS) for part in parts]
    return pa.Table.from_batches([concat(made)]).sort_by(KEY).drop_columns("revision")


def found(lake: LakeSpec, window: WindowSpec) -> pa.Table:
    return Lake(lake.path).windows(window.seconds).sort_by(KEY).drop_columns("revision")


def live(lake: LakeSpec, window: WindowSpec, piece_rows: int = 1000) -> LiveWindows:
    return LiveWindows(lake, "fleet", window, piece_rows=piece_rows)


def recompute(lake: LakeSpec, windows: Sequence[WindowSpec], first: int, last: int) -> None:
    hours = {window: hours_of(window, first, last) for window in windows}
    assert list(recompute_together(lake, hours, piece_rows=200))


@st.composite
def histories(draw: st.DrawFn) -> tuple[pa.RecordBatch, list[int], list[tuple[int, int]], WindowSpec]:
    """Readings, which unit each is of, what happens (unit, what is done behind it), and a kind of windows."""
    rows, units = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    window = draw(st.sampled_from(KINDS))
    hours = draw(st.sampled_from([0.2, 3.0] if window is not OSLO else [50.0]))
    batch = fleet(rows, seed=draw(st.integers(0, 99)), devices=2, hours=hours)
    late = [draw(st.integers(0, 7)) == 0 for _ in range(rows)]
    batch = batch.set_column(batch.schema.get_field_index("is_late"), "is_late", pa.array(late))
    in_order = draw(st.booleans())
    owners = [draw(st.integers(0, units - 1)) for _ in range(rows)]
    owners = np.array(owners)[np.argsort(np.argsort(times_of(batch)))].tolist() if in_order else owners
    steps = [(unit, draw(st.integers(0, 31))) for unit in draw(st.permutations(range(units)))]
    return batch, sorted(owners) if in_order else owners, steps, window


@settings(derandomize=True, deadline=None, max_examples=40)
@given(histories())
def test_live_is_batch_for_any_order_splitting_interleaving_and_restart(history):
    batch, owners, steps, window = history
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeSpec(path=folder)
        partitions = [Partition(lake, number, 2, windows=(window,)) for number in (0, 1)]
        job = live(lake, window, piece_rows=3)
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
                job.settle(heard(*last), influx=bool(what & 4))
            if what & 8:  # killed, and begun anew
                job = live(lake, window, piece_rows=3)
        last += [feed.finish() for feed in partitions]
        job.settle(heard(*last), influx=True)
        assert found(lake, window).equals(expected(batch, window))


@pytest.mark.parametrize("window", KINDS, ids=lambda window: window.words)
def test_a_batch_of_hours_equals_the_live_job(lake: LakeSpec, window: WindowSpec):
    batch = fleet(1500, seed=9, hours=3, devices=3)
    batch = batch.take(pa.array(np.argsort(times_of(batch), kind="stable")))
    feed, job = Partition(lake, windows=(window,)), live(lake, window)
    for start in range(0, 1500, 100):
        job.settle(heard(feed.file(batch.slice(start, 100))), influx=False)
        feed.look_at_receipts()
    job.settle(heard(feed.finish()), influx=False)
    before = found(lake, window)
    assert before.equals(expected(batch, window))
    recompute(lake, [window], MIDNIGHT, MIDNIGHT + 3 * HOUR)
    assert found(lake, window).equals(before)


def test_kinds_that_are_recomputed_together_are_as_alone(lake: LakeSpec, tmp_path: Path):
    batch = fleet(3000, seed=3, hours=6)
    Partition(lake).file(batch)
    kinds = [SLIDING, GROUPS, OSLO, SESSIONS, WindowSpec(every="15m", length="1h"), WindowSpec(every="7m")]
    recompute(lake, kinds, MIDNIGHT, MIDNIGHT + 6 * HOUR)
    for window in kinds:
        assert found(lake, window).equals(expected(batch, window)), window.words


# Sliding


def test_a_sliding_window_is_filed_when_it_ends(lake: LakeSpec):
    feed, job = Partition(lake, windows=(SLIDING,)), live(lake, SLIDING)
    feed.file(at(0, 1, 1.5))
    for minute, windows in ((0.99, 0), (1, 1), (2, 2), (16.9, 16), (40, 16)):
        feed.clock = MIDNIGHT + int(minute * MINUTE)
        job.settle(heard(feed.notice()), influx=False)
        assert found(lake, SLIDING).num_rows == windows


def test_a_late_reading_revises_the_windows_that_hold_it_and_no_other(lake: LakeSpec):
    feed, job = Partition(lake, windows=(SLIDING,)), live(lake, SLIDING)
    job.settle(heard(feed.file(at(0, 10, 40))), influx=False)
    feed.look_at_receipts()
    assert job.settle(heard(feed.file(at(12))), influx=False).rows == 15
    revisions = Lake(lake.path).windows(900)["revision"].to_pylist()
    assert revisions.count(1) == 13  # those that held a reading before; two are new
    assert job.settle(heard(feed.notice()), influx=False).rows == 0


def test_readings_of_a_sliding_window_are_read_once(lake: LakeSpec):
    feed, job = Partition(lake, windows=(SLIDING,)), live(lake, SLIDING)
    for minute in range(30):
        job.settle(heard(feed.file(at(minute, minute + 0.5))), influx=False)
        feed.look_at_receipts()
        for file in sorted(Path(lake.path, "readings").rglob("*.parquet"))[:-1]:  # the last one was not read yet
            content = bytearray(file.read_bytes())
            content[4:400] = bytes(396)  # pages; the footer stays
            file.write_bytes(content)
    assert found(lake, SLIDING).num_rows == 29
    with pytest.raises(SourceError):
        live(lake, SLIDING).settle(heard(feed.finish()), influx=False)


# Days


def test_a_day_of_25_hours_is_filed_at_its_own_midnight(lake: LakeSpec):
    start = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()) * SECOND
    feed, job = Partition(lake, windows=(OSLO,)), live(lake, OSLO)
    feed.file(readings([1.0, 2.0, 3.0], [start, start + 25 * HOUR - 1, start + 25 * HOUR]))
    feed.clock = start + 25 * HOUR - 1
    assert job.settle(heard(feed.notice()), influx=False).rows == 0
    feed.clock += 1
    assert job.settle(heard(feed.notice()), influx=False).rows == 1
    (row,) = found(lake, OSLO).to_pylist()
    assert (row["count"], row["window_seconds"]) == (2, 86_400)
    assert (row["window_end"] - row["window_start"]).total_seconds() == 25 * 3600


# Sessions


def sessions(lake: LakeSpec) -> list[tuple[float, float, int]]:
    """(first minute, last minute, count) of each session as a reader sees it."""
    rows = Lake(lake.path).windows(-120).sort_by(KEY).to_pylist()
    origin = datetime(2026, 1, 1, tzinfo=UTC)
    edges = [[(row[name] - origin).total_seconds() / 60 for name in ("window_start", "window_end")] for row in rows]
    return [(start, end, row["count"]) for (start, end), row in zip(edges, rows, strict=True)]


def test_a_session_is_filed_when_its_silence_has_lasted(lake: LakeSpec):
    feed, job = Partition(lake, windows=(SESSIONS,)), live(lake, SESSIONS)
    job.settle(heard(feed.file(at(0, 1, 2, 2.5))), influx=False)
    assert sessions(lake) == []
    feed.clock = MIDNIGHT + int(4.5 * MINUTE)
    job.settle(heard(feed.notice()), influx=False)
    assert sessions(lake) == [(0, 4.5, 4)]


def test_a_late_reading_joins_sessions_and_the_former_ones_are_gone(lake: LakeSpec):
    feed, job = Partition(lake, windows=(SESSIONS,)), live(lake, SESSIONS)
    job.settle(heard(feed.file(at(0, 1, 4, 5, 20))), influx=False)
    assert sessions(lake) == [(0, 3, 2), (4, 7, 2)]
    feed.look_at_receipts()
    assert job.settle(heard(feed.file(at(2.5))), influx=False).rows == 2
    assert sessions(lake) == [(0, 7, 5)]
    with Lake(lake.path).duckdb() as connection:
        assert connection.sql("select count, revision from windows").fetchall() == [(5, 1)]
    feed.look_at_receipts()
    job.settle(heard(feed.file(at(-0.5))), influx=False)  # an earlier beginning
    assert sessions(lake) == [(-0.5, 0, 1), (0, 7, 5)]  # the hour's edge cuts
    assert job.settle(heard(feed.finish()), influx=False).rows == 1


def test_a_session_that_begins_earlier_than_was_known_takes_the_place_of_the_former(lake: LakeSpec):
    feed, job = Partition(lake, windows=(SESSIONS,)), live(lake, SESSIONS)
    job.settle(heard(feed.file(at(5, 6, 20))), influx=False)
    feed.look_at_receipts()
    job.settle(heard(feed.file(at(4))), influx=False)
    assert sessions(lake) == [(4, 8, 3)]


@pytest.mark.parametrize("is_new", [False, True])
def test_sessions_that_die_anywhere_and_go_on_are_right(tmp_path: Path, is_new: bool, pytestconfig: pytest.Config):
    parts = [at(0, 1, 4, 5, 20), at(2.5, 25), at(9, 30)]
    whole = concat(parts)
    for operations in range(1, 400, 1 if pytestconfig.getoption("--long") else 5):
        lake = LakeSpec(path=str(tmp_path / str(operations)))
        feed, job, died = Partition(lake, windows=(SESSIONS,)), live(lake, SESSIONS), False
        for number, part in enumerate(parts):
            notice = feed.file(part)
            try:
                with dying_after(operations if number == 1 else 10_000, Path(lake.path)):
                    job.settle(heard(notice), influx=True)
            except DiedError:
                died = True
                job = live(lake, SESSIONS)
                job.settle(heard(notice), influx=True)
            feed.look_at_receipts()
            if is_new:
                job = live(lake, SESSIONS)
        job.settle(heard(feed.finish()), influx=True)
        assert found(lake, SESSIONS).equals(expected(whole, SESSIONS)), operations
        if not died:
            break
    assert operations > 5


def test_a_backfill_leaves_no_dissolved_session_behind(lake: LakeSpec):
    feed, job = Partition(lake, windows=(SESSIONS,)), live(lake, SESSIONS)
    job.settle(heard(feed.file(at(0, 1, 4, 5, 20))), influx=False)
    feed.look_at_receipts()
    job.settle(heard(feed.file(at(2.5))), influx=False)
    recompute(lake, [SESSIONS], MIDNIGHT, MIDNIGHT + HOUR - 1)
    assert sessions(lake) == [(0, 7, 5), (20, 22, 1)]
    assert len(list(Path(lake.path, "windows").rglob("*.parquet"))) == 1


# Groups


def test_groups_stand_beside_devices_and_a_device_may_look_like_one(lake: LakeSpec):
    batch = at(0, 0.2, 0.4, device_id=["aaa", "*bb", "ccc"], location=["hall", "hall", "roof"])
    window = WindowSpec(every="1m", group_by=("location",))
    feed, job = Partition(lake, windows=(window,)), live(lake, window)
    feed.file(batch)
    job.settle(heard(feed.finish()), influx=False)
    rows = [(row["device_id"], row["location"], row["count"]) for row in found(lake, window).to_pylist()]
    assert rows == [("*@", "hall", 2), ("*@", "roof", 1), ("*bb", "hall", 1), ("aaa", "hall", 1), ("ccc", "roof", 1)]
    assert job.settle(heard(feed.finish()), influx=False).rows == 0
    before = found(lake, window)
    recompute_windows(lake, window, MIDNIGHT // HOUR)
    assert found(lake, window).equals(before)


def test_the_days_label_is_the_same_in_every_zone():
    assert OSLO.seconds == DAY // SECOND == WindowSpec(every="1d").seconds
