"""Rows of a table, as Parquet holds them: the shapes of JSON, told apart by the columns' names and types."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.parsing.nodes import Form, Node, Path, Times
from telebeam.transforms.parsing.shapes import mapping, plan
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.timestamps import epochs, instants, parse_timestamps
from telebeam.transforms.rejects import ORIGIN, payloads_as_bytes

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
    """A table's rows but their origin, as structs."""
    names = [name for name in batch.schema.names if name not in ORIGIN]
    return pa.StructArray.from_arrays([_plain(batch.column(name)) for name in names], names=names)


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
        self._columns[path] = _plain(column)
        if pa.types.is_struct(column.type):
            for field in column.type:
                self._collect((*path, field.name), pc.struct_field(column, field.name))

    def text(self, node: Node) -> pa.Array:
        """Text columns; others have none."""
        column = self._columns[node.place]
        return column if node.kind == "string" else pa.nulls(len(column), pa.string())

    def raw(self, node: Node) -> pa.Array:
        """Struct columns as JSON text; a text that is named metadata is JSON text already."""
        column = self._columns[node.place]
        if node.kind == "json":
            return (column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).cast(
                pa.large_string()
            )
        return pc.if_else(column.is_valid(), payloads_as_bytes(column).cast(pa.large_string()), None)

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
            found = parse_timestamps(column, zone)
        elif node.kind == "number":
            found = epochs(self.doubles(node)[0] if not pa.types.is_integer(column.type) else _integers(column))
        else:
            found = instants(column, zone)
        return found if missing is None else Times(found.microseconds, found.bad & ~missing, missing)


def _integers(column: pa.Array) -> np.ndarray:
    """int64[n], nulls as 0; what is larger is the smallest integer, which is no epoch."""
    numbers = pc.fill_null(column, 0).cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)
    return np.where(numbers < 0, np.iinfo(np.int64).min, numbers) if pa.types.is_uint64(column.type) else numbers


def _plain(column: pa.Array) -> pa.Array:
    """The column with encoded numbers decoded, and views, for which few functions of Arrow exist, as strings."""
    if pa.types.is_dictionary(column.type):
        if kind_of(column.type) != "string":
            return column.dictionary_decode()
        if pa.types.is_string(column.type.value_type) and not column.type.ordered:
            return column
        return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.string()))
    viewless = _without_views(column.type)
    return column if viewless == column.type else column.cast(viewless)


def _without_views(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_views(field.type)) for field in kind])
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind
