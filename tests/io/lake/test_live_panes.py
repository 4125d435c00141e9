"""Kinds of windows that share their panes: each is what its readings give, and these are read once for all."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.io.lake import compute, live_panes
from telebeam.io.lake.live_windows import LiveWindows
from telebeam.io.lake.spec import LakeSpec
from telebeam.transforms.aggregation.partials import times_of
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import concat
from telebeam.transforms.errors import SourceError
from tests.io.lake.streamed import Partition, at, heard
from tests.io.lake.test_live_kinds import OSLO, SLIDING, expected, found
from tests.transforms.aggregation.samples import MIDNIGHT, fleet

KINDS = (WindowSpec(every="1m"), SLIDING, WindowSpec(every="1h"), WindowSpec(every="7m"), WindowSpec(every="1d"), OSLO)
UTC_KINDS = (KINDS[0], SLIDING, KINDS[2], KINDS[4])


def together(lake: LakeSpec, windows: Sequence[WindowSpec], piece_rows: int = 1000) -> list[LiveWindows]:
    panes = live_panes.live_panes(storage.locate(lake.path), windows, piece_rows)
    return [LiveWindows(lake, "fleet", window, piece_rows=piece_rows, panes=panes) for window in windows]


def readings_files(lake: LakeSpec) -> set[Path]:
    return {*Path(lake.path, "readings").rglob("*.parquet")}


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each row group gave that was read."""
    read: list[int] = []
    plain = compute._read

    def counted(*arguments: object) -> pa.RecordBatch:
        rows = plain(*arguments)
        read.append(rows.num_rows)
        return rows

    monkeypatch.setattr(compute, "_read", counted)
    return read


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.data())
def test_each_kind_is_what_its_readings_give(data: st.DataObject):
    """In any order of files, kinds and restarts, with files that are taken back and filed anew among them."""
    windows = data.draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=4, unique_by=lambda each: each.seconds))
    batch = fleet(data.draw(st.integers(1, 40)), seed=data.draw(st.integers(0, 99)), devices=2, hours=3.0)
    batch = batch.take(pa.array(np.argsort(times_of(batch))))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(batch.num_rows - 1, 1)), max_size=6)))
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeSpec(path=folder)
        feed, jobs = Partition(lake, windows=tuple(windows)), together(lake, windows, piece_rows=3)
        before: set[Path] = set()
        begin = 0
        for first, end in zip([0, *cuts], [*cuts, batch.num_rows], strict=True):
            if data.draw(st.booleans()):
                # The unit before was not durable: with this one it is filed anew, under its name.
                for file in readings_files(lake) - before:
                    file.unlink()
                first, feed.next = begin, begin
            before, begin = readings_files(lake), first
            notice = feed.file(batch.slice(first, end - first))
            for place in data.draw(st.permutations(range(len(jobs)))):
                if data.draw(st.integers(0, 3)):
                    jobs[place].settle(heard(notice), influx=False)
            if data.draw(st.booleans()):
                feed.look_at_receipts()
            if data.draw(st.integers(0, 5)) == 0:
                jobs = together(lake, windows, piece_rows=3)
        last = feed.finish()
        for job, window in zip(jobs, windows, strict=True):
            job.settle(heard(last), influx=False)
            assert found(lake, window).equals(expected(batch, window))


def test_readings_are_read_once_for_all_kinds(lake: LakeSpec, rows_read: list[int]):
    feed, jobs = Partition(lake, windows=UTC_KINDS), together(lake, UTC_KINDS)
    for minute in range(90):
        notice = feed.file(at(minute, minute + 0.5))
        for job in jobs:
            job.settle(heard(notice), influx=False)
        feed.look_at_receipts()
    last = feed.finish()
    for job, window in zip(jobs, UTC_KINDS, strict=True):
        job.settle(heard(last), influx=False)
        assert found(lake, window).num_rows > 0
    # The first file for each kind, for none had begun when another one read it.
    assert 180 <= sum(rows_read) <= 180 + 2 * (len(UTC_KINDS) - 1)


def test_files_are_opened_once_for_where_their_readings_stand(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    feed = Partition(lake, windows=KINDS[:1])
    groups, spans = compute.RowGroups(storage.locate(lake.path)), [(MIDNIGHT, MIDNIGHT + 3600 * 1_000_000)]
    opened: list[str] = []
    plain = compute._statistics
    monkeypatch.setattr(compute, "_statistics", lambda root, path: opened.append(path) or plain(root, path))
    for minute in range(5):
        feed.file(at(minute))
        assert len(groups.of(spans)) == minute + 1
    assert len(opened) == len({*opened}) == 5
    written = sorted(Path(lake.path, "readings").rglob("*.parquet"))
    content = written[0].read_bytes()
    written[0].unlink()
    assert len(groups.of(spans)) == 4
    written[0].write_bytes(content)
    assert len(groups.of(spans)) == 5
    assert len(opened) == 6


def test_a_backlog_is_read_ahead_some_at_a_time(lake: LakeSpec, rows_read: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_panes, "AHEAD_ROWS", 3)
    monkeypatch.setattr(live_panes, "MOST_PIECES", 0)  # what is not read ahead is not read for panes
    feed, window = Partition(lake, windows=(WindowSpec(every="1d"),)), WindowSpec(every="1d")
    for minute in range(4):
        feed.file(at(minute, minute + 0.5))
    grid, spans = window.windowing, [(MIDNIGHT, MIDNIGHT + 86_400 * 1_000_000)]
    panes = live_panes.live_panes(storage.locate(lake.path), [window])
    for rows in (4, 8):
        assert panes.of(grid, spans) is None
        panes.read_ahead(grid, spans)
        assert sum(rows_read) == rows
    whole = panes.of(grid, spans)
    assert whole is not None
    assert whole.count.tolist() == [8]


def test_a_damaged_file_leaves_no_kind_with_half_of_it(lake: LakeSpec):
    feed, jobs = Partition(lake, windows=UTC_KINDS), together(lake, UTC_KINDS)
    parts = [at(0.1, 0.2), at(1, 2), at(70)]
    notice = feed.file(parts[0])
    for job in jobs:
        job.settle(heard(notice), influx=False)
    before, notice = readings_files(lake), feed.file(parts[1])
    (newest,) = readings_files(lake) - before
    content = newest.read_bytes()
    newest.write_bytes(content[:4] + bytes(396) + content[400:])  # pages; the footer stays
    with pytest.raises(SourceError):
        jobs[0].settle(heard(notice), influx=False)
    newest.write_bytes(content)
    feed.file(parts[2])
    last = feed.finish()
    for job, window in zip(jobs, UTC_KINDS, strict=True):
        job.settle(heard(last), influx=False)
        assert found(lake, window).equals(expected(concat(parts), window))
