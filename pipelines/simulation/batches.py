"""Readings as Arrow batches in our columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from telebeam.pipelines.simulation import catalog
from telebeam.pipelines.simulation.faults import detail
from telebeam.pipelines.simulation.fleet import SENSORS, Fleet, build_fleet
from telebeam.pipelines.simulation.generation import CHUNK_ROWS, generate
from telebeam.pipelines.simulation.rows import Point, Record, Rows
from telebeam.pipelines.simulation.spec import SimulationSpec
from telebeam.transforms.schema import DICTIONARY, READINGS

Codes32 = NDArray[np.int32]

COLUMNS = ("device_id", "timestamp", "sensor_type", "measurement_type", "value", "unit", "location", "metadata")
ARCHIVE = pa.schema([READINGS.field(name).with_nullable(name in ("value", "location", "metadata")) for name in COLUMNS])
"""What an archive holds; a value may be null, because faults are to be found in it."""

MALFORMED_VALUES = ("nan", "null")
"""In which way a value of an archive is malformed."""

# A dictionary that is much longer than a row group would be written again and again.
_MOST_ENCODED_DEVICES = 16_384


def readings(spec: SimulationSpec, chunk_rows: int = CHUNK_ROWS) -> Iterator[pa.RecordBatch]:
    """The simulation's readings in the order of arrival, with the columns of :data:`ARCHIVE`; texts are encoded.

    Every reading is a record of its own, whatever ``spec.shape``.  A malformed one has NaN or null as its value.

    Args:
        spec: What is simulated.
        chunk_rows: About how many readings a batch has; the readings are the same for any number.
    """
    fleet = build_fleet(spec, records=False)
    batches = Batches(fleet)
    for chunk in generate(spec, fleet, chunk_rows):
        yield batches.batch(chunk.rows)


class Batches:
    """Turns readings of one fleet into batches.

    Args:
        fleet: The devices.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        many = fleet.devices > _MOST_ENCODED_DEVICES
        self._encoded = {"sensor_type", "measurement_type", "unit", "location", "metadata"} | set(
            () if many else ("device_id",)
        )
        self.schema = pa.schema(
            [field.with_type(DICTIONARY) if field.name in self._encoded else field for field in ARCHIVE]
        )
        """What the batches look like."""
        self._sensor_types = pa.array(catalog.SENSOR_TYPES)
        self._units = pa.array([unit.name for unit in catalog.UNITS])
        kinds = np.array([catalog.SENSOR_TYPES.index(sensor.sensor_type) for sensor in SENSORS])
        # Sensor by sensor, so that a reading looks each of its codes up once.
        self._codes = tuple(codes.astype(np.int32) for codes in (
            fleet.device, kinds[fleet.sensor], fleet.unit, fleet.location[fleet.device], fleet.meta[fleet.device],
        ))  # fmt: skip

    def batch(self, rows: Rows) -> pa.RecordBatch:
        """The readings with the columns of :data:`ARCHIVE`, texts dictionary-encoded where few are distinct."""
        fleet = self._fleet
        device, kind, unit, location, metadata = (codes[rows.row] for codes in self._codes)
        sensor_type = _encode(kind, self._sensor_types)
        columns = {
            "device_id": self._device_ids(device),
            "timestamp": pa.array(rows.timestamp_ms * 1000).cast(ARCHIVE.field("timestamp").type),
            "sensor_type": sensor_type,
            "measurement_type": sensor_type,
            "value": self._values(rows),
            "unit": _encode(unit, self._units),
            "location": _encode(location, fleet.locations),
            "metadata": _encode(metadata, fleet.metadata),
        }
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=self.schema)

    def _device_ids(self, device: Codes32) -> pa.Array:
        if "device_id" not in self._encoded:
            return self._fleet.device_ids.take(pa.array(device))
        return _encode(device, self._fleet.device_ids)

    def _values(self, rows: Rows) -> pa.Array:
        malformed = rows.record == Record.MALFORMED
        if not malformed.any():
            return pa.array(rows.value, mask=rows.point == Point.MISSING)
        null = malformed & (detail(self._fleet.seed, rows.position, len(MALFORMED_VALUES)) == 1)
        return pa.array(np.where(malformed, np.nan, rows.value), mask=null | (rows.point == Point.MISSING))


def _encode(codes: Codes32, texts: pa.Array) -> pa.Array:
    encoded = pa.DictionaryArray.from_arrays(pa.array(codes), texts)
    return encoded if encoded.type == DICTIONARY else encoded.cast(DICTIONARY)
