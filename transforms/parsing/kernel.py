"""Records to readings and rejects, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import UNIT, constant
from telebeam.transforms.issues import add_issues, no_issues
from telebeam.transforms.parsing.arrays import cut_arrays
from telebeam.transforms.parsing.assemble import Assembly, Columns, Refused, assemble
from telebeam.transforms.parsing.csv import CSV_HEADER, csv_groups
from telebeam.transforms.parsing.matching import Matcher, TemplateGroup
from telebeam.transforms.parsing.nodes import Group
from telebeam.transforms.parsing.records import Records, RefusedRecord, check_json, split_payloads
from telebeam.transforms.parsing.singly import group_singly
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.table import OURS, TableGroup, table_rows
from telebeam.transforms.parsing.templates import Template, learn
from telebeam.transforms.rejects import ORIGIN, of_stage, payloads_as_bytes, reject_batch
from telebeam.transforms.schema import READINGS_IN_FLIGHT, Issue, Reason, cast

_MAX_TEMPLATES = 64
"""Templates a batch, at most two an outline; what matches none of so many is read singly."""


_SLICE_ROWS = 16_384
"""Rows that are matched together: the records are read once for each of their members, and these stay in the cache."""


class Parsed(NamedTuple):
    """What became of a batch: every value and every refused record stands in one of the two."""

    readings: pa.RecordBatch
    """:data:`~telebeam.transforms.schema.READINGS_IN_FLIGHT` and ``payload``, the record that each came from."""
    rejects: pa.RecordBatch
    """:data:`~telebeam.transforms.schema.REJECTS`."""


def parse(batch: pa.RecordBatch, spec: ParseSpec, now: int) -> Parsed:
    """Readings and rejects of a batch of records, or of rows of a table.

    Args:
        batch: :data:`~telebeam.transforms.schema.ENVELOPES` (JSON or CSV records), or any other columns and the
            origin: a table that is in our columns or is mapped by ``spec.fields``.
        spec: What the payloads look like.
        now: For ``rejected_at``, µs since the epoch.
    """
    assembly = Assembly()
    if not _holds_records(batch.schema, spec):
        assemble(TableGroup(batch), lambda rows: constant(None, len(rows)), spec, assembly)
        return _finish(assembly, table_rows(batch), np.arange(batch.num_rows), batch, spec, now)
    payloads = batch.column("payload").cast(pa.large_binary())
    if payloads.null_count:
        payloads = pc.fill_null(payloads, b"")
    if spec.format == "csv" or (spec.format == "auto" and CSV_HEADER in (batch.schema.metadata or {})):
        records = Records(payloads, np.arange(len(payloads)))
        groups, refused = csv_groups(payloads, batch.schema.metadata or {}, spec)
    else:
        records, groups, refused = _json_groups(payloads, spec)
    assembly.refused += _refusals(refused)
    for group in groups:
        assemble(group, lambda rows: _keys(batch, records.envelopes[rows]), spec, assembly)
    return _finish(assembly, records.payloads, records.envelopes, batch, spec, now)


def _holds_records(schema: pa.Schema, spec: ParseSpec) -> bool:
    """Whether a batch holds records as bytes; else it holds a table's rows, of which a column may be named payload."""
    kind = schema.field("payload").type if "payload" in schema.names else pa.null()
    return spec.format != "columns" and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _keys(batch: pa.RecordBatch, envelopes: np.ndarray) -> pa.Array:
    if "key" not in batch.schema.names:
        return constant(None, len(envelopes))
    return batch.column("key").take(pa.array(envelopes))


def _json_groups(
    payloads: pa.LargeBinaryArray, spec: ParseSpec
) -> tuple[Records, list[Group], list[tuple[int, RefusedRecord]]]:
    """The records, by outline: by template where one matches, the others singly; and those that are refused."""
    templates: list[Template] = []
    pieces = cut_arrays(payloads, spec)
    unproven = np.ones(len(pieces), bool)
    guessed = list(_by_template(pieces, unproven, templates, spec))
    rest = np.ones(len(payloads), bool)
    rest[pieces.envelopes] = False
    rest[pieces.envelopes[unproven]] = True
    groups = [group.where(~rest[pieces.envelopes[group.rows]]) for group in guessed] if unproven.any() else guessed
    others = np.flatnonzero(rest)
    whole = payloads if rest.all() else payloads.take(pa.array(others))
    records, refused = split_payloads(whole, others, spec)
    records = pieces.followed_by(records)
    refused = [(len(pieces) + row, why) for row, why in refused]
    unmatched = np.arange(len(records)) >= len(pieces)
    unmatched[[row for row, _ in refused]] = False
    groups += _by_template(records, unmatched, templates, spec)
    singles, failed = _singly(records, np.flatnonzero(unmatched), spec)
    return records, [*(group for group in groups if len(group.rows)), *singles], refused + failed


def _by_template(
    records: Records, unmatched: np.ndarray, templates: list[Template], spec: ParseSpec
) -> Iterator[TemplateGroup]:
    """Groups of those records that are unmatched yet, which some of them are then no longer."""
    # By slices, because the places of all quotes take more room than the records themselves.
    for first in range(0, len(records), _SLICE_ROWS):
        rows = slice(first, first + _SLICE_ROWS)
        if not unmatched[rows].any():
            continue
        matcher = Matcher(records.payloads[rows], first)
        matcher.open &= unmatched[rows]
        for group in _match_slice(matcher, templates, spec):
            unmatched[group.rows] = False
            yield group


def _match_slice(matcher: Matcher, templates: list[Template], spec: ParseSpec) -> Iterator[TemplateGroup]:
    """Groups by the templates that are known, and by those of records that match none, which then are known too."""
    for known in templates:
        group = matcher.match(known)
        if group is not None:
            yield group
    while len(templates) < _MAX_TEMPLATES and matcher.open.any():
        learned = _learn(matcher, spec)
        groups = [group for group in map(matcher.match, learned) if group is not None]
        if groups:
            templates += learned
            yield from groups
        else:
            matcher.give_up()


def _learn(matcher: Matcher, spec: ParseSpec) -> list[Template]:
    """The templates of the first open record: with the strings that seem to be constant as literals, and without."""
    payload = matcher.next_open()
    try:
        check_json(payload, spec.max_depth)
    except RefusedRecord:
        return []
    template = learn(payload)
    if template is None:
        return []
    narrow = learn(payload, matcher.constant_strings(template))
    return [template] if narrow in (None, template) else [narrow, template]


def _singly(records: Records, rows: np.ndarray, spec: ParseSpec) -> tuple[list[Group], list[tuple[int, RefusedRecord]]]:
    if not len(rows):
        return [], []
    refused: list[tuple[int, RefusedRecord]] = []

    def valid() -> Iterator[tuple[int, bytes]]:
        for row in rows.tolist():
            payload = records.payloads[row].as_py()
            try:
                check_json(payload, spec.max_depth)
            except RefusedRecord as refusal:
                refused.append((row, refusal))
            else:
                yield row, payload

    groups, others = group_singly(valid(), spec)
    return list(groups), refused + others


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


def _readings(
    parts: list[Columns], payloads: pa.Array, envelopes: np.ndarray, origin: dict[str, pa.Array], spec: ParseSpec
) -> pa.RecordBatch:
    row = np.concatenate([part.row for part in parts]) if parts else np.zeros(0, np.int64)
    owner = envelopes[row]
    same = len(owner) == len(next(iter(origin.values()))) and bool((owner == np.arange(len(owner))).all())
    columns: dict[str, pa.Array] = {name: _take(column, owner, same) for name, column in origin.items()}
    columns.setdefault("tenant", constant(spec.tenant, len(row)))
    columns["is_late"] = pa.array(np.zeros(len(row), bool))
    columns["issues"] = _issues(parts, columns.get("issues", no_issues(len(row))))
    for field in READINGS_IN_FLIGHT:
        if field.name not in columns:
            arrays = [cast(part.columns[field.name], field.type) for part in parts]
            columns[field.name] = pa.concat_arrays(arrays) if arrays else pa.nulls(0, field.type)
    arrays = [columns[field.name] for field in READINGS_IN_FLIGHT]
    payload = pa.DictionaryArray.from_arrays(pa.array(row.astype(np.int32)), payloads)
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
