"""The rows of a device registry: their columns, and what makes one wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.cleansing.units import require_unit
from telebeam.transforms.schema import TEXT, TIMESTAMP, cast

REGISTRY = pa.schema(
    [
        pa.field("device_id", TEXT, nullable=False),
        pa.field("sensor_type", TEXT),
        pa.field("device_type", TEXT),
        pa.field("tenant", TEXT),
        pa.field("location", TEXT),
        pa.field("group", TEXT),
        pa.field("unit", TEXT),
        pa.field("scale", pa.float64()),
        pa.field("offset", pa.float64()),
        pa.field("status", TEXT),
        pa.field("valid_from", TIMESTAMP),
    ]
)
"""One row is what is true of a device from ``valid_from`` on, until its next row; null is since ever.

A row with a ``sensor_type`` is the calibration (unit, scale, offset) of that sensor of the device, and nothing else.
"""


class Status(IntEnum):
    """Where in its life a device is; a row that doesn't say is ``active``."""

    PROVISIONED = 0
    ACTIVE = 1
    DECOMMISSIONED = 2


class RowProblem(NamedTuple):
    """What is wrong with a row of a registry, by its number from 0."""

    row: int
    column: str
    text: str
    hint: str = ""


_KEY = ("device_id", "sensor_type", "valid_from")
_SHORTEST, _LONGEST = 3, 256
_STATUSES = [status.name.lower() for status in Status]
_LOWER = ("sensor_type", "status")
_DEVICE_ONLY = ("device_type", "tenant", "location", "group", "status")


def tidy(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows as :data:`REGISTRY`: absent columns null, texts trimmed, empty ones null, units by their canonical name.

    A unit that nobody knows stays as it is, for :func:`problems_of` to find.

    Raises:
        pyarrow.ArrowInvalid: A column has another type.
    """
    columns = []
    for field in REGISTRY:
        index = rows.schema.get_field_index(field.name)
        column = pa.nulls(rows.num_rows, field.type) if index < 0 else cast(rows.column(index), field.type)
        columns.append(_tidy_text(column, field.name) if field.type == TEXT else column)
    return pa.RecordBatch.from_arrays(columns, schema=REGISTRY)


def _tidy_text(column: pa.StringArray, name: str) -> pa.StringArray:
    text = pc.utf8_trim_whitespace(column)
    if name == "device_id":
        return text.fill_null("")
    text = pc.if_else(pc.equal(text, ""), None, text)
    if name in _LOWER:
        return pc.utf8_lower(text)
    if name == "unit":
        units = text.dictionary_encode()
        names = pa.array([_canonical(unit) for unit in units.dictionary.to_pylist()], TEXT)
        return pa.DictionaryArray.from_arrays(units.indices, names).dictionary_decode()
    return text


def _canonical(unit: str) -> str:
    try:
        return require_unit(unit)
    except ValueError:
        return unit


def problems_of(rows: pa.RecordBatch) -> Iterator[RowProblem]:
    """What is wrong with tidy rows, column by column."""
    yield from _bad_ids(rows.column("device_id"))
    yield from _bad_words(rows)
    yield from _bad_numbers(rows)
    yield from _sensor_rows(rows)
    yield from _twice(rows)


def _where(mask: pa.BooleanArray) -> list[int]:
    found: list[int] = np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)).tolist()
    return found


def _bad_ids(ids: pa.StringArray) -> Iterator[RowProblem]:
    length = pc.utf8_length(ids)
    wrong = pc.or_(pc.less(length, _SHORTEST), pc.greater(length, _LONGEST))
    wrong = pc.or_(wrong, pc.match_substring_regex(ids, r"\p{Cc}"))
    for row in _where(wrong):
        found = ids[row].as_py()
        text = f"{found[:60]!r} is no device id" if found else "there is none"
        yield RowProblem(row, "device_id", f"{text}; expected {_SHORTEST} to {_LONGEST} characters that can be printed")


def _bad_words(rows: pa.RecordBatch) -> Iterator[RowProblem]:
    status = rows.column("status")
    for row in _where(pc.invert(pc.is_in(status, pa.array([*_STATUSES, None], TEXT)))):
        found = status[row].as_py()
        near = difflib.get_close_matches(found[:60], _STATUSES, n=1)
        hint = f"did you mean {near[0]}?" if near else ""
        yield RowProblem(row, "status", f"{found[:60]!r}; expected {', '.join(_STATUSES)}", hint)
    units = rows.column("unit")
    for unit in units.unique().drop_null().to_pylist():
        try:
            require_unit(unit)
        except ValueError as error:
            yield from (RowProblem(row, "unit", str(error)) for row in _where(pc.equal(units, unit)))


def _bad_numbers(rows: pa.RecordBatch) -> Iterator[RowProblem]:
    for name in ("scale", "offset"):
        for row in _where(pc.invert(pc.is_finite(rows.column(name)))):
            yield RowProblem(row, name, f"{rows.column(name)[row].as_py()}; expected a finite number")
    for row in _where(pc.equal(rows.column("scale"), 0.0)):
        yield RowProblem(row, "scale", "0 makes every value the same; expected another number")


def _sensor_rows(rows: pa.RecordBatch) -> Iterator[RowProblem]:
    of_sensor = rows.column("sensor_type").is_valid()
    for name in _DEVICE_ONLY:
        for row in _where(pc.and_(of_sensor, rows.column(name).is_valid())):
            hint = "give it in a row of the device without a sensor_type"
            yield RowProblem(row, name, "a row with a sensor_type is a calibration: unit, scale and offset only", hint)
    ids = rows.column("device_id")
    alone = pc.invert(pc.is_in(ids, ids.filter(pc.invert(of_sensor))))
    for row in _where(pc.and_(of_sensor, alone)):
        hint = "add a row of the device without a sensor_type"
        yield RowProblem(row, "sensor_type", f"{ids[row].as_py()!r} has no row of its own", hint)


def _twice(rows: pa.RecordBatch) -> Iterator[RowProblem]:
    seen: dict[tuple[object, ...], int] = {}
    keys = (rows.column(name).cast(pa.int64()) if name == "valid_from" else rows.column(name) for name in _KEY)
    for row, key in enumerate(zip(*(column.to_pylist() for column in keys), strict=True)):
        first = seen.setdefault(key, row)
        if first != row:
            yield RowProblem(row, "device_id", f"{key[0]!r} has two rows from the same time on", "keep one of them")
