"""Rows of a table out of the JSON text that stands for them in rejects: the way back from :mod:`..rejects`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.parsing.spec import ParseSpec

_TEXTS = ("device_id", "sensor_type", "measurement_type", "metric", "unit", "location", "metadata", "timestamp")
_NO_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_LARGEST = 2**63
Kind = Any
"""What tells rows of one table from rows of another."""


def rows_of_tables(payloads: pa.Array, spec: ParseSpec) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
    """The rows that some texts stand for, as tables of equal columns, with the places of their texts.

    A number that JSON has no form for was written as a text, and is one again, except in columns that hold texts.
    What is no object, or has lists of different things, is in no table.

    Args:
        payloads: large_binary[n]: JSON objects, as ``row_as_json`` makes them.
        spec: Says by which names texts go.
    """
    texts = {tuple(spec.fields.get(name, name).split(".")) for name in _TEXTS} | {("tenant",)}
    alike: dict[Kind, list[tuple[int, dict[str, Any]]]] = {}
    for place, payload in enumerate(payloads.to_pylist()):
        try:
            row = json.loads(payload)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            row = _restored(row, (), texts)
            alike.setdefault(_kind(row), []).append((place, row))
    for rows in alike.values():
        try:
            columns = {name: _column(name, [row[name] for _, row in rows]) for name in rows[0][1]}
        except (pa.ArrowException, OverflowError):
            continue
        yield np.array([place for place, _ in rows], np.int64), pa.RecordBatch.from_pydict(columns)


def _restored(value: Any, path: tuple[str, ...], texts: set[tuple[str, ...]]) -> Any:
    if isinstance(value, dict):
        return {name: _restored(item, (*path, name), texts) for name, item in value.items()}
    if isinstance(value, str) and path not in texts:
        return _NO_NUMBERS.get(value, value)
    return value


def _kind(value: Any) -> Kind:
    if isinstance(value, dict):
        return tuple((name, _kind(item)) for name, item in value.items())
    if isinstance(value, list):
        return "list", tuple(sorted({str(_kind(item)) for item in value}))
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if -_LARGEST <= value < _LARGEST else "float"
    return type(value).__name__


def _column(name: str, values: list[Any]) -> pa.Array:
    if name == "issues":
        return pa.array(values, pa.list_(pa.string()))
    if _kind(values[0]) == "float":
        return pa.array([float(value) for value in values], pa.float64())
    return pa.array(values)
