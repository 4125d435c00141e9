"""A reader reads on while it files, and nothing that it promises of what is filed speaks of what is not."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.feed import Partition, Polled
from telebeam.io.streams.gathering import CHECK_ROWS, GATHER_SECONDS, GATHER_SECONDS_BEHIND, Waiting
from telebeam.io.streams.job import StreamJob, drain
from telebeam.io.streams.journal import journals
from telebeam.io.streams.reader import Reader
from telebeam.io.streams.seen import SeenIds
from telebeam.io.streams.spec import TimeSpec
from telebeam.io.streams.testing import MemoryBroker, MemoryFeed
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.checking import Checks
from telebeam.transforms.errors import SourceError
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.quality.spec import QualitySpec

START = 1_767_225_600  # 2026-01-01T00:00:00Z
SECOND = 1_000_000


def add(broker: MemoryBroker, *seconds: float) -> None:
    for second in seconds:
        text = f'{{"device_id": "dev-1", "timestamp": {START + second}, "sensor_type": "temperature", "value": 20}}'
        broker.append(0, text.encode())


class Feeds:
    """Feeds of a broker that does something before each poll, and may say that it has more or give ids."""

    def __init__(self, broker: MemoryBroker, before: Callable[[], None] = lambda: None, more: int = 0) -> None:
        self.broker, self.before, self.more = broker, before, more
        self.with_ids = False

    def __call__(self, index: int, readers: int) -> Feed:
        return Feed(self, MemoryFeed(self.broker, index, readers, until_end=False))


class Feed:
    def __init__(self, feeds: Feeds, feed: MemoryFeed) -> None:
        self._feeds, self._feed = feeds, feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def poll(self, seconds: float) -> list[Polled]:
        self._feeds.before()
        return [self._with_ids(polled) for polled in self._feed.poll(seconds)]

    def behind(self) -> int:
        return self._feed.behind() + self._feeds.more

    def _with_ids(self, polled: Polled) -> Polled:
        return polled._replace(ids=polled.envelopes.column("source_offset")) if self._feeds.with_ids else polled


def job(lake: LakeSpec, feeds: Feeds, file_every: str = "100ms") -> StreamJob:
    checks = Checks(ParseSpec(), QualitySpec(max_age_days=None))
    time = TimeSpec(file_every=file_every, max_out_of_orderness="0s")
    return StreamJob("fleet", uuid.uuid4().hex, feeds, 1, checks, (WindowSpec(every="1m"),), lake, None, time)


class SlowLake:
    """A lake whose files of readings take until somebody lets them through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, through: threading.Event) -> None:
        self.asked = threading.Event()
        publish = storage.publish

        def wait(root: storage.Location, path: str, content: pa.Buffer) -> None:
            if path.startswith("readings"):
                self.asked.set()
                assert through.wait(20)
            publish(root, path, content)

        monkeypatch.setattr(storage, "publish", wait)


def while_filing(
    lake: LakeSpec, monkeypatch: pytest.MonkeyPatch, *seconds: float, with_ids: bool = False
) -> tuple[Reader, StreamJob]:
    """A reader that files a record of second 0, and lets the file through once it has polled others."""
    broker, through = MemoryBroker(), threading.Event()
    slow = SlowLake(monkeypatch, through)
    polls: list[int] = []

    def before() -> None:
        if slow.asked.is_set():
            polls.append(len(broker.records[0]))
            if len(polls) == 1:
                add(broker, *seconds)
            elif len(polls) == 3:
                through.set()

    add(broker, 0)
    feeds = Feeds(broker, before)
    feeds.with_ids = with_ids
    work = job(lake, feeds)
    return Reader(work, 0), work


def test_reading_goes_on_while_a_file_takes_its_time(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    reader, _ = while_filing(lake, monkeypatch, 1, 2)
    assert reader.bundle().positions == {"memory/0": 1}
    assert reader.bundle().positions == {"memory/0": 3}
    assert Lake(lake.path).readings().num_rows == 3


def test_a_notice_promises_no_time_whose_readings_are_not_filed(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    reader, _ = while_filing(lake, monkeypatch, 300)
    first, second = reader.bundle().notice, reader.bundle().notice
    assert (first.clock, first.partitions[0].next) == (START * SECOND, 1)
    assert (second.clock, second.partitions[0].next) == ((START + 300) * SECOND, 2)


def test_ids_of_records_that_are_not_filed_are_not_remembered(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    reader, work = while_filing(lake, monkeypatch, 1, 2, with_ids=True)
    reader.bundle()
    reader.close()
    found = next(Path(lake.path, "_commits").rglob("*-ids-1.arrow"))
    seen = SeenIds.from_buffer(pa.py_buffer(found.read_bytes()))
    assert seen.known(np.arange(3)).tolist() == [True, False, False]
    assert journals(storage.locate(lake.path), work.pipeline)[Partition("memory", 0)].next == 1


def test_a_job_that_is_told_to_end_reads_no_further(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    broker = MemoryBroker()
    feeds = Feeds(broker)
    work = job(lake, feeds)
    add(broker, 0)
    drain(storage.locate(lake.path), work.pipeline, work.run)
    publish = storage.publish

    def adding(root: storage.Location, path: str, content: pa.Buffer) -> None:
        add(broker, 1)
        publish(root, path, content)

    monkeypatch.setattr(storage, "publish", adding)
    bundle = Reader(work, 0).bundle()
    assert bundle.ended
    assert bundle.positions == {"memory/0": 1}


def test_a_source_that_fails_while_a_file_is_written_leaves_nobody_writing(
    lake: LakeSpec, monkeypatch: pytest.MonkeyPatch
):
    through = threading.Event()
    slow = SlowLake(monkeypatch, through)

    def before() -> None:
        if slow.asked.is_set():
            threading.Timer(0.2, through.set).start()
            raise SourceError("the topic is gone")

    broker = MemoryBroker()
    add(broker, 0)
    reader = Reader(job(lake, Feeds(broker, before)), 0)
    with pytest.raises(SourceError, match="gone"):
        reader.bundle()
    assert through.is_set()
    journal = journals(storage.locate(lake.path), "fleet")[Partition("memory", 0)]
    assert (journal.next, journal.pending) == (1, None)


def files_until(lake: LakeSpec, seconds: Iterable[float], more: int) -> int:
    """How far a reader has filed that takes a second of event time a poll, the first time that it files."""
    broker, events = MemoryBroker(), iter(seconds)
    ticks = iter(range(10_000))

    def before() -> None:
        add(broker, *[second for second in [next(events, None)] if second is not None])

    work = job(lake, Feeds(broker, before, more), file_every="5s")
    reader = Reader(work, 0, monotonic=lambda: next(ticks) / 50)
    reader.bundle()
    reader.close()
    return Lake(lake.path).readings().num_rows


def test_a_window_that_has_closed_is_filed_at_once_though_the_broker_has_some_records_more(tmp_path: Path):
    seconds = [57, 58, 59, 60]
    rows = [
        files_until(LakeSpec(path=str(tmp_path / str(more))), [*seconds, *[60] * 900], more)
        for more in (0, CHECK_ROWS - 1, CHECK_ROWS + 1000)
    ]
    assert rows[0] == rows[1] < rows[2]


@pytest.mark.parametrize(("behind", "patience"), [(0, GATHER_SECONDS), (CHECK_ROWS, GATHER_SECONDS_BEHIND)])
def test_records_wait_for_others_no_longer_than_they_gain_by_it(behind: int, patience: float):
    broker = MemoryBroker()
    add(broker, 0)
    feed = MemoryFeed(broker)
    feed.open(lambda partition: None)
    waiting = Waiting()
    waiting.add(feed.poll(0)[0], 10.0)
    assert not waiting.are_enough(10.0 + 0.9 * patience, behind)
    assert waiting.are_enough(10.0 + 1.1 * patience, behind)
    assert len(waiting.take()) == 1
    assert not waiting


def test_what_waits_to_be_checked_goes_into_the_file_that_is_cut(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    broker, seconds, ticks = MemoryBroker(), iter([0, 1, 2]), itertools.count()
    monkeypatch.setattr(Waiting, "are_enough", lambda waiting, now, behind: len(broker.records[0]) < 3)

    def before() -> None:
        add(broker, *[second for second in [next(seconds, None)] if second is not None])

    reader = Reader(job(lake, Feeds(broker, before), file_every="5s"), 0, monotonic=lambda: next(ticks) / 50)
    assert reader.bundle().positions == {"memory/0": 1}  # the first window is another than none
    assert reader.bundle().positions == {"memory/0": 3}
