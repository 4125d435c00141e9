"""Payloads within gzip or zstd, told by their magic bytes."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import binary
from telebeam.transforms.extras import needing
from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.records import RefusedRecord

GZIP = b"\x1f\x8b\x08"
ZSTD = b"\x28\xb5\x2f\xfd"
_MOST_PARTS = 64
"""Members or frames; each costs a copy of what follows it."""
_MAX_WINDOW = 1 << 27
_TOO_LARGE = RefusedRecord("too_large", "unpacks to more than parse.max_payload_bytes times parse.max_expansion")
_BOTH_WRAPPERS = 31
"""zlib's parameter for a gzip header and a window of any size."""


class Unpacked(NamedTuple):
    """Payloads out of their compression."""

    payloads: pa.LargeBinaryArray
    packed: npt.NDArray[np.bool_]
    """bool[n]: which ones were compressed."""
    refused: dict[int, RefusedRecord]
    """Why a compressed one can't be read, by row; its payload is as it was."""


def unpack(payloads: pa.LargeBinaryArray, max_bytes: int) -> Unpacked:
    """Payloads out of their compression; what is compressed twice is so once then.

    Args:
        payloads: large_binary[n] without nulls.
        max_bytes: What unpacks to more is ``too_large``; no more than that is ever held.
    """
    packed = begin_with(payloads, GZIP) | begin_with(payloads, ZSTD)
    if not packed.any():
        return Unpacked(payloads, packed, {})
    contents = payloads.to_pylist()
    refused: dict[int, RefusedRecord] = {}
    for row in np.flatnonzero(packed).tolist():
        gunzip = contents[row].startswith(GZIP)
        try:
            contents[row] = (_gunzip if gunzip else _unzstd)(contents[row], max_bytes)
        except RefusedRecord as refusal:
            refused[row] = refusal
    return Unpacked(binary(contents), packed, refused)


def begin_with(payloads: pa.LargeBinaryArray, magic: bytes) -> npt.NDArray[np.bool_]:
    """bool[n]: which payloads begin with these bytes."""
    data, offsets = buffers(payloads)
    found: npt.NDArray[np.bool_] = np.diff(offsets) >= len(magic)
    for place, byte in enumerate(magic):
        rows = np.flatnonzero(found)
        if not len(rows):
            break
        found[rows] = data[offsets[rows] + place] == byte
    return found


def _gunzip(payload: bytes, max_bytes: int) -> bytes:
    """Its members, one behind the other."""
    content, rest = b"", payload
    for _ in range(_MOST_PARTS):
        member = zlib.decompressobj(_BOTH_WRAPPERS)
        try:
            content += member.decompress(rest, max_bytes + 1 - len(content))
        except zlib.error as error:
            raise RefusedRecord("malformed", f"gzip: {error}") from error
        if len(content) > max_bytes:
            raise _TOO_LARGE
        if not member.eof:
            raise RefusedRecord("malformed", "gzip: cut short")
        rest = member.unused_data
        if not rest:
            return content
    raise RefusedRecord("malformed", f"gzip: more than {_MOST_PARTS} members")


def _unzstd(payload: bytes, max_bytes: int) -> bytes:
    """Its frames, one behind the other."""
    with needing("formats", "a payload within zstd"):
        import zstandard
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    try:
        content = unpacker.stream_reader(payload, read_across_frames=True).read(max_bytes + 1)
        if len(content) > max_bytes:
            raise _TOO_LARGE
        # The reader takes a frame that is cut short for its end; the same frames, known to be small, say otherwise.
        rest = payload
        for _ in range(_MOST_PARTS):
            frame = unpacker.decompressobj()
            frame.decompress(rest)
            if not frame.eof:
                raise RefusedRecord("malformed", "zstd: cut short")
            rest = frame.unused_data
            if not rest:
                return bytes(content)
    except zstandard.ZstdError as error:
        raise RefusedRecord("malformed", f"zstd: {error}") from error
    raise RefusedRecord("malformed", f"zstd: more than {_MOST_PARTS} frames")
