"""Windows longer than an hour from the panes that were kept of hours: those of all readings, without reading them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.io.lake import compute, hour_panes
from telebeam.io.lake.hour_panes import HourPanes, KeepPanes, keeping, remove_panes
from telebeam.io.lake.layout import HOUR, hours_of, together
from telebeam.io.lake.ptransforms import RecomputeWindows, WriteToLake
from telebeam.io.lake.recompute import recompute_together
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.transforms.aggregation.grid import DAY, Grid
from telebeam.transforms.aggregation.panes import common_pane
from telebeam.transforms.aggregation.partials import times_of
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import UNIT, concat
from telebeam.transforms.errors import SourceError
from tests.io.lake.test_live_kinds import expected, found
from tests.transforms.aggregation.samples import MIDNIGHT, fleet, readings

SHORT = (WindowSpec(every="1m"), WindowSpec(every="5m", length="15m"), WindowSpec(every="1h", group_by=("location",)))
LONGER = (
    WindowSpec(every="1d", group_by=("sensor_type",)),
    WindowSpec(every="1h", length="6h"),
    WindowSpec(every="90m", length="9h"),
    WindowSpec(every="7d"),
)
KOLKATA = WindowSpec(every="1d", timezone="Asia/Kolkata")


@pytest.fixture(autouse=True, scope="module")
def _of_few_readings() -> Iterator[None]:
    """Panes are kept however few readings they have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hour_panes, "_LEAST_READINGS", 0)
        yield


def write(lake: LakeSpec, batch: pa.RecordBatch, unit: str = "u") -> None:
    LakeWriter(lake, "readings").write(batch.replace_schema_metadata({UNIT: unit.encode()}))


def keep_hours(lake: LakeSpec, batch: pa.RecordBatch, longer: Sequence[WindowSpec], piece_rows: int) -> list[HourPanes]:
    """Computes the short windows of each hour, as a job does, and keeps their panes."""
    root, kept = storage.locate(lake.path), []
    first, last = int(times_of(batch).min()), int(times_of(batch).max())
    for hour in range(first // HOUR, last // HOUR + 1):
        keep = keeping(root, together(SHORT[0], hour), longer)
        assert keep is not None
        list(recompute_together(lake, {window: [hour] for window in SHORT}, piece_rows=piece_rows, keep=keep))
        panes = keep.kept()
        kept += [] if panes is None else [panes]
    return kept


def compute_longer(lake: LakeSpec, batch: pa.RecordBatch, longer: Sequence[WindowSpec], kept: list[HourPanes]) -> None:
    first, last = int(times_of(batch).min()), int(times_of(batch).max())
    hours = {window: hours_of(window, first, last) for window in longer}
    assert list(recompute_together(lake, hours, piece_rows=500, given=kept))


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("readings were read again")

    monkeypatch.setattr(compute, "_read", read)


@pytest.mark.parametrize("longer", [LONGER, (KOLKATA, LONGER[1]), (KOLKATA,)])
def test_no_reading_is_read_again(lake: LakeSpec, longer: tuple[WindowSpec, ...], monkeypatch: pytest.MonkeyPatch):
    small = lake.model_copy(update={"row_group_rows": 20})
    batch = fleet(1500, seed=1, devices=4, hours=10.0, start=MIDNIGHT - 3 * HOUR)
    write(small, batch.slice(0, 1000), "a")
    write(small, batch.slice(1000), "b")
    kept = keep_hours(lake, batch, longer, piece_rows=40)
    assert any(len(each.files) > 1 for each in kept)
    forbid_reading(monkeypatch)
    compute_longer(lake, batch, longer, kept)
    for window in longer:
        assert found(lake, window).equals(expected(batch, window, late=True))


@settings(derandomize=True, deadline=None, max_examples=12)
@given(st.data())
def test_whatever_became_of_the_panes_the_windows_are_those_of_all_readings(data: st.DataObject):
    """Of each hour they stand, are gone, or were made before another file came."""
    batch = fleet(data.draw(st.integers(1, 900)), seed=data.draw(st.integers(0, 99)), devices=2, hours=5.0)
    later = fleet(data.draw(st.integers(1, 20)), seed=7, devices=3, hours=5.0)
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeSpec(path=folder)
        write(lake, batch)
        kept = keep_hours(lake, batch, LONGER, data.draw(st.sampled_from([40, 10**6])))
        for each in kept:
            if data.draw(st.integers(0, 3)) == 0:
                remove_panes(storage.locate(folder), each.files[-1:])
        if data.draw(st.booleans()):
            write(lake, later, "later")
            batch = concat([batch, later])
        compute_longer(lake, batch, LONGER, kept)
        for window in LONGER:
            assert found(lake, window).equals(expected(batch, window, late=True))


def test_panes_of_a_few_readings_are_not_kept(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hour_panes, "_LEAST_READINGS", 16)
    batch = fleet(60, seed=2, devices=3, hours=10.0)
    write(lake, batch)
    assert keep_hours(lake, batch, LONGER, 10**6) == []
    assert not list(Path(lake.path, "_staging").iterdir())


def test_a_file_that_goes_while_it_is_used_is_said(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    batch = fleet(900, seed=3, devices=2, hours=2.0)
    write(lake, batch)
    kept = keep_hours(lake, batch, LONGER, 10**6)
    remove_panes(storage.locate(lake.path), kept[0].files)
    monkeypatch.setattr(storage, "exists", lambda *_: True)
    with pytest.raises(SourceError, match="is gone"):
        compute_longer(lake, batch, LONGER, kept)


def test_panes_are_as_wide_as_all_longer_windows_allow():
    day = Grid(DAY, DAY)
    assert common_pane([day], 0, HOUR).every == HOUR
    assert common_pane([day, Grid(90 * HOUR // 60, 9 * HOUR)], 0, HOUR).every == HOUR // 2
    assert common_pane([Grid(DAY, DAY, "Europe/Oslo")], MIDNIGHT, MIDNIGHT + HOUR).every == HOUR
    assert common_pane([Grid(DAY, DAY, "Asia/Kathmandu")], MIDNIGHT, MIDNIGHT + HOUR).every == HOUR // 4


def test_where_clocks_went_by_the_sun_readings_are_read(lake: LakeSpec):
    """Days of Amsterdam began at 23:40:28 UTC until 1937."""
    begin = -40 * 365 * DAY
    batch = fleet(900, seed=4, devices=2, hours=3.0, start=begin)
    write(lake, batch)
    window = WindowSpec(every="1d", timezone="Europe/Amsterdam")
    assert keep_hours(lake, batch, [window], 10**6) == []
    compute_longer(lake, batch, [window], [])
    assert found(lake, window).equals(expected(batch, window, late=True))


def test_a_job_keeps_panes_and_removes_them(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    batch = fleet(3000, seed=5, devices=2, hours=30.0)
    windows = (*SHORT, *LONGER, WindowSpec(session_gap="10m"))
    read: list[int] = []
    plain_read = compute._read

    def counted(*arguments: object) -> pa.RecordBatch:
        rows = plain_read(*arguments)
        read.append(rows.num_rows)
        return rows

    monkeypatch.setattr(compute, "_read", counted)
    kept: list[HourPanes] = []
    plain_kept = KeepPanes.kept

    def noted(self: KeepPanes) -> HourPanes | None:
        panes = plain_kept(self)
        kept.extend([] if panes is None else [panes])
        return panes

    monkeypatch.setattr(KeepPanes, "kept", noted)
    with beam.Pipeline("FnApiRunner") as pipeline:
        unit = batch.replace_schema_metadata({UNIT: b"u"})
        files = pipeline | beam.Create([unit]) | WriteToLake(lake, "readings")
        _ = files | RecomputeWindows(lake, windows)
    for window in windows:
        assert found(lake, window).equals(expected(batch, window, late=True))
    assert len({each.hour for each in kept}) == 30
    assert not list(Path(lake.path, "_staging").iterdir())
    # The hours' once, and ten minutes of each twice for the sliding windows that reach into it; the sessions' once.
    assert sum(read) < 2.5 * batch.num_rows


def test_a_job_of_longer_windows_alone_reads_the_readings(lake: LakeSpec):
    batch = readings([1.0, 2.0, 4.0], [MIDNIGHT, MIDNIGHT + HOUR, MIDNIGHT + DAY])
    with beam.Pipeline("FnApiRunner") as pipeline:
        unit = batch.replace_schema_metadata({UNIT: b"u"})
        files = pipeline | beam.Create([unit]) | WriteToLake(lake, "readings")
        _ = files | RecomputeWindows(lake, LONGER[:1])
    assert found(lake, LONGER[0]).equals(expected(batch, LONGER[0], late=True))
