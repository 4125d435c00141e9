"""The archives that are measured: fleets of the simulator, in Parquet and in JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.process import run
from telebeam.transforms.errors import JobError

INTERVAL = timedelta(seconds=10)
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Archive:
    """Readings on disk: a glob, its kind (``parquet`` or ``jsonl``) and how many readings there are."""

    kind: str
    glob: str
    rows: int


class Fleets:
    """Makes archives of a wanted size, each once.

    Args:
        telebeam: The command that simulates.
        folder: Where archives are kept; what is there from an earlier run is taken as it is.
    """

    def __init__(self, telebeam: list[str], folder: Path) -> None:
        self._telebeam = telebeam
        self._folder = folder

    def archive(self, kind: str, rows: int, devices: int) -> Archive:
        """About so many readings of so many devices that each report every ten seconds: a larger fleet, less time."""
        per_report = self._simulate("parquet", devices=min(devices, 1000), reports=1).rows * max(1, devices // 1000)
        return self._simulate(kind, devices=devices, reports=max(1, round(rows / per_report)))

    def tiny(self, kind: str) -> Archive:
        """So little that a job over it takes the time of its start."""
        return self._simulate(kind, devices=10, reports=1)

    def sample(self, archive: Archive, rows: int) -> Archive:
        """The first readings of an archive, in one file."""
        if archive.rows <= rows:
            return archive
        folder = Path(archive.glob).parent.with_name(f"{Path(archive.glob).parent.name}-first-{rows}")
        folder.mkdir(exist_ok=True)
        target = folder / f"sample.{archive.kind}"
        first = _files(archive)
        if archive.kind == "parquet":
            _first_of_parquet(first, rows, target)
        else:
            with first[0].open("rb") as lines, target.open("wb") as out:
                out.writelines(line for line, _ in zip(lines, range(rows), strict=False))
        return Archive(archive.kind, f"{folder}/*.{archive.kind}", rows)

    def _simulate(self, kind: str, devices: int, reports: int) -> Archive:
        folder = self._folder / f"{kind}-{devices}-devices-{reports}-reports"
        manifest = folder.with_suffix(".json")
        if not manifest.exists():
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / "archive" if kind == "parquet" else folder / "archive" / "fleet.jsonl"
            target.parent.mkdir(exist_ok=True)
            options = {
                "--devices": devices,
                "--interval": _seconds(INTERVAL),
                "--duration": _seconds(INTERVAL * reports),
            }
            words = [str(word) for option in options.items() for word in option]
            run([*self._telebeam, "simulate", *words, "--seed", "1", "--to", f"{kind}:{target}"], folder)
            archive = Archive(kind, f"{folder}/archive/*.{kind}", 0)
            manifest.write_text(json.dumps({"rows": count_rows(archive)}), encoding="utf-8")
        return Archive(kind, f"{folder}/archive/*.{kind}", json.loads(manifest.read_text(encoding="utf-8"))["rows"])


def count_rows(archive: Archive) -> int:
    """How many rows or lines an archive's files hold.

    Raises:
        JobError: There are none.
    """
    if archive.kind == "parquet":
        rows: int = sum(pq.ParquetFile(file).metadata.num_rows for file in _files(archive))
    else:
        rows = sum(_lines(file) for file in _files(archive))
    if not rows:
        raise JobError(f"{archive.glob} holds no readings; expected a simulated fleet")
    return rows


def warm(archive: Archive) -> None:
    """Reads the files once, so that no side of a comparison pays for the disk."""
    for file in _files(archive):
        with file.open("rb") as opened:
            while opened.read(_CHUNK_BYTES):
                pass


def _files(archive: Archive) -> list[Path]:
    pattern = Path(archive.glob)
    return sorted(pattern.parent.glob(pattern.name))


def _lines(file: Path) -> int:
    with file.open("rb") as opened:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: opened.read(_CHUNK_BYTES), b""))


def _first_of_parquet(files: list[Path], rows: int, target: Path) -> None:
    batches: list[pa.RecordBatch] = []
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=65_536):
            batches.append(batch.slice(0, rows))
            rows -= batches[-1].num_rows
            if not rows:
                pq.write_table(pa.Table.from_batches(batches), target, compression="zstd")
                return


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():g}s"
