"""What detectors cost: readings a second of one thread's own time, on fleets of three shapes, against Beam's detector.

    python -m benchmarks.anomaly.speed [--readings N] [--beam ROWS] [--json]

A shape is a number of devices with one series each, scored a piece of time after the other as a job does.  ``--beam``
runs ``apache_beam.ml.anomaly``'s ZScore, which is told one reading at a time, over a part of the same readings on the
FnApiRunner.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.spec import detector_spec
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import readings

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
EVERY = 10_000_000
"""µs between two readings of a series."""
SHAPES = {"many series": (20_000, 6), "a fleet": (1_000, 60), "few series": (25, 360)}
"""Name → series, and readings of each in a piece of time."""
DETECTORS = (
    "rolling_zscore", "rolling_mean_deviation", "robust_zscore", "ewma", "seasonal", "rate_of_change", "stuck",
    "isolation_forest", "auto",
)  # fmt: skip


def pieces(series: int, each: int, total: int) -> list[pa.RecordBatch]:
    """A fleet's readings, sorted by device and time within each piece."""
    one = readings([{}])
    rows = series * each
    names = pa.array([f"device-{number:06d}" for number in range(series)])
    draw = np.random.default_rng(1)
    found = []
    for piece in range(max(2, -(-total // rows))):
        columns = {name: one.column(name).take(pa.array(np.zeros(rows, np.int64))) for name in one.schema.names}
        device = np.repeat(np.arange(series), each).astype(np.int32)
        columns["device_id"] = pa.DictionaryArray.from_arrays(pa.array(device), names)
        times = START + (piece * each + np.tile(np.arange(each), series)) * EVERY
        columns["timestamp"] = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
        columns["value"] = pa.array(np.round(draw.normal(20, 1, rows), 2))
        columns["source_offset"] = pa.array(np.arange(rows))
        found.append(
            conform(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), READINGS_IN_FLIGHT)
        )
    return found


def rate(detector: str, batches: list[pa.RecordBatch]) -> float:
    """Readings a second of this thread's own time; the first piece, in which every series is new, is not counted."""
    scorer = Scorer([detector_spec(detector=detector)])
    scorer.score(batches[0])
    begun = time.thread_time()
    for batch in batches[1:]:
        scorer.score(batch)
    return sum(batch.num_rows for batch in batches[1:]) / (time.thread_time() - begun)


def beam_rate(batch: pa.RecordBatch, rows: int) -> float:
    """Readings a second of Beam's own ZScore, by the processor time of the whole process."""
    import apache_beam as beam
    from apache_beam.ml.anomaly.detectors.zscore import ZScore
    from apache_beam.ml.anomaly.transforms import AnomalyDetection

    part = batch.slice(0, rows)
    devices, values = part.column("device_id").to_pylist(), part.column("value").to_pylist()
    elements = [(device, beam.Row(value=value)) for device, value in zip(devices, values, strict=True)]
    begun = time.process_time()
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(elements) | AnomalyDetection(detector=ZScore(features=["value"]))
    return rows / (time.process_time() - begun)


def measure(total: int, beam_rows: int, shapes: Mapping[str, tuple[int, int]] = SHAPES) -> dict[str, Any]:
    """Shape → detector → readings a second; Beam's own under ``beam_zscore``."""
    found: dict[str, Any] = {}
    for shape, (series, each) in shapes.items():
        batches = pieces(series, each, total)
        found[shape] = {detector: rate(detector, batches) for detector in DETECTORS}
    if beam_rows:
        found["beam_zscore"] = beam_rate(pieces(1_000, 60, 60_000)[0], beam_rows)
    return found


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomaly.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--readings", type=int, default=240_000, help="readings of each measurement")
    parser.add_argument("--beam", type=int, default=0, metavar="ROWS", help="also Beam's ZScore over so many readings")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = measure(given.readings, given.beam)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{'readings/s':24}" + "".join(f"{shape:>14}" for shape in SHAPES))
    for detector in DETECTORS:
        print(f"{detector:24}" + "".join(f"{found[shape][detector]:14,.0f}" for shape in SHAPES))
    if "beam_zscore" in found:
        print(f"{'Beam ZScore':24}{found['beam_zscore']:14,.0f}")


if __name__ == "__main__":
    main()
