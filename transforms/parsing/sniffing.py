"""What a message's bytes say of its format, where they say so beyond doubt; JSON is what says nothing.

=====================================  =======================================================================
bytes                                  format
=====================================  =======================================================================
``{``, ``[``, white space              JSON, or what is refused as such
``ARROW1``, ``ff ff ff ff`` and more   Arrow IPC
``d9 d9 f7``; a map (a0 to bf)         CBOR
``de``, ``df``                         MessagePack: a map
80 to 9f, ``dc``, ``dd``               CBOR or MessagePack, whichever of the two it can be read as alone
``00`` with a registry declared        what the schema of its id says
any, with a topic ``spBv1.0/…``        Sparkplug B
a line of printable text               line protocol, if its first line is a whole point
=====================================  =======================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from telebeam.transforms.parsing import cbor, msgpack
from telebeam.transforms.parsing.binary import MAX_DEPTH
from telebeam.transforms.parsing.compression import begin_with
from telebeam.transforms.parsing.found import Messages
from telebeam.transforms.parsing.ipc import FILE_MAGIC, STREAM_MAGIC
from telebeam.transforms.parsing.records import RefusedRecord
from telebeam.transforms.parsing.sparkplug import NAMESPACE
from telebeam.transforms.parsing.wire import MAGIC, PREFIX_BYTES

_KEY = rb"(?:\\[^\n]|[^,=\s\\])++"
_POINT = re.compile(
    rb"(?:#[^\n]*+\n|[ \t]*+\r?\n)*+[^,\s\x00-\x1f#{\[\"<](?:\\[^\n]|[^,\s\\])*+(?:," + _KEY + rb"=" + _KEY + rb")*+"
    rb"[ ]++"
    + _KEY
    + rb"=(?:[-+]?[0-9.][0-9.eE+-]*+[iu]?|[tTfF][A-Za-z]*+|\"[^\n]*\")(?:,[^\n]*)?(?:[ ]+-?[0-9]+)?[ \r]*(?:\n|$)"
)
_JSON = np.zeros(257, bool)
_JSON[[*b"{[ \t\r\n", 256]] = True


def sniff(messages: Messages, first: npt.NDArray[np.int16]) -> npt.NDArray[np.object_]:
    """The name of each message's format.

    Args:
        messages: Out of their compression.
        first: int16[n]: their first bytes, -1 where there is none.
    """
    found = np.full(len(messages), "json", object)
    found[(first >= 0xA0) & (first <= 0xBF)] = "cbor"
    found[(first == 0xDE) | (first == 0xDF)] = "msgpack"
    found[begin_with(messages.payloads, STREAM_MAGIC) | begin_with(messages.payloads, FILE_MAGIC)] = "arrow"
    open_ = ~_JSON[np.where(first < 0, 256, first)] & (found == "json")
    if open_.any():
        rows = np.flatnonzero(open_)
        registered = messages.spec.registry is not None or messages.known.schema_of is not None
        depth = min(messages.spec.max_depth, MAX_DEPTH)
        texts = messages.payloads.take(rows).to_pylist()
        found[rows] = [_format(payload, registered, depth) for payload in texts]
    if messages.keys.null_count < len(messages):
        sparkplug = pc.starts_with(messages.keys.cast("string"), NAMESPACE).fill_null(False)
        found[sparkplug.to_numpy(zero_copy_only=False)] = "sparkplug"
    return found


def _format(payload: bytes, registered: bool, depth: int) -> str:
    head = payload[0]
    if payload.startswith(b"\xd9\xd9\xf7"):
        return "cbor"
    if head == MAGIC:
        return "avro" if registered and len(payload) >= PREFIX_BYTES else "json"
    if 0x80 <= head <= 0x9F or head in (0xDC, 0xDD):
        return _one_of_two(payload, depth)
    return "line_protocol" if head < 0x80 and _POINT.match(payload) else "json"


def _one_of_two(payload: bytes, depth: int) -> str:
    able = [
        name for name, decode in (("msgpack", _msgpack), ("cbor", cbor.decode)) if _holds_maps(payload, decode, depth)
    ]
    return able[0] if len(able) == 1 else "json"


def _holds_maps(payload: bytes, decode: Callable[[bytes, int], Any], depth: int) -> bool:
    try:
        value = decode(payload, depth)
    except RefusedRecord:
        return False
    return type(value) is dict or (type(value) is list and bool(value) and type(value[0]) is dict)


def _msgpack(payload: bytes, depth: int) -> Any:
    """The value by the decoder that is fast, if it is what that one reads."""
    try:
        return msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, TypeError):
        return msgpack.decode(payload, depth)
