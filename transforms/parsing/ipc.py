"""Arrow IPC: a payload is a stream or a file of record batches, in our columns or mapped by ``parse.fields``."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.parsing.flat import claimed_bytes
from telebeam.transforms.parsing.found import Found, Messages
from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.table import TableGroup, table_rows

STREAM_MAGIC = b"\xff\xff\xff\xff"
FILE_MAGIC = b"ARROW1\x00\x00"
_ALIGNMENT = 8
_ROWS_PER_BYTE = 8
"""Of the thinnest column that holds something; null columns take no bytes, and would let a payload claim any number."""


def arrow_groups(messages: Messages) -> Iterator[Found]:
    """The rows of payloads, those of one schema together, and the payloads that are refused.

    A record is a row; the payload of a row that is refused later is its columns as JSON text.
    """
    refused: list[tuple[int, RefusedRecord]] = []
    found: dict[pa.Schema, tuple[list[pa.RecordBatch], list[int]]] = {}
    for row, payload in enumerate(_pieces(messages.payloads)):
        try:
            for batch in _batches(payload, messages.spec):
                batches, owners = found.setdefault(batch.schema, ([], []))
                batches.append(batch)
                owners.append(row)
        except RefusedRecord as refusal:
            refused.append((row, refusal))
    for schema, (batches, owners) in found.items():
        yield _group(schema, batches, owners)
    if refused or not found:
        rows = np.array([row for row, _ in refused], np.int64)
        records = Records(messages.payloads.take(pa.array(rows)), rows)
        yield Found(records, [], [(place, why) for place, (_, why) in enumerate(refused)])


def _pieces(payloads: pa.LargeBinaryArray) -> Iterator[pa.Buffer]:
    """The payloads without a copy, where they lie as Arrow needs them."""
    _, offsets = buffers(payloads)
    whole = payloads.buffers()[2]
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        piece = whole.slice(start, end - start) if end > start else pa.py_buffer(b"")
        yield pa.py_buffer(piece.to_pybytes()) if piece.address % _ALIGNMENT else piece


def _batches(payload: pa.Buffer, spec: ParseSpec) -> list[pa.RecordBatch]:
    """The batches of a payload that have rows, checked to the last offset, with the columns that can be used."""
    # A file is a stream between its magic bytes and a footer, which is for readers that seek.
    start = len(FILE_MAGIC) if payload.slice(0, min(8, payload.size)).to_pybytes() == FILE_MAGIC else 0
    stream = payload.slice(start)
    try:
        _check_claims(stream, spec.max_payload_bytes)
        with pa.ipc.open_stream(stream) as reader:
            checked = [_checked(batch, payload.size * spec.max_expansion) for batch in reader]
        batches = [_usable(batch) for batch in checked if batch.num_rows]
    except (pa.ArrowException, struct.error, OSError, MemoryError, EOFError, ValueError) as error:
        if isinstance(error, RefusedRecord):
            raise
        words = str(error).splitlines() or [type(error).__name__]
        raise RefusedRecord("malformed", f"Arrow IPC: {words[0][:200]}") from error
    if not batches:
        raise RefusedRecord("missing_value", "no rows")
    return batches


def _check_claims(stream: pa.Buffer, max_bytes: int) -> None:
    source = pa.BufferReader(stream)
    total = 0
    while True:
        try:
            message = pa.ipc.read_message(source)
        except EOFError:
            return
        body = message.body
        total += claimed_bytes(message.metadata.to_pybytes(), memoryview(b"" if body is None else body))
        if total > max_bytes:
            raise RefusedRecord("too_large", f"its compressed columns unpack to {total} bytes, more than {max_bytes}")


def _checked(batch: pa.RecordBatch, payload_bytes: int) -> pa.RecordBatch:
    if batch.num_rows > payload_bytes * _ROWS_PER_BYTE:
        raise RefusedRecord("malformed", f"claims {batch.num_rows} rows, more than its bytes can hold")
    batch.validate(full=True)
    names = batch.schema.names
    if len(set(names)) < len(names):
        raise RefusedRecord("schema", "two columns of one name")
    return batch


def _usable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns of the kinds that tables have, dictionaries with indices of one width."""
    names = [field.name for field in batch.schema if _is_plain(field.type)]
    columns = [_wide(batch.column(name)) for name in names]
    fields = [pa.field(name, column.type) for name, column in zip(names, columns, strict=True)]
    # Of columns alone a batch without any would have no rows.
    fields.append(pa.field("", pa.null()))
    return pa.RecordBatch.from_arrays([*columns, pa.nulls(batch.num_rows)], schema=pa.schema(fields))


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return all(_is_plain(field.type) for field in kind) and len({field.name for field in kind}) == len(kind)
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type) and not pa.types.is_nested(kind.value_type)
    return bool(pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
                or pa.types.is_string_view(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))  # fmt: skip


def _wide(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        kind = _in_utc(column.type)
        return column if kind == column.type else column.cast(kind)
    if not pa.types.is_string(column.type.value_type):
        return column.dictionary_decode()
    if pa.types.is_int32(column.type.index_type) and not column.type.ordered:
        return column
    # The places were checked with the batch.
    return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), column.dictionary, safe=False)


def _in_utc(kind: pa.DataType) -> pa.DataType:
    """The type without the names of zones, which may be any text: the instants are the same."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_utc(field.type)) for field in kind])
    return pa.timestamp(kind.unit, "UTC") if pa.types.is_timestamp(kind) and kind.tz is not None else kind


def _group(schema: pa.Schema, batches: list[pa.RecordBatch], owners: list[int]) -> Found:
    table = pa.Table.from_batches(batches, schema).unify_dictionaries().combine_chunks()
    whole = table.to_batches()[0].drop_columns([""])
    lengths = [batch.num_rows for batch in batches]
    envelopes: npt.NDArray[np.int64] = np.repeat(np.array(owners, np.int64), lengths)
    if not whole.num_columns:
        why = RefusedRecord("missing_device_id", "no column that can be used")
        rows = pa.StructArray.from_arrays([pa.nulls(len(envelopes))], names=["row"])
        return Found(Records(rows, envelopes), [], [(row, why) for row in range(len(envelopes))])
    return Found(Records(table_rows(whole), envelopes), [TableGroup(whole)], [])
