"""The stage as a pipeline runs it, and its patience with a lake that is away."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import assert_that, equal_to

from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.notices import Notice, OwedWindows, PartitionNotice, WindowsOwed
from telebeam.io.streams.windows import Keeper, KeepWindows, with_notice
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.metrics import counts_of
from tests.io.lake.streamed import Partition, at, heard, live, told, windows_files

MINUTES = WindowSpec(every=timedelta(minutes=1))
HOURS = WindowSpec(every=timedelta(hours=1))


def ran(lake: LakeSpec, notices: list[Notice], check: Callable[[list[bytes]], None], influx: bool = True) -> int:
    """Runs the stage over notices; how many windows it counted."""
    pipeline = StrictPipeline("FnApiRunner")
    created = pipeline | beam.Create([notice.encode() for notice in notices], reshuffle=False)
    kept = created | KeepWindows(lake, "fleet", (MINUTES, HOURS), influx=influx)
    assert_that(kept, check)
    result = pipeline.run()
    result.wait_until_finish()
    return counts_of(result)["windows"]


def test_the_stage_files_each_length_and_says_what_is_owed(lake: LakeSpec):
    feed = Partition(lake, lengths=(60, 3600))
    notices = [feed.file(at(0, 1, 61)), feed.finish()]

    def check(elements: list[bytes]) -> None:
        owed = [WindowsOwed.decode(element) for element in elements]
        assert {said.seconds for said in owed} == {60, 3600}
        # A runner may take the notices in any order: then a length is settled twice, and says each time what is owed.
        assert sorted({file.path.rpartition("/")[2] for said in owed for file in said.owed}) == windows_files(lake)

    assert ran(lake, notices, check) == 5
    assert [row[1:] for row in told(lake)] == [(1, 0)] * 3
    assert [row[1:] for row in told(lake, 3600)] == [(2, 0), (1, 0)]


def test_the_stage_run_again_files_nothing_and_still_says_what_is_owed(lake: LakeSpec):
    feed = Partition(lake, lengths=(60, 3600))
    feed.file(at(0))
    notices = [feed.finish()] * 3
    ran(lake, notices, lambda elements: None)
    before = windows_files(lake)
    (path,) = (str(file.relative_to(lake.path)) for file in Path(lake.path).rglob("window_seconds=60/*/*/*.parquet"))

    def check(elements: list[bytes]) -> None:
        assert WindowsOwed(60, (OwedWindows(1, path),)).encode() in elements
        assert len(elements) == 6

    assert ran(lake, notices, check) == 0
    assert windows_files(lake) == before


def test_without_influxdb_the_stage_says_nothing(lake: LakeSpec):
    feed = Partition(lake, lengths=(60, 3600))
    feed.file(at(0, 1))
    assert ran(lake, [feed.finish()], equal_to([]), influx=False) == 3


def test_the_stage_waits_for_all_readers(lake: LakeSpec):
    feeds = [Partition(lake, number, 2, (60, 3600)) for number in (0, 1)]
    notices = [feeds[0].file(at(0, 3)), feeds[1].file(at(1, 2.5))]
    ran(lake, notices[:1], equal_to([]))
    assert not Path(lake.path, "windows").exists()
    ran(lake, notices, lambda elements: None)
    assert [row[1:] for row in told(lake)] == [(1, 0), (1, 0)]


class Counts(beam.PTransform):
    """What takes early windows: writes their counts into a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | beam.Map(lambda batch: (self.folder / str(batch["count"].to_pylist())).touch())


def test_open_windows_are_handed_on_where_they_are_wanted(lake: LakeSpec, tmp_path: Path):
    early = tmp_path / "early"
    early.mkdir()
    window = WindowSpec(every=timedelta(minutes=1), early=timedelta(seconds=10))
    notices = [Partition(lake).file(at(0, 1, 1.5)).encode()]
    with StrictPipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(notices) | KeepWindows(lake, "fleet", (window,), True, Counts(early))
    assert [path.name for path in early.iterdir()] == ["[2]"]
    assert told(lake) == [("boiler-1", 1, 0)]


# What was heard


def test_what_was_heard_is_the_last_notice_of_each_reader():
    notices = [Notice(reader, 2, clock, ()) for reader, clock in ((0, 1), (1, 5), (0, 7))]
    state = None
    for notice in notices:
        found = with_notice(state, notice.encode())
        state = b"[" + b",".join(n.encode() for n in found.notices.values()) + b"]"
    assert found.notices == {0: notices[2], 1: notices[1]}
    assert found.clock == 5


def test_readers_of_another_number_are_another_run():
    former = b"[" + Notice(0, 2, 1, (PartitionNotice("a", 0, 1),)).encode() + b"]"
    assert with_notice(former, Notice(2, 3, 9, ()).encode()).notices == {2: Notice(2, 3, 9, ())}


# Patience


class Time:
    """Passes when it is waited for; mends the lake at a moment."""

    def __init__(self, mend_at: float = float("inf"), mend: Callable[[], None] = lambda: None) -> None:
        self.now, self.mend_at, self.mend = 0.0, mend_at, mend

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.mend_at:
            self.mend()
            self.mend_at = float("inf")


@pytest.fixture
def blocked(lake: LakeSpec) -> tuple[Partition, Path]:
    """A lake in which a file stands where windows should go."""
    feed = Partition(lake)
    feed.file(at(0, 3))
    in_the_way = Path(lake.path, "windows")
    in_the_way.write_text("")
    return feed, in_the_way


def keeper(lake: LakeSpec, time: Time) -> Keeper:
    return Keeper(live(lake), influx=True, clock=time.clock, sleep=time.sleep)


def test_a_lake_that_is_back_soon_is_waited_for(lake: LakeSpec, blocked: tuple[Partition, Path]):
    feed, in_the_way = blocked
    settled = keeper(lake, Time(1.0, in_the_way.unlink)).settle(heard(feed.notice()))
    assert settled is not None
    assert settled.rows == 1


def test_a_lake_that_stays_away_ends_nothing_and_a_later_notice_files_all(
    lake: LakeSpec, blocked: tuple[Partition, Path], caplog: pytest.LogCaptureFixture
):
    feed, in_the_way = blocked
    time = Time()
    patient = keeper(lake, time)
    waited = []
    with caplog.at_level(logging.WARNING):
        for _ in range(30):
            before = time.now
            assert patient.settle(heard(feed.notice())) is None
            waited.append(time.now - before)
            time.now += 5
    assert waited[0] < 5
    assert set(waited[1:]) == {0.0}
    times = [record for record in caplog.records if "wait for the lake" in record.message]
    assert len(times) == 3  # of 154 seconds
    in_the_way.unlink()
    settled = patient.settle(heard(feed.notice()))
    assert settled is not None
    assert settled.rows == 1


def test_early_windows_of_a_lake_that_is_away_are_left_out(lake: LakeSpec):
    feed = Partition(lake)
    feed.file(at(0, 1))
    file = next(Path(lake.path, "readings").rglob("*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:50])
    windows = live(lake, early=timedelta(seconds=10))
    patient = Keeper(windows, influx=False, clock=itertools.count(step=60).__next__)
    assert patient.peek(heard(feed.notice())) == []
    file.write_bytes(content)
    given = [len(patient.peek(heard(feed.notice()))) for _ in range(20)]
    assert 0 < sum(given) < 6  # what takes a minute of the clock rests for some
