"""What the past of 100,000 series takes: bytes a series, as written down and in memory.

    python -m benchmarks.past [--series N]

Each kind is measured in a process of its own, after as many readings of every series as fill its history.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.rules import RULES
from telebeam.io import storage
from telebeam.io.lake.past import Past
from telebeam.transforms.anomaly.spec import detector_spec
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import readings

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
ROUNDS, EVERY = 30, 10_000_000
ROLLING = ("rolling_zscore", "robust_zscore", "rolling_mean_deviation", "ewma", "rate_of_change", "stuck", "auto")
KINDS: dict[str, dict[str, Any]] = {
    "nothing": {},
    **{name: {"detectors": [name]} for name in ROLLING},
    "ten rules": {"rules": RULES},
    "last 10": {"last": [10]},
    "zscore, ten rules, last 10": {"detectors": ["rolling_zscore"], "rules": RULES, "last": [10]},
}
"""Name → what is done in order."""


def order_of(kind: str) -> OrderSpec:
    """What a kind does."""
    settings = KINDS[kind]
    detectors = tuple(detector_spec(detector=name) for name in settings.get("detectors", ()))
    rules = tuple(RuleSpec.model_validate(rule) for rule in settings.get("rules", ()))
    return OrderSpec("past", detectors, rules, tuple(settings.get("last", ())))


def round_of(series: int, number: int) -> pa.RecordBatch:
    """One reading of every series; three to a device."""
    one = readings([{}])
    columns = {name: one.column(name).take(pa.array(np.zeros(series, np.int64))) for name in one.schema.names}
    place = np.arange(series)
    devices = pa.array([f"device-{device:07d}" for device in range(-(-series // 3))])
    sensors = pa.array(["temperature", "humidity", "vibration"])
    columns["device_id"] = pa.DictionaryArray.from_arrays(pa.array((place // 3).astype(np.int32)), devices)
    columns["sensor_type"] = columns["measurement_type"] = pa.DictionaryArray.from_arrays(
        pa.array((place % 3).astype(np.int32)), sensors
    )
    columns["timestamp"] = pa.array(np.full(series, START + number * EVERY)).cast(pa.timestamp("us", tz="UTC"))
    columns["value"] = pa.array(np.random.default_rng(number).normal(20, 3, series))
    columns["source_offset"] = pa.array(place + number * series)
    return conform(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), READINGS_IN_FLIGHT)


def measure(kind: str, series: int) -> str:
    """A line of figures for one kind."""
    past = Past(order_of(kind), START)
    before = resident_bytes()
    for number in range(ROUNDS):
        past.advance(round_of(series, number), START + (number + 1) * EVERY)
    pa.default_memory_pool().release_unused()
    held = resident_bytes() - before
    with tempfile.TemporaryDirectory() as folder:
        past.save(storage.locate(folder))
        files = {path.suffix: path.stat().st_size / series for path in Path(folder).rglob("*-*.*")}
    written = ", ".join(f"{size:,.0f} B {name[1:]}" for name, size in sorted(files.items()))
    whole = sum(files.values())
    return f"{kind:28s} {whole:6,.0f} B a series written ({written}); {held / series:6,.0f} B of memory"


def resident_bytes() -> int:
    """What this process holds, where /proc tells."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Prints a line for each kind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.past", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--kind", choices=KINDS, help="one alone, in this process")
    options = parser.parse_args()
    if options.kind:
        print(measure(options.kind, options.series))
        return
    for kind in KINDS:
        command = [sys.executable, "-m", "benchmarks.past", "--series", str(options.series), "--kind", kind]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
