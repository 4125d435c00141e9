"""Rows of the rejects dataset, from wherever a record was refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import UNIT, with_columns
from telebeam.transforms.schema import MESSAGE, REJECTS, cast

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


def with_message(rejects: pa.RecordBatch, records: pa.RecordBatch) -> pa.RecordBatch:
    """The rejects with what their messages said beside the payload: with it they can be parsed again as they came.

    Args:
        rejects: ``REJECTS``, of these records or of some of them.
        records: Records with their origin and, where the source has them, the columns ``key`` (text), ``content_type``
            (text) and ``published_at`` (timestamp); of a table, columns of these names are its own.

    Returns:
        The rejects themselves where there is nothing to add.
    """
    columns = [name for name in MESSAGE if _is_said(records, name)] if rejects.num_rows else []
    if not columns:
        return rejects
    places = _places(rejects, records)
    return with_columns(
        rejects,
        {name: cast(records.column(name), REJECTS.field(name).type).take(places) for name in columns},
    )


def _is_said(records: pa.RecordBatch, name: str) -> bool:
    """Whether records have a column of a message: of its kind, and not null throughout."""
    if "payload" not in records.schema.names or name not in records.schema.names:
        return False
    payload, kind = records.schema.field("payload").type, records.schema.field(name).type
    if not (pa.types.is_binary(payload) or pa.types.is_large_binary(payload)):
        return False
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    fits = pa.types.is_timestamp(inner) if name == "published_at" else inner in (pa.string(), pa.large_string())
    return bool(fits) and records.column(name).null_count < records.num_rows


def _places(rejects: pa.RecordBatch, records: pa.RecordBatch) -> pa.Array:
    """The row of each reject's record, null where there is none."""
    offsets = _numbers(rejects, "source_offset")
    # Most records are no reject's; only the others are compared in full.
    rows = np.flatnonzero(np.isin(_numbers(records, "source_offset"), offsets))
    near = records.take(pa.array(rows))
    keys = origin_codes([near, rejects])
    known, first = np.unique(keys[: len(rows)], return_index=True)
    wanted = keys[len(rows) :]
    if not len(known):
        return pa.nulls(len(wanted), pa.int64())
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return pa.array(rows[first[at]], pa.int64(), mask=known[at] != wanted)


def origin_codes(batches: Sequence[pa.RecordBatch]) -> npt.NDArray[np.int64]:
    """int64[n]: a number for each row of some batches, one behind the other; equal where the rows' origins are."""
    sources = pa.chunked_array([cast(batch.column("source"), pa.string()) for batch in batches])
    encoded = sources.combine_chunks().dictionary_encode()
    columns = [encoded.indices.to_numpy(zero_copy_only=False)]
    columns += [np.concatenate([_numbers(batch, name) for batch in batches]) for name in ORIGIN[1:]]
    return codes_of(columns)


def codes_of(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """int64[n]: a number for each row of some columns of integers; equal where the rows are.

    >>> codes_of([np.array([7, 7, 8]), np.array([1, 1, 1])]).tolist()
    [0, 0, 1]
    """
    found = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        distinct, places = np.unique(column, return_inverse=True)
        # Numbered anew each time, so that no product overflows.
        found = np.unique(found * len(distinct) + places.reshape(-1), return_inverse=True)[1].reshape(-1)
    return found.astype(np.int64)


def _numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = batch.column(name).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return numbers


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
