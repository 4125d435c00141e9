"""Columns of number texts to doubles, by the grammar of RFC 8259, section 6."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

JSON_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def buffers(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(uint8[bytes], offsets[n + 1]) of a string or binary array, without a copy."""
    wide = pa.types.is_large_string(text.type) or pa.types.is_large_binary(text.type)
    _, offsets, data = text.buffers()
    kind = np.int64 if wide else np.int32
    positions = (
        np.frombuffer(offsets, kind)[text.offset : text.offset + len(text) + 1] if len(text) else np.zeros(1, kind)
    )
    values = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    return values, positions


def are_json_numbers(text: pa.Array) -> np.ndarray:
    """bool[n]: which texts are numbers of RFC 8259.

    The plain ones (digits, one sign, one point) are told by their bytes; a regular expression sees a column only
    where something else stands in it.
    """
    data, offsets = buffers(text)
    starts, ends = offsets[:-1], offsets[1:]
    if not len(starts):
        return np.zeros(0, bool)
    if _all_plain(data, starts, ends):
        return np.ones(len(starts), bool)
    found: np.ndarray = pc.fill_null(pc.match_substring_regex(text, JSON_NUMBER), False).to_numpy(zero_copy_only=False)
    return found


def _all_plain(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> bool:
    lengths = ends - starts
    if lengths.min() < 1:
        return False
    data = data[starts[0] : ends[-1]]
    first, last = starts - starts[0], ends - starts[0] - 1
    digit = (data - 48) <= 9  # uint8 wraps: everything below "0" becomes large
    if not digit[last].all():
        return False
    others = np.flatnonzero(~digit)
    signs = others[data[others] == 45]
    points = others[data[others] == 46]
    if len(signs) + len(points) != len(others):
        return False
    negative = data[first] == 45
    lead = first + negative
    if len(signs) != np.count_nonzero(negative) or not digit[lead].all():
        return False
    # A point has a digit before it; behind it one stands because the last byte is a digit, unless two points meet.
    if not digit[points - 1].all() or not digit[points + 1].all():
        return False
    if len(points) > len(first) or not np.diff(np.searchsorted(first, points, side="right")).all():
        return False
    zero_led = np.flatnonzero(data[lead] == 48)
    zero_led = zero_led[lead[zero_led] < last[zero_led]]
    return bool((data[lead[zero_led] + 1] == 46).all())


def to_doubles(text: pa.Array) -> np.ndarray:
    """float64[n]: the nearest double of each number text; beyond the range it is ±inf.

    >>> to_doubles(pa.array(["21.5", "-0", "1e400"])).tolist()
    [21.5, -0.0, inf]

    Raises:
        pyarrow.ArrowInvalid: A text is no number.
    """
    found: np.ndarray = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
    return found
