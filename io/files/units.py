"""Files in parts that are always cut the same way: a unit is what one worker reads, processes and files at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.io.files.extents import Extents
from telebeam.io.lake.layout import unit_name
from telebeam.io.lake.parquet import open_parquet
from telebeam.io.storage import Location, source_root
from telebeam.transforms.batches import UNIT, constant
from telebeam.transforms.errors import SourceError
from telebeam.transforms.parsing.spec import ParseSpec

UNIT_ROWS = 262_144
"""Rows a unit: its files in the lake are some megabytes, and a worker holds no more than one unit."""

UNIT_BYTES = 48 << 20
"""Bytes a unit of text, where lines are long."""

MAX_LINE_BYTES = 64 << 20
"""A longer line is no line: the file is bad."""

_BLOCK = 8 << 20
_NEWLINE = 10


class Unit(NamedTuple):
    """A part of a file: row groups of Parquet, a range of bytes of text, or all of a file that can't be cut."""

    base: str
    """The path or URI that was asked for."""
    path: str
    """The file, relative to the base's root."""
    kind: str
    """parquet | lines | stream"""
    start: int
    """The first row group, or the first byte."""
    end: int
    """Behind the last one."""
    first_row: int
    """The number of the first line."""


def plan_units(
    base: str, path: str, kind: str, span: tuple[int, int] | None, parse: ParseSpec | None = None
) -> list[Unit]:
    """A file's units.

    Args:
        base: The path or URI that was asked for.
        path: The file.
        kind: parquet | jsonl | csv.
        span: [first, end) in µs: units whose statistics say that they are all outside are left out.
        parse: Which column is the timestamp.

    Raises:
        SourceError: It can't be read.
    """
    root = source_root(base)
    if kind == "parquet":
        return list(_parquet_units(root, base, path, span, parse or ParseSpec()))
    if kind == "csv" or is_compressed(path):
        return [Unit(base, path, "stream", 0, 0, 0)]
    return list(_line_units(root, base, path))


def is_compressed(path: str) -> bool:
    """Whether a file has to be unpacked from its beginning."""
    return path.endswith((".gz", ".zst", ".bz2", ".lz4"))


def _parquet_units(
    root: Location, base: str, path: str, span: tuple[int, int] | None, parse: ParseSpec
) -> Iterator[Unit]:
    """Row groups gathered up to a unit's rows; a larger one is a unit by itself."""
    with open_parquet(root, path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        extents = None if span is None else Extents.of(file, parse)
    starts, rows = [0], 0
    for group, size in enumerate(sizes):
        if group > starts[-1] and rows + size > UNIT_ROWS:
            starts.append(group)
            rows = 0
        rows += size
    for start, end in pairwise([*starts, len(sizes)]):
        if any(sizes[start:end]) and (span is None or extents is None or extents.may_hold(range(start, end), span)):
            yield Unit(base, path, "parquet", start, end, 0)


def _line_units(root: Location, base: str, path: str) -> Iterator[Unit]:
    """Cuts where a line ends, counting lines, so that a unit's rows have their numbers without the ones before."""
    start = position = last_end = rows = first_row = 0
    try:
        with root.filesystem.open_input_file(root.child(path)) as file:
            while block := file.read(_BLOCK):
                ends = position + 1 + np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
                position += len(block)
                while len(ends):
                    # A unit is full with the line that completes its rows, or its bytes.
                    taken = min(UNIT_ROWS - rows, int(np.searchsorted(ends, start + UNIT_BYTES)) + 1, len(ends))
                    last_end, ends, rows = int(ends[taken - 1]), ends[taken:], rows + taken
                    if rows == UNIT_ROWS or last_end - start >= UNIT_BYTES:
                        yield Unit(base, path, "lines", start, last_end, first_row)
                        start, first_row, rows = last_end, first_row + rows, 0
                if position - last_end > MAX_LINE_BYTES:
                    raise too_long(root.child(path))
    except OSError as error:
        raise SourceError(f"{root.child(path)} can't be read: {error}") from error
    if position > start:
        yield Unit(base, path, "lines", start, position, first_row)


def too_long(path: str) -> SourceError:
    """What is raised where a line does not end."""
    hint = "is it a file of lines, and not packed?"
    return SourceError(f"{path}: a record is longer than {MAX_LINE_BYTES >> 20} MiB", hint)


def with_origin(batch: pa.RecordBatch, unit: str, path: str, partition: pa.Array, offset: pa.Array) -> pa.RecordBatch:
    """The batch with the columns that say where its rows came from, and the name of its unit."""
    columns = {"source": constant(path, batch.num_rows), "source_partition": partition, "source_offset": offset}
    arrays = [*batch.columns, *columns.values()]
    return pa.RecordBatch.from_arrays(arrays, names=[*batch.schema.names, *columns]).replace_schema_metadata(
        {**(batch.schema.metadata or {}), UNIT: unit.encode()}
    )


def name_of(pipeline: str, unit: Unit, part: int = 0) -> str:
    """The name of a unit's files; of a stream, of its part that begins with a row."""
    if unit.kind == "parquet":
        return unit_name(pipeline, unit.path, f"{unit.start:05d}-{unit.end - 1:05d}")
    return unit_name(pipeline, unit.path, f"{unit.first_row + part:012d}")
