"""Records that were decoded into Python values, as columns; and what of them has a form in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import constant, encode
from telebeam.transforms.parsing.nodes import Form, Group, Node, Path, Times
from telebeam.transforms.parsing.timestamps import FIRST, LAST, epochs, parse_timestamps

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_BITS = 4096
"""Larger integers are no decimal text: Python's conversion takes quadratic time and is refused beyond 4,300 digits."""
_INT64 = 2**63


class Instant(int):
    """An event time, µs since the epoch, that its format declares as one: its size says nothing of its unit."""


NO_INSTANT = Instant(-_INT64)
"""What a format declares as a time and is none."""


class Mended(float):
    """A value that its format gives in another type than a number; its reading is flagged ``wrong_type``."""


_KINDS: dict[type, str] = {
    str: "string", int: "number", float: "number", Decimal: "number", type(None): "null", list: "array",
    dict: "object", Instant: "timestamp", bytes: "bytes", Mended: "mended",
}  # fmt: skip


def kind_of(value: Any) -> str:
    """The kind of node that a decoded value is."""
    found = _KINDS.get(type(value))
    if found is None:
        found = ("true" if value else "false") if isinstance(value, bool) else type(value).__name__.lower()
    return found


def json_text(value: Any) -> str:
    """A decoded value as JSON text; what is not finite by its name, bytes as base64, a time as RFC 3339.

    >>> json_text({"a": [1, 2.5, float("nan")], "b": b"x", "t": Instant(0)})
    '{"a":[1,2.5,"NaN"],"b":"eA==","t":"1970-01-01T00:00:00Z"}'
    """
    return _ENCODER.encode(_plain(value)).decode()


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is bool or kind is bytes or value is None:
        return value
    if kind is int:
        return value if -_INT64 <= value < 2 * _INT64 else _large(value)
    if kind is float:
        return value if math.isfinite(value) else _not_finite(value)
    if kind is dict:
        return {name: _plain(item) for name, item in value.items()}
    if kind is list:
        return [_plain(item) for item in value]
    if kind is Instant:
        return _moment(value)
    if kind is Decimal and not value.is_finite():
        return str(value)
    return value if isinstance(value, (Decimal, UUID, date, time_of_day, timedelta)) else str(value)


def _large(value: int) -> Any:
    return msgspec.Raw(str(value).encode()) if value.bit_length() <= _MOST_BITS else hex(value)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _moment(value: int) -> str | None:
    if not FIRST <= value <= LAST:
        return None
    return (_EPOCH + timedelta(microseconds=int(value))).isoformat().replace("+00:00", "Z")


def json_texts(values: list[Any]) -> pa.Array:
    """A column of decoded values as JSON texts."""
    if all(type(value) is int or type(value) is float for value in values) and values:
        try:
            texts = _ENCODER.encode(values)[1:-1].split(b",")
        except (OverflowError, ValueError):
            texts = []
        # What is not finite is null to the encoder.
        if texts and b"null" not in texts:
            return pa.array(texts, pa.large_binary()).cast(pa.large_string())
    return pa.array([json_text(value) for value in values], pa.large_string())


def doubles_of(values: list[Any]) -> npt.NDArray[np.float64]:
    """float64[n]: the nearest doubles of numbers; ±inf beyond their range."""
    try:
        return np.array(values, np.float64)
    except (OverflowError, TypeError):
        return np.array([_double(value) for value in values], np.float64)


def _double(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def epochs_of(values: list[Any]) -> Times:
    """Event times of numbers by the bands of :mod:`.timestamps`; whole ones exactly."""
    whole = [type(value) is int and -_INT64 <= value < _INT64 for value in values]
    mask = np.array(whole, bool)
    integers = np.array([value if fits else 0 for value, fits in zip(values, whole, strict=True)], np.int64)
    if mask.all():
        return epochs(integers)
    return mixed_epochs(integers, doubles_of(values), mask)


def mixed_epochs(
    integers: npt.NDArray[np.int64], doubles: npt.NDArray[np.float64], whole: npt.NDArray[np.bool_]
) -> Times:
    """Event times of numbers of which some are whole; the others may be NaN or infinite, which is bad."""
    exact = epochs(np.where(whole, integers, 0))
    finite = np.isfinite(doubles)
    rounded = epochs(np.where(finite & ~whole, doubles, 0.0))
    bad = np.where(whole, exact.bad, rounded.bad | ~finite)
    return Times(np.where(bad, 0, np.where(whole, exact.microseconds, rounded.microseconds)), bad)


def instants_of(micros: npt.NDArray[np.int64]) -> Times:
    """Event times that are given as such; what is beyond the years 1 to 9999 is bad."""
    bad = (micros < FIRST) | (micros > LAST)
    return Times(np.where(bad, 0, micros), bad)


class ColumnGroup:
    """Records of one outline as columns: see :class:`.nodes.Group`.

    The place of a leaf is its column: a list of decoded values, a text column, or NumPy's numbers (of kind
    ``timestamp``: microseconds).

    Args:
        outline: An ``object`` node.
        rows: The records' places.
        form: What the records are.
    """

    def __init__(self, outline: Node, rows: npt.NDArray[np.int64], form: Form = "json") -> None:
        self.outline = outline
        self.rows = rows
        self.form = form

    def text(self, node: Node) -> pa.Array:
        """String members."""
        if node.kind != "string":
            return pa.nulls(len(self.rows), pa.large_string())
        return node.place if isinstance(node.place, pa.Array) else pa.array(node.place, pa.large_string())

    def raw(self, node: Node) -> pa.Array:
        """Members as JSON text."""
        if node.kind == "string":
            return json_strings(self.text(node))
        values = node.place.tolist() if isinstance(node.place, np.ndarray) else node.place
        if node.kind == "timestamp":
            values = [Instant(value) for value in values]
        return json_texts(values)

    def doubles(self, node: Node) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_] | None]:
        """Number members."""
        if isinstance(node.place, np.ndarray):
            return node.place.astype(np.float64), None
        return doubles_of(node.place), None

    def times(self, node: Node, zone: str | None) -> Times:
        """String, number or timestamp members as event times."""
        if node.kind == "string":
            return parse_timestamps(self.text(node), zone)
        if node.kind == "timestamp":
            return instants_of(np.asarray(node.place, np.int64))
        return epochs_of(node.place.tolist() if isinstance(node.place, np.ndarray) else node.place)


def json_strings(text: pa.Array) -> pa.Array:
    """Texts as JSON strings, null where there is none."""
    encoded = encode(text)
    words = [None if word is None else json_text(word) for word in encoded.dictionary.to_pylist()]
    return pa.array(words, pa.large_string()).take(encoded.indices)


def group_values(
    records: Iterable[tuple[int, Mapping[str, Any]]], inner: frozenset[Path], form: Form = "json"
) -> list[Group]:
    """Groups of decoded objects by outline.

    Args:
        records: (row, object) in ascending order of rows; its names are texts.
        inner: The objects that are looked into; others are a member of one piece.
        form: What the records are.
    """
    found: dict[tuple[Any, ...], tuple[list[int], list[Mapping[str, Any]]]] = {}
    for row, record in records:
        rows, members = found.setdefault(_signature(record, (), inner), ([], []))
        rows.append(row)
        members.append(record)
    return [
        ColumnGroup(_node(members, (), inner), np.array(rows, np.int64), form) for rows, members in found.values()
    ]  # fmt: skip


def _signature(record: Mapping[str, Any], path: Path, inner: frozenset[Path]) -> tuple[Any, ...]:
    kinds = [
        _signature(value, (*path, name), inner)
        if type(value) is dict and (*path, name) in inner
        else (_KINDS.get(type(value)) or kind_of(value))
        for name, value in record.items()
    ]
    return tuple(record), *kinds


def _node(members: list[Mapping[str, Any]], path: Path, inner: frozenset[Path]) -> Node:
    children = []
    for name, value in members[0].items():
        column = [member[name] for member in members]
        if type(value) is dict and (*path, name) in inner:
            children.append((name, _node(column, (*path, name), inner)))
        else:
            children.append((name, Node(kind_of(value), place=column)))
    return Node("object", tuple(children), place=members)


def constant_text(text: str, rows: int) -> Node:
    """A string member that says the same in each record."""
    return Node("string", place=constant(text, rows))
