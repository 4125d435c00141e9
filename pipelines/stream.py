"""A streaming job from its first check to its last notice.

What it tells of itself comes from the lake's journals, which every runner's workers write alike, and from the broker.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.job import StreamJob, drain, ended_readers
from telebeam.io.streams.journal import Counts, journals
from telebeam.io.streams.memory import keep_memory
from telebeam.io.streams.outstanding import outstanding
from telebeam.pipelines.batch import Balance, Outcome, made_of, readable
from telebeam.pipelines.graph import build_stream
from telebeam.pipelines.preflight import check_influx_for_stream, check_lake
from telebeam.pipelines.runners import PRISM_SERVER, RunnerChoice, pipeline_options
from telebeam.pipelines.runtimes.engines import engine
from telebeam.pipelines.sources import checks_of, feeds_of, fleet_of, lag_of, order_of, readers_of, windows_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.status import StatusLine
from telebeam.transforms.errors import AwayError, SinkError, SourceError
from telebeam.transforms.metrics import LOCAL

_LOG = logging.getLogger(__name__)

DRAIN_SECONDS = 9.0
"""How long a job that is told to end may take to file what it has; then it is cut off, and nothing is lost either."""
POLL_SECONDS = 0.2
LOOK_SECONDS = 2.0
"""How often the lake is asked whether the readers have ended: a listing, which an object store charges for."""
GRACE_SECONDS = 1.0
"""How long a job whose readers have ended may take to end by itself."""
PAUSE_SECONDS = 2.0
"""Between two looks for a broker that is away."""
STAGED_SECONDS = 3600.0
"""What was staged longer ago than this was left by somebody who was killed."""


def stream_job(spec: PipelineSpec, readers: int) -> StreamJob:
    """The job that a configuration describes, as its workers see it."""
    fleet = fleet_of(spec, refreshes=True)
    return StreamJob(
        pipeline=spec.pipeline,
        run=uuid.uuid4().hex,
        feeds=feeds_of(spec),
        readers=readers,
        checks=checks_of(spec, fleet),
        windows=windows_of(spec, fleet),
        lake=_in_full(spec.stream_lake),
        influx=spec.sinks.influxdb,
        time=spec.time,
        order=order_of(spec, fleet),
        alerts=spec.sinks.alerts,
        commands=spec.sinks.commands,
        tagged=spec.sinks.tagged,
    )


def _in_full(lake: LakeSpec) -> LakeSpec:
    """The lake with a path that is the same in every folder: a worker elsewhere has its own."""
    root = storage.locate(lake.path)
    return lake.model_copy(update={"path": root.path}) if root.is_local else lake


@dataclass
class _Run:
    """A run's beginning, to tell what came since."""

    root: storage.Location
    pipeline: str
    before: Counts
    began: float

    def counts(self) -> Counts:
        """What the journals have gained."""
        return totals(self.root, self.pipeline).minus(self.before)


def totals(root: storage.Location, pipeline: str) -> Counts:
    """The counts of all partitions of a pipeline, of all runs."""
    found = Counts()
    for journal in journals(root, pipeline).values():
        found = found.plus(journal.counts)
    return found


def run_stream(spec: PipelineSpec, choice: RunnerChoice, *, status_every: float = 60.0, quiet: bool = False) -> Outcome:
    """Runs a streaming job until it is told to end, or a bounded read is through.

    Raises:
        TelebeamError: What stopped it, in words.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    keep_memory()  # before there are threads, each of which would begin with memory of its own
    job = stream_job(spec, readers=1)
    check_lake(job.lake.path)
    check_influx_for_stream(spec)
    root = storage.locate(job.lake.path)
    storage.clean_staging(root, time.time() - STAGED_SECONDS)
    LOCAL.reset()
    run = _Run(root, job.pipeline, totals(root, job.pipeline), time.monotonic())
    with ExitStack() as stack:
        told = stack.enter_context(_told_to_end())
        readers = _readers_when_there(spec, told)
        if readers is None:
            return _outcome(choice, run)
        job = replace(job, readers=readers)
        options = stack.enter_context(engine(choice, job.readers))
        status = StatusLine(job, run.counts, lag_of(spec.source), status_every, quiet=quiet)
        stack.enter_context(status)
        try:
            pipeline = beam.Pipeline(options=pipeline_options(options))
            build_stream(pipeline, job, apart=choice.engine == PRISM_SERVER)
            _attend(pipeline.run(), job, root, told)
        except Exception as error:
            raise readable(error) from error
        status.finish(run.counts())
    return _outcome(choice, run)


def _outcome(choice: RunnerChoice, run: _Run) -> Outcome:
    counts, local = run.counts(), LOCAL.snapshot()
    balance = Balance(counts.rows_in, counts.readings, counts.rejects, counts.duplicates, counts.late)
    balance.check()
    return Outcome(
        choice.description,
        time.monotonic() - run.began,
        balance,
        local.get("windows", 0),
        local.get("points", 0),
        local.get("refused_points", 0),
        made_of(local),
    )


def _readers_when_there(spec: PipelineSpec, told: threading.Event) -> int | None:
    """How many readers there will be, once the broker answers; None where we are told to end before it does.

    Raises:
        SourceError: The broker answers, and refuses the login or knows no such stream.
    """
    feeds = feeds_of(spec)
    while not told.is_set():
        try:
            feeds.probe()
            return readers_of(spec.source, feeds)
        except SourceError as error:
            if not isinstance(error.__cause__, AwayError):
                raise
            _LOG.warning("%s; waiting for it", error.message)
            told.wait(PAUSE_SECONDS)
    return None


def _attend(result: Any, job: StreamJob, root: storage.Location, told: threading.Event) -> None:
    """Waits for the end, and brings it about where we are told to or the readers have done all that there was.

    Raises:
        Exception: What the job failed with.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="telebeam-wait")
    end: Future[Any] = executor.submit(result.wait_until_finish)
    executor.shutdown(wait=False)  # where the job is cut off, the wait ends with its engine
    look = time.monotonic()
    while not _is_done(end, POLL_SECONDS) and not told.is_set():
        if time.monotonic() - look < LOOK_SECONDS:
            continue
        look = time.monotonic()
        if ended_readers(root, job.pipeline, job.run) == job.readers:
            _wait_for_stages(job, root, end, told)
            break
    if told.is_set() and not end.done():
        _drain(job, root, end)
    if _is_done(end, GRACE_SECONDS):
        end.result()
        return
    with suppress(Exception):  # some runners go on when there is nothing left to do
        result.cancel()


def _is_done(end: Future[Any], seconds: float) -> bool:
    return bool(wait([end], seconds).done)


def _wait_for_stages(job: StreamJob, root: storage.Location, end: Future[Any], told: threading.Event) -> None:
    """Waits until the windows of a read that is through are computed, and InfluxDB has its points."""
    while not _is_done(end, GRACE_SECONDS) and not told.is_set():
        if not any(outstanding(root, job.pipeline, job.lengths, in_order=job.order is not None)):
            return


def _drain(job: StreamJob, root: storage.Location, end: Future[Any]) -> None:
    """Tells the readers to file what they have, and waits for it."""
    try:
        drain(root, job.pipeline, job.run)
    except SinkError as error:  # readers of this process were told before
        _LOG.warning("%s; workers elsewhere do not hear that the job is to end", error.message)
    deadline = time.monotonic() + DRAIN_SECONDS
    while not _is_done(end, POLL_SECONDS) and ended_readers(root, job.pipeline, job.run) < job.readers:
        if time.monotonic() > deadline:
            _LOG.warning("cut off after %.0f s; the next run goes on from the lake", DRAIN_SECONDS)
            return


@contextmanager
def _told_to_end() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set."""
    told = threading.Event()
    before = {number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
