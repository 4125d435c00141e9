"""Rows of any batch as JSON objects, for sinks that take one message a row."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TEXT = pa.large_string()


def json_rows(batch: pa.RecordBatch) -> list[bytes]:
    """Each row as one JSON object, members in the order of the columns.

    Times are RFC 3339 in UTC, bytes base64, maps lists of pairs.  A member that is null, or a number
    that JSON has no form for (NaN, Infinity), is left out.

    >>> batch = pa.RecordBatch.from_pydict({"device_id": ["a", None], "value": [21.5, float("nan")]})
    >>> json_rows(batch)
    [b'{"device_id":"a","value":21.5}', b'{}']
    """
    if not batch.num_columns:
        return [b"{}"] * batch.num_rows
    members = [_members(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    joined = pc.binary_join_element_wise(*members, pa.scalar("", _TEXT), null_handling="replace", null_replacement="")
    # Each member brings its comma along, for which one is the first differs from row to row.
    return [b"{%b}" % row[1:] for row in joined.cast(pa.large_binary()).to_pylist()]


def _members(name: str, column: pa.Array) -> pa.LargeStringArray:
    """``,"name":value`` a row; null where there is none."""
    prefix = "," + msgspec.json.encode(name).decode() + ":"
    return pc.binary_join_element_wise(pa.scalar(prefix, _TEXT), _values(column), pa.scalar("", _TEXT))


def _values(column: pa.Array) -> pa.LargeStringArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary).take(column.indices)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return column.cast(_TEXT)
    if pa.types.is_floating(kind):
        finite = pc.is_finite(column)
        return pc.if_else(finite, column.cast(_TEXT), pa.scalar(None, _TEXT))
    if pa.types.is_timestamp(kind):
        text = column.cast(pa.timestamp(kind.unit)).cast(_TEXT)  # "2026-01-01 00:00:00.000000"
        return pc.binary_replace_slice(_quoted(text, "Z"), start=11, stop=12, replacement="T")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = column.dictionary_encode()
        return _encoded(encoded.dictionary.to_pylist()).take(encoded.indices)
    return _lists(column) if pa.types.is_list(kind) else _encoded(column.to_pylist())


def _lists(column: pa.ListArray) -> pa.LargeStringArray:
    """Lists are mostly empty, as ``issues`` is: only the others are encoded one by one."""
    filled = np.flatnonzero(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False))
    texts = pc.if_else(column.is_valid(), pa.scalar("[]", _TEXT), pa.scalar(None, _TEXT))
    if not len(filled):
        return texts
    mask = np.zeros(len(column), bool)
    mask[filled] = True
    return pc.replace_with_mask(texts, pa.array(mask), _encoded(column.take(pa.array(filled)).to_pylist()))


def _quoted(text: pa.LargeStringArray, end: str = "") -> pa.LargeStringArray:
    return pc.binary_join_element_wise(pa.scalar('"', _TEXT), text, pa.scalar(f'{end}"', _TEXT), pa.scalar("", _TEXT))


def _encoded(values: list[Any]) -> pa.LargeStringArray:
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in values]
    return pa.array(texts, _TEXT)
