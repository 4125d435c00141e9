"""Small tools for RecordBatches that every stage needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.schema import DICTIONARY

_LARGE_STRING = pa.large_string()

READING_BATCH_ROWS = 32_768
"""Rows a batch: enough that Beam's cost an element vanishes, few enough that a batch's columns stay in the cache."""


UNIT = b"telebeam.unit"
"""The metadata of a batch's schema that names the part of the source that it came from; sinks name files by it."""


CALIBRATED = b"telebeam.calibrated"
"""The metadata of a batch of readings that were enriched before, as those of the lake: none is calibrated twice."""


def constant(text: str | None, rows: int) -> pa.DictionaryArray:
    """A dictionary-encoded column that says the same in each row."""
    if text is None:
        return pa.nulls(rows, DICTIONARY)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text], pa.string()))


def encode(text: pa.Array) -> pa.DictionaryArray:
    """A text column, dictionary-encoded."""
    if pa.types.is_dictionary(text.type):
        return text
    encoded = text.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.cast(pa.string()))


def distinct(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The column with a dictionary that holds no text twice and no null: equal codes are equal texts.

    >>> column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "a", None]))
    >>> distinct(column).indices.to_pylist()
    [0, 0, None]
    """
    dictionary = column.dictionary
    if not dictionary.null_count and len(dictionary.unique()) == len(dictionary):
        return column
    return encode(column.dictionary_decode())


def codes(column: pa.DictionaryArray) -> np.ndarray:
    """int32[n]: each row's place in the dictionary; -1 for null."""
    indices = pc.fill_null(column.indices, -1) if column.indices.null_count else column.indices
    numbers: np.ndarray = indices.to_numpy(zero_copy_only=False)
    return numbers


def canonical(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with each dictionary in the order in which its values first appear: equal rows give equal bytes."""
    columns = {
        name: _first_appearance(batch.column(name))
        for name in batch.schema.names
        if pa.types.is_dictionary(batch.schema.field(name).type)
    }
    return with_columns(batch, columns)


def _first_appearance(column: pa.DictionaryArray) -> pa.DictionaryArray:
    if len(column.dictionary) == 1 and not column.null_count:
        return column
    places = column.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(places.indices, column.dictionary.take(places.dictionary))


def concat(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one schema as one; their dictionaries become one."""
    if len(batches) == 1:
        return batches[0]
    columns = [pa.concat_arrays(arrays) for arrays in zip(*(batch.columns for batch in batches), strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=batches[0].schema)


def with_columns(batch: pa.RecordBatch, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """The batch with some columns replaced, or appended where it has none of the name."""
    for name, column in columns.items():
        index = batch.schema.get_field_index(name)
        if index < 0:
            batch = batch.append_column(name, column)
        else:
            batch = batch.set_column(index, batch.schema.field(index).with_type(column.type), column)
    return batch


def rows_of(batch: pa.RecordBatch, mask: np.ndarray) -> pa.RecordBatch:
    """The rows at which a mask is true; the batch itself where that is all of them."""
    return batch if mask.all() else batch.filter(pa.array(mask))


def rows_within(batch: pa.RecordBatch, span: tuple[int, int]) -> pa.RecordBatch:
    """The rows whose timestamp is in [first, end), in µs since the epoch, and those that have none."""
    column = batch.column("timestamp")
    time = pc.fill_null(column.cast(pa.int64()), span[0]).to_numpy(zero_copy_only=False)
    return rows_of(batch, (time >= span[0]) & (time < span[1]))


def cut(data: pa.Buffer, starts: np.ndarray, ends: np.ndarray, kind: pa.DataType = _LARGE_STRING) -> pa.Array:
    """The texts between ascending places of a buffer.

    An array whose offsets are start, end, start, end … holds the texts at its even positions and what lies between
    them at its odd ones; taking the even ones is one pass in Arrow.

    Args:
        data: The bytes.
        starts: int64[n].
        ends: int64[n], each not before its start nor behind the next one.
        kind: ``large_string`` or ``large_binary``.
    """
    if not len(starts):
        return pa.array([], kind)
    offsets = np.empty(2 * len(starts), np.int64)
    offsets[0::2], offsets[1::2] = starts, ends
    both = pa.Array.from_buffers(kind, len(offsets) - 1, [None, pa.py_buffer(offsets), data])
    return both.take(pa.array(np.arange(0, len(offsets) - 1, 2, dtype=np.int32)))


def binary(values: Sequence[bytes | None]) -> pa.LargeBinaryArray:
    """A column of bytes; None is null.

    Memory is asked for once: Arrow's own way lets it grow, and takes seven times as long where values are large.

    >>> [binary(values).to_pylist() for values in ([b"ab", b"", b"c"], [b"a", None], [])]
    [[b'ab', b'', b'c'], [b'a', None], []]
    """
    try:
        data = b"".join(values)  # type: ignore[arg-type]
    except TypeError:
        return pa.array(values, pa.large_binary())
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=offsets[1:])  # type: ignore[arg-type]
    return pa.Array.from_buffers(pa.large_binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def to_dicts(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The batch's rows as plain dicts, timestamps as aware datetimes."""
    return batch.to_pylist()
