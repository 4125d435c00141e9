"""Readings in flight out of plain rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from telebeam.transforms import schema

DEFAULTS = {
    "tenant": "default",
    "device_id": "boiler-1",
    "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
    "sensor_type": "temperature",
    "measurement_type": "temperature",
    "value": 20.0,
    "unit": "celsius",
    "location": None,
    "quality_score": 1.0,
    "issues": [],
    "metadata": None,
    "is_late": False,
    "source": "file",
    "source_partition": 0,
    "source_offset": 0,
}


@pytest.fixture(scope="session")
def readings() -> Callable[..., pa.RecordBatch]:
    """Makes a batch of rows, each a dict of what differs from one good reading."""

    def make(*rows: dict[str, Any]) -> pa.RecordBatch:
        full = [{**DEFAULTS, **row} for row in rows]
        arrays = [pa.array([row[f.name] for row in full], f.type) for f in schema.READINGS]
        plain = pa.RecordBatch.from_arrays(arrays, schema=schema.READINGS)
        return schema.conform(plain, schema.READINGS_IN_FLIGHT)

    return make
