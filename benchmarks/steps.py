"""Where a batch job's time goes: its steps by themselves, one after the other on one thread, without Beam.

telebeam simulate --devices 1000 --interval 10s --duration 4h --to parquet:archive
python -m benchmarks.steps "archive/*.parquet" parquet
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from telebeam.io.files.parquet import read_parquet_unit
from telebeam.io.files.text import read_text_unit
from telebeam.io.files.units import plan_units
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.io.storage import find
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import cleanse_spec
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.report import QualityReport
from telebeam.transforms.quality.spec import QualitySpec


class Steps:
    """Runs functions and adds up how long each took."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def timed(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function gives."""
        begun = time.perf_counter()
        result = function(*arguments)
        self.seconds[name] += time.perf_counter() - begun
        return result


def run(path: str, kind: str, folder: str) -> tuple[Steps, int]:
    """A job's work over an archive; (its steps, its readings)."""
    pa.set_memory_pool(pa.system_memory_pool())
    steps, rows, now = Steps(), 0, int(time.time() * 1e6)
    parse_spec, quality = ParseSpec(), QualitySpec(max_age_days=None)
    cleansing, lake = cleanse_spec(quality), LakeSpec(path=folder)
    writer, report = LakeWriter(lake, "readings"), QualityReport.create()
    hours: set[int] = set()
    for file in find(path):
        for unit in steps.timed("plan", plan_units, path, file, kind, None, parse_spec):
            batches = iter(
                read_parquet_unit("steps", unit, parse_spec)
                if kind == "parquet"
                else read_text_unit("steps", unit, kind)
            )
            while (batch := steps.timed("read", next, batches, False)) is not False:
                readings = steps.timed("parse", parse, batch, parse_spec, now).readings
                clean = steps.timed("cleanse", cleanse, readings, cleansing)
                checked = steps.timed("check quality", check_quality, clean, quality, now).readings
                hours |= {made.first // HOUR for made in steps.timed("write readings", writer.write, checked)}
                report = steps.timed("quality report", report.add, checked)
                rows += checked.num_rows
    for hour in sorted(hours):
        steps.timed("windows", recompute_windows, lake, 60, hour)
    return steps, rows


def main() -> None:
    """Prints nanoseconds a reading for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="a path or glob, quoted")
    parser.add_argument("kind", choices=["parquet", "jsonl", "csv"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps, rows = run(options.path, options.kind, folder)
    for name, seconds in steps.seconds.items():
        print(f"{name:15s} {seconds / rows * 1e9:6.0f} ns a reading")
    print(f"{'all':15s} {sum(steps.seconds.values()) / rows * 1e9:6.0f} ns a reading, {rows:,} readings")


if __name__ == "__main__":
    main()
