"""Rows of a table, as Parquet and CSV hold them: the same shapes as JSON's, told apart by the columns' names and types."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.parsing.nodes import Form, Node, Path, Times
from telebeam.transforms.parsing.shapes import mapping, plan
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.timestamps import epochs, parse_naive_timestamps, parse_timestamps
from telebeam.transforms.rejects import ORIGIN, row_as_json

OURS = frozenset({"tenant", "issues"})
"""Columns of our own archives that are taken over as they are: no payload names its tenant."""


def kind_of(column: pa.DataType) -> str:
    """The kind of member that a column of this type holds."""
    inner = column.value_type if pa.types.is_dictionary(column) else column
    if pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner):
        return "string"
    if pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_decimal(inner):
        return "number"
    if pa.types.is_timestamp(inner):
        return "timestamp"
    if pa.types.is_struct(inner):
        return "object"
    if pa.types.is_null(inner):
        return "null"
    return "true" if pa.types.is_boolean(inner) else "array"


def table_rows(batch: pa.RecordBatch) -> pa.StructArray:
    """A table's rows but their origin, as structs, without a copy."""
    names = [name for name in batch.schema.names if name not in ORIGIN]
    return pa.StructArray.from_arrays([batch.column(name) for name in names], names=names)


def outline_of(schema: pa.Schema) -> Node:
    """A table's outline, from its columns but the origin and :data:`OURS`."""

    def node(path: Path, column: pa.DataType) -> Node:
        children = [(f.name, node((*path, f.name), f.type)) for f in column] if pa.types.is_struct(column) else []
        kind = kind_of(column)
        # Our own archives hold metadata as JSON text.
        return Node("json" if path == ("metadata",) and kind == "string" else kind, tuple(children), place=path)

    members = [field for field in schema if field.name not in OURS and field.name not in ORIGIN]
    return Node("object", tuple((field.name, node((field.name,), field.type)) for field in members), place=())


def needed_columns(schema: pa.Schema, spec: ParseSpec) -> list[str]:
    """The columns of a table that parsing reads: a projection."""
    found = plan(outline_of(schema), mapping(spec), "table")
    paths = [found.device_id, found.timestamp, found.quality_score, found.metadata]
    paths += [path for _, path in found.texts] + [measure.path for measure in found.measures]
    wanted = {path[0] for path in paths if path} | OURS | set(ORIGIN)
    return [name for name in schema.names if name in wanted]


def missing_columns(schema: pa.Schema, spec: ParseSpec) -> str:
    """What a table lacks to be readings, in words; empty where it lacks nothing."""
    found = plan(outline_of(schema), mapping(spec), "table")
    lacks = []
    if found.device_id is None and "device_id" not in spec.defaults:
        lacks.append("no device_id")
    if found.timestamp is None:
        lacks.append("no timestamp")
    if not found.measures:
        lacks.append("no value")
    return ", ".join(lacks)


class TableGroup:
    """All rows of a table: see :class:`.nodes.Group`."""

    form: Form = "table"

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.rows = np.arange(batch.num_rows)
        self._columns: dict[Path, pa.Array] = {}
        self.outline = outline_of(batch.schema)
        for field in batch.schema:
            self._collect((field.name,), batch.column(field.name))

    def _collect(self, path: Path, column: pa.Array) -> None:
        self._columns[path] = column
        if pa.types.is_struct(column.type):
            for field in column.type:
                self._collect((*path, field.name), pc.struct_field(column, field.name))

    def text(self, node: Node) -> pa.Array:
        """Text columns; others have none."""
        column = self._columns[node.place]
        return column if node.kind == "string" else pa.nulls(len(column), pa.string())

    def raw(self, node: Node) -> pa.Array:
        """Columns as JSON text; a text that is named metadata is JSON text already."""
        column = self._columns[node.place]
        if node.kind == "json":
            return (column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).cast(pa.large_string())
        if node.kind == "number" and not column.null_count and pa.types.is_integer(column.type):
            return column.cast(pa.large_string())
        texts = [None if value is None else row_as_json(value).decode() for value in column.to_pylist()]
        return pa.array(texts, pa.large_string())

    def doubles(self, node: Node) -> tuple[np.ndarray, np.ndarray | None]:
        """Number columns and where they are null."""
        column = self._columns[node.place]
        missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        filled = pc.fill_null(column, 0) if column.null_count else column
        return pc.cast(filled, pa.float64(), safe=False).to_numpy(zero_copy_only=False), missing

    def times(self, node: Node, zone: str | None) -> Times:
        """Timestamps of any unit, epochs by their size, or text."""
        column = self._columns[node.place]
        missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        if node.kind == "string":
            text = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            found = parse_naive_timestamps(text, zone) if zone else parse_timestamps(text)
        elif node.kind == "number":
            found = epochs(self.doubles(node)[0] if not pa.types.is_integer(column.type) else _integers(column))
        else:
            found = _instants(column, zone)
        return found if missing is None else Times(found.microseconds, found.bad & ~missing, missing)


def _integers(column: pa.Array) -> np.ndarray:
    return pc.fill_null(column, 0).cast(pa.int64()).to_numpy(zero_copy_only=False)


def _instants(column: pa.Array, zone: str | None) -> Times:
    """Timestamps with or without a zone; Parquet's without one are bad unless a zone is declared."""
    bad = np.zeros(len(column), bool)
    if column.type.tz is None:
        if zone is None:
            return Times(np.zeros(len(column), np.int64), np.ones(len(column), bool))
        text = pc.strftime(column, format="%Y-%m-%dT%H:%M:%S") if zone != "UTC" else None
        if text is not None:
            return parse_timestamps(text, zone)
    micros = pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    return Times(pc.fill_null(micros, 0).to_numpy(zero_copy_only=False), bad)
