"""How many of a simulated fleet's labelled faults a detector finds, and how often it is wrong.

    python -m benchmarks.anomaly.faults [--detector auto] [--devices 24] [--duration 3d] [--interval 10s] [--seed 7]

A fault is found where a reading of its series is an anomaly while the fault lasts, or is the first one after it: a
drift ends with a jump.  A false alarm is an anomaly neither within a fault of its series nor in the ten minutes (or 25
readings, where that is longer) after it, in which the detector learns back; those of one series within ten minutes of
each other count once.  The first 100 readings of a series are its
warm-up: a fault that begins in them is not counted, an alarm is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.pipelines.simulation import parse_faults, readings, simulate, simulation_spec
from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.spec import detector_spec
from telebeam.transforms.batches import concat
from telebeam.transforms.completion import complete_readings

FAULTS = "spike=0.0005,stuck=0.03,drift=0.03,level_shift=0.03"
MINUTE = 60_000_000
HOUR = 60 * MINUTE
AFTERMATH = 10 * MINUTE
"""What counts as one alarm, and as a fault's consequence."""
WARM_UP, LEARN_BACK = 100, 25
"""Readings."""
Key = tuple[str, str]
"""(device_id, sensor_type)."""


class Found(NamedTuple):
    """One series' readings, in the order of time."""

    time: np.ndarray
    anomaly: np.ndarray


def score(batch: pa.RecordBatch, detector: Mapping[str, Any]) -> dict[Key, Found]:
    """The detector's verdicts, an hour at a time as a batch job has them."""
    scorer, hour = Scorer([detector_spec(**detector)]), batch.column("timestamp").cast(pa.int64()).to_numpy() // HOUR
    parts = [scorer.score(batch.filter(pa.array(hour == each))) for each in np.unique(hour)]
    table = pa.Table.from_batches([concat(parts)]).select(["device_id", "sensor_type", "timestamp", "is_anomaly"])
    table = table.set_column(0, "device_id", table.column(0).cast(pa.string()))
    table = table.set_column(1, "sensor_type", table.column(1).cast(pa.string()))
    table = table.sort_by([("device_id", "ascending"), ("sensor_type", "ascending"), ("timestamp", "ascending")])
    names = pc.binary_join_element_wise(table.column("device_id"), table.column("sensor_type"), "\0").to_numpy()
    time = table.column("timestamp").cast(pa.int64()).to_numpy()
    anomaly = table.column("is_anomaly").to_numpy()
    begins = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    found = {}
    for first, end in zip(begins, np.append(begins[1:], len(names)), strict=True):
        device, _, kind = str(names[first]).partition("\0")
        found[device, kind] = Found(time[first:end], anomaly[first:end])
    return found


def judge(found: Mapping[Key, Found], labels: list[dict[str, Any]]) -> dict[str, Any]:
    """Recall by kind of fault, and false alarms a device-day."""
    total: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    excused = {key: np.zeros(len(series.time), np.bool_) for key, series in found.items()}
    for label in labels:
        key = (label["device_id"], label["sensor_type"])
        time, anomaly = found[key]
        begin, end = (int(np.datetime64(label[side].rstrip("Z"), "us").astype(np.int64)) for side in ("start", "end"))
        first, last = np.searchsorted(time, begin), np.searchsorted(time, end, side="right")
        excused[key][first : max(np.searchsorted(time, end + AFTERMATH, side="right"), last + LEARN_BACK)] = True
        if first >= WARM_UP:
            total[label["fault"]] += 1
            hit[label["fault"]] += bool(anomaly[first : last + 1].any())
    false: Counter[str] = Counter()
    for key, series in found.items():
        alarms = series.time[series.anomaly & ~excused[key]]
        false[key[1]] += len(alarms) and 1 + int((np.diff(alarms) > AFTERMATH).sum())
    span = max(series.time[-1] for series in found.values()) - min(series.time[0] for series in found.values())
    device_days = len({device for device, _ in found}) * span / (24 * HOUR)
    return {
        "recall": {fault: hit[fault] / total[fault] for fault in sorted(total)},
        "faults": dict(sorted(total.items())),
        "false_alarms_per_device_day": float(sum(false.values()) / device_days),
        "false_alarms": {kind: count for kind, count in sorted(false.items()) if count},
        "device_days": float(device_days),
    }


def report(detector: Mapping[str, Any], devices: int, duration: str, interval: str, seed: int) -> dict[str, Any]:
    """Simulates, scores and judges."""
    spec = simulation_spec(
        devices=devices, duration=duration, interval=interval, seed=seed, faults=parse_faults(FAULTS)
    )
    with tempfile.TemporaryDirectory() as folder:
        simulate(spec, f"jsonl:{folder}/fleet.jsonl.zst")
        lines = Path(f"{folder}/fleet.jsonl.zst.truth.ndjson").read_text(encoding="utf-8").splitlines()
    batch = concat([complete_readings(each, "simulation") for each in readings(spec)])
    found = judge(score(batch, detector), [json.loads(line) for line in lines])
    return {"detector": dict(detector), "readings": batch.num_rows, **found}


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomaly.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--detector", default="auto", help='a name, or settings as JSON: {"detector": "ewma", …}')
    parser.add_argument("--devices", type=int, default=24)
    parser.add_argument("--duration", default="3d")
    parser.add_argument("--interval", default="10s")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    settings = json.loads(given.detector) if given.detector.startswith("{") else {"detector": given.detector}
    found = report(settings, given.devices, given.duration, given.interval, given.seed)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['readings']:,} readings of {found['device_days']:.0f} device-days, {json.dumps(settings)}")
    for fault, recall in found["recall"].items():
        print(f"{fault:12} {recall:6.1%} of {found['faults'][fault]}")
    print(f"false alarms a device-day: {found['false_alarms_per_device_day']:.3f}  {found['false_alarms']}")


if __name__ == "__main__":
    main()
