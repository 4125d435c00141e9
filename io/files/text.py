"""Units of text files as batches of envelopes: a line, or a CSV record, a row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from telebeam.io.files.units import (
    MAX_LINE_BYTES,
    UNIT_BYTES,
    UNIT_ROWS,
    Unit,
    is_compressed,
    name_of,
    too_long,
    with_origin,
)
from telebeam.io.storage import Location, source_root
from telebeam.transforms.batches import cut
from telebeam.transforms.errors import SourceError
from telebeam.transforms.parsing.csv import CSV_HEADER

_BLOCK = 8 << 20
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34


def read_text_unit(pipeline: str, unit: Unit, kind: str) -> Iterator[pa.RecordBatch]:
    """A unit's records as :data:`~telebeam.transforms.schema.ENVELOPES`, without their line ends.

    Args:
        pipeline: Names the unit's files.
        unit: A range of whole lines, or a whole file.
        kind: jsonl | csv; of csv the first record is the header.

    Raises:
        SourceError: The file can't be read or unpacked, or a line never ends.
    """
    root = source_root(unit.base)
    try:
        if unit.kind == "lines":
            with root.filesystem.open_input_file(root.child(unit.path)) as file:
                file.seek(unit.start)
                yield _envelopes(pipeline, unit, 0, _lines(file.read_buffer(unit.end - unit.start), quoted=False), {})
            return
        yield from _stream(pipeline, unit, root, kind)
    except (OSError, pa.ArrowException, EOFError) as error:
        hint = "a compressed file that was cut off has to be got anew" if is_compressed(unit.path) else ""
        raise SourceError(f"{root.child(unit.path)} can't be read: {error}", hint) from error


def _stream(pipeline: str, unit: Unit, root: Location, kind: str) -> Iterator[pa.RecordBatch]:
    row = 0
    metadata: dict[bytes, bytes] = {}
    header_read = kind != "csv"
    with root.filesystem.open_input_stream(root.child(unit.path), compression="detect") as stream:
        for text in _pieces(stream, quoted=kind == "csv", name=unit.path):
            if header_read:
                records = _lines(text, quoted=kind == "csv")
            else:
                (records, metadata), header_read = csv_records(text, unit.path), True
            for first in range(0, len(records), UNIT_ROWS):
                part = records[first : first + UNIT_ROWS]
                yield _envelopes(pipeline, unit, row + first, part, metadata)
            row += len(records)


def csv_records(text: pa.Buffer, name: str) -> tuple[pa.LargeBinaryArray, dict[bytes, bytes]]:
    """The records of a CSV text behind its header, and the metadata by which envelopes of them are read.

    Raises:
        SourceError: There is no header, it is not UTF-8, or it has empty or equal names.
    """
    if not text.size:
        raise SourceError(f"{name}: there is no header")
    records = _lines(text, quoted=True)
    return records[1:], {CSV_HEADER: json.dumps(_header(records[0].as_py(), name)).encode()}


def _pieces(stream: pa.NativeFile, quoted: bool, name: str) -> Iterator[pa.Buffer]:
    """The stream's text in pieces of some :data:`UNIT_BYTES` that end where a record does."""
    held: list[bytes] = []
    size = 0
    while block := stream.read(_BLOCK):
        held.append(block)
        size += len(block)
        if size < UNIT_BYTES:
            continue
        text = b"".join(held)
        end = _last_end(text, quoted)
        if end:
            yield pa.py_buffer(memoryview(text)[:end])
        elif size > MAX_LINE_BYTES:
            raise too_long(name)
        held, size = [text[end:]], len(text) - end
    rest = b"".join(held)
    if rest:
        yield pa.py_buffer(rest)


def _last_end(text: bytes, quoted: bool) -> int:
    if not quoted:
        return text.rfind(b"\n") + 1
    ends = _record_ends(np.frombuffer(text, np.uint8), quoted)
    return int(ends[-1]) + 1 if len(ends) else 0


def _record_ends(data: np.ndarray, quoted: bool) -> np.ndarray:
    """Where records end: at each line feed, in CSV at those outside of quotes."""
    newlines = np.flatnonzero(data == _NEWLINE)
    if quoted:
        quotes = np.flatnonzero(data == _QUOTE)
        if len(quotes):
            newlines = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return newlines


def _lines(text: pa.Buffer, quoted: bool) -> pa.LargeBinaryArray:
    """The text's records, without line feeds and carriage returns before them."""
    data = np.frombuffer(text, np.uint8)
    ends = _record_ends(data, quoted)
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    trimmed = ends - ((ends > starts) & (data[np.maximum(ends - 1, 0)] == _RETURN))
    return cut(text, starts, trimmed, pa.large_binary())


def _header(record: bytes, name: str) -> list[str]:
    try:
        text = record.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: the header is not UTF-8") from error
    header = [field.strip() for field in next(csv.reader(io.StringIO(text, newline="")), [])]
    if not header or not all(header) or len(set(header)) != len(header):
        raise SourceError(f"{name}: the header has empty or equal names: {text[:200]!r}")
    return header


def _envelopes(
    pipeline: str, unit: Unit, row: int, payloads: pa.LargeBinaryArray, metadata: dict[bytes, bytes]
) -> pa.RecordBatch:
    rows = len(payloads)
    envelopes = pa.RecordBatch.from_arrays(
        [payloads, pa.nulls(rows, pa.string())], names=["payload", "key"]
    ).replace_schema_metadata(metadata)
    offset = pa.array(np.arange(unit.first_row + row, unit.first_row + row + rows))
    partition = pa.array(np.zeros(rows, np.int32))
    return with_origin(envelopes, name_of(pipeline, unit, row), unit.path, partition, offset)
