"""Rows of the rejects dataset, from wherever a record was refused."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import pyarrow as pa

from telebeam.transforms.batches import UNIT
from telebeam.transforms.schema import REJECTS, cast

ORIGIN = ("source", "source_partition", "source_offset")

_MOMENTS = (pa.TimestampScalar, pa.Date32Scalar, pa.Date64Scalar, pa.DurationScalar)


def rejects_of(rejected: pa.RecordBatch, now: int) -> pa.RecordBatch:
    """Refused readings as :data:`~telebeam.transforms.schema.REJECTS`.

    Args:
        rejected: Readings with two columns more, ``reason`` and ``detail``; where it has a ``payload`` (bytes, or a
            struct of what a table's row held), that is the payload, else the reading itself is.
        now: When they were refused, µs since the epoch.
    """
    columns = {name: rejected.column(name) for name in ("reason", "detail", "device_id", "timestamp", *ORIGIN)}
    columns["payload"] = _payloads(rejected)
    return reject_batch(columns, now).replace_schema_metadata(rejected.schema.metadata)


def reject_batch(columns: dict[str, pa.Array], now: int) -> pa.RecordBatch:
    """A batch of rejects from its columns but ``rejected_at``."""
    rows = len(columns["reason"])
    columns = {**columns, "rejected_at": pa.repeat(pa.scalar(now, pa.int64()), rows)}
    arrays = [
        cast(columns[f.name], f.type) if f.name in columns else pa.nulls(rows, f.type) for f in REJECTS
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema=REJECTS)


def _payloads(rejected: pa.RecordBatch) -> pa.Array:
    if "payload" in rejected.schema.names:
        return payloads_as_bytes(rejected.column("payload"))
    left_out = {"reason", "detail", *ORIGIN}
    rows = [{k: v for k, v in row.items() if k not in left_out} for row in rejected.to_pylist()]
    return pa.array([row_as_json(row) for row in rows], pa.large_binary())


def of_stage(rejects: pa.RecordBatch, stage: str) -> pa.RecordBatch:
    """The rejects with their unit's name followed by the stage's: two stages of a unit must not share a file."""
    metadata = rejects.schema.metadata or {}
    if UNIT not in metadata:
        return rejects
    return rejects.replace_schema_metadata({**metadata, UNIT: metadata[UNIT] + f"-{stage}".encode()})


def payloads_as_bytes(payloads: pa.Array) -> pa.Array:
    """Records as the bytes that rejects hold: of a table's rows, structs, their JSON text."""
    plain = payloads.dictionary_decode() if pa.types.is_dictionary(payloads.type) else payloads
    if not pa.types.is_struct(plain.type):
        return plain
    return pa.array([row_as_json(_python(row)) for row in plain], pa.large_binary())


def _python(scalar: pa.Scalar) -> Any:
    """The value as Python has it; a moment that Python has no form for as its number."""
    if isinstance(scalar, pa.StructScalar):
        return {name: _python(scalar[name]) for name in scalar.type.names} if scalar.is_valid else None
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return scalar.value if isinstance(scalar, _MOMENTS) else str(scalar)


def row_as_json(row: dict[str, Any]) -> bytes:
    """A table's row as JSON text; what JSON has no form for is written as a string (``"NaN"``).

    >>> row_as_json({"device_id": "d-1", "value": float("nan")})
    b'{"device_id":"d-1","value":"NaN"}'
    """
    return json.dumps(_json_value(row), ensure_ascii=False, separators=(",", ":"), default=str).encode(
        "utf-8", "backslashreplace"
    )


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {name: _json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value
