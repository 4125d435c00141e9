"""The stage that scores a streaming job's readings in order, and sends what its rules say."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from telebeam.io.lake.live_order import Advanced, LiveOrder
from telebeam.io.patience import Warnings
from telebeam.io.streams.job import StreamJob
from telebeam.io.streams.notices import FOREVER, IN_ORDER, Heard, WindowsOwed
from telebeam.io.streams.outlets import Outlets
from telebeam.io.streams.shared import Shared, told, with_notice
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.metrics import measured

_LOG = logging.getLogger(__name__)
_HEARD = beam.DoFn.StateParam(ReadModifyWriteStateSpec("heard-1", BytesCoder()))


@dataclass
class ScoreInOrder(beam.PTransform):
    """Files what a streaming job makes in the order of event time, and sends alerts, commands and tags.

    That is scores, alerts, commands, tagged readings, and the statistics of the last readings.

    In: encoded :class:`.notices.Notice`, unbounded or not, in any order and any number of times.  Out: an encoded
    :class:`.notices.WindowsOwed` where InfluxDB lacks files.  One worker does the work; what it remembers may be lost,
    for it follows from the lake.

    Late data: readings flagged as late are not scored.  Those that come behind the clock and are not late have their
    step scored anew when it closes for good.

    Delivery: scores, alerts and commands in the lake are what the readings give, each once, whatever is killed.  What
    is sent is sent again only where a kill came between sending and the log of it (:mod:`telebeam.io.alerts`).

    Metrics: ``scores``, ``alerts``, ``commands``, ``last_n``.

    Args:
        job: What is done, and where it is sent.
    """

    job: StreamJob

    def expand(self, notices: beam.PCollection) -> beam.PCollection:
        """What is owed to InfluxDB."""
        return (
            notices
            | "KeyNotices" >> beam.Map(_keyed).with_output_types(tuple[str, bytes])
            | "Score" >> beam.ParDo(_Score(self.job)).with_output_types(bytes)
        )


def _keyed(notice: bytes) -> tuple[str, bytes]:
    return "", notice


class _Score(beam.DoFn):
    """Holds what was heard of each reader."""

    def __init__(self, job: StreamJob) -> None:
        super().__init__()
        self._job = job
        self._stage = uuid.uuid4().hex  # travels along: all instances of this stage have it, those of other runs do not

    def process(self, element: tuple[str, bytes], state: Any = _HEARD) -> Iterator[bytes]:
        work = _work(self._stage, self._job)
        with work.shared as shared:
            heard = shared.with_all(with_notice(state.read(), element[1]), told(self._job.run))
            state.write(msgspec.json.encode(list(heard.notices.values())))
            advanced = work.patient.settle(heard)
            for rows in advanced.alerts:
                measured("alerts", rows.num_rows)
            for rows in advanced.commands:
                measured("commands", rows.num_rows)
            measured("scores", advanced.scores)
            measured("last_n", advanced.last_n)
        if advanced.owed:
            yield WindowsOwed(IN_ORDER, advanced.owed).encode()


class _Work:
    """What the instances of a stage in this process have in common; one of them works at a time."""

    def __init__(self, job: StreamJob) -> None:
        self.shared = Shared()
        self.patient = Patient(job)


_GUARD = threading.Lock()
_WORKS: dict[str, _Work] = {}


def _work(stage: str, job: StreamJob) -> _Work:
    with _GUARD:
        if stage not in _WORKS:
            _WORKS[stage] = _Work(job)
        return _WORKS[stage]


class Patient:
    """Scores with patience: a lake that is away for a while ends no job.

    Args:
        job: What is done.
        clock: Seconds; does not jump.
    """

    def __init__(self, job: StreamJob, *, clock: Callable[[], float] = time.monotonic) -> None:
        if job.order is None:
            raise ValueError("a job without detectors, rules and last readings has nothing to do in order")
        influx = () if job.influx is None else job.influx.write
        self._live = LiveOrder(job.lake, job.order, job.lateness, influx)
        self._outlets = Outlets(job, job.tagged)
        self._warnings = Warnings(_LOG, clock)

    def settle(self, heard: Heard) -> Advanced:
        """As :meth:`.LiveOrder.settle`, and sends what came of it; where the lake fails a later call tries again."""
        try:
            advanced = self._live.settle(heard)
            self._outlets.offer(advanced.alerts, advanced.commands, advanced.tagged)
            if heard.clock >= FOREVER:
                self._outlets.flush()
            # What is made after the written-down past is made and offered again by whoever goes on from there.
            if self._outlets.all_sent or heard.clock >= FOREVER:
                self._live.write_down(heard)
        except (SinkError, SourceError) as error:
            self._warnings.say("lake", f"scores and alerts wait for the lake: {error}")
            return Advanced()
        return advanced
