"""Runs a simulation into files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from telebeam.pipelines.simulation.fleet import Fleet, build_fleet
from telebeam.pipelines.simulation.generation import CHUNK_ROWS, TEXT_CHUNK_ROWS, generate
from telebeam.pipelines.simulation.pace import Pace
from telebeam.pipelines.simulation.rows import Rows
from telebeam.pipelines.simulation.spec import SimulationSpec
from telebeam.pipelines.simulation.tally import Tally
from telebeam.pipelines.simulation.truth import Truth, as_lines
from telebeam.pipelines.simulation.writers import Target, Writer, parse_target, writer_factory
from telebeam.transforms.errors import ConfigurationError, SinkError
from telebeam.transforms.extras import needing

# Part of a manifest: another number, other bytes from the same settings.
GENERATION = 1

_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class SimulationReport:
    """What a simulation wrote."""

    readings: int
    """Values, those in malformed records included."""
    records: int
    """Lines of text, or rows of an archive."""
    faults: dict[str, int]
    """Fault → how many labels; an episode is one."""
    expected: dict[str, int]
    """The balance of a job with the default quality rules and no ``max_age_days``: ``in``, ``readings``, ``rejects``.

    A malformed record is one reject, a record in the future one for each of its values, a missing value one.  The
    readings include those of duplicates.
    """
    paths: tuple[Path, ...]
    """The data."""
    truth: Path
    """The labels."""
    manifest: Path
    """The settings and these counts."""
    bytes: int
    """The data's size."""
    seconds: float
    """How long it took."""
    acknowledged: int | None = None
    """Records that Kafka's brokers have acknowledged; null for files."""

    def as_dict(self) -> dict[str, Any]:
        """The report in types that JSON knows."""
        plain = {**self.__dict__, "paths": [str(path) for path in self.paths]}
        return {**plain, "truth": str(self.truth), "manifest": str(self.manifest)}


def planned_readings(spec: SimulationSpec) -> int:
    """How many readings a simulation has without dropouts and duplicates.

    >>> from telebeam.pipelines.simulation.spec import simulation_spec
    >>> planned_readings(simulation_spec(profile="home", interval="1m", duration="1h"))
    1620
    """
    return build_fleet(spec).rows * spec.ticks


def simulate(
    spec: SimulationSpec,
    target: str,
    progress: Callable[[int], None] | None = None,
    *,
    pace: Pace | None = None,
    acknowledged: Path | None = None,
) -> SimulationReport:
    """Writes a simulation, its labels and its manifest; the same settings write the same bytes.

    The files are made under another name and take theirs when all are complete.

    Args:
        spec: What is simulated.
        target: ``jsonl:PATH``, ``csv:PATH`` (``.gz`` and ``.zst`` are compressed), ``parquet:FOLDER`` or
            ``kafka:SERVERS/TOPIC``.
        progress: Gets the number of readings written since its last call.
        pace: How fast a topic is written; as fast as it goes unless given.
        acknowledged: Gets each message that a topic has taken, as an Arrow IPC stream.

    Raises:
        ConfigurationError: A target that can't be written, or one that holds something else.
        SinkError: The disk does not take the files, or the brokers not the messages.
    """
    began = time.monotonic()
    destination = parse_target(target)
    if destination.kind == "kafka":
        return _simulate_to_kafka(spec, destination, pace or Pace(), acknowledged, progress or (lambda readings: None))
    if pace is not None or acknowledged is not None:
        raise ConfigurationError(
            f"a pace and a file of what was acknowledged go with kafka:SERVERS/TOPIC, not {target!r}"
        )
    if spec.files is not None and destination.kind != "parquet":
        raise ConfigurationError(f"files={spec.files} goes with parquet:FOLDER; {target!r} is one file")
    identity = {"generation": GENERATION, "target": destination.kind, "settings": spec.model_dump(mode="json")}
    try:
        _refuse_other_contents(destination, identity)
        with _staging(destination) as folder:
            run = _Run(spec, destination, folder)
            run.write(progress or (lambda readings: None))
            manifest = {**identity, **run.tally.counts(), "files": run.names}
            _publish(destination, folder, run.names, manifest)
    except OSError as error:
        raise SinkError(f"{target!r} can't be written: {error}", "is there space, and may you write there?") from error
    data = [destination.path / name if destination.kind == "parquet" else destination.path for name in run.names]
    return SimulationReport(
        **run.tally.counts(),
        paths=tuple(data),
        truth=destination.truth,
        manifest=destination.manifest,
        bytes=sum(path.stat().st_size for path in data),
        seconds=time.monotonic() - began,
    )


def _simulate_to_kafka(
    spec: SimulationSpec, target: Target, pace: Pace, acknowledged: Path | None, progress: Callable[[int], None]
) -> SimulationReport:
    with needing("kafka", "writing to Kafka"):
        from telebeam.pipelines.simulation.kafka import KafkaRun
    if spec.files is not None:
        raise ConfigurationError(f"files={spec.files} goes with parquet:FOLDER, not with a topic")
    began = time.monotonic()
    run = KafkaRun(spec, target, pace, acknowledged)
    try:
        taken = run.run(progress)
        counts = run.tally.counts()
        identity = {"generation": GENERATION, "target": "kafka", "settings": run.spec.model_dump(mode="json")}
        text = json.dumps({**identity, **counts, "acknowledged": taken}, indent=2)
        target.manifest.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(
            f"{target.truth} can't be written: {error}", "is there space, and may you write there?"
        ) from error
    return SimulationReport(
        **counts,
        paths=(),
        truth=target.truth,
        manifest=target.manifest,
        bytes=run.bytes,
        seconds=time.monotonic() - began,
        acknowledged=taken,
    )


class _Run:
    """Writes all files of one simulation into a folder."""

    def __init__(self, spec: SimulationSpec, target: Target, folder: Path) -> None:
        self._spec, self._target, self._folder = spec, target, folder
        self._fleet = build_fleet(spec, records=target.kind == "jsonl")
        self._open = writer_factory(target, self._fleet)
        self._truth = Truth(spec, self._fleet, target.malformed)
        self.tally = Tally()
        self._cuts = _cuts(spec, self._fleet) if target.kind == "parquet" else [(target.path.name, 0)]
        self._chunk_rows = CHUNK_ROWS if target.kind == "parquet" else TEXT_CHUNK_ROWS
        self._file = 0
        self._offset = 0
        self._writer: Writer | None = None
        self.names: list[str] = []

    def write(self, progress: Callable[[int], None]) -> None:
        with (self._folder / self._target.truth.name).open("wb") as labels:
            try:
                for chunk in generate(self._spec, self._fleet, self._chunk_rows):
                    self._truth.add_episodes(chunk.episodes)
                    for rows in self._by_file(chunk.rows):
                        self._append(rows)
                        progress(len(rows))
                    found = self._truth.take()
                    self.tally.faults.update(label.fault for label in found)
                    labels.write(as_lines(found))
            finally:
                self._close()

    def _by_file(self, rows: Rows) -> Iterator[Rows]:
        """The readings cut where another file begins; that file is then the current one."""
        while len(rows):
            later = self._cuts[self._file + 1][1] if self._file + 1 < len(self._cuts) else None
            end = len(rows) if later is None else int(np.searchsorted(rows.key, later, side="left"))
            if end:
                yield rows.take(slice(0, end))
            rows = rows.take(slice(end, None))
            if len(rows):
                self._close()
                self._file += 1

    def _append(self, rows: Rows) -> None:
        name = self._cuts[self._file][0]
        if self._writer is None:
            self._writer = self._open(self._folder / name)
            self._offset = 0
            self.names.append(name)
        self._writer.write(rows)
        self._truth.add_rows(rows, name, self._offset)
        self._offset += self.tally.add(rows)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _cuts(spec: SimulationSpec, fleet: Fleet) -> list[tuple[str, int]]:
    """The files of an archive: name and the first position in it, by the clock of a fleet without faults."""
    length = spec.ticks * spec.interval_ms
    if spec.files is not None:
        begins = [length * number // spec.files for number in range(spec.files)]
        return [(f"readings-{number:05d}.parquet", _position(spec, fleet, at)) for number, at in enumerate(begins)]
    hours = range(spec.start_ms // _HOUR_MS * _HOUR_MS, spec.start_ms + length, _HOUR_MS)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    names = [f"readings-{epoch + timedelta(milliseconds=hour):%Y-%m-%dT%H}.parquet" for hour in hours]
    return [
        (name, _position(spec, fleet, max(0, hour - spec.start_ms))) for name, hour in zip(names, hours, strict=True)
    ]


def _position(spec: SimulationSpec, fleet: Fleet, after_ms: int) -> int:
    """The first position that is not before an instant."""
    tick, rest = divmod(after_ms, spec.interval_ms)
    return tick * fleet.rows + int(fleet.first_row[np.searchsorted(fleet.phase_ms, rest, side="left")])


def _refuse_other_contents(target: Target, identity: dict[str, Any]) -> None:
    if target.kind == "parquet":
        if target.path.exists() and not target.path.is_dir():
            raise ConfigurationError(f"{target.path} is a file; expected a folder", "name another path")
        held = {entry.name for entry in target.path.iterdir()} if target.path.is_dir() else set()
    else:
        if target.path.is_dir():
            raise ConfigurationError(f"{target.path} is a folder; expected a file", "name a file in it")
        held = {target.path.name} if target.path.exists() and target.path.stat().st_size else set()
    found = _manifest(target.manifest)
    same = all(found.get(key) == value for key, value in identity.items())
    foreign = held if not same else held - set(found.get("files", ()))
    if foreign:
        raise ConfigurationError(
            f"{target.path} holds something else already ({min(foreign)})",
            "only the same simulation may be repeated there; name another path or remove it",
        )


def _manifest(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


@contextmanager
def _staging(target: Target) -> Iterator[Path]:
    """A new folder on the target's disk that is gone afterwards."""
    target.path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.path.name}.", suffix=".partial", dir=target.path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(target: Target, folder: Path, names: list[str], manifest: dict[str, Any]) -> None:
    """Gives the files their names; the manifest first, so that a run that is cut off here can be repeated."""
    written = folder / target.manifest.name
    written.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(written, target.manifest)
    os.replace(folder / target.truth.name, target.truth)
    place = target.path if target.kind == "parquet" else target.path.parent
    place.mkdir(exist_ok=True)
    for name in names:
        os.replace(folder / name, place / name)
