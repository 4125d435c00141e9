"""Records to readings and rejects, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.transforms.batches import CALIBRATED, UNIT, concat, constant, with_columns
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.schemas import conforming
from telebeam.transforms.issues import add_issues, no_issues
from telebeam.transforms.parsing.assemble import Assembly, Columns, Refused, assemble
from telebeam.transforms.parsing.formats import read_records
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.records import RefusedRecord
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.table import OURS, TableGroup, table_rows
from telebeam.transforms.rejects import ORIGIN, of_stage, payloads_as_bytes, reject_batch, rejects_of
from telebeam.transforms.schema import READINGS_IN_FLIGHT, Issue, Reason, cast


class Parsed(NamedTuple):
    """What became of a batch: every value and every refused record stands in one of the two."""

    readings: pa.RecordBatch
    """:data:`~telebeam.transforms.schema.READINGS_IN_FLIGHT` and ``payload``, the record that each came from."""
    rejects: pa.RecordBatch
    """:data:`~telebeam.transforms.schema.REJECTS`."""


def parse(
    batch: pa.RecordBatch, spec: ParseSpec, now: int, known: Known | None = None, fleet: Fleet | None = None
) -> Parsed:
    """Readings and rejects of a batch of records, or of rows of a table.

    Args:
        batch: :data:`~telebeam.transforms.schema.ENVELOPES` and, where the source has them, the columns
            ``content_type`` (text) and ``published_at`` (when the broker took the message); or any other columns and
            the origin: a table that is in our columns or is mapped by ``spec.fields``.
        spec: What the payloads look like.
        now: For ``rejected_at``, µs since the epoch.
        known: A registry's schemas, and what earlier batches have said; what this one says is added to it.
        fleet: What is known of devices, where a registry of them is declared: their types' codecs read payloads, and
            their schemas refuse some.

    Raises:
        SourceError: A registry does not answer; the batch may be parsed again, nothing was added.
    """
    if not _holds_records(batch.schema, spec):
        assembly = Assembly()
        assemble(TableGroup(batch), lambda rows: constant(None, len(rows)), spec, assembly)
        parsed = _finish(assembly, table_rows(batch), np.arange(batch.num_rows), batch, spec, now)
        return parsed if fleet is None or "issues" not in batch.schema.names else _marked(parsed)
    parts = []
    for found in read_records(batch, spec, known or Known(), fleet):
        assembly = Assembly(list(found.decoded))
        assembly.refused += _refusals(found.refused)
        for group in found.groups:
            assemble(group, partial(_keys, batch, found.records.envelopes), spec, assembly)
        part = _finish(assembly, found.records.payloads, found.records.envelopes, batch, spec, now)
        parts.append(part if fleet is None else _conforming(part, fleet, now))
    return parts[0] if len(parts) == 1 else _together(parts)


def _marked(parsed: Parsed) -> Parsed:
    metadata = {**(parsed.readings.schema.metadata or {}), CALIBRATED: b""}
    return parsed._replace(readings=parsed.readings.replace_schema_metadata(metadata))


def _conforming(parsed: Parsed, fleet: Fleet, now: int) -> Parsed:
    """The same, with a reject in place of each payload that breaks its type's schema; a table's rows are none."""
    if not fleet.schemas or pa.types.is_struct(parsed.readings.column("payload").type.value_type):
        return parsed
    readings, refused = conforming(parsed.readings, fleet)
    if not refused.num_rows:
        return parsed
    rejects = rejects_of(refused, now).replace_schema_metadata(parsed.rejects.schema.metadata)
    return Parsed(readings, concat([parsed.rejects, rejects]))


def _holds_records(schema: pa.Schema, spec: ParseSpec) -> bool:
    """Whether a batch holds records as bytes; else it holds a table's rows, of which a column may be named payload."""
    kind = schema.field("payload").type if "payload" in schema.names else pa.null()
    return spec.format != "columns" and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _keys(batch: pa.RecordBatch, envelopes: np.ndarray, rows: np.ndarray) -> pa.Array:
    if "key" not in batch.schema.names:
        return constant(None, len(rows))
    return batch.column("key").take(pa.array(envelopes[rows]))


def _together(parts: list[Parsed]) -> Parsed:
    """Parts as one; rows of tables among them have their records as JSON text."""
    readings = [part.readings for part in parts]
    if len({part.schema.field("payload").type for part in readings}) > 1:
        readings = [with_columns(part, {"payload": _as_bytes(part.column("payload"))}) for part in readings]
    return Parsed(concat(readings), concat([part.rejects for part in parts]))


def _as_bytes(payload: pa.DictionaryArray) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        payload.indices, payloads_as_bytes(payload.dictionary).cast(pa.large_binary())
    )


def _refusals(refused: Iterable[tuple[int, RefusedRecord]]) -> list[Refused]:
    return [Refused(np.array([row]), Reason(why.reason), why.detail) for row, why in refused]


def _finish(
    assembly: Assembly, payloads: pa.Array, envelopes: np.ndarray, batch: pa.RecordBatch, spec: ParseSpec, now: int
) -> Parsed:
    origin = {name: cast(batch.column(name), READINGS_IN_FLIGHT.field(name).type) for name in ORIGIN}
    unit = {key: value for key, value in (batch.schema.metadata or {}).items() if key == UNIT}
    # An archive of our own readings brings its tenants and issues; a payload can't, it has no such columns.
    given = {
        name: cast(batch.column(name), READINGS_IN_FLIGHT.field(name).type)
        for name in OURS
        if name in batch.schema.names and not batch.column(name).null_count
    }
    readings = _readings(assembly.readings, payloads, envelopes, {**origin, **given}, spec)
    rejects = _rejects(assembly.refused, payloads, envelopes, origin, now)
    return Parsed(readings.replace_schema_metadata(unit), of_stage(rejects.replace_schema_metadata(unit), "parse"))


def _take(column: pa.Array, rows: np.ndarray, identity: bool) -> pa.Array:
    return column if identity else column.take(pa.array(rows))


def _joined(rows: list[np.ndarray]) -> np.ndarray:
    if len(rows) == 1:
        return rows[0]
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _concatenated(arrays: list[pa.Array], kind: pa.DataType) -> pa.Array:
    if len(arrays) == 1:
        return arrays[0]
    return pa.concat_arrays(arrays) if arrays else pa.nulls(0, kind)


def _readings(
    parts: list[Columns], payloads: pa.Array, envelopes: np.ndarray, origin: dict[str, pa.Array], spec: ParseSpec
) -> pa.RecordBatch:
    row = _joined([part.row for part in parts])
    owner = envelopes[row]
    same = len(owner) == len(next(iter(origin.values()))) and bool((owner == np.arange(len(owner))).all())
    columns: dict[str, pa.Array] = {name: _take(column, owner, same) for name, column in origin.items()}
    columns.setdefault("tenant", constant(spec.tenant, len(row)))
    columns["is_late"] = pa.array(np.zeros(len(row), bool))
    columns["issues"] = _issues(parts, columns.get("issues", no_issues(len(row))))
    for field in READINGS_IN_FLIGHT:
        if field.name not in columns:
            arrays = [cast(part.columns[field.name], field.type) for part in parts]
            columns[field.name] = _concatenated(arrays, field.type)
    arrays = [columns[field.name] for field in READINGS_IN_FLIGHT]
    payload = pa.DictionaryArray.from_arrays(pa.array(row.astype(np.int32)), payloads, safe=False)
    schema = READINGS_IN_FLIGHT.append(pa.field("payload", payload.type))
    return pa.RecordBatch.from_arrays([*arrays, payload], schema=schema)


def _issues(parts: list[Columns], given: pa.ListArray) -> pa.ListArray:
    found: dict[Issue, np.ndarray] = {}
    start = 0
    for part in parts:
        for issue, flag in part.issues.items():
            found.setdefault(issue, np.zeros(len(given), bool))[start : start + len(part.row)] = flag
        start += len(part.row)
    return add_issues(given, found)


def _rejects(
    parts: list[Refused], payloads: pa.Array, envelopes: np.ndarray, origin: dict[str, pa.Array], now: int
) -> pa.RecordBatch:
    row = np.concatenate([part.row for part in parts]) if parts else np.zeros(0, np.int64)
    owner = pa.array(envelopes[row])

    def optional(name: str, kind: pa.DataType) -> pa.Array:
        found = [(getattr(part, name), len(part.row)) for part in parts]
        arrays = [pa.nulls(rows, kind) if column is None else cast(column, kind) for column, rows in found]
        return pa.concat_arrays(arrays) if arrays else pa.nulls(0, kind)

    columns = {name: column.take(owner) for name, column in origin.items()}
    columns["reason"] = pa.array([part.reason.value for part in parts for _ in range(len(part.row))], pa.string())
    columns["detail"] = pa.array([part.detail for part in parts for _ in range(len(part.row))], pa.string())
    columns["device_id"] = optional("device_id", pa.string())
    columns["timestamp"] = optional("timestamp", pa.timestamp("us", tz="UTC"))
    columns["payload"] = payloads_as_bytes(payloads.take(pa.array(row)))
    return reject_batch(columns, now)
