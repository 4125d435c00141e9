"""Readings a second: a full topic, read to its end by the job, by a bare consumer and by per-element Beam.

All rates are of the same kind: what was done after the first portion of each partition, over the time between the end
of the first portion and the end of the last.  So nobody's start counts, which is told apart.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import run
from benchmarks.report import Row, Target
from benchmarks.streaming.load import fill, now_ms
from benchmarks.streaming.messages import Fleet
from benchmarks.streaming.servers import PARTITIONS, Servers
from benchmarks.streaming.stream_job import StreamJob
from benchmarks.streaming.watch import Filed, LakeWatch, MemoryWatch, Repeating
from telebeam.pipelines.runtimes.prism import prism_binary
from telebeam.transforms.errors import JobError

PEERS = Path(__file__).resolve().parent / "peers"
EVENTS_PER_SECOND = 20_000
"""How fast the events of a full topic had come: two million are 100 s, so two or three windows a series."""
READERS = 2
JOB_SECONDS = 900
TEXTBOOK_MESSAGES = 200_000
"""The per-element pipeline gets fewer: rates are compared, and all of them would take it minutes."""
_UNIT = re.compile(r"-p(\d+)-o(\d+)-")


@dataclass(frozen=True)
class Rate:
    """What one run did: ``per_second`` readings, and what explains it."""

    per_second: float
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Topic:
    """A full topic."""

    name: str
    fleet: Fleet
    readings: int


class Throughput:
    """Runs everybody over full topics, in turns.

    Args:
        servers: With a broker.
        telebeam: The command that is measured.
        folder: Scratch space.
        repeats: How often each runs.
    """

    def __init__(self, servers: Servers, telebeam: Sequence[str], folder: Path, repeats: int) -> None:
        self._servers = servers
        self._telebeam = telebeam
        self._folder = folder
        self._repeats = repeats
        self._runs = 0

    def topic(self, name: str, readings: int, per_message: int = 1, a_second: int = EVENTS_PER_SECOND) -> Topic:
        """Makes and fills a topic whose last event was just now; so many events had come a second."""
        fleet = Fleet(readings=per_message)
        self._servers.kafka.create_topic(name, PARTITIONS)
        begun = time.monotonic()
        filled = fill(self._servers.bootstrap_servers, name, fleet.backlog(readings, a_second, now_ms()))
        seconds = time.monotonic() - begun
        print(
            f"  {name}: {filled.messages:,} messages, {filled.bytes / 1e6:.0f} MB in {seconds:.0f} s", file=sys.stderr
        )
        return Topic(name, fleet, filled.messages * per_message)

    def in_turns(self, **sides: Callable[[], Rate]) -> dict[str, Rate]:
        """The median run of each side; all run once before any runs again."""
        found: dict[str, list[Rate]] = {name: [] for name in sides}
        for turn in range(self._repeats):
            for name, side in sides.items():
                rate = side()
                found[name].append(rate)
                print(f"  {name} {turn + 1}/{self._repeats}: {rate.per_second:,.0f} readings/s", file=sys.stderr)
        return {name: _median(rates) for name, rates in found.items()}

    def limit(self, topic: Topic, *options: str) -> Rate:
        """The bare consumer that parses and keeps nothing."""
        # As many readings a poll, whatever a message holds: or one poll would be all.
        a_poll = max(1, 10_000 // topic.fleet.readings)
        said = self._peer("limit.py", topic, "--poll-messages", a_poll, *options)
        return Rate(max(said["readings"], said["messages"]) / said["seconds"], said)

    def textbook(self, topic: Topic) -> Rate:
        """Per-element Beam on Prism."""
        output = self.next_folder() / "textbook"
        said = self._peer("textbook_beam.py", topic, "--output", output, "--prism_location", prism_binary())
        return Rate(said["after_first"] / said["seconds"], said)

    def _peer(self, program: str, topic: Topic, *options: Any) -> dict[str, Any]:
        where = ["--bootstrap-servers", self._servers.bootstrap_servers, "--topic", topic.name]
        usage = run([sys.executable, PEERS / program, *where, *map(str, options)], self._folder)
        said: dict[str, Any] = json.loads(usage.output.splitlines()[-1])
        return {**said, "wall_seconds": round(usage.wall_seconds, 3), "cpu_seconds": round(usage.cpu_seconds, 3)}

    def telebeam(self, topic: Topic) -> Rate:
        """The streaming job, into a lake of its own."""
        kafka = {
            "bootstrap_servers": self._servers.bootstrap_servers, "topics": [topic.name], "start": "earliest",
            "until": "end", "readers": READERS,
        }  # fmt: skip
        job = StreamJob(self._telebeam, self.next_folder(), kafka)
        watch = LakeWatch(job.lake, ("readings", "windows"))
        begun = time.time()
        with job.running() as process:
            memory = MemoryWatch(process.pid)
            with Repeating(0.02, watch), Repeating(0.25, memory):
                job.wait(process, JOB_SECONDS)
        return _rate_of_job(job, topic, watch.files(), begun, memory)

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address."""
        return self._servers.bootstrap_servers

    def next_folder(self) -> Path:
        """A new folder for a run."""
        self._runs += 1
        folder = self._folder / f"run-{self._runs}"
        folder.mkdir()
        return folder


def _rate_of_job(job: StreamJob, topic: Topic, files: list[Filed], begun: float, memory: MemoryWatch) -> Rate:
    """From the files that appeared; a job that leaves rows out is fast for no good reason."""
    readings = [file for file in files if file.path.is_relative_to(job.lake / "readings")]
    total = sum(file.rows for file in readings)
    if total != topic.readings:
        raise JobError(f"the lake has {total} of {topic.readings} readings of {topic.name}:\n{job.last_words()}")
    units: dict[int, dict[int, list[Filed]]] = {}
    for file in readings:
        found = _UNIT.search(file.path.name)
        if found is None:
            raise JobError(f"{file.path.name} names no partition and offset")
        units.setdefault(int(found[1]), {}).setdefault(int(found[2]), []).append(file)
    # The first unit of each partition was being read while nothing had been filed yet.
    later = sum(file.rows for parts in units.values() for offset in sorted(parts)[1:] for file in parts[offset])
    first, last = readings[0].seen, readings[-1].seen
    if not later or last == first:
        raise JobError(f"{topic.readings} readings are one unit a partition: too few to measure", "raise --messages")
    ended = max(file.seen for file in files)
    details = {
        "readings": total, "units": sum(map(len, units.values())), "files": len(files),
        "start_seconds": round(first - begun, 2), "seconds": round(last - first, 3),
        "windows_after_seconds": round(ended - last, 3), "whole_seconds": round(ended - begun, 2),
        "whole_per_second": round(total / (ended - begun)), "job_megabytes": round(memory.peak("job")),
        "prism_megabytes": round(memory.peak("prism")), "balance": job.result().get("balance"),
    }  # fmt: skip
    return Rate(later / (last - first), details)


def _median(rates: list[Rate]) -> Rate:
    middle = statistics.median_low(rate.per_second for rate in rates)
    chosen = next(rate for rate in rates if rate.per_second == middle)
    return Rate(middle, {**chosen.details, "all": [round(rate.per_second) for rate in rates]})


def one_reading(bench: Throughput, readings: int) -> list[Row]:
    """One reading a message, against the bare consumer and per-element Beam."""
    full = bench.topic("one-reading", readings)
    some = bench.topic("one-reading-part", min(TEXTBOOK_MESSAGES, readings))
    rates = bench.in_turns(
        limit=lambda: bench.limit(full),
        telebeam=lambda: bench.telebeam(full),
        textbook=lambda: bench.textbook(some),
    )
    return [
        against("one reading a message: against a bare consumer with orjson", rates, "limit", Target(0.3, 0.6)),
        against("the same against per-element Beam on Prism", rates, "textbook", Target(10, 25)),
        _start("start of the streaming job", rates["telebeam"]),
    ]


def hundred_readings(bench: Throughput, readings: int) -> list[Row]:
    """A hundred readings a message."""
    full = bench.topic("hundred-readings", readings, per_message=100)
    rates = bench.in_turns(limit=lambda: bench.limit(full), telebeam=lambda: bench.telebeam(full))
    rate = rates["telebeam"]
    per_second = Row(
        "100 readings a message", rate.per_second / 1e3, "k/s", Target(500, 1000), "readings/s", rate.details
    )
    return [per_second, against("the same against the bare consumer", rates, "limit")]


def against(name: str, rates: dict[str, Rate], peer: str, target: Target | None = None) -> Row:
    """How many times a peer's rate ours is."""
    ours, other = rates["telebeam"], rates[peer]
    note = f"{ours.per_second / 1e3:.0f} k/s and {other.per_second / 1e3:.0f} k/s"
    details = {"telebeam": ours.details, peer: other.details}
    return Row(name, ours.per_second / other.per_second, target=target, note=note, details=details)


def _start(name: str, rate: Rate) -> Row:
    return Row(name, rate.details["start_seconds"], "s", note="from its start to its first file")
