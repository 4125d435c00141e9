"""Readings for the laws of the detectors: fleets drawn from a seed, and single series of given values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.spec import DetectorSpec, detector_spec
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import readings

MIDNIGHT = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z in µs since the epoch."""
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

ALL: list[dict[str, Any]] = [
    {"detector": "rolling_mean_deviation", "window": "10m", "deviation": 3.0},
    {"detector": "rolling_zscore"},
    {"detector": "rolling_zscore", "name": "three", "last": 3},
    {"detector": "robust_zscore", "last": 9},
    {"detector": "ewma"},
    {"detector": "ewma", "name": "timed", "half_life": "5m"},
    {"detector": "seasonal", "buckets": 96},
    {"detector": "seasonal", "name": "weekly", "period": "week", "buckets": 168},
    {"detector": "rate_of_change", "per_second": 0.5},
    {"detector": "rate_of_change", "name": "usual_rate"},
    {"detector": "stuck", "for": "1m", "readings": 3},
    {"detector": "auto"},
]
"""Settings of every detector but the forest."""
FOREST = {"detector": "isolation_forest", "trees": 10, "sample": 128, "refit_every": "30m"}


def specs(*settings: dict[str, Any]) -> list[DetectorSpec]:
    return [detector_spec(**each) for each in settings]


def series(values: Sequence[float] | np.ndarray, every: float = 10.0, **columns: Any) -> pa.RecordBatch:
    """One series with a reading every so many seconds, from midnight on."""
    times = MIDNIGHT + (np.arange(len(values)) * every * SECOND).astype(np.int64)
    return rows(times, np.asarray(values, np.float64), **columns)


def rows(times: np.ndarray, values: np.ndarray, **columns: Any) -> pa.RecordBatch:
    """Readings of given times and values; other columns as one value or an array of texts."""
    one = readings([{}])
    n = len(values)
    found = {name: one.column(name).take(pa.array(np.zeros(n, np.int64))) for name in one.schema.names}
    found["timestamp"] = pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    found["value"] = pa.array(values, pa.float64())
    found["source_offset"] = pa.array(np.arange(n))
    for name, given in columns.items():
        texts = list(given) if not isinstance(given, str) else [given] * n
        found[name] = pa.array(texts, one.schema.field(name).type)
    return conform(pa.RecordBatch.from_arrays(list(found.values()), names=list(found)), READINGS_IN_FLIGHT)


def fleet(n: int, seed: int, devices: int = 4, hours: float = 2.0, hostile: bool = False) -> pa.RecordBatch:
    """A fleet's readings in random order, with equal times; hostile ones with values at the ends of the doubles."""
    draw = np.random.default_rng(seed)
    times = MIDNIGHT + draw.integers(0, int(hours * 360), n) * 10 * SECOND
    values = np.round(draw.normal(20, 1, n) + 30 * (draw.random(n) < 0.02), 1)
    values[draw.random(n) < 0.1] = 21.5
    if hostile:
        ends = np.array([1e308, -1e308, 1.7976931348623157e308, 5e-324, -0.0, 0.0, 1e150, -1e-300])
        values = np.where(draw.random(n) < 0.3, ends[draw.integers(0, len(ends), n)], values)
    kinds = np.array(["temperature", "pressure"])[draw.integers(0, 2, n)]
    return rows(
        times,
        values,
        device_id=[f"dev-{number}" for number in draw.integers(0, devices, n)],
        sensor_type=kinds.tolist(),
        measurement_type=kinds.tolist(),
        location=[(None, "hall")[number] for number in draw.integers(0, 2, n)],
        source=[f"part-{number}" for number in draw.integers(0, 3, n)],
    )


def times_of(batch: pa.RecordBatch) -> np.ndarray:
    return batch.column("timestamp").cast(pa.int64()).to_numpy()


def score(batch: pa.RecordBatch, *settings: dict[str, Any]) -> pa.RecordBatch:
    return Scorer(specs(*settings)).score(batch)


def anomalies(batch: pa.RecordBatch, *settings: dict[str, Any]) -> list[int]:
    """The offsets of the readings that are anomalies."""
    found = score(batch, *settings)
    return found.column("source_offset").filter(found.column("is_anomaly")).to_pylist()
