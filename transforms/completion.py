"""Batches from elsewhere as readings: the columns that only telebeam has are filled in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import constant
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.issues import no_issues
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, cast

REQUIRED = ("device_id", "timestamp", "sensor_type", "value")
"""What nobody can fill in."""


def complete_readings(batch: pa.RecordBatch, source: str = "memory") -> pa.RecordBatch:
    """The batch with exactly the columns of ``READINGS_IN_FLIGHT``, absent ones filled in; the metadata stays.

    An absent ``measurement_type`` is the ``sensor_type``; ``unit`` is empty, which Cleanse reads as the canonical one;
    ``tenant`` is ``default``, ``quality_score`` 1, ``issues`` empty, ``source_offset`` the row.  Nulls stay where they
    are: CheckQuality says what becomes of them.  Columns of other names are dropped.

    >>> batch = pa.RecordBatch.from_pylist([
    ...     {"device_id": "boiler-1", "timestamp": "2026-01-01T00:00:00Z", "sensor_type": "humidity", "value": 40},
    ... ])
    >>> complete_readings(batch).to_pylist()[0]["measurement_type"]
    'humidity'

    Args:
        batch: At least :data:`REQUIRED`; texts plain, large or dictionary-encoded, timestamps of any unit with a zone,
            any numbers.
        source: What ``source`` says where the batch has none.

    Raises:
        ConfigurationError: A required column is absent, or one is of a type that can't become ours.
    """
    missing = [name for name in REQUIRED if name not in batch.schema.names]
    if missing:
        raise ConfigurationError(
            f"a batch has the columns {', '.join(batch.schema.names)}; readings need {', '.join(missing)} too",
            "rename columns with RecordBatch.rename_columns, or let ParseReadings map records with ParseSpec.fields",
        )
    arrays = [
        _converted(batch, field) if field.name in batch.schema.names else _filled(batch, field, source)
        for field in READINGS_IN_FLIGHT
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=READINGS_IN_FLIGHT.with_metadata(batch.schema.metadata))


def _converted(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    column = batch.column(field.name)
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        raise ConfigurationError(
            f"the column {field.name} is {column.type}, a local time; expected {READINGS.field(field.name).type}",
            "say which zone it is in: pyarrow.compute.assume_timezone(column, 'UTC')",
        )
    try:
        if pa.types.is_floating(field.type) and not pa.types.is_null(column.type):
            return pc.cast(column, field.type, safe=False)
        if pa.types.is_timestamp(field.type) and pa.types.is_timestamp(column.type):
            # Nanoseconds are cut to ours, as the parser does.
            return pc.cast(column, field.type, safe=False)
        return cast(column, field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        expected = READINGS.field(field.name).type
        raise ConfigurationError(
            f"the column {field.name} is {column.type}; expected {expected}: {str(error).splitlines()[0]}",
            "cast it before, or let ParseReadings read the records",
        ) from error


def _filled(batch: pa.RecordBatch, field: pa.Field, source: str) -> pa.Array:
    rows = batch.num_rows
    if field.name == "measurement_type":
        return _converted(batch, READINGS_IN_FLIGHT.field("sensor_type"))
    filled = {
        "tenant": constant("default", rows),
        "unit": constant("", rows),
        "location": constant(None, rows),
        "quality_score": pa.array(np.ones(rows)),
        "issues": no_issues(rows),
        "metadata": pa.nulls(rows, pa.string()),
        "is_late": pa.array(np.zeros(rows, bool)),
        "source": constant(source, rows),
        "source_partition": pa.array(np.zeros(rows, np.int32)),
        "source_offset": pa.array(np.arange(rows)),
    }
    return filled[field.name]
