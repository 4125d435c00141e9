"""For tests of pipelines that use telebeam: readings out of a few words, and comparisons that say what differs.

A test of a kernel or of one transform needs readings of fifteen columns, of which it means two or three::

    batch = readings([{"value": 21.5}, {"value": 150.0, "device_id": "boiler-2"}])
    with TestPipeline() as pipeline:
        checked = pipeline | beam.Create([batch]) | CheckQuality(QualitySpec(max_age_days=None))
        assert_that(checked.readings, has_rows([{"quality_score": 1.0}, {"quality_score": 0.8}]))
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from apache_beam.testing.util import BeamAssertException

from telebeam.transforms.schema import READINGS, conform

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
"""The event time of the first reading that names none."""

_DEFAULTS: dict[str, Any] = {
    "tenant": "default",
    "device_id": "boiler-1",
    "sensor_type": "temperature",
    "value": 20.0,
    "unit": "celsius",
    "location": None,
    "quality_score": 1.0,
    "issues": [],
    "metadata": None,
    "is_late": False,
    "source": "test",
    "source_partition": 0,
}
_SHOWN = 5
_RELATIVE = 1e-9


def readings(rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """A batch of ``READINGS`` from what matters of each row; the rest is a good reading of one sensor.

    A row that says nothing is 20 celsius from ``boiler-1``, a second after the row before; its ``measurement_type`` is
    its ``sensor_type`` and its ``source_offset`` its place.

    >>> batch = readings([{}, {"value": 21.5}])
    >>> batch["value"].to_pylist(), [time.second for time in batch["timestamp"].to_pylist()]
    ([20.0, 21.5], [0, 1])

    Args:
        rows: For each row what differs, by the columns' names; datetimes aware.

    Raises:
        ValueError: A column that there is none of, a value that it can't hold, or a null where none may be.
    """
    full = [_row(place, row) for place, row in enumerate(rows)]
    return pa.RecordBatch.from_arrays([_column(field, full) for field in READINGS], schema=READINGS)


def _row(place: int, given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in READINGS.names:
            near = difflib.get_close_matches(name, READINGS.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(READINGS.names)}"
            raise ValueError(f"row {place}: readings have no column {name!r}; {hint}")
    moment = given.get("timestamp")
    if isinstance(moment, datetime) and moment.tzinfo is None:
        raise ValueError(f"row {place}: timestamp {moment} names no zone; expected an aware datetime")
    row = {**_DEFAULTS, "timestamp": FIRST + timedelta(seconds=place), "source_offset": place, **given}
    return {"measurement_type": row["sensor_type"], **row}


def _column(field: pa.Field, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    for place, row in enumerate(rows):
        if row[field.name] is None and not field.nullable:
            raise ValueError(f"row {place}: {field.name} is null; a reading always has one")
        if pa.types.is_list(field.type) and isinstance(row[field.name], str):  # to Arrow a list of its characters
            raise ValueError(f"row {place}: {field.name}: {row[field.name]!r} is a text; expected a list of texts")
    try:
        return pa.array([row[field.name] for row in rows], field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError) as error:
        raise ValueError(f"{field.name}: {error}; expected {field.type}") from error


def assert_batches_equal(actual: pa.RecordBatch, expected: pa.RecordBatch, *, ignore_order: bool = False) -> None:
    """Two batches hold the same rows: the same columns in any order, encoded or not; floats to 1e-9 relative.

    NaN equals NaN.  The schemas' metadata plays no part.

    Args:
        actual: What there is.
        expected: What there should be.
        ignore_order: Whether the rows' order plays no part.

    Raises:
        AssertionError: They differ; the message names the columns or holds the first rows that do.
    """
    names, wanted = set(actual.schema.names), set(expected.schema.names)
    if names != wanted:
        raise AssertionError(f"columns differ: too many {sorted(names - wanted)}, missing {sorted(wanted - names)}")
    rows, others = (_rows(batch, expected.schema.names) for batch in (actual, expected))
    if ignore_order:
        rows, others = sorted(rows, key=_order), sorted(others, key=_order)
    _compare(rows, others)


def has_rows(expected: Iterable[Mapping[str, Any]]) -> Callable[[Iterable[pa.RecordBatch]], None]:
    """For Beam's ``assert_that``: a collection's batches hold these rows, in any order and in any split.

    Only the columns that are named count, and every row names the same ones; floats to 1e-9 relative.

    Args:
        expected: For each row its values.

    Raises:
        ValueError: The rows name different columns.
    """
    others = [dict(row) for row in expected]
    if len({frozenset(row) for row in others}) > 1:
        raise ValueError("every expected row names the same columns")
    names = list(others[0]) if others else []

    def matches(batches: Iterable[pa.RecordBatch]) -> None:
        try:
            rows = [row for batch in batches for row in _rows(batch, names)]
            _compare(sorted(rows, key=_order), sorted(({n: row[n] for n in names} for row in others), key=_order))
        except AssertionError as error:
            raise BeamAssertException(str(error)) from error

    return matches


def _rows(batch: pa.RecordBatch, names: Sequence[str]) -> list[dict[str, Any]]:
    missing = [name for name in names if name not in batch.schema.names]
    if missing:
        raise AssertionError(f"the batch has no {', '.join(missing)}; it has {', '.join(batch.schema.names)}")
    fields = [batch.schema.field(name) for name in names]
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in fields]
    if not names:
        return [{}] * batch.num_rows
    rows: list[dict[str, Any]] = conform(batch, pa.schema(plain)).to_pylist()
    return rows


def _order(row: Mapping[str, Any]) -> list[tuple[bool, str, Any]]:
    # By eight digits, so that floats that count as equal sort alike; null sorts first.
    values = [f"{value:.8e}" if isinstance(value, float) else repr(value) for value in row.values()]
    return [(row[name] is not None, value, name) for name, value in zip(row, values, strict=True)]


def _compare(rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> None:
    if len(rows) != len(others):
        shown = "\n".join(f"  {row}" for row in rows[:_SHOWN])
        raise AssertionError(f"{len(rows)} rows, expected {len(others)}; the first ones are\n{shown}")
    found = []
    for place, (row, other) in enumerate(zip(rows, others, strict=True)):
        wrong = [name for name in other if not _same(row[name], other[name])]
        found += [f"  row {place}: {name} is {row[name]!r}, expected {other[name]!r}" for name in wrong]
    if found:
        more = f"\n  … and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise AssertionError(f"{len(found)} values differ\n" + "\n".join(found[:_SHOWN]) + more)


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, float) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=_RELATIVE) or (math.isnan(value) and math.isnan(other))
    return bool(value == other)
