"""CBOR, RFC 8949: strict, the whole of it, item by item; :mod:`.binary` is the fast way for what devices send.

What is well-formed is read: definite and indefinite lengths, numbers of any width, tags.  What has no form in JSON
stands in metadata as text.  Of equal names the last counts; a name that is no text is taken as the text of it.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from telebeam.transforms.parsing.columns import NO_INSTANT, Instant, json_text
from telebeam.transforms.parsing.cursor import Cursor
from telebeam.transforms.parsing.heads import (
    ARRAY,
    DOUBLE,
    FALSE,
    FLOAT,
    HALF,
    MAP,
    NEGATIVE,
    NULL,
    OTHER,
    TAG,
    TEXT,
    TRUE,
    UNSIGNED,
    Heads,
)  # fmt: skip
from telebeam.transforms.parsing.records import RefusedRecord
from telebeam.transforms.parsing.timestamps import FIRST, LAST, parse_one

_BREAK = object()
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_MOST_BITS = 2048
"""Of a mantissa: beyond, a decimal fraction is beyond the doubles for any exponent that somebody would send."""


class Simple(int):
    """A simple value without a meaning."""

    def __str__(self) -> str:
        return f"simple({int(self)})"


def decode(data: bytes, max_depth: int) -> Any:
    """The value of one CBOR item, and nothing behind it.

    Times (tags 0 and 1) are :class:`~.columns.Instant`, bignums integers, decimal fractions and bigfloats doubles;
    other tags say nothing, their content counts.

    Raises:
        RefusedRecord: ``malformed``.
    """
    return Decoder(data, max_depth).whole()


def elements(data: bytes, max_depth: int) -> list[tuple[bytes, Any]] | None:
    """The elements of an array with their bytes; None where the item is no array.

    Raises:
        RefusedRecord: ``malformed``.
    """
    return Decoder(data, max_depth).elements()


class Decoder(Cursor):
    """A place in a payload of CBOR."""

    def _value(self, depth: int) -> Any:
        value = self._item(depth)
        if value is _BREAK:
            raise self._malformed("a break outside of what has no length")
        return value

    def _skip_head(self) -> None:
        while self._data[self._at] >> 5 == 6:
            self._argument()
        self._argument()

    def _argument(self) -> tuple[int, int, int | None]:
        """(major type, additional information, argument: None where the length is indefinite)."""
        head = self._take(1)[0]
        major, info = head >> 5, head & 31
        if info < 24:
            return major, info, info
        if info < 28:
            return major, info, int.from_bytes(self._take(1 << (info - 24)), "big")
        if info == 31 and major not in (0, 1, 6):
            return major, info, None
        raise self._malformed(f"a reserved head {head:#04x}")

    def _item(self, depth: int) -> Any:
        major, info, argument = self._argument()
        if major >= 4 and major != 7 and depth >= self._max_depth:
            raise RefusedRecord("malformed", f"nested deeper than {self._max_depth} levels")
        if major == 0:
            return argument
        if major == 1:
            return -1 - (argument or 0)
        if major in (2, 3):
            return self._string(major, argument)
        if major == 4:
            return self._array(argument, depth)
        if major == 5:
            return self._map(argument, depth)
        if major == 6:
            return self._tagged(argument or 0, depth)
        return self._simple(info, argument)

    def _string(self, major: int, length: int | None) -> Any:
        if length is not None:
            piece = self._take(length)
            return piece if major == 2 else self._text(piece)
        pieces: list[Any] = []
        while self._data[self._at : self._at + 1] != b"\xff":
            inner, _, size = self._argument()
            if inner != major or size is None:
                raise self._malformed("a chunk of another type")
            piece = self._take(size)
            pieces.append(piece if major == 2 else self._text(piece))
        self._at += 1
        return b"".join(pieces) if major == 2 else "".join(pieces)

    def _text(self, piece: bytes) -> str:
        try:
            return piece.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._malformed(f"not UTF-8: {error.reason}") from error

    def _array(self, length: int | None, depth: int) -> list[Any]:
        if length is not None and length > len(self._data) - self._at:
            raise self._malformed("cut short")
        values: list[Any] = []
        while length is None or len(values) < length:
            value = self._item(depth + 1)
            if value is _BREAK:
                if length is not None:
                    raise self._malformed("a break outside of what has no length")
                break
            values.append(value)
        return values

    def _map(self, length: int | None, depth: int) -> dict[str, Any]:
        if length is not None and 2 * length > len(self._data) - self._at:
            raise self._malformed("cut short")
        members: dict[str, Any] = {}
        count = 0
        while length is None or count < length:
            name = self._item(depth + 1)
            if name is _BREAK and length is None:
                break
            value = self._item(depth + 1)
            if name is _BREAK or value is _BREAK:
                raise self._malformed("a break outside of what has no length")
            members[name if type(name) is str else json_text(name)] = value
            count += 1
        return members

    def _tagged(self, tag: int, depth: int) -> Any:
        content = self._item(depth + 1)
        if content is _BREAK:
            raise self._malformed("a break outside of what has no length")
        if tag == 0:
            return _instant(parse_one(content, None) if type(content) is str else None)
        if tag == 1:
            return epoch(content)
        if tag in (2, 3) and type(content) is bytes:
            number = int.from_bytes(content, "big")
            return number if tag == 2 else -1 - number
        if tag in (4, 5):
            return _fraction(content, 10 if tag == 4 else 2)
        return content

    def _simple(self, info: int, argument: int | None) -> Any:
        if argument is None:
            return _BREAK
        if info in _FLOATS:
            return float(struct.unpack(_FLOATS[info], argument.to_bytes(1 << (info - 24), "big"))[0])
        if info == 24 and argument < 32:
            raise self._malformed("a simple value of two bytes that has one")
        return _SIMPLE.get(argument, Simple(argument)) if info < 24 else Simple(argument)


def epoch(seconds: Any) -> Instant:
    """Seconds since 1970 as an instant."""
    if type(seconds) is int:
        return _instant(seconds * 1_000_000)
    if type(seconds) is float and math.isfinite(seconds) and abs(seconds) < 1e12:
        return _instant(round(seconds * 1e6))
    return NO_INSTANT


def _instant(micros: int | None) -> Instant:
    return Instant(micros) if micros is not None and FIRST <= micros <= LAST else NO_INSTANT


def _fraction(content: Any, base: int) -> Any:
    """Mantissa · base**exponent as the nearest double; ±inf beyond its range."""
    if type(content) is not list or [type(part) for part in content] != [int, int]:
        return content
    exponent, mantissa = content
    if mantissa.bit_length() > _MOST_BITS:
        return math.copysign(math.inf, mantissa)
    exponent = max(-10_000, min(exponent, 10_000))
    if base == 10:
        return float(f"{mantissa}e{exponent}")
    try:
        return mantissa / 2**-exponent if exponent < 0 else float(mantissa * 2**exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)


def _kind(head: int) -> int:
    major, info = head >> 5, head & 31
    if major == 7:
        return {20: FALSE, 21: TRUE, 22: NULL, 25: HALF, 26: FLOAT, 27: DOUBLE}.get(info, OTHER)
    if info > 27 or major == 2 or (major == 6 and head not in (0xC0, 0xC1)):
        return OTHER
    return {0: UNSIGNED, 1: NEGATIVE, 3: TEXT, 4: ARRAY, 5: MAP, 6: TAG}[major]


def _size(head: int) -> int:
    return 1 << ((head & 31) - 24) if 24 <= head & 31 <= 27 else 0


HEADS = Heads(kinds=[_kind(h) for h in range(256)], sizes=[_size(h) for h in range(256)],
              bases=[h & 31 if h & 31 < 24 else 0 for h in range(256)])  # fmt: skip
"""What the first byte of an item says, for :mod:`.binary`."""
