"""The order of rows by several columns, texts by their dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import codes

Integers = npt.NDArray[np.int64]
_WIDTH_LIMIT = 1 << 62


def sort_order(batch: pa.RecordBatch, columns: Sequence[str]) -> Integers | None:
    """The order that sorts a batch by some columns, nulls first, ties as they stand; None where it is sorted.

    Args:
        batch: Its columns are texts, dictionary-encoded or not, integers, timestamps or doubles.
        columns: From the most to the least significant.
    """
    if batch.num_rows < 2:
        return None
    keys = [rank(batch.column(name)) for name in columns]
    packed = _pack(keys)
    if packed is None:
        order = np.lexsort(keys[::-1])
        return None if (np.diff(order) == 1).all() else order
    if (packed[1:] >= packed[:-1]).all():
        return None
    return np.argsort(packed, kind="stable")


def rank(column: pa.Array) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    """Numbers that are in the order of the column's values; -1 for a text that is null."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.dictionary_encode()
    if not pa.types.is_dictionary(column.type):
        plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        numbers: npt.NDArray[np.int64] = plain.to_numpy(zero_copy_only=False)
        return numbers
    texts = column.dictionary
    ranks = np.append(pc.rank(texts, tiebreaker="dense").to_numpy().astype(np.int64), -1)
    if texts.null_count:
        ranks[:-1][texts.is_null().to_numpy(zero_copy_only=False)] = -1
    found: npt.NDArray[np.int64] = ranks[codes(column)]
    return found


def _pack(keys: list[npt.NDArray]) -> Integers | None:  # type: ignore[type-arg]
    """One number a row in the order of the keys; None where 62 bits are too few or a key is a double."""
    packed, width = np.zeros(len(keys[0]), np.int64), 1
    for key in keys:
        if key.dtype.kind == "f":
            return None
        low, high = int(key.min()), int(key.max())
        span = high - low + 1
        if width * span >= _WIDTH_LIMIT:
            return None
        packed = packed * span + (key.astype(np.int64) - low)
        width *= span
    return packed
