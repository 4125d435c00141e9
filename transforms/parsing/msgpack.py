"""MessagePack, by its specification: strict, value by value; :mod:`.binary` is the fast way for what devices send.

The timestamp extension (type −1) is an instant; what other extensions hold is bytes.  Of equal names the last counts;
a name that is no text is taken as the text of it.
"""

from __future__ import annotations

import struct
from typing import Any

from telebeam.transforms.parsing.columns import NO_INSTANT, Instant, json_text
from telebeam.transforms.parsing.cursor import Cursor
from telebeam.transforms.parsing.heads import (
    ARRAY,
    DOUBLE,
    FALSE,
    FLOAT,
    MAP,
    MOMENT,
    NULL,
    OTHER,
    SIGNED,
    TEXT,
    TRUE,
    UNSIGNED,
    Heads,
)  # fmt: skip
from telebeam.transforms.parsing.records import RefusedRecord
from telebeam.transforms.parsing.timestamps import FIRST, LAST

_SIZED = {
    0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4), 0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4),
    0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4), 0xDC: ("array", 2), 0xDD: ("array", 4),
    0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip
_FIXED_EXT = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
    0xD3: ">q",
}  # fmt: skip
_WORDS = {0xC0: None, 0xC2: False, 0xC3: True}
_TIMESTAMP = -1


def decode(data: bytes, max_depth: int) -> Any:
    """The one value of a payload, and nothing behind it.

    Raises:
        RefusedRecord: ``malformed``.
    """
    return Decoder(data, max_depth).whole()


def elements(data: bytes, max_depth: int) -> list[tuple[bytes, Any]] | None:
    """The elements of an array with their bytes; None where the value is no array.

    Raises:
        RefusedRecord: ``malformed``.
    """
    return Decoder(data, max_depth).elements()


class Decoder(Cursor):
    """A place in a payload of MessagePack."""

    def _skip_head(self) -> None:
        head = self._data[0]
        self._at = 1 + (_SIZED[head][1] if head in _SIZED else 0)

    def _value(self, depth: int) -> Any:
        head = self._take(1)[0]
        if head < 0x80:
            return head
        if head >= 0xE0:
            return head - 256
        if head < 0xC0:
            kind = "map" if head < 0x90 else "array" if head < 0xA0 else "text"
            return self._sized(kind, head & (31 if kind == "text" else 15), depth)
        if head in _WORDS:
            return _WORDS[head]
        if head in _NUMBERS:
            form = _NUMBERS[head]
            return struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if head in _FIXED_EXT:
            return self._sized("ext", _FIXED_EXT[head], depth)
        if head not in _SIZED:
            raise self._malformed(f"a reserved head {head:#04x}")
        kind, size = _SIZED[head]
        return self._sized(kind, int.from_bytes(self._take(size), "big"), depth)

    def _sized(self, kind: str, length: int, depth: int) -> Any:
        if kind == "text":
            return self._text(self._take(length))
        if kind == "bytes":
            return self._take(length)
        if kind == "ext":
            number = struct.unpack(">b", self._take(1))[0]
            content = self._take(length)
            return moment(content) if number == _TIMESTAMP else content
        if depth >= self._max_depth:
            raise RefusedRecord("malformed", f"nested deeper than {self._max_depth} levels")
        if length * (1 if kind == "array" else 2) > len(self._data) - self._at:
            raise self._malformed("cut short")
        if kind == "array":
            values = []
            for _ in range(length):  # a comprehension would take a frame of Python's stack for each level
                values.append(self._value(depth + 1))
            return values
        members: dict[str, Any] = {}
        for _ in range(length):
            name = self._value(depth + 1)
            members[name if type(name) is str else json_text(name)] = self._value(depth + 1)
        return members

    def _text(self, piece: bytes) -> str:
        try:
            return piece.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._malformed(f"not UTF-8: {error.reason}") from error


def moment(content: bytes) -> Instant:
    """The instant of a timestamp extension's 4, 8 or 12 bytes."""
    if len(content) == 4:
        nanos, seconds = 0, int.from_bytes(content, "big")
    elif len(content) == 8:
        both = int.from_bytes(content, "big")
        nanos, seconds = both >> 34, both & (2**34 - 1)
    elif len(content) == 12:
        nanos, seconds = struct.unpack(">Iq", content)
    else:
        return NO_INSTANT
    micros = seconds * 1_000_000 + nanos // 1_000
    return Instant(micros) if nanos < 1_000_000_000 and FIRST <= micros <= LAST else NO_INSTANT


def _kind(head: int) -> int:
    if head < 0x80:
        return UNSIGNED
    if head < 0xC0:
        return MAP if head < 0x90 else ARRAY if head < 0xA0 else TEXT
    if head >= 0xE0 or 0xD0 <= head <= 0xD3:
        return SIGNED
    if 0xCC <= head <= 0xCF:
        return UNSIGNED
    return {
        0xC0: NULL, 0xC2: FALSE, 0xC3: TRUE, 0xCA: FLOAT, 0xCB: DOUBLE, 0xD6: MOMENT, 0xD7: MOMENT, 0xD9: TEXT,
        0xDA: TEXT, 0xDB: TEXT, 0xDC: ARRAY, 0xDD: ARRAY, 0xDE: MAP, 0xDF: MAP,
    }.get(head, OTHER)  # fmt: skip


def _size(head: int) -> int:
    if head in _NUMBERS:
        return struct.calcsize(_NUMBERS[head])
    return _SIZED[head][1] if head in _SIZED else {0xD6: 4, 0xD7: 8}.get(head, 0)


def _base(head: int) -> int:
    if head < 0x80:
        return head
    if head < 0xC0:
        return head & (15 if head < 0xA0 else 31)
    return head - 256 if head >= 0xE0 else 0


HEADS = Heads(kinds=[_kind(h) for h in range(256)], sizes=[_size(h) for h in range(256)],
              bases=[_base(h) for h in range(256)])  # fmt: skip
"""What the first byte of a value says, for :mod:`.binary`."""
