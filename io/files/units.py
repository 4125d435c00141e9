"""Files in parts that are always cut the same way: a unit is what one worker reads, processes and files at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from telebeam.io.lake.layout import unit_name
from telebeam.io.lake.parquet import open_parquet
from telebeam.io.storage import Location, source_root
from telebeam.transforms.batches import UNIT, constant
from telebeam.transforms.errors import SourceError

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


def plan_units(base: str, path: str, kind: str, span: tuple[int, int] | None) -> list[Unit]:
    """A file's units.

    Args:
        base: The path or URI that was asked for.
        path: The file.
        kind: parquet | jsonl | csv.
        span: [first, end) in µs: units whose statistics say that they are all outside are left out.

    Raises:
        SourceError: It can't be read.
    """
    root = source_root(base)
    if kind == "parquet":
        return list(_parquet_units(root, base, path, span))
    if kind == "csv" or _is_compressed(path):
        return [Unit(base, path, "stream", 0, 0, 0)]
    return list(_line_units(root, base, path))


def _is_compressed(path: str) -> bool:
    return path.endswith((".gz", ".zst", ".bz2", ".lz4"))


def _parquet_units(root: Location, base: str, path: str, span: tuple[int, int] | None) -> Iterator[Unit]:
    with open_parquet(root, path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        start, rows = 0, 0
        for group, size in enumerate(sizes):
            rows += size
            if rows >= UNIT_ROWS or group + 1 == len(sizes):
                if span is None or any(_may_hold(file, g, span) for g in range(start, group + 1)):
                    yield Unit(base, path, "parquet", start, group + 1, 0)
                start, rows = group + 1, 0


def _may_hold(file: pq.ParquetFile, group: int, span: tuple[int, int]) -> bool:
    """Whether a row group's statistics leave room for a timestamp within a span; without statistics they do."""
    index = file.schema_arrow.get_field_index("timestamp")
    if index < 0 or not pa.types.is_timestamp(file.schema_arrow.field(index).type):
        return True
    names = [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)]
    statistics = file.metadata.row_group(group).column(names.index("timestamp")).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    low, high = (
        pa.scalar(edge, pa.timestamp("us", tz="UTC" if edge.tzinfo else None)).value
        for edge in (statistics.min, statistics.max)
    )
    return low < span[1] and high >= span[0]


def _line_units(root: Location, base: str, path: str) -> Iterator[Unit]:
    """Cuts where a line ends, counting lines, so that a unit's rows have their numbers without the ones before."""
    start = position = rows = first_row = 0
    last_newline, since = 0, 0
    try:
        with root.filesystem.open_input_file(root.child(path)) as file:
            while block := file.read(_BLOCK):
                newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
                if len(newlines):
                    rows += len(newlines)
                    last_newline = position + int(newlines[-1]) + 1
                position += len(block)
                since = last_newline - start
                if rows >= UNIT_ROWS or since >= UNIT_BYTES:
                    yield Unit(base, path, "lines", start, last_newline, first_row)
                    start, first_row, rows = last_newline, first_row + rows, 0
    except OSError as error:
        raise SourceError(f"{root.child(path)} can't be read: {error}") from error
    if position > start:
        yield Unit(base, path, "lines", start, position, first_row)


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
