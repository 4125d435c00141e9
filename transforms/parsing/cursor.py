"""A place in a payload of a binary format of nested values: what CBOR and MessagePack have in common."""

from __future__ import annotations

from typing import Any

from telebeam.transforms.parsing.records import RefusedRecord


class Cursor:
    """Goes through a payload that holds one value; a format says what a value is.

    Args:
        data: The payload.
        max_depth: Deeper nesting of arrays and maps is refused.
    """

    def __init__(self, data: bytes, max_depth: int) -> None:
        self._data = data
        self._at = 0
        self._max_depth = max_depth

    def whole(self) -> Any:
        """The payload's only value.

        Raises:
            RefusedRecord: ``malformed``.
        """
        if not self._data:
            raise RefusedRecord("malformed", "empty")
        try:
            value = self._value(0)
        except RecursionError as error:
            raise RefusedRecord("malformed", "nested too deep") from error
        if self._at != len(self._data):
            raise self._malformed(f"{len(self._data) - self._at} bytes behind the value")
        return value

    def elements(self) -> list[tuple[bytes, Any]] | None:
        """The elements of an array with their bytes; None where the value is no array.

        Raises:
            RefusedRecord: ``malformed``.
        """
        values = self.whole()
        if type(values) is not list:
            return None
        self._at = 0
        self._skip_head()
        found = []
        for value in values:
            start = self._at
            self._value(1)
            found.append((self._data[start : self._at], value))
        return found

    def _value(self, depth: int) -> Any:
        raise NotImplementedError

    def _skip_head(self) -> None:
        """Goes to the first element of the array that the payload is."""
        raise NotImplementedError

    def _malformed(self, what: str) -> RefusedRecord:
        return RefusedRecord("malformed", f"{what} (byte {self._at})")

    def _take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise self._malformed("cut short")
        self._at += count
        return piece
