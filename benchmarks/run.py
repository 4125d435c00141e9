"""The batch job against its peers, on the same machine, the same files and in the same minutes.

    python -m benchmarks.run [--quick] [--json FILE] [--only NAME …]

Every figure is of whole processes, start included.  Both sides of a comparison take turns, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.archives import Archive, Fleets, warm
from benchmarks.process import Usage, median, run
from benchmarks.report import Row, Target, machine, table
from telebeam.transforms.errors import JobError, TelebeamError

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
DEVICES = 1000
# The per-element pipeline gets a part of the same files: all of them would take it a quarter of an hour.
TEXTBOOK_ROWS = 200_000
TARGETS = {
    ("parquet", "textbook"): Target(100, 200),
    ("parquet", "duckdb"): Target(0.33, 0.6),
    ("jsonl", "textbook"): Target(40, 80),
    ("jsonl", "duckdb"): Target(0.25, 0.5),
}


@dataclass(frozen=True)
class Job:
    """One side of a comparison: who works, on what."""

    program: str
    archive: Archive


class Bench:
    """Runs jobs in turns.

    Args:
        telebeam: The command that is measured.
        folder: Scratch space: archives, configurations and outputs.
        rows: How many readings a normal archive has.
        repeats: How often each side runs.
    """

    def __init__(self, telebeam: list[str], folder: Path, rows: int, repeats: int) -> None:
        self.fleets = Fleets(telebeam, folder / "archives")
        self.rows = rows
        self._telebeam = telebeam
        self._folder = folder
        self._repeats = repeats

    def in_turns(self, **jobs: Job) -> dict[str, Usage]:
        """The median usage of each job; all run once before any runs again.

        Raises:
            JobError: A job failed, or did not account for every row.
        """
        for job in jobs.values():
            warm(job.archive)
        usages: dict[str, list[Usage]] = {name: [] for name in jobs}
        for turn in range(self._repeats):
            for name, job in jobs.items():
                print(f"  {name} {turn + 1}/{self._repeats}: {job.archive.rows:,} readings", file=sys.stderr, end="")
                usages[name].append(self._run(job))
                print(f" in {usages[name][-1].wall_seconds:.1f} s", file=sys.stderr)
        return {name: median(runs) for name, runs in usages.items()}

    def _run(self, job: Job) -> Usage:
        output = self._folder / "output"
        shutil.rmtree(output, ignore_errors=True)
        command = self._command(job, output)
        os.sync()  # what the other side left to write is not this one's to wait for
        usage = run(command, self._folder)
        if job.program != "textbook":
            _check_balance(job, usage.output)
        shutil.rmtree(output)
        return usage

    def _command(self, job: Job, output: Path) -> list[str | Path]:
        if job.program == "telebeam":
            return [*self._telebeam, "run", self._configuration(job.archive, output), "--json"]
        script = {"duckdb": "duckdb_program.py", "textbook": "textbook_beam.py"}[job.program]
        options: list[str | Path] = ["--input", job.archive.glob, "--format", job.archive.kind, "--output", output]
        return [sys.executable, PEERS / script, *options]

    def _configuration(self, archive: Archive, lake: Path) -> Path:
        settings = {
            "pipeline": "benchmark",
            "source": {archive.kind: {"path": archive.glob}},
            "quality": {"max_age_days": None},
            "windows": [{"every": "1m"}],
            "sinks": {"lake": {"path": str(lake)}},
        }
        path = self._folder / "benchmark.yaml"
        path.write_text(json.dumps(settings, indent=2), encoding="utf-8")  # JSON is YAML
        return path


def _check_balance(job: Job, output: str) -> None:
    """A job that leaves rows out is fast for no good reason."""
    lines = output.strip().splitlines()
    try:
        # The object may be printed on one line or, after other results, over several.
        result: dict[str, Any] = json.loads(lines[-1] if lines[-1].startswith("{") else output)
    except (IndexError, ValueError) as error:
        raise JobError(f"{job.program} printed no JSON object at its end: {output[-200:]!r}") from error
    counts = result.get("balance", result)
    if counts.get("in") != job.archive.rows:
        raise JobError(f"{job.program} read {counts.get('in')} of {job.archive.rows} readings of {job.archive.glob}")


def _against_peers(bench: Bench, kind: str) -> list[Row]:
    archive = bench.fleets.archive(kind, bench.rows, DEVICES)
    sample = bench.fleets.sample(archive, min(TEXTBOOK_ROWS, archive.rows // 4))
    jobs = {"telebeam": Job("telebeam", archive), "duckdb": Job("duckdb", archive), "textbook": Job("textbook", sample)}
    usages = bench.in_turns(**jobs)
    rates = {name: jobs[name].archive.rows / usage.wall_seconds for name, usage in usages.items()}
    return [
        Row(
            f"{kind}: readings/s against {'DuckDB' if peer == 'duckdb' else 'per-element Beam'}",
            rates["telebeam"] / rates[peer],
            target=TARGETS[kind, peer],
            note=f"{_count(rates['telebeam'])}/s and {_count(rates[peer])}/s",
            details={name: _details(jobs[name], usages[name]) for name in ("telebeam", peer)},
        )
        for peer in ("textbook", "duckdb")
    ]


def parquet(bench: Bench) -> list[Row]:
    """From Parquet: quality, one-minute windows, readings and windows into a lake."""
    return _against_peers(bench, "parquet")


def jsonl(bench: Bench) -> list[Row]:
    """The same from JSON lines."""
    return _against_peers(bench, "jsonl")


def line_protocol(bench: Bench) -> list[Row]:
    """Line protocol of one thread against the client's own Point."""
    name, target = "line protocol: points/s against Point", Target(25, 50)
    if not (ROOT / "benchmarks" / "line_protocol.py").exists():
        return [Row(name, None, target=target, note="benchmarks/line_protocol.py is not there")]
    figures = json.loads(run([sys.executable, "-m", "benchmarks.line_protocol", "--json"], ROOT).output)
    note = f"{_count(figures['columnar_per_second'])}/s and {_count(figures['point_per_second'])}/s"
    return [Row(name, figures["ratio"], target=target, note=note, details=figures)]


def ten_times(bench: Bench) -> list[Row]:
    """Memory and time at ten times the data."""
    one = Job("telebeam", bench.fleets.archive("parquet", bench.rows, DEVICES))
    ten = Job("telebeam", bench.fleets.archive("parquet", 10 * bench.rows, DEVICES))
    usages = bench.in_turns(one=one, ten=ten)
    less, more = usages["one"], usages["ten"]
    details = {"one": _details(one, less), "ten": _details(ten, more)}
    memory = f"{less.peak_bytes / 1e6:.0f} MB and {more.peak_bytes / 1e6:.0f} MB"
    wall = f"{less.wall_seconds:.1f} s and {more.wall_seconds:.1f} s"
    return [
        Row(
            "peak memory at 10 × the data",
            more.peak_bytes / less.peak_bytes,
            target=Target(1.3, 1.1, at_most=True),
            note=memory,
            details=details,
        ),
        Row(
            "time at 10 × the data",
            more.wall_seconds / less.wall_seconds * 10 * one.archive.rows / ten.archive.rows,
            target=Target(10.5, at_most=True),
            note=wall,
            details=details,
        ),
    ]


def many_devices(bench: Bench) -> list[Row]:
    """A thousand times the devices, at about the same number of readings; a hundred times where there are too few."""
    factor = 1000 if bench.rows >= 1000 * DEVICES else 100
    few = Job("telebeam", bench.fleets.archive("parquet", bench.rows, DEVICES))
    many = Job("telebeam", bench.fleets.archive("parquet", bench.rows, DEVICES * factor))
    usages = bench.in_turns(few=few, many=many)
    rates = [job.archive.rows / usages[name].wall_seconds for name, job in (("few", few), ("many", many))]
    return [
        Row(
            f"speed with {DEVICES * factor:,} devices instead of {DEVICES:,}",
            rates[1] / rates[0],
            target=Target(0.5, 0.7),
            note=f"{_count(rates[1])}/s and {_count(rates[0])}/s",
            details={"few": _details(few, usages["few"]), "many": _details(many, usages["many"])},
        )
    ]


def startup(bench: Bench) -> list[Row]:
    """A job with almost nothing to do: the part of every other figure that is not work."""
    archive = bench.fleets.tiny("parquet")
    jobs = {name: Job(name, archive) for name in ("telebeam", "duckdb", "textbook")}
    usages = bench.in_turns(**jobs)
    return [
        Row(
            f"start of {name}",
            usage.wall_seconds,
            "s",
            note=f"{archive.rows} readings",
            details=_details(jobs[name], usage),
        )
        for name, usage in usages.items()
    ]


GROUPS: dict[str, Callable[[Bench], list[Row]]] = {
    "startup": startup,
    "parquet": parquet,
    "jsonl": jsonl,
    "line-protocol": line_protocol,
    "ten-times": ten_times,
    "many-devices": many_devices,
}


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; 1 if something did not run, whatever the figures."""
    options = _options(arguments)
    telebeam = options.telebeam or shutil.which("telebeam", path=str(Path(sys.executable).parent)) or "telebeam"
    rows = options.rows or (400_000 if options.quick else 4_000_000)
    repeats = options.repeats or (1 if options.quick else 3)
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="telebeam-bench-") as scratch:
        bench = Bench([telebeam], (options.folder or Path(scratch)).resolve(), rows, repeats)
        for name in options.only or GROUPS:
            print(f"{name}: {GROUPS[name].__doc__}", file=sys.stderr)
            try:
                found += GROUPS[name](bench)
            except (TelebeamError, OSError) as error:
                print(f"\n{name} did not run: {error}", file=sys.stderr)
                found.append(Row(name, None, note="did not run"))
    print(table(found))
    if options.json:
        facts = {"machine": machine(), "rows": rows, "repeats": repeats, "figures": [row.as_json() for row in found]}
        options.json.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(row.note == "did not run" for row in found))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the readings, each side once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, targets and machine there")
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="NAME", help=", ".join(GROUPS))
    parser.add_argument("--rows", type=int, help="readings of a normal archive (4,000,000)")
    parser.add_argument("--repeats", type=int, help="runs of each side (3)")
    parser.add_argument("--telebeam", metavar="COMMAND", help="the command to measure (the one beside this Python)")
    parser.add_argument("--folder", type=Path, help="keep archives there for the next run (a temporary folder)")
    return parser.parse_args(arguments)


def _details(job: Job, usage: Usage) -> dict[str, float]:
    return {
        "rows": job.archive.rows,
        "wall_seconds": round(usage.wall_seconds, 3),
        "cpu_seconds": round(usage.cpu_seconds, 3),
        "peak_megabytes": round(usage.peak_bytes / 1e6, 1),
        "rows_per_second": round(job.archive.rows / usage.wall_seconds),
    }


def _count(value: float) -> str:
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.1f} k"


if __name__ == "__main__":
    sys.exit(main())
