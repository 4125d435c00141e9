"""A device registry as YAML: a list of devices, each with the line where it stands.

Scalars are read as the text that was written, and the column says what they are: a device id ``0012`` stays those four
characters, and a location ``no`` is no boolean.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from telebeam.transforms.devices.rows import REGISTRY, RowProblem
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.parsing.timestamps import parse_timestamps
from telebeam.transforms.schema import TEXT, TIMESTAMP

MAX_BYTES = 32 * 2**20
"""Some 200,000 devices, which take seconds to read; larger fleets are a matter for Parquet."""

Row = dict[str, str | None]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KEY = "devices"
_NULLS = ("", "~", "null", "Null", "NULL")
_KINDS = {
    yaml.MappingStartEvent: "a mapping",
    yaml.SequenceStartEvent: "a list",
    yaml.AliasEvent: "an alias, which a registry doesn't take",
}
_NUMBERS = ("scale", "offset")


class YamlRows(NamedTuple):
    """The rows of a registry's file."""

    rows: pa.RecordBatch
    """:data:`~telebeam.transforms.devices.rows.REGISTRY`, not yet checked."""
    lines: list[int]
    """Where each row begins, from 1."""
    problems: list[RowProblem]
    """Values that are none of their column's."""


def read_rows(data: bytes, file: str) -> YamlRows:
    """The rows of a YAML text: a list of mappings, or a mapping whose only key ``devices`` leads to one.

    Args:
        data: UTF-8.
        file: How messages name it.

    Raises:
        ConfigurationError: It is no YAML of that form.
    """
    if len(data) > MAX_BYTES:
        hint = "write a registry of this size as Parquet"
        raise ConfigurationError(f"{file}: larger than {MAX_BYTES // 2**20} MiB", hint)
    rows, lines = _Reader(_decode(data, file), file).rows()
    problems: list[RowProblem] = []
    columns = [_column(field, [row.get(field.name) for row in rows], problems) for field in REGISTRY]
    return YamlRows(pa.RecordBatch.from_arrays(columns, schema=REGISTRY), lines, problems)


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{file}:{line}: byte 0x{data[error.start]:02x} is not UTF-8") from error


class _Reader:
    """Reads the parser's events: a file has two levels, and PyYAML's composer in C overflows the stack on deep ones."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, _LOADER)
        self._file = file

    def rows(self) -> tuple[list[Row], list[int]]:
        """The devices, and the lines where they begin."""
        try:
            return self._list(self._first())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{self._file}:{mark.line + 1}" if mark else self._file
            raise ConfigurationError(f"{place}: not YAML: {error.problem or error.context}") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise ConfigurationError(f"{self._file}: not YAML: {str(error)[:200]}") from error

    def _first(self) -> yaml.Event:
        """The event with which the list begins, or the scalar in its place."""
        event = next(self._events)
        while isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
            event = next(self._events)
        if isinstance(event, yaml.MappingStartEvent):
            key = next(self._events)
            if isinstance(key, yaml.ScalarEvent) and key.value == _KEY:
                return next(self._events)
        return event

    def _list(self, start: yaml.Event) -> tuple[list[Row], list[int]]:
        nothing = isinstance(start, yaml.StreamEndEvent) or (
            isinstance(start, yaml.ScalarEvent) and _text(start) is None
        )
        if not nothing and not isinstance(start, yaml.SequenceStartEvent):
            hint = "write a line that begins with '- device_id:' for each device"
            raise self._refuse(start, "expected a list of devices", hint)
        rows: list[Row] = []
        lines: list[int] = []
        while not nothing and not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            if not isinstance(event, yaml.MappingStartEvent):
                raise self._refuse(event, f"expected a device with device_id, found {_kind(event)}")
            lines.append(_line(event))
            rows.append(self._row())
        for event in self._events:
            if not isinstance(event, (yaml.MappingEndEvent, yaml.DocumentEndEvent, yaml.StreamEndEvent)):
                raise self._refuse(event, "expected nothing behind the list of devices")
        return rows, lines

    def _row(self) -> Row:
        row: Row = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            name = key.value if isinstance(key, yaml.ScalarEvent) else ""
            if name not in REGISTRY.names:
                near = difflib.get_close_matches(name[:60], REGISTRY.names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(REGISTRY.names)}"
                raise self._refuse(key, f"{name[:60]!r} is no column of a registry", hint)
            if name in row:
                raise self._refuse(key, f"{name} is given twice", "keep one of them")
            value = next(self._events)
            if not isinstance(value, yaml.ScalarEvent):
                raise self._refuse(key, f"{name}: expected one value, found {_kind(value)}")
            row[name] = _text(value)
        return row

    def _refuse(self, event: yaml.Event, text: str, hint: str = "") -> ConfigurationError:
        return ConfigurationError(f"{self._file}:{_line(event)}: {text}", hint)


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return int(mark.line) + 1 if mark else 0


def _text(event: yaml.ScalarEvent) -> str | None:
    return None if event.implicit[0] and event.value in _NULLS else str(event.value)


def _kind(event: yaml.Event) -> str:
    for kind, words in _KINDS.items():
        if isinstance(event, kind):
            return words
    return f"{str(getattr(event, 'value', ''))[:60]!r}"


def _column(field: pa.Field, texts: list[str | None], problems: list[RowProblem]) -> pa.Array:
    if field.name in _NUMBERS:
        numbers = [_number(text) for text in texts]
        for row, (text, number) in enumerate(zip(texts, numbers, strict=True)):
            if text is not None and number is None:
                problems.append(RowProblem(row, field.name, f"{text[:60]!r} is no number"))
        return pa.array(numbers, pa.float64())
    if field.type == TIMESTAMP:
        return _times(field.name, pa.array(texts, TEXT), problems)
    return pa.array(texts if field.nullable else [text or "" for text in texts], TEXT)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None and text.isascii() and "_" not in text else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _times(name: str, texts: pa.StringArray, problems: list[RowProblem]) -> pa.Array:
    # A date alone is its first instant in UTC, as people write when a device was moved.
    dates = pc.replace_substring_regex(texts, r"^(\d{4}-\d\d-\d\d)$", r"\1T00:00:00Z")
    times = parse_timestamps(dates)
    absent = texts.is_null().to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(times.bad & ~absent).tolist():
        text = f"{texts[row].as_py()[:60]!r} is no instant; expected 2026-01-31 or 2026-01-31T12:00:00Z"
        problems.append(RowProblem(row, name, text))
    return pa.array(times.microseconds, mask=times.bad).cast(TIMESTAMP)
