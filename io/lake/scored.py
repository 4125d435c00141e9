"""Scores in batches that split no reading's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from telebeam.transforms.batches import concat
from telebeam.transforms.ordering import rank
from telebeam.transforms.schema import SERIES

_READING = (*SERIES, "timestamp", "source", "source_partition", "source_offset")


def whole_readings(batches: Iterable[pa.RecordBatch], rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """Sorted scores cut anew, so that all that detectors say of a reading is in one batch.

    Args:
        batches: Of one file, in its order.
        rows: How many a batch has at least, but for the last one; as many as came unless given.
    """
    left: pa.RecordBatch | None = None
    for batch in batches:
        held = batch if left is None else concat([left, batch])
        begin = 0
        for end in _cuts(_edges(held), rows):
            yield held.slice(begin, end - begin)
            begin = end
        left = held.slice(begin)
    if left is not None and left.num_rows:
        yield left


def _cuts(edges: np.ndarray, rows: int | None) -> list[int]:
    """Of some edges the last one, or each that is so many rows behind the one before."""
    if rows is None:
        return edges[-1:].tolist()
    cuts, begin = [], 0
    while len(behind := edges[np.searchsorted(edges, begin + rows) :]):
        begin = int(behind[0])
        cuts.append(begin)
    return cuts


def _edges(batch: pa.RecordBatch) -> np.ndarray:
    """Where another reading begins."""
    other = np.zeros(max(batch.num_rows - 1, 0), bool)
    for name in _READING:
        values = rank(batch.column(name))
        other |= values[1:] != values[:-1]
    return np.flatnonzero(other) + 1
