"""What scores, rules and last readings cost a whole batch job: the job with them against the same job without.

    python -m benchmarks.in_order [--rows N] [--repeats N] [--only NAME …] [--folder FOLDER]

Every figure is of whole processes, start included.  All sides take turns, and the median counts.  The rules are the
ten of :mod:`benchmarks.rules`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.archives import Archive, Fleets, warm
from benchmarks.process import Usage, median, run
from benchmarks.rules import RULES
from telebeam.transforms.errors import JobError

DEVICES = 1000
ZSCORE = [{"detector": "rolling_zscore"}]
JOBS: dict[str, dict[str, Any]] = {
    "without": {},
    "zscore and ten rules": {"anomalies": ZSCORE, "rules": RULES},
    "zscore": {"anomalies": ZSCORE},
    "ten rules": {"rules": RULES},
    "last 10": {"windows": [{"every": "1m"}, {"last": 10}]},
}
"""Name → what the configuration has beside one-minute windows."""
TARGET = 0.6


class Bench:
    """Runs one archive's jobs in turns.

    Args:
        telebeam: The command that is measured.
        folder: Scratch space.
        archive: What the jobs read.
    """

    def __init__(self, telebeam: str, folder: Path, archive: Archive) -> None:
        self._telebeam = telebeam
        self._folder = folder
        self._archive = archive

    def in_turns(self, names: list[str], repeats: int) -> dict[str, Usage]:
        """The median usage of each job; all run once before any runs again.

        Raises:
            JobError: A job failed, or did not account for every row.
        """
        warm(self._archive)
        usages: dict[str, list[Usage]] = {name: [] for name in names}
        for _ in range(repeats):
            for name in names:
                usages[name].append(self._run(name))
                load = os.getloadavg()[0]
                print(f"  {name}: {usages[name][-1].wall_seconds:.1f} s, load {load:.1f}", file=sys.stderr)
        return {name: median(runs) for name, runs in usages.items()}

    def _run(self, name: str) -> Usage:
        lake = self._folder / "lake"
        shutil.rmtree(lake, ignore_errors=True)
        settings = {
            "pipeline": "benchmark",
            "source": {"parquet": {"path": self._archive.glob}},
            "quality": {"max_age_days": None},
            "windows": [{"every": "1m"}],
            "sinks": {"lake": {"path": str(lake)}},
        }
        config = self._folder / "benchmark.yaml"
        config.write_text(json.dumps(settings | JOBS[name]), encoding="utf-8")  # JSON is YAML
        os.sync()  # what the run before left to write is not this one's to wait for
        usage = run([self._telebeam, "run", config, "--json"], self._folder)
        found = json.loads(usage.output)
        if found["balance"]["in"] != self._archive.rows:
            raise JobError(f"{name} read {found['balance']['in']} of {self._archive.rows} readings")
        shutil.rmtree(lake)
        return usage


def main(arguments: list[str] | None = None) -> None:
    """Prints seconds, readings a second and the ratio to the job without."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.in_order", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=2_000_000, help="readings of the archive (2,000,000)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--only", nargs="+", choices=[*JOBS][1:], metavar="NAME", help=", ".join([*JOBS][1:]))
    parser.add_argument("--folder", type=Path, help="keep the archive there for the next run (a temporary folder)")
    options = parser.parse_args(arguments)
    telebeam = shutil.which("telebeam", path=str(Path(sys.executable).parent)) or "telebeam"
    names = ["without", *(options.only or [*JOBS][1:])]
    with tempfile.TemporaryDirectory(prefix="telebeam-bench-") as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        archive = Fleets([telebeam], folder / "archives").archive("parquet", options.rows, DEVICES)
        usages = Bench(telebeam, folder, archive).in_turns(names, options.repeats)
    alone = usages["without"].wall_seconds
    print(f"{archive.rows:,} readings of {DEVICES:,} devices, one-minute windows, into a lake")
    for name, usage in usages.items():
        print(
            f"{name:22s} {usage.wall_seconds:6.1f} s  {archive.rows / usage.wall_seconds / 1e6:5.2f} M readings/s  "
            f"{alone / usage.wall_seconds:5.2f} × the job without (asked of zscore and ten rules: {TARGET})  "
            f"{usage.cpu_seconds:6.1f} s of CPU  {usage.peak_bytes / 1e6:5.0f} MB"
        )


if __name__ == "__main__":
    main()
