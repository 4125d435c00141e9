"""Pieces of a byte buffer as columns: what stands between places that are given a row each.

Most members have the same width in all records of a batch, and many the same text.  NumPy copies pieces of one width
as items of a type of that width, whatever it is, at the price of a number; that is three times as fast as Arrow's way
for pieces of any width, and leaves nothing to encode where all are the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import constant, cut

Places = npt.NDArray[np.int64]


def items(data: npt.NDArray[np.uint8], starts: Places, width: int) -> npt.NDArray[np.void]:
    """void[n]: the ``width`` bytes, at least one, from each place on; all of them lie within the data."""
    every = np.ndarray(len(data) - width + 1, f"V{width}", data, strides=(1,))
    return every[starts]


def equal(data: npt.NDArray[np.uint8], starts: Places, literal: bytes) -> npt.NDArray[np.bool_]:
    """bool[n]: at which places the literal stands; it fits into the data at each of them.

    >>> equal(np.frombuffer(b"a:1,a:2,b:3", np.uint8), np.array([0, 4, 8]), b"a:").tolist()
    [True, True, False]
    """
    same = np.ones(len(starts), bool)
    if literal and len(starts):
        found = items(data, starts, len(literal)).view(np.uint8).reshape(len(starts), len(literal))
        # Most places hold the literal: where one does not is looked for only once it is known that there are some.
        other = found != np.frombuffer(literal, np.uint8)
        if other.any():
            same = ~other.any(axis=1)
    return same


def texts(buffer: pa.Buffer, starts: Places, ends: Places) -> pa.Array:
    """The texts between ascending places, as large_string, or as a dictionary where all are the same text.

    Args:
        buffer: UTF-8.
        starts: Of each text.
        ends: Of each text, not before its start nor behind the next one's.
    """
    width = _common_width(starts, ends)
    if not width:
        return cut(buffer, starts, ends)
    found = items(np.frombuffer(buffer, np.uint8), starts, width)
    if (found == found[0]).all():
        return constant(found[0].tobytes().decode(), len(found))
    return _of_width(found, width)


def plain_texts(buffer: pa.Buffer, starts: Places, ends: Places) -> pa.Array:
    """Like :func:`texts`, as large_string always."""
    width = _common_width(starts, ends)
    if not width:
        return cut(buffer, starts, ends)
    return _of_width(items(np.frombuffer(buffer, np.uint8), starts, width), width)


def _common_width(starts: Places, ends: Places) -> int:
    """The width that all pieces have; 0 where they differ, or where there is none."""
    if not len(starts):
        return 0
    widths = ends - starts
    width = int(widths[0])
    return width if (widths == width).all() else 0


def _of_width(found: npt.NDArray[np.void], width: int) -> pa.Array:
    offsets = np.arange(0, (len(found) + 1) * width, width)
    return pa.Array.from_buffers(pa.large_string(), len(found), [None, pa.py_buffer(offsets), pa.py_buffer(found)])
