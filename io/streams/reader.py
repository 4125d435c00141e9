"""Reads a share of a stream's partitions and files it: poll, check, gather, publish, and only then tell.

No Beam here: a reader does one bundle after the other for whoever calls it.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from telebeam.io import storage
from telebeam.io.influxdb.live import LivePoints, live_points
from telebeam.io.streams import receipts
from telebeam.io.streams.clock import PartitionClock, ReaderClock
from telebeam.io.streams.feed import Feed, Partition, Polled
from telebeam.io.streams.filing import PartitionFiles, Unit
from telebeam.io.streams.gathering import CHECK_ROWS, Gathered, Waiting, gathered
from telebeam.io.streams.immediate import Immediate, immediate_alerts
from telebeam.io.streams.job import StreamJob, is_draining
from telebeam.io.streams.journal import journals
from telebeam.io.streams.memory import LEFTOVERS, keep_memory
from telebeam.io.streams.notices import NEVER, Notice
from telebeam.io.streams.seen import SeenIds
from telebeam.transforms.batches import rows_of
from telebeam.transforms.errors import SinkError, SourceError, TakenOverError
from telebeam.transforms.metrics import measured

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""How long a poll waits for something: InfluxDB has a reading within a few of these."""
IDLE_SECONDS = 1.0
"""How long a bundle without a record lasts: how often the stages behind hear of a silent stream."""
UNIT_ROWS = 1_000_000
"""Readings that a reader files together at most."""
AHEAD_ROWS = 100_000
"""Readings that it takes at most, about, while it files others: some seconds of a live stream."""
ALIGN_SECONDS = 0.5
"""A file that is due so shortly before a window's end waits for it: it would be followed by a small one."""
IN_HAND_SECONDS = 10.0
"""How long points may be on their way before the lake's files are sent instead."""
LONGEST_PAUSE_SECONDS = 5.0
"""Between two tries to write to a lake that refuses."""

_TICKETS = itertools.count(1)
"""Of this process: InfluxDB's live path is shared by its readers."""


class Bundle(NamedTuple):
    """What a reader has done."""

    notice: Notice
    positions: dict[str, int]
    """``stream/number`` → the first offset that is not filed."""
    ended: bool
    """Whether there will be no more: a bounded read is through, or the job is told to end."""


class _Sent(NamedTuple):
    """A unit's points on their way to InfluxDB."""

    partition: Partition
    end: int
    ticket: int
    rows: int
    since: float


class Reader:
    """One of a job's readers.

    Args:
        job: What to do.
        index: Which of the job's readers this is, from 0.
        monotonic: Seconds that never go back.
        clock: Seconds since 1970.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        job: StreamJob,
        index: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._job = job
        self._index = index
        self._monotonic, self._clock, self._sleep = monotonic, clock, sleep
        self._root = storage.locate(job.lake.path)
        self._checks = job.checks.with_memory()
        self._lateness = job.lateness
        self._files: dict[Partition, PartitionFiles] = {}
        self._clocks: dict[Partition, PartitionClock] = {}
        self._watermark = ReaderClock(self._lateness.max_out_of_orderness, job.time.idle_after.total_seconds())
        self._feed: Feed | None = None
        self._live: LivePoints | None = None
        self._immediate: Immediate | None = None
        self._sent: list[_Sent] = []
        self._filed_at = monotonic()
        self._waiting = Waiting()
        self._units: dict[Partition, Unit] = {}
        """What was read since the last cut; while that is filed, reading goes on."""
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="telebeam-files")
        self._filers = ThreadPoolExecutor(2, thread_name_prefix="telebeam-filing")
        self._gives_up = threading.Event()

    def bundle(self) -> Bundle:
        """Reads until it is time to file, files while it reads on, and says what stands in the lake.

        What was read meanwhile is the next bundle's.  After an error there is no next one.

        Raises:
            SourceError: The source can't be read.
            TakenOverError: Another job writes these partitions.
        """
        feed = self._opened()
        ended = self._read(feed)
        # Before reading goes on: the notice tells of the time up to which readings are filed.
        clock = self._advance(feed)
        self._file(feed, self._cut(), reads_on=not ended)
        positions = {
            partition: files.journal.next for partition, files in self._files.items() if files.journal is not None
        }
        feed.commit(positions)
        LEFTOVERS.release()
        self._look_behind(wait=ended)
        in_hand = {(sent.partition, sent.end) for sent in self._sent}
        notices = tuple(
            files.notice(end for owner, end in in_hand if owner == partition)
            for partition, files in sorted(self._files.items())
            if files.journal is not None
        )
        notice = Notice(self._index, self._job.readers, clock, notices)
        names = {partition.name: offset for partition, offset in positions.items()}
        return Bundle(notice, names, ended)

    def close(self) -> None:
        """Ends the connection; what was not filed is read again by the next one."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        for executor in (self._filers, self._executor):
            executor.shutdown(wait=False, cancel_futures=True)

    def _opened(self) -> Feed:
        if self._feed is None:
            keep_memory()
            if self._job.influx is not None and self._job.influx_takes("readings"):
                self._live = live_points(self._job.influx)
            self._immediate = immediate_alerts(self._job, self._index)
            self._feed = self._job.feeds(self._index, self._job.readers)
            self._feed.open(self._position)
            self._adopt()
        return self._feed

    def _adopt(self) -> None:
        """Takes up this reader's partitions that the source has no more: what is outstanding of them is told, too."""
        for partition in journals(self._root, self._job.pipeline):
            if partition.number % self._job.readers == self._index:
                self._files_of(partition)

    def _position(self, partition: Partition) -> int | None:
        self._clock_of(partition)
        journal = self._files_of(partition).journal
        return None if journal is None else journal.next

    def _files_of(self, partition: Partition) -> PartitionFiles:
        if partition not in self._files:
            self._files[partition] = PartitionFiles(self._job.lake, self._root, self._job.pipeline, partition)
        return self._files[partition]

    def _clock_of(self, partition: Partition) -> PartitionClock:
        # A partition that has just appeared is not yet among the feed's, and its clock was taken away again.
        if partition not in self._clocks:
            journal = self._files_of(partition).journal
            newest = NEVER if journal is None else journal.newest
            self._clocks[partition] = PartitionClock(newest, self._monotonic())
        return self._clocks[partition]

    def _is_draining(self) -> bool:
        return is_draining(self._root, self._job.pipeline, self._job.run)

    def _read(self, feed: Feed) -> bool:
        """Polls until it is time to file; says whether that is the end."""
        began = looked = self._monotonic()
        windows = self._windows_passed()
        while True:
            if not feed.finished():
                self._poll(feed)
            if self._is_time(feed, began, windows):
                self._take()
                return feed.finished() or self._is_draining()
            if self._monotonic() - looked >= IDLE_SECONDS:
                looked = self._monotonic()
                if self._is_draining():
                    self._take()
                    return True

    def _poll(self, feed: Feed) -> None:
        """Takes what has come; checks it where it is enough."""
        for polled in feed.poll(POLL_SECONDS):
            now = self._monotonic()
            self._waiting.add(_unseen(polled, self._files_of(polled.partition).seen, now), now)
        if self._waiting and (self._waiting.are_enough(self._monotonic(), feed.behind()) or feed.finished()):
            self._take()

    def _is_time(self, feed: Feed, began: float, windows: list[int]) -> bool:
        """Whether what was read is to be filed now, or a silent stream to be told of."""
        if feed.finished():
            return True
        now = self._monotonic()
        if not self._units:
            return now - began >= IDLE_SECONDS
        if _readings_of(self._units) >= UNIT_ROWS:
            return True
        if feed.behind() >= CHECK_ROWS:
            return now - self._filed_at >= self._job.time.file_every.total_seconds()
        if self._windows_passed(feed) != windows:
            return True
        waits = ALIGN_SECONDS if self._is_window_ending() else 0.0
        return now - self._filed_at >= self._job.time.file_every.total_seconds() + waits

    def _windows_passed(self, feed: Feed | None = None) -> list[int]:
        """How many windows of each length have ended: where that changes, their last readings are filed at once."""
        clock = self._watermark.value if feed is None else self._advance(feed)
        return [clock // (seconds * 1_000_000) for seconds in self._job.lengths]

    def _is_window_ending(self) -> bool:
        """Whether a window ends so soon that its last readings go into the same file."""
        soon = self._watermark.value + int(ALIGN_SECONDS * 1e6)
        lengths = [seconds * 1_000_000 for seconds in self._job.lengths]
        return any(soon // length != self._watermark.value // length for length in lengths)

    def _take(self) -> None:
        """Checks what was polled and keeps it for the units."""
        if not self._waiting:
            return
        for partition, part in self._checked(self._waiting.take()).items():
            clock = self._clock_of(partition)
            begin = int(part.offsets[0]) if len(part.offsets) else part.next
            unit = self._units.setdefault(partition, Unit(begin, part.next, clock.newest, ticket=next(_TICKETS)))
            readings, unit.newest = self._lateness.mark(part.readings, part.offsets, part.times, unit.newest)
            clock.newest, clock.heard = unit.newest, self._monotonic()
            unit.add(readings, part.rejects, part.next)
            if self._live is not None:
                self._live.offer(readings, unit.ticket)
            if self._immediate is not None:
                self._immediate.look(readings)

    def _checked(self, polls: list[Polled]) -> dict[Partition, Gathered]:
        """What polls gave; waits for a schema registry that is away, for nothing that it would say is to be lost."""
        while True:
            try:
                return gathered(polls, self._checks, int(self._clock() * 1e6))
            except SourceError as error:
                if self._is_draining():
                    raise
                _LOG.warning(
                    "%s; trying again in %.0f s, nothing is read meanwhile", error.message, LONGEST_PAUSE_SECONDS
                )
                self._sleep(LONGEST_PAUSE_SECONDS)

    def _cut(self) -> dict[Partition, Unit]:
        """What was read so far, to be filed; what comes now is the next units'."""
        units, self._units = self._units, {}
        for partition, unit in units.items():
            seen = self._files_of(partition).seen
            unit.ids = seen.to_buffer() if len(seen) else None
        return units

    def _file(self, feed: Feed, units: dict[Partition, Unit], *, reads_on: bool) -> None:
        """Files units, and reads on meanwhile: who waits for a point in InfluxDB does not wait for a disk."""
        if not units:
            return
        begun, influx = self._monotonic(), self._job.influx_takes("readings")
        tasks = [
            self._filers.submit(self._patiently, partition, unit, influx=influx) for partition, unit in units.items()
        ]
        try:
            self._read_on(feed, tasks, reads_on=reads_on)
        except BaseException:
            # Nobody must be filing any more when another reader looks at the journals.
            self._gives_up.set()
            wait(tasks)
            raise
        for partition, unit in units.items():
            if influx and unit.readings:
                self._sent.append(_Sent(partition, unit.end, unit.ticket, unit.counts.readings, self._monotonic()))
            for name in ("rows_in", "readings", "rejects", "late"):
                measured(name, getattr(unit.counts, name))
        scheduled = self._filed_at + self._job.time.file_every.total_seconds()
        self._filed_at = scheduled if 0 <= begun - scheduled < IDLE_SECONDS else begun

    def _read_on(self, feed: Feed, tasks: list[Future[None]], *, reads_on: bool) -> None:
        """Polls until all is filed, as long as not too much is held beside what is being filed."""
        while any(not task.done() for task in tasks):
            if reads_on and _readings_of(self._units) < AHEAD_ROWS and not feed.finished():
                self._poll(feed)
            else:
                wait(tasks)
        for task in tasks:
            task.result()

    def _patiently(self, partition: Partition, unit: Unit, *, influx: bool) -> None:
        """Files a unit; waits for a lake that does not take it."""
        pause = LONGEST_PAUSE_SECONDS / 16
        while True:
            try:
                self._files[partition].file(unit, self._job.touches, self._executor, influx=influx)
                return
            except TakenOverError:
                raise
            except (SinkError, SourceError) as error:
                if self._gives_up.is_set() or self._is_draining():
                    raise
                _LOG.warning("%s; trying again in %.1f s, hardly anything is read meanwhile", error.message, pause)
                self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _look_behind(self, *, wait: bool) -> None:
        """Drops from the journals what the stages behind have done."""
        delivered: dict[Partition, list[int]] = {}
        left = []
        for sent in self._sent:
            if self._live is not None and self._live.settled(sent.ticket, 2.0 if wait else 0.0):
                delivered.setdefault(sent.partition, []).append(sent.end)
                measured("points", sent.rows)
            elif not wait and self._is_in_hand(sent):
                left.append(sent)
        self._sent = left
        try:
            windows = {
                seconds: receipts.load(
                    self._root, receipts.windows_path(self._job.pipeline, seconds), receipts.WindowReceipt
                )
                for seconds in self._job.lengths
            }
            influx = receipts.load(self._root, receipts.influxdb_path(self._job.pipeline), receipts.InfluxReceipt)
        except SourceError as error:
            _LOG.warning("%s", error.message)
            return
        for partition, files in self._files.items():
            if files.journal is not None:
                files.leave_out(windows, influx, delivered.get(partition, ()))

    def _is_in_hand(self, sent: _Sent) -> bool:
        """Whether a unit's points may still arrive by themselves."""
        recent = self._monotonic() - sent.since < IN_HAND_SECONDS
        return recent and self._live is not None and not self._live.lost(sent.ticket)

    def _advance(self, feed: Feed) -> int:
        """The reader's watermark, by all that it has read."""
        for partition in self._clocks.keys() - feed.partitions():
            del self._clocks[partition]
        for partition, clock in self._clocks.items():
            clock.drained = feed.drained(partition)
            clock.finished = feed.finished()
        now = int(self._clock() * 1e6)
        return self._watermark.advance(list(self._clocks.values()), self._monotonic(), now)


def _readings_of(units: dict[Partition, Unit]) -> int:
    return sum(unit.counts.readings for unit in units.values())


def _unseen(polled: Polled, seen: SeenIds, at: float) -> Polled:
    """What was polled without the records that were delivered before, where their broker can do that."""
    if polled.ids is None:
        return polled
    ids = polled.ids.to_numpy(zero_copy_only=False)
    new = ~seen.known(ids)
    seen.add(ids[new], at)
    return polled if new.all() else polled._replace(envelopes=rows_of(polled.envelopes, new), times=polled.times[new])
