"""CSV records, RFC 4180: a batch through Arrow's reader, record by record only where that one refuses it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from telebeam.transforms.parsing.nodes import Form, Group, Node, Times
from telebeam.transforms.parsing.numbers import are_json_numbers, to_doubles
from telebeam.transforms.parsing.records import RefusedRecord
from telebeam.transforms.parsing.spec import FIELDS, ParseSpec
from telebeam.transforms.parsing.timestamps import epochs_from_text, parse_timestamps

CSV_HEADER = b"telebeam.csv_header"
"""The metadata of an envelope batch's schema that holds the names of a CSV file's columns, as a JSON array."""

_FIELD = r'(?:"(?:[^"]|"")*"|[^",\r\n]*)'
_RECORD = rf"^{_FIELD}(?:,{_FIELD})*$"
_TYPED = ("timestamp", "value", "quality_score")
_KINDS = np.array(["null", "number", "string"])


def csv_groups(
    payloads: pa.LargeBinaryArray, metadata: Mapping[bytes, bytes], spec: ParseSpec
) -> tuple[list[Group], list[tuple[int, RefusedRecord]]]:
    """Groups of records of one outline, and the records that are refused, by row.

    Args:
        payloads: A record each, without the line's end.
        metadata: Of the envelopes' schema: the header stands there.
        spec: Names the mapped fields and the largest payload.
    """
    header = json.loads(metadata.get(CSV_HEADER, b"[]"))
    rows = np.arange(len(payloads))
    if not header:
        unknown = RefusedRecord("unknown_format", "CSV without a header: nothing says what its fields are")
        return [], [(row, unknown) for row in rows.tolist()]
    refused: list[tuple[int, RefusedRecord]] = []
    large = pc.greater(pc.binary_length(payloads), spec.max_payload_bytes).to_numpy(zero_copy_only=False)
    if large.any():
        why = RefusedRecord("too_large", f"larger than parse.max_payload_bytes = {spec.max_payload_bytes}")
        refused += [(row, why) for row in rows[large].tolist()]
        rows = rows[~large]
    groups: list[Group] = []
    singly = np.zeros(len(payloads), bool)
    plain, quoted = _regular(payloads, len(header))
    for regular in (plain[rows], quoted[rows]):
        part = rows[regular]
        columns = _read(payloads.take(pa.array(part)), header)
        if columns is None:
            singly[part] = True
        else:
            groups += _by_outline(header, columns, part, spec)
    singly[rows[~(plain | quoted)[rows]]] = True
    part = np.flatnonzero(singly)
    columns, kept, failed = _read_singly(payloads.take(pa.array(part)), header)
    refused += [(int(part[place]), why) for place, why in failed]
    return groups + _by_outline(header, columns, part[kept], spec), refused


def _regular(payloads: pa.LargeBinaryArray, fields: int) -> tuple[np.ndarray, np.ndarray]:
    """bool[n] twice: records without quotes and of as many fields, and records with quotes where RFC 4180 has them.

    Only of these is it known that Arrow's reader, which forgives much, reads them as they are meant.
    """
    try:
        text = payloads.cast(pa.large_string())
    except pa.ArrowInvalid:
        text = pa.array([_decoded(payload) for payload in payloads.to_pylist()], pa.large_string())
    plain = pc.and_(pc.match_substring_regex(text, r'^[^"\r\n]+$'), pc.equal(pc.count_substring(text, ","), fields - 1))
    quoted = pc.and_(pc.match_substring(text, '"'), pc.match_substring_regex(text, _RECORD))
    return _mask(plain), _mask(quoted)


def _mask(of_form: pa.BooleanArray) -> np.ndarray:
    found: np.ndarray = pc.fill_null(of_form, False).to_numpy(zero_copy_only=False)
    return found


def _decoded(payload: bytes) -> str | None:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _read(payloads: pa.LargeBinaryArray, header: Sequence[str]) -> list[pa.Array] | None:
    """The columns of regular records as text, null where a field is empty; None where a record has other fields."""
    if not len(payloads):
        return [pa.nulls(0, pa.string()) for _ in header]
    text = b"\n".join([*payloads.to_pylist(), b""])
    options = pacsv.ReadOptions(column_names=list(header), use_threads=False, block_size=1 << 30)
    try:
        table = pacsv.read_csv(
            pa.BufferReader(text),
            read_options=options,
            parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return None
    if table.num_rows != len(payloads):
        return None
    return [column.combine_chunks() for column in table.columns]


def _read_singly(
    payloads: pa.LargeBinaryArray, header: Sequence[str]
) -> tuple[list[pa.Array], np.ndarray, list[tuple[int, RefusedRecord]]]:
    kept, fields, refused = [], [], []
    for place, payload in enumerate(payloads.to_pylist()):
        try:
            record = _fields(payload, len(header))
        except RefusedRecord as refusal:
            refused.append((place, refusal))
        else:
            kept.append(place)
            fields.append(record)
    columns = [pa.array([record[number] or None for record in fields], pa.string()) for number in range(len(header))]
    return columns, np.array(kept, np.int64), refused


def _fields(payload: bytes, expected: int) -> list[str]:
    try:
        records = list(csv.reader(io.StringIO(payload.decode("utf-8"), newline=""), strict=True))
    except UnicodeDecodeError as error:
        raise RefusedRecord("malformed", f"not UTF-8: {error.reason} at byte {error.start}") from error
    except csv.Error as error:
        raise RefusedRecord("malformed", str(error)) from error
    if not payload:
        raise RefusedRecord("malformed", "empty")
    if len(records) != 1 or len(records[0]) != expected:
        found = len(records[0]) if records else 0
        raise RefusedRecord("malformed", f"{found} fields, expected {expected}")
    return records[0]


def _by_outline(header: Sequence[str], columns: list[pa.Array], rows: np.ndarray, spec: ParseSpec) -> list[Group]:
    """Rows whose fields are of the same kinds, together."""
    if not len(rows):
        return []
    named = {spec.fields.get(name, name): name for name in FIELDS}
    flat = not any(named.get(name) == "value" for name in header)
    sorted_by = [
        place
        for place, name in enumerate(header)
        if named.get(name) in _TYPED or (flat and name not in named)
    ]  # fmt: skip
    columns = [_without_white(column) if place in sorted_by else column for place, column in enumerate(columns)]
    kinds = np.stack([_kinds(columns[place]) for place in sorted_by], axis=1) if sorted_by else np.zeros((len(rows), 0))
    groups: list[Group] = []
    outlines, members = np.unique(kinds, axis=0, return_inverse=True)
    for number, outline in enumerate(outlines):
        mask = members.reshape(-1) == number
        found = dict(zip(sorted_by, _KINDS[outline.astype(int)].tolist(), strict=True))
        nodes = [(name, Node(found.get(place, "string"), place=place)) for place, name in enumerate(header)]
        groups.append(_CsvGroup(Node("object", tuple(nodes)), rows[mask], [c.filter(pa.array(mask)) for c in columns]))
    return groups


def _without_white(column: pa.Array) -> pa.Array:
    """The fields without white space around them; null where nothing is left."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _kinds(column: pa.Array) -> np.ndarray:
    null = column.is_null().to_numpy(zero_copy_only=False)
    number = are_json_numbers(pc.fill_null(column, "0") if column.null_count else column)
    return np.where(null, 0, np.where(number, 1, 2))


class _CsvGroup:
    """Records whose fields are of the same kinds: see :class:`.nodes.Group`."""

    form: Form = "csv"

    def __init__(self, outline: Node, rows: np.ndarray, columns: list[pa.Array]) -> None:
        self.outline = outline
        self.rows = rows
        self._columns = columns

    def text(self, node: Node) -> pa.Array:
        """Fields as they stand, null where they are empty."""
        return self._columns[node.place]

    def raw(self, node: Node) -> pa.Array:
        """Fields as JSON: a number where it is one, else a string."""
        column = self._columns[node.place]
        number = are_json_numbers(pc.fill_null(column, "x"))
        strings = [None if text is None else msgspec.json.encode(text).decode() for text in column.to_pylist()]
        return pc.if_else(pa.array(number), column, pa.array(strings, pa.string())).cast(pa.large_string())

    def doubles(self, node: Node) -> tuple[np.ndarray, np.ndarray | None]:
        """Fields that are numbers."""
        return to_doubles(self._columns[node.place]), None

    def times(self, node: Node, zone: str | None) -> Times:
        """Timestamp texts or epochs."""
        column = self._columns[node.place]
        if node.kind == "number":
            return epochs_from_text(column)
        return parse_timestamps(column, zone)
