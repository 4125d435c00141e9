"""Arrays of records, cut before they are read.

A gateway sends ``[{…},{…}]``.  Where one record ends and the next begins can be seen without parsing: at ``},{``.  That
is a guess, for the same bytes may stand in a string or between the objects of an inner array.  What proves it are the
templates: if every piece of a payload is found to be one valid JSON object, the payload is an array of just these.  A
payload of which one piece is not goes the way of all others (:mod:`.records`), which reads it as a whole.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from telebeam.transforms.batches import cut
from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.records import Records
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.templates import MAX_LEVELS

_SHORTEST = len("[{}]")


def cut_arrays(payloads: pa.LargeBinaryArray, spec: ParseSpec) -> Records:
    """The pieces of the payloads that look like arrays of objects, none of them read yet.

    Args:
        payloads: large_binary[n] without nulls.
        spec: Longer payloads than it allows are left out, and all where its depth could not be held by templates.
    """
    rows = _look_like_arrays(payloads, spec)
    if not len(rows):
        return Records(pa.array([], pa.large_binary()), rows)
    arrays = payloads if len(rows) == len(payloads) else payloads.take(pa.array(rows))
    data, offsets = buffers(arrays)
    ends, nexts = _meetings(data[offsets[0] : offsets[-1]])
    starts = np.sort(np.concatenate([offsets[:-1] + 1, nexts + offsets[0]]))
    ends = np.sort(np.concatenate([offsets[1:] - 1, ends + offsets[0]]))
    owners = rows[np.searchsorted(offsets, starts, side="right") - 1]
    return Records(cut(arrays.buffers()[2], starts, ends, pa.large_binary()), owners)


def _look_like_arrays(payloads: pa.LargeBinaryArray, spec: ParseSpec) -> np.ndarray:
    data, offsets = buffers(payloads)
    starts, ends = offsets[:-1], offsets[1:]
    lengths = ends - starts
    rows = np.flatnonzero((lengths >= _SHORTEST) & (lengths <= spec.max_payload_bytes))
    if spec.max_depth <= MAX_LEVELS:
        return rows[:0]
    for at, byte in ((starts, b"["), (starts + 1, b"{"), (ends - 1, b"]"), (ends - 2, b"}")):
        rows = rows[data[at[rows]] == ord(byte)]
    return rows


def _meetings(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where objects seem to meet, as ``},{`` or ``}, {``: behind the one's last byte, and at the other's first."""
    closing = np.flatnonzero(data[:-3] == ord("}"))
    closing = closing[data[closing + 1] == ord(",")]
    opening = closing + 2
    opening += data[opening] == ord(" ")
    meets = data[opening] == ord("{")
    return closing[meets] + 1, opening[meets]
