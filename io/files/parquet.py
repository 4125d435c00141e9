"""Units of Parquet archives as batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from telebeam.io.files.units import Unit, name_of, with_origin
from telebeam.io.lake.parquet import UNREADABLE, open_parquet
from telebeam.io.storage import Location, source_root
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import SourceError
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.table import kind_of, missing_columns, needed_columns
from telebeam.transforms.rejects import ORIGIN

_ANEW = "get the file anew from where it came from"

SLICE_ROWS = 262_144
"""A row group of more rows is read in slices, so that what is held does not grow with it."""


def read_parquet_unit(pipeline: str, unit: Unit, spec: ParseSpec) -> Iterator[pa.RecordBatch]:
    """A unit's rows, the needed columns only, with their origin.

    An archive of our own readings, which has all of source, source_partition and source_offset, keeps them.

    Raises:
        SourceError: The file is damaged, or has no columns that could be readings.
    """
    root = source_root(unit.base)
    schema, columns = _projection(root, unit.path, spec)
    texts = [name for name in columns if kind_of(schema.field(name).type) == "string" and name != "metadata"]
    with open_parquet(root, unit.path, texts) as file:
        groups = list(range(unit.start, unit.end))
        single = len(groups) == 1
        try:
            batches = file.iter_batches(SLICE_ROWS, row_groups=groups, columns=columns, use_threads=False)
            rows = _with_places(batches, [file.metadata.row_group(g).num_rows for g in groups], unit.start)
            if single:
                for number, (batch, partition, offset) in enumerate(rows):
                    name = name_of(pipeline, unit) + (f"-{number:04d}" if number else "")
                    yield _named(batch, name, unit.path, partition, offset)
                return
            parts = list(rows)
            table = pa.Table.from_batches([batch for batch, _, _ in parts]).combine_chunks() if parts else None
        except UNREADABLE as error:
            raise SourceError(f"{root.child(unit.path)} is damaged: {error}", _ANEW) from error
    if table is not None:
        places = [np.concatenate([part[i] for part in parts]) for i in (1, 2)]
        yield from _slices(table, name_of(pipeline, unit), unit.path, *places)


def _projection(root: Location, path: str, spec: ParseSpec) -> tuple[pa.Schema, list[str]]:
    """A file's schema and the columns of it that are needed."""
    with open_parquet(root, path) as file:
        try:
            schema = file.schema_arrow
        except UNREADABLE as error:
            raise SourceError(f"{root.child(path)} is damaged: {error}", _ANEW) from error
    missing = missing_columns(schema, spec)
    if missing:
        raise SourceError(
            f"{root.child(path)} is no archive of readings: {missing}; it has {', '.join(schema.names)[:300]}",
            "name its columns in parse.fields, or give parse.defaults",
        )
    return schema, needed_columns(schema, spec)


def _slices(
    table: pa.Table, name: str, path: str, partition: np.ndarray, offset: np.ndarray
) -> Iterator[pa.RecordBatch]:
    """A unit's rows: one batch, or some where a column has more text than an array can hold."""
    first = 0
    for number, batch in enumerate(table.to_batches()):
        rows = slice(first, first + batch.num_rows)
        yield _named(batch, name + (f"-{number:04d}" if number else ""), path, partition[rows], offset[rows])
        first += batch.num_rows


def _with_places(
    batches: Iterator[pa.RecordBatch], sizes: Sequence[int], first_group: int
) -> Iterator[tuple[pa.RecordBatch, np.ndarray, np.ndarray]]:
    """Each batch with its rows' row groups and places in them."""
    ends = np.cumsum(sizes)
    done = 0
    for batch in batches:
        rows = np.arange(done, done + batch.num_rows)
        groups = np.searchsorted(ends, rows, side="right")
        yield batch, (groups + first_group).astype(np.int32), rows - (ends - sizes)[groups]
        done += batch.num_rows


def _named(batch: pa.RecordBatch, name: str, path: str, partition: np.ndarray, offset: np.ndarray) -> pa.RecordBatch:
    if all(name in batch.schema.names and not batch.column(name).null_count for name in ORIGIN):
        return batch.replace_schema_metadata({UNIT: name.encode()})
    own = batch.drop_columns([column for column in ORIGIN if column in batch.schema.names])
    return with_origin(own.replace_schema_metadata(None), name, path, pa.array(partition), pa.array(offset))
