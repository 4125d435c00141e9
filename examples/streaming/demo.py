"""The streaming job at work: a broker, a database, a fleet of 20,000 readings a second, and what became of them.

    python -m examples.streaming.demo [--seconds 120] [--rate 20000] [--keep FOLDER]

Everything runs on this machine and is stopped and removed at the end, also on Ctrl-C; with ``--keep`` the lake and the
job's log stay.  The first run fetches or builds the servers.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.streaming.live import PointWatch, file_delays, wait_for_files
from benchmarks.streaming.servers import PARTITIONS, Servers, running_servers
from benchmarks.streaming.stream_job import StreamJob
from benchmarks.streaming.watch import LakeWatch, MemoryWatch, Repeating, percentiles
from telebeam.transforms.errors import JobError, TelebeamError
from tests.checker import check, influx_matches, read_acknowledged, windows_match
from tests.checking.influxdb import READINGS, WINDOWS

TOPIC = "iot-telemetry"
ACKNOWLEDGED = "acknowledged.arrow"
DEVICES = 1000
FAULTS = "out_of_range=0.002,malformed=0.001,missing=0.001,future=0.0005"
SAMPLED, WINDOWS_SAMPLED = 4, 20
"""Devices whose points and windows are looked for in InfluxDB."""
CATCH_UP_SECONDS = 10
"""What is left out of the delays: the job takes what came while it started."""
DISORDER_SECONDS = 2
SETTLE_SECONDS = 300
Process = subprocess.Popen[bytes]
_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72


@dataclass
class Lag:
    """How many messages the broker has that are not yet in the lake, seen from the broker."""

    servers: Servers
    group: str
    times: list[float] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = {"bootstrap.servers": self.servers.bootstrap_servers, "group.id": self.group}
        # Without complaints: at the end the broker goes first, and nobody minds.
        self._consumer = Consumer({**settings, "enable.auto.commit": False, "log_level": 0})

    def __call__(self) -> None:
        """Looks once."""
        parts = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        try:
            ends = [self._consumer.get_watermark_offsets(part, timeout=5)[1] for part in parts]
            done = [max(0, part.offset) for part in self._consumer.committed(parts, timeout=5)]
        except KafkaException:
            return  # busy for a moment: one look less
        self.times.append(time.monotonic())
        self.seen.append(sum(ends) - sum(done))
        self.sent.append(sum(ends))

    @property
    def seconds(self) -> float:
        """How long was looked."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    @property
    def rate(self) -> float:
        """Messages a second that reached the broker meanwhile."""
        return (self.sent[-1] - self.sent[0]) / self.seconds if self.seconds else 0.0

    def picture(self, height: int = 6) -> list[str]:
        """The lag over time: a column a moment, as many of them as fit in a line, each its moment's largest."""
        columns = [max(part) for part in _split(self.seen, _WIDTH)]
        largest = max(columns, default=0) or 1
        lines = []
        for row in reversed(range(height)):
            cells = (min(8, max(0, round((value / largest * height - row) * 8))) for value in columns)
            label = f"{largest:>9,}" if row == height - 1 else " " * 9
            lines.append(f"{label} │{''.join(_BARS[cell] for cell in cells)}")
        return [*lines, f"{0:>9} └{'─' * len(columns)} {self.seconds:.0f} s"]


def _split(values: list[int], parts: int) -> Iterator[list[int]]:
    edges = [len(values) * n // min(parts, len(values)) for n in range(min(parts, len(values)) + 1)] if values else []
    return (values[begin:end] for begin, end in pairwise(edges))


@dataclass
class Seen:
    """What was seen while the job ran."""

    lag: Lag
    files: LakeWatch
    points: PointWatch
    windows: PointWatch
    memory: MemoryWatch
    since: float
    stop_seconds: float = 0.0


@contextmanager
def fleet(telebeam: list[str], servers: Servers, folder: Path, *, seconds: float, rate: float) -> Iterator[Process]:
    """A simulated fleet that reports now, for a time; it is ended where that is not waited for."""
    where = ["--to", f"kafka:{servers.bootstrap_servers}/{TOPIC}", "--acknowledged", str(folder / ACKNOWLEDGED)]
    what = ["--devices", str(DEVICES), "--duration", f"{seconds:g}s", "--faults", FAULTS, "--seed", "7"]
    with (folder / "fleet.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a list, no shell
            [*telebeam, "simulate", *what, "--live", "--rate", f"{rate:g}", *where], cwd=folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    if process.returncode:
        raise JobError(f"the simulator ended with {process.returncode}: {(folder / 'fleet.log').read_text()[-500:]}")


def run(servers: Servers, job: StreamJob, *, seconds: float, rate: float) -> Seen:
    """Lets a fleet report and the job follow it; ends the job; lets it close what is open."""
    files = LakeWatch(job.lake)
    began = time.time()
    _say(f"the job starts, and {DEVICES:,} devices begin to report {rate:,.0f} readings/s for {seconds:.0f} s")
    with job.running("--status-every", "10s") as process:
        with fleet(list(job.telebeam), servers, job.folder, seconds=seconds, rate=rate) as reporting:
            wait_for_files(job, process, files)
            first = files.files()[0]
            _say(f"first file after {first.seen - began:.1f} s")
            devices = pq.read_table(first.path, columns=["device_id"])["device_id"].unique().to_pylist()
            since = time.time() + CATCH_UP_SECONDS
            seen = Seen(
                Lag(servers, job.name), files, PointWatch(servers, READINGS, devices[:SAMPLED], since),
                PointWatch(servers, WINDOWS, devices[:WINDOWS_SAMPLED], since - 60, 60),
                MemoryWatch(process.pid), since,
            )  # fmt: skip
            with ExitStack() as stack:
                for watch in (seen.files, seen.points, seen.windows):
                    stack.enter_context(Repeating(0.1, watch))
                while reporting.poll() is None:
                    job.check_alive(process)
                    _each_second(seen)
                    time.sleep(1)
            seen.points.look_at_all()
        _say("the fleet falls silent; the job is told to end")
        seen.stop_seconds = job.stop(process)
    _say("and once more to the topic's end: it goes on where it stopped and closes the last windows")
    with job.running("--set", "source.kafka.until=end") as process:
        job.wait(process, SETTLE_SECONDS)
    return seen


def _each_second(seen: Seen) -> None:
    seen.lag()
    seen.memory()
    if sys.stderr.isatty() and seen.lag.seen:
        sys.stderr.write(f"\r  sent {seen.lag.sent[-1]:,}, of it not yet in the lake {seen.lag.seen[-1]:,}   ")


def report(servers: Servers, job: StreamJob, seen: Seen) -> bool:
    """Prints what happened, and whether nothing is wrong."""
    _say("checking: every acknowledged message against the lake, every window against DuckDB, InfluxDB by samples")
    verdict = check(read_acknowledged(job.folder / ACKNOWLEDGED), job.lake)
    windows = windows_match(job.lake)
    database = servers.influxdb
    influx = influx_matches(database, job.lake, devices=seen.points.devices) if database is not None else None
    filed, pointed = percentiles(file_delays(seen.files, seen.since)), percentiles(seen.points.delays(seen.since))
    closed = percentiles(seen.windows.delays(seen.since - 60, 60 + DISORDER_SECONDS))
    files = list(job.lake.glob("readings/**/*.parquet"))
    rows = {
        "messages acknowledged": f"{verdict.messages:,}  (some {seen.lag.rate:,.0f} a second)",
        "in the lake": f"{verdict.readings:,} readings in {len(files)} files, and {verdict.rejects:,} rejects",
        "rejects": ", ".join(f"{reason} {count:,}" for reason, count in verdict.reasons.items()) or "none",
        "event → file in the lake": _delays(filed),
        "event → point in InfluxDB": _delays(pointed),
        "window closed → in InfluxDB": _delays(closed),
        "memory": f"job {seen.memory.peak('job'):,.0f} MB, Prism {seen.memory.peak('prism'):,.0f} MB at most",
        "told to end → ended": f"{seen.stop_seconds:.1f} s",
        "checked: messages": f"lost {verdict.lost}, twice {verdict.twice}, invented {verdict.invented}, "
        f"altered {verdict.altered}, misplaced {verdict.misplaced}",
        "checked: windows": str(windows),
        "checked: InfluxDB": str(influx),
    }
    print()
    for name, value in rows.items():
        print(f"  {name:<28} {value}")
    print("\n  messages that are in the broker and not yet in the lake:\n")
    print("\n".join(seen.lag.picture()))
    wrong = [str(found) for found in (verdict, windows, influx) if found is not None and not found.ok]
    print("\n" + ("\n".join(["NOT all right:", *wrong]) if wrong else "  all right"))
    return not wrong


def _delays(figures: dict[str, float]) -> str:
    if figures["p50"] != figures["p50"]:
        return "too short a run to see one"
    return f"p50 {figures['p50']:.2f} s, p95 {figures['p95']:.2f} s"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="telebeam-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _interrupted(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what cleans up is not interrupted
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; 0 if the checker found nothing wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120, help="how long the fleet reports (120)")
    parser.add_argument("--rate", type=float, default=20_000, help="readings a second (20000)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the lake and the logs there")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    telebeam = shutil.which("telebeam", path=str(Path(sys.executable).parent)) or "telebeam"
    try:
        with _work_folder(options.keep) as folder:
            _say("starting Kafka and InfluxDB")
            with running_servers(influxdb=True) as servers:
                return _demo(servers, [telebeam], folder, options.seconds, options.rate)
    except KeyboardInterrupt:
        _say("interrupted; everything is stopped")
        return 130
    except TelebeamError as error:
        _say(str(error))
        return error.exit_code


def _demo(servers: Servers, telebeam: list[str], folder: Path, seconds: float, rate: float) -> int:
    servers.kafka.create_topic(TOPIC, PARTITIONS)
    kafka = {"bootstrap_servers": servers.bootstrap_servers, "topics": [TOPIC], "group_id": "fleet"}
    job = StreamJob(
        telebeam, folder, kafka, sinks=servers.influx_settings(), environment=servers.environment, name="fleet",
        time={"max_out_of_orderness": f"{DISORDER_SECONDS}s"},
    )  # fmt: skip
    seen = run(servers, job, seconds=seconds, rate=rate)
    return 0 if report(servers, job, seen) else 1


if __name__ == "__main__":
    sys.exit(main())
