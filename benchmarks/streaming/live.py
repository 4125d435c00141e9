"""A fleet that reports now and a job that follows it: how late its results are, and what memory it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from benchmarks.report import Row, Target
from benchmarks.streaming.messages import SENSORS, Fleet
from benchmarks.streaming.servers import PARTITIONS, Servers
from benchmarks.streaming.stream_job import StreamJob
from benchmarks.streaming.watch import LakeWatch, MemoryWatch, Repeating, percentiles
from telebeam.transforms.errors import JobError
from tests.checking.influxdb import READINGS, WINDOWS, query_points

ROOT = Path(__file__).resolve().parents[2]
READERS = 2
POLL_SECONDS = 0.1
QUERY_SECONDS = 0.25
"""Between two queries: more often, and what is measured is mostly the server answering them."""
SAMPLED_DEVICES = 4
SLACK_SECONDS = 5.0
DISORDER_SECONDS = 1.0
"""``time.max_out_of_orderness`` of the measured job: a window closes that long after its end."""
WARM_SECONDS = 20
"""What is left out at the beginning: the job starts and catches up."""
FLEET_BEHIND_SECONDS = 1.0
_READY_SECONDS = 120
MANY_SERIES = 100_000


@dataclass
class FleetReport:
    """What a fleet did, known when it has ended."""

    messages: int = 0
    largest_delay: float = 0.0

    def row(self) -> Row:
        """Whether the fleet kept its rate: figures of a machine that was too busy for it say nothing."""
        target = Target(FLEET_BEHIND_SECONDS, at_most=True)
        return Row(
            "how far the fleet was behind its rate", self.largest_delay, "s", target, f"{self.messages:,} messages"
        )


@contextmanager
def reporting(
    servers: Servers,
    topic: str,
    *,
    rate: float,
    seconds: float,
    devices: int = 1000,
    acknowledged: Path | None = None,
) -> Iterator[FleetReport]:
    """A fleet that reports in a process of its own; ended and waited for at the end.

    Raises:
        JobError: It failed.
    """
    words = ["--bootstrap-servers", servers.bootstrap_servers, "--topic", topic, "--rate", f"{rate:g}"]
    words += ["--seconds", f"{seconds:g}", "--devices", str(devices)]
    words += [] if acknowledged is None else ["--acknowledged", str(acknowledged)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.streaming.produce", *words], cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    report = FleetReport()
    try:
        yield report
    finally:
        process.terminate()
        output, errors = process.communicate()
    if process.returncode:
        raise JobError(f"the fleet failed:\n{errors}")
    figures = json.loads(output)
    report.messages, report.largest_delay = figures["messages"], figures["largest_delay"]


@dataclass
class PointWatch:
    """Notes when points of some devices are first seen in InfluxDB, each by its device, type and time.

    A look goes back to the newest point of the series that is furthest behind, and a little: cheap, however long it
    takes.  What came out of order is found by :meth:`look_at_all`, too late rather than never.

    Args:
        servers: With InfluxDB.
        measurement: Which.
        devices: Which.
        since: The first event time of interest, seconds since 1970.
        window_seconds: Of windows.
    """

    servers: Servers
    measurement: str
    devices: Sequence[str]
    since: float
    window_seconds: int | None = None
    seen: dict[tuple[str, str, float], float] = field(default_factory=dict)
    _newest: dict[tuple[str, str], float] = field(default_factory=dict)

    def __call__(self) -> None:
        """Looks once."""
        self._look(min(self._newest.values(), default=self.since) - SLACK_SECONDS)

    def look_at_all(self) -> None:
        """Looks for every point."""
        self._look(self.since)

    def _look(self, start: float) -> None:
        database = self.servers.influxdb
        if database is None:
            return
        moment = datetime.fromtimestamp(max(start, self.since), UTC).isoformat()
        points = list(query_points(database, self.measurement, self.devices, self.window_seconds, moment))
        now = time.time()
        for point in points:
            series = point["device_id"], point["measurement_type"]
            event = datetime.fromisoformat(point["_time"]).timestamp()
            self.seen.setdefault((*series, event), now)
            self._newest[series] = max(event, self._newest.get(series, 0.0))

    def delays(self, since: float, added_seconds: float = 0.0) -> list[float]:
        """For each point of an event time from ``since`` on, how long after it (and ``added_seconds``) it was seen."""
        return [seen - event - added_seconds for (*_, event), seen in self.seen.items() if event >= since]


def latency(servers: Servers, telebeam: Sequence[str], folder: Path, *, rate: float, minutes: float) -> list[Row]:
    """From an event to its file, its point and its window, at a steady rate."""
    topic = "latency"
    servers.kafka.create_topic(topic, PARTITIONS)
    kafka = {"bootstrap_servers": servers.bootstrap_servers, "topics": [topic], "readers": READERS}
    job = StreamJob(
        telebeam, folder / "latency", kafka, sinks=servers.influx_settings(),
        time={"max_out_of_orderness": f"{DISORDER_SECONDS:g}s"}, environment=servers.environment,
    )  # fmt: skip
    devices = Fleet().devices[:: 1000 // SAMPLED_DEVICES][:SAMPLED_DEVICES]
    files, closed = LakeWatch(job.lake), LakeWatch(job.lake, ("windows",))
    seconds = minutes * 60 + WARM_SECONDS
    with job.running() as process, reporting(servers, topic, rate=rate, seconds=seconds + _READY_SECONDS) as fleet:
        wait_for_files(job, process, files)
        since = time.time() + WARM_SECONDS
        points = PointWatch(servers, READINGS, devices, since)
        windows = PointWatch(servers, WINDOWS, Fleet().devices[::50], since, 60)
        watches = [Repeating(POLL_SECONDS, watch) for watch in (files, closed)]
        watches += [Repeating(QUERY_SECONDS, watch) for watch in (points, windows)]
        for watch in watches:
            watch.start()
        try:
            follow(job, process, seconds)
        finally:
            for watch in watches:
                watch.finish()
        points.look_at_all()
    filed = file_delays(files, since)
    return [
        _delay_row("event → readings file in the lake, p95", filed, Target(5, 2, at_most=True)),
        _delay_row(
            "event → point in InfluxDB, p95",
            points.delays(since),
            Target(1, 0.5, at_most=True),
            _readings_filed(files, devices, since),
        ),
        _delay_row(
            f"window closed ({DISORDER_SECONDS:g} s after its end) → in InfluxDB, p95",
            windows.delays(since, 60 + DISORDER_SECONDS),
            Target(2, 1, at_most=True),
        ),
        _delay_row(
            f"window closed ({DISORDER_SECONDS:g} s after its end) → its file in the lake, p95",
            window_file_delays(closed, since),
            Target(2, at_most=True),
        ),
        Row("readings files a partition and minute", _files_a_minute(files, since), "", Target(12.5, at_most=True)),
        fleet.row(),
    ]


def wait_for_files(job: StreamJob, process: subprocess.Popen[bytes], files: LakeWatch) -> None:
    """Waits until the job files.

    Raises:
        JobError: It ends, or does not within two minutes.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while not files.seen:
        job.check_alive(process)
        if time.monotonic() > deadline:
            raise JobError(f"the job filed nothing in {_READY_SECONDS} s:\n{job.last_words()}")
        time.sleep(POLL_SECONDS)
        files()


def follow(
    job: StreamJob, process: subprocess.Popen[bytes], seconds: float, each_second: Callable[[], None] = lambda: None
) -> None:
    """Lets it run for a time, looking after it.

    Raises:
        JobError: It has ended.
    """
    begun = time.monotonic()
    looks = 0
    while (passed := time.monotonic() - begun) < seconds:
        job.check_alive(process)
        each_second()
        looks += 1
        time.sleep(max(0.0, looks - passed))


def _delay_row(name: str, delays: Sequence[float], target: Target, expected: int | None = None) -> Row:
    """What never came is no delay: where it is known how much was expected, the note says it."""
    if not len(delays):
        return Row(name, None, "s", target, "nothing was seen")
    figures = percentiles(delays)
    note = f"p50 {figures['p50']:.2f} s, largest {figures['max']:.2f} s, of {len(delays):,}"
    note += "" if expected is None else f" (the lake has {expected:,})"
    return Row(name, figures["p95"], "s", target, note, {**figures, "samples": len(delays)})


def file_delays(files: LakeWatch, since: float) -> list[float]:
    """For each reading the time from its event to its file, as far as the file is still there."""
    delays: list[np.ndarray[Any, Any]] = []
    for file in files.files():
        times = pq.ParquetFile(file.path).read(["timestamp"])["timestamp"].to_numpy().astype("int64") / 1e6
        delays.append(file.seen - times[times >= since])
    return list(np.concatenate(delays)) if delays else []


def window_file_delays(files: LakeWatch, since: float) -> list[float]:
    """For each file of windows that start from a time on, how long after they closed it was seen."""
    delays = []
    for file in files.files():
        table = pq.ParquetFile(file.path).read(["window_start", "window_end"])
        starts, ends = (table[name].to_numpy().astype("int64") / 1e6 for name in table.column_names)
        if (starts >= since).any():
            delays.append(file.seen - ends.max() - DISORDER_SECONDS)
    return delays


def _readings_filed(files: LakeWatch, devices: Sequence[str], since: float) -> int:
    """How many readings of some devices the lake has from a time on."""
    wanted = [("device_id", "in", list(devices)), ("timestamp", ">=", datetime.fromtimestamp(since, UTC))]
    return sum(pq.read_table(file.path, columns=["device_id"], filters=wanted).num_rows for file in files.files())


def _files_a_minute(files: LakeWatch, since: float) -> float | None:
    """The partition that has most."""
    per_partition: dict[str, list[float]] = {}
    for path, seen in files.seen.items():
        if seen >= since:
            per_partition.setdefault(path.name.partition("-o")[0], []).append(seen)
    rates = [60 * (len(seen) - 1) / (max(seen) - min(seen)) for seen in per_partition.values() if len(seen) > 1]
    return max(rates, default=None)


def memory(servers: Servers, telebeam: Sequence[str], folder: Path, *, rate: float, minutes: float) -> list[Row]:
    """What the job and Prism hold over some minutes at a steady rate."""
    topic = "memory"
    servers.kafka.create_topic(topic, PARTITIONS)
    kafka = {"bootstrap_servers": servers.bootstrap_servers, "topics": [topic], "readers": READERS}
    job = StreamJob(telebeam, folder / "memory", kafka)
    files = LakeWatch(job.lake)
    with job.running() as process, reporting(servers, topic, rate=rate, seconds=minutes * 60 + _READY_SECONDS) as fleet:
        wait_for_files(job, process, files)
        watch = MemoryWatch(process.pid)
        follow(job, process, minutes * 60, watch)
    (folder / "memory.json").write_text(json.dumps(watch.samples), encoding="utf-8")
    rows = [fleet.row()]
    for kind in ("job", "prism"):
        slope = watch.slope(kind, 60)
        known = not np.isnan(slope)
        note = f"peak {watch.peak(kind):.0f} MB; {len(watch.samples)} samples over {minutes:g} minutes"
        name = f"memory of {'the job' if kind == 'job' else 'Prism'} at {rate:,.0f} readings/s"
        details = {"peak_megabytes": watch.peak(kind), "load": os.getloadavg()}
        rows.append(Row(name, slope if known else None, "MB/min", Target(1, at_most=True), note, details))
    return rows


def series(servers: Servers, telebeam: Sequence[str], folder: Path, *, rate: float, minutes: float) -> list[Row]:
    """What the job and Prism hold that score very many series."""
    topic = "series"
    servers.kafka.create_topic(topic, PARTITIONS)
    kafka = {"bootstrap_servers": servers.bootstrap_servers, "topics": [topic], "readers": READERS}
    job = StreamJob(telebeam, folder / "series", kafka, anomalies=[{"detector": "rolling_zscore"}])
    files, devices = LakeWatch(job.lake), MANY_SERIES // len(SENSORS)
    seconds = minutes * 60 + _READY_SECONDS
    with (
        job.running() as process,
        reporting(servers, topic, rate=rate, seconds=seconds, devices=devices) as report,
    ):
        watch = MemoryWatch(process.pid)
        wait_for_files(job, process, files)
        follow(job, process, minutes * 60, watch)
    scored = duckdb.sql(f"select count(distinct (device_id, sensor_type)) from '{job.lake}/scores/**/*.parquet'")
    found = scored.fetchall()[0][0]
    if found < MANY_SERIES:
        raise JobError(f"scores of {found:,} series were filed in {minutes:g} minutes, expected {MANY_SERIES:,}")
    return [
        report.row(),
        *(
            Row(
                f"peak memory of {name} that scores {MANY_SERIES:,} series",
                watch.peak(kind),
                "MB",
                Target(1000, at_most=True),
                f"rolling_zscore, {rate:,.0f} readings/s, {len(watch.samples)} samples over {minutes:g} minutes",
            )
            for kind, name in (("job", "the job"), ("prism", "Prism"))
        ),
    ]
