"""Reads a share of a stream's partitions and files it: poll, check, gather, publish, and only then tell.

No Beam here: a reader does one bundle after the other for whoever calls it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from telebeam.io import storage
from telebeam.io.influxdb.live import LivePoints, live_points
from telebeam.io.streams import receipts
from telebeam.io.streams.clock import PartitionClock, ReaderClock
from telebeam.io.streams.feed import Feed, Partition, Polled
from telebeam.io.streams.filing import PartitionFiles, Unit
from telebeam.io.streams.gathering import CHECK_BYTES, CHECK_ROWS, GATHER_SECONDS, GATHER_SECONDS_BEHIND, gathered
from telebeam.io.streams.job import StreamJob, is_draining
from telebeam.io.streams.journal import journals
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
"""Readings that a reader holds at most."""
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
        self._lateness = job.lateness
        self._files: dict[Partition, PartitionFiles] = {}
        self._clocks: dict[Partition, PartitionClock] = {}
        self._watermark = ReaderClock(self._lateness.max_out_of_orderness, job.time.idle_after.total_seconds())
        self._feed: Feed | None = None
        self._live: LivePoints | None = None
        self._sent: list[_Sent] = []
        self._filed_at = monotonic()
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="telebeam-files")

    def bundle(self) -> Bundle:
        """Reads until it is time to file, files, and says what stands in the lake.

        Raises:
            SourceError: The source can't be read.
            TakenOverError: Another job writes these partitions.
        """
        feed = self._opened()
        units = self._read(feed)
        self._file(units)
        ended = feed.finished() or self._is_draining()
        positions = {
            partition: files.journal.next for partition, files in self._files.items() if files.journal is not None
        }
        feed.commit(positions)
        self._look_behind(wait=ended)
        clock = self._advance(feed)
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
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _opened(self) -> Feed:
        if self._feed is None:
            if self._job.influx is not None and self._job.influx_takes("readings"):
                self._live = live_points(self._job.influx)
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

    def _read(self, feed: Feed) -> dict[Partition, Unit]:
        """Polls until it is time to file."""
        units: dict[Partition, Unit] = {}
        waiting: list[Polled] = []
        began = looked = gathering = self._monotonic()
        windows = self._windows_passed()
        while True:
            for polled in feed.poll(POLL_SECONDS):
                waiting.append(_unseen(polled, self._files_of(polled.partition).seen, self._monotonic()))
            now = self._monotonic()
            if waiting and (_are_enough(waiting, now - gathering, feed.behind()) or feed.finished()):
                self._take(waiting, units)
                waiting, gathering = [], self._monotonic()
            elif not waiting:
                gathering = now
            if not waiting and self._is_time(feed, units, began, windows):
                return units
            if now - looked >= IDLE_SECONDS:
                looked = now
                if self._is_draining():
                    self._take(waiting, units)
                    return units

    def _is_time(self, feed: Feed, units: dict[Partition, Unit], began: float, windows: list[int]) -> bool:
        """Whether what was read is to be filed now, or a silent stream to be told of."""
        if feed.finished():
            return True
        now = self._monotonic()
        if not units:
            return now - began >= IDLE_SECONDS
        if sum(unit.counts.readings for unit in units.values()) >= UNIT_ROWS:
            return True
        if now - self._filed_at >= self._job.time.file_every.total_seconds():
            return True
        return not feed.behind() and self._windows_passed(feed) != windows

    def _windows_passed(self, feed: Feed | None = None) -> list[int]:
        """How many windows of each length have ended: where that changes, their last readings are filed at once."""
        clock = self._watermark.value if feed is None else self._advance(feed)
        return [clock // (seconds * 1_000_000) for seconds in self._job.lengths]

    def _take(self, waiting: list[Polled], units: dict[Partition, Unit]) -> None:
        """Checks what was polled and keeps it for the units."""
        if not waiting:
            return
        for partition, part in gathered(waiting, self._job.checks, int(self._clock() * 1e6)).items():
            clock = self._clock_of(partition)
            begin = int(part.offsets[0]) if len(part.offsets) else part.next
            unit = units.setdefault(partition, Unit(begin, part.next, clock.newest, ticket=next(_TICKETS)))
            readings, unit.newest = self._lateness.mark(part.readings, part.offsets, part.times, unit.newest)
            clock.newest, clock.heard = unit.newest, self._monotonic()
            unit.add(readings, part.rejects, part.next)
            if self._live is not None:
                self._live.offer(readings, unit.ticket)

    def _file(self, units: dict[Partition, Unit]) -> None:
        """Files what was read; waits for a lake that does not take it, for nothing else may be read meanwhile."""
        scheduled = self._filed_at + self._job.time.file_every.total_seconds()
        influx = self._job.influx_takes("readings")
        for partition, unit in units.items():
            self._patiently(partition, unit, influx=influx)
            if influx and unit.readings:
                self._sent.append(_Sent(partition, unit.end, unit.ticket, unit.counts.readings, self._monotonic()))
            for name in ("rows_in", "readings", "rejects", "late"):
                measured(name, getattr(unit.counts, name))
        if units:
            now = self._monotonic()
            self._filed_at = scheduled if 0 <= now - scheduled < IDLE_SECONDS else now

    def _patiently(self, partition: Partition, unit: Unit, *, influx: bool) -> None:
        pause = LONGEST_PAUSE_SECONDS / 16
        while True:
            try:
                self._files[partition].file(unit, self._job.lengths, self._executor, influx=influx)
                return
            except TakenOverError:
                raise
            except (SinkError, SourceError) as error:
                if self._is_draining():
                    raise
                _LOG.warning("%s; trying again in %.1f s, nothing is read meanwhile", error.message, pause)
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


def _are_enough(waiting: list[Polled], seconds: float, behind: int) -> bool:
    """Whether what was polled is to be checked now: a short batch costs much the same as a long one."""
    patience = GATHER_SECONDS if behind < CHECK_ROWS else GATHER_SECONDS_BEHIND
    rows = sum(polled.envelopes.num_rows for polled in waiting)
    size = sum(polled.envelopes.nbytes for polled in waiting)
    return seconds >= patience or rows >= CHECK_ROWS or size >= CHECK_BYTES


def _unseen(polled: Polled, seen: SeenIds, at: float) -> Polled:
    """What was polled without the records that were delivered before, where their broker can do that."""
    if polled.ids is None:
        return polled
    ids = polled.ids.to_numpy(zero_copy_only=False)
    new = ~seen.known(ids)
    seen.add(ids[new], at)
    return polled if new.all() else polled._replace(envelopes=rows_of(polled.envelopes, new), times=polled.times[new])
