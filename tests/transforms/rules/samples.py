"""Readings and scores at ticks, and rules from what a configuration says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, SCORES, SCORES_IN_FLIGHT, conform

MIDNIGHT = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z in µs since the epoch, a Thursday."""
SECOND = 1_000_000
HOUR = 3600 * SECOND
TICK = 6 * HOUR
"""A week is 28 ticks, so that what is forgotten after a week is forgotten within a test."""


class Row(NamedTuple):
    """A reading, and what two detectors say of it: (score, verdict), or None where one is not asked."""

    tick: int
    value: float = 20.0
    device: str = "boiler-1"
    sensor: str = "temperature"
    location: str | None = None
    a: tuple[float, bool] | None = None
    b: tuple[float, bool] | None = None


def rule(**given: Any) -> RuleSpec:
    """A rule named ``r`` unless it says otherwise; ``for_`` stands for ``for``."""
    return RuleSpec.model_validate({"name": "r", **{key.rstrip("_"): value for key, value in given.items()}})


def readings_of(rows: Sequence[Row], tick: int = TICK) -> pa.RecordBatch:
    columns: dict[str, Any] = {
        "tenant": "default", "device_id": [row.device for row in rows], "sensor_type": [row.sensor for row in rows],
        "measurement_type": [row.sensor for row in rows], "unit": "1", "location": [row.location for row in rows],
        "timestamp": [MIDNIGHT + row.tick * tick for row in rows], "value": [float(row.value) for row in rows],
        "quality_score": 1.0, "issues": [[]] * len(rows), "metadata": None, "is_late": False,
        "source": "test", "source_partition": 0, "source_offset": list(range(len(rows))),
    }  # fmt: skip
    return batch_of(columns, len(rows), READINGS, READINGS_IN_FLIGHT)


def scores_of(rows: Sequence[Row], tick: int = TICK) -> pa.RecordBatch:
    said = [(row, name, getattr(row, name)) for row in rows for name in "ab" if getattr(row, name) is not None]
    columns: dict[str, Any] = {
        "tenant": "default", "device_id": [row.device for row, *_ in said], "unit": "1", "source": "test",
        "sensor_type": [row.sensor for row, *_ in said], "measurement_type": [row.sensor for row, *_ in said],
        "location": [row.location for row, *_ in said], "source_partition": 0, "source_offset": 0,
        "timestamp": [MIDNIGHT + row.tick * tick for row, *_ in said], "value": [float(row.value) for row, *_ in said],
        "detector": [name for _, name, _ in said], "expected": [row.value - 1.0 for row, *_ in said],
        "anomaly_score": [score for *_, (score, _) in said], "is_anomaly": [verdict for *_, (_, verdict) in said],
    }  # fmt: skip
    return batch_of(columns, len(said), SCORES, SCORES_IN_FLIGHT)


def batch_of(columns: dict[str, Any], rows: int, schema: pa.Schema, in_flight: pa.Schema) -> pa.RecordBatch:
    arrays = [
        pa.array(given if isinstance(given, list) else [given] * rows, field.type)
        for field, given in ((field, columns[field.name]) for field in schema)
    ]
    return conform(pa.RecordBatch.from_arrays(arrays, schema=schema), in_flight)


def dicts(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    """The batches' rows with doubles as their bits, so that equal means equal."""
    found = []
    for batch in batches:
        columns = {}
        for name in batch.schema.names:
            column = batch.column(name)
            columns[name] = (column.view(pa.int64()) if pa.types.is_floating(column.type) else column).to_pylist()
        found += [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return found
