"""Readings for the laws of aggregation and of the lake: made up from a few numbers, or drawn at random from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, conform

MIDNIGHT = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z in µs since the epoch."""
SECOND = 1_000_000
HOUR = 3600 * SECOND


def readings(values: Sequence[float], times: Sequence[int] | None = None, **columns: Any) -> pa.RecordBatch:
    """Readings in flight: values, their times in µs (a second apart by default), other columns as a value or a list."""
    rows = len(values)
    given = {
        "tenant": "default", "device_id": "boiler-1", "sensor_type": "temperature", "measurement_type": "temperature",
        "unit": "celsius", "location": None, "quality_score": 1.0, "issues": [], "metadata": None, "is_late": False,
        "source": "archive.parquet", "source_partition": 0, "source_offset": list(range(rows)),
        "value": list(values),
        "timestamp": list(times) if times is not None else [MIDNIGHT + i * SECOND for i in range(rows)],
    }  # fmt: skip
    given |= columns
    arrays = []
    for field in READINGS:
        content = given[field.name]
        is_column = isinstance(content, list) and field.name != "issues"
        arrays.append(pa.array(content if is_column else [content] * rows, field.type))
    return conform(pa.RecordBatch.from_arrays(arrays, schema=READINGS), READINGS_IN_FLIGHT)


def fleet(rows: int, seed: int, devices: int = 5, hours: float = 1.0, start: int = MIDNIGHT) -> pa.RecordBatch:
    """Readings of a fleet, in random order: with and without location, two sensor types, ties in time."""
    draw = np.random.default_rng(seed)
    kinds = draw.integers(0, 2, rows)
    times = start + draw.integers(0, int(hours * 3600 * 4), rows) * (SECOND // 4)
    return readings(
        np.round(draw.normal(20, 5, rows), 2).tolist(),
        times.tolist(),
        device_id=[f"dev-{n}" for n in draw.integers(0, devices, rows)],
        sensor_type=[("temperature", "pressure")[kind] for kind in kinds],
        measurement_type=[("temperature", "pressure")[kind] for kind in kinds],
        unit=[("celsius", "hpa")[kind] for kind in kinds],
        location=[(None, "hall", "roof")[n] for n in draw.integers(0, 3, rows)],
        quality_score=(draw.integers(1, 6, rows) / 5).tolist(),
        source=[f"part-{n}.parquet" for n in draw.integers(0, 3, rows)],
        source_partition=draw.integers(0, 3, rows).tolist(),
    )


def shuffled(batch: pa.RecordBatch, seed: int) -> pa.RecordBatch:
    """The rows in another order, the dictionaries in another order too."""
    rows = batch.take(pa.array(np.random.default_rng(seed).permutation(batch.num_rows)))
    return conform(conform(rows, READINGS), READINGS_IN_FLIGHT)


def bits(batch: pa.RecordBatch) -> dict[str, Any]:
    """A batch's columns such that two are equal if and only if their bits are: texts, and doubles as integers."""
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif pa.types.is_floating(column.type):
            column = column.view(pa.int64())
        columns[name] = column.to_pylist()
    return columns
