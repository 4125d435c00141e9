"""The Numenta Anomaly Benchmark: the score of a detector over a folder of labelled series.

    python -m benchmarks.anomaly.nab --data FOLDER [--detector auto] [--json]

The folder holds ``<kind>/<name>.csv`` with the columns timestamp and value, and ``labels.json``: for each file its
windows as pairs of times.  A checkout of the benchmark's own repository is taken as well (``data/`` and
``labels/combined_windows.json``).  Every file is scored by the same settings and one threshold, as the paper asks.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.anomaly.nab_scoring import PROFILES, Scored, outcome
from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.spec import detector_spec
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import readings

Series = tuple[np.ndarray, np.ndarray]
"""(times in µs, values)."""


def load(folder: Path) -> tuple[dict[str, Series], dict[str, list[tuple[int, int]]]]:
    """Each file's series, and its windows as first and last rows."""
    labels, data = folder / "labels.json", folder
    if not labels.exists():
        labels, data = folder / "labels" / "combined_windows.json", folder / "data"
    series, windows = {}, {}
    for name, pairs in sorted(json.loads(labels.read_text(encoding="utf-8")).items()):
        with (data / name).open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        times = _micros([row["timestamp"] for row in rows])
        series[name] = times, np.array([float(row["value"]) for row in rows])
        first, last = _micros([pair[0] for pair in pairs]), _micros([pair[1] for pair in pairs])
        begins, ends = np.searchsorted(times, first), np.searchsorted(times, last, side="right") - 1
        windows[name] = list(zip(begins.tolist(), ends.tolist(), strict=True))
    return series, windows


def _micros(texts: Sequence[str]) -> np.ndarray:
    return np.array(texts, "datetime64[us]").astype(np.int64)


def anomaly_scores(series: Mapping[str, Series], detector: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Each file's scores by one scorer, a file being a device; rows in the file's order."""
    one = readings([{}])
    rows = sum(len(values) for _, values in series.values())
    columns = {name: one.column(name).take(pa.array(np.zeros(rows, np.int64))) for name in one.schema.names}
    place = np.repeat(np.arange(len(series)), [len(values) for _, values in series.values()])
    columns["device_id"] = pa.array(list(series), pa.string()).take(pa.array(place))
    times = np.concatenate([times for times, _ in series.values()])
    columns["timestamp"] = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    columns["value"] = pa.array(np.concatenate([values for _, values in series.values()]))
    columns["source_offset"] = pa.array(np.arange(rows))
    batch = conform(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), READINGS_IN_FLIGHT)
    scores = Scorer([detector_spec(**detector)]).score(batch)
    in_row = np.empty(rows)
    in_row[scores.column("source_offset").to_numpy()] = scores.column("anomaly_score").to_numpy()
    ends = np.cumsum([len(values) for _, values in series.values()])
    return dict(zip(series, np.split(in_row, ends[:-1]), strict=True))


def report(folder: Path, detector: Mapping[str, Any]) -> dict[str, Any]:
    """The three profiles' scores, and the standard profile's for each file at the common threshold."""
    series, windows = load(folder)
    scores = anomaly_scores(series, detector)
    files = {name: Scored(scores[name], windows[name]) for name in series}
    found: dict[str, Any] = {"detector": dict(detector), "files": len(files), "profiles": {}, "standard": {}}
    for profile in PROFILES:
        result = outcome(list(files.values()), profile)
        found["profiles"][profile.name] = vars(result)
    threshold = found["profiles"]["standard"]["threshold"]
    for name, file in files.items():
        found["standard"][name] = vars(outcome([file], PROFILES[0], threshold))
    return found


def main() -> None:
    """Prints the scores."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomaly.nab", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the labelled series")
    parser.add_argument("--detector", default="auto", help='a name, or settings as JSON: {"detector": "ewma", …}')
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    settings = json.loads(given.detector) if given.detector.startswith("{") else {"detector": given.detector}
    found = report(given.data, settings)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['files']} files, {json.dumps(settings)}")
    for name, result in found["profiles"].items():
        print(
            f"{name:20} {result['score']:6.2f}   threshold {result['threshold']:.4f}, "
            f"{result['found']} of {result['windows']} windows, {result['false_positives']} false positives"
        )
    print("\nstandard profile, each file at the common threshold")
    for name, result in found["standard"].items():
        score = f"{result['score']:6.1f}" if result["windows"] else "     –"
        print(f"  {score}  {result['found']}/{result['windows']}  {result['false_positives']:4} false  {name}")


if __name__ == "__main__":
    main()
