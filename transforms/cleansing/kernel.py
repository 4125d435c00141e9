"""Readings in one form: names trimmed and lower-cased, values in the canonical unit of their sensor type."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import concat
from telebeam.transforms.cleansing.conversion import IDENTITY, Conversion, convert
from telebeam.transforms.cleansing.dictionaries import (
    Combinations,
    Encoded,
    combine,
    decode,
    encode,
    in_flight,
    replace,
)
from telebeam.transforms.cleansing.spec import CleanseSpec
from telebeam.transforms.cleansing.units import DIMENSIONLESS, converter, unit_name
from telebeam.transforms.devices.limits import parts_by_type
from telebeam.transforms.issues import add_issues
from telebeam.transforms.schema import Issue

UNKNOWN_SENSOR_TYPE = "unknown"
"""The sensor type of a reading that brings none."""

Mask = npt.NDArray[np.bool_]


class Resolved(NamedTuple):
    """What becomes of a unit's text where a canonical unit is asked for."""

    unit: str
    conversion: Conversion
    issue: Issue | None


@lru_cache(maxsize=4096)
def resolve(text: str, canonical: str | None) -> Resolved:
    """The unit that a reading ends in, and how its value gets there.

    A unit that can't be converted is kept with its value, and the issue says why.

    >>> resolve("°C", "celsius").unit, resolve("V", "celsius").issue
    ('celsius', <Issue.WRONG_DIMENSION: 'wrong_dimension'>)
    """
    text = text.strip()
    if not text:
        return Resolved(canonical or DIMENSIONLESS, IDENTITY, None)
    name = unit_name(text, canonical)
    if name is None:
        return Resolved(text, IDENTITY, Issue.UNKNOWN_UNIT)
    conversion = converter(name, canonical or name)
    if conversion is None:
        return Resolved(text, IDENTITY, Issue.WRONG_DIMENSION)
    return Resolved(canonical or name, conversion, None)


def cleanse(
    batch: pa.RecordBatch, spec: CleanseSpec, by_type: Mapping[str, CleanseSpec] | None = None
) -> pa.RecordBatch:
    """The readings with clean names and with values in the canonical unit of their sensor type.

    - ``sensor_type`` and ``measurement_type`` are trimmed and in lower case; an empty measurement type is the
      sensor type, and an empty sensor type is ``unknown`` with the issue ``unknown_sensor_type``.
    - ``unit`` is a canonical name.  An empty one is taken for the canonical unit, or ``1`` where there is none.
    - A unit that nobody knows (``unknown_unit``) or of another dimension (``wrong_dimension``) stays as it is,
      trimmed, and its value with it.  So does a value that no double can hold after conversion (``out_of_range``).
    - A value that needs no conversion keeps its exact bits, null and NaN included.

    Each row's result depends on that row alone, and cleansing twice is cleansing once.

    Args:
        batch: Readings in flight; columns that are none of theirs are kept untouched.
        spec: The canonical units.
        by_type: Those of device types that have units of their own, told by the column ``device_type``; their rows
            come last.
    """
    parts = [_cleanse(part, rules) for part, rules in parts_by_type(in_flight(batch), by_type or {}, spec)]
    return concat(parts)


def _cleanse(batch: pa.RecordBatch, spec: CleanseSpec) -> pa.RecordBatch:
    sensor = encode(batch.column("sensor_type"), _sensor_names)
    found = combine(sensor, encode(batch.column("unit")))
    resolved = [resolve(text, spec.unit_of(name)) for name, text in found.texts()]
    values, overflowed = _convert(batch.column("value"), found, resolved)
    masks = _masks(found, resolved)
    if overflowed.any():
        masks[Issue.OUT_OF_RANGE] = overflowed
    columns = {
        "sensor_type": decode(sensor),
        "measurement_type": _measurement_types(encode(batch.column("measurement_type"), _names), sensor),
        "value": values,
        "unit": _units(found, resolved, overflowed),
        "issues": add_issues(batch.column("issues"), masks),
    }
    return replace(batch, columns)


def _names(texts: pa.StringArray) -> pa.StringArray:
    return pc.utf8_lower(pc.utf8_trim_whitespace(texts))


def _sensor_names(texts: pa.StringArray) -> pa.StringArray:
    names = _names(texts)
    return pc.if_else(pc.equal(names, ""), UNKNOWN_SENSOR_TYPE, names)


def _measurement_types(measurement: Encoded, sensor: Encoded) -> pa.DictionaryArray:
    """The measurement types, with the sensor type where there is none."""
    if not pc.any(pc.equal(measurement.texts, "")).as_py():
        return decode(measurement)
    found = combine(measurement, sensor)
    return _gather(found, [name or fallback for name, fallback in found.texts()])


def _masks(found: Combinations, resolved: list[Resolved]) -> dict[Issue, Mask]:
    """The rows of each issue, for issues that occur."""
    marks = {
        Issue.UNKNOWN_SENSOR_TYPE: [name == UNKNOWN_SENSOR_TYPE for name, _ in found.texts()],
        Issue.UNKNOWN_UNIT: [each.issue is Issue.UNKNOWN_UNIT for each in resolved],
        Issue.WRONG_DIMENSION: [each.issue is Issue.WRONG_DIMENSION for each in resolved],
    }
    return {issue: found.spread(marked, np.bool_) for issue, marked in marks.items() if any(marked)}


def _convert(value: pa.DoubleArray, found: Combinations, resolved: list[Resolved]) -> tuple[pa.DoubleArray, Mask]:
    """The values in their new units, and which of them stayed because the new one would not be finite."""
    overflowed = np.zeros(len(value), np.bool_)
    converts = [each.conversion != IDENTITY for each in resolved]
    if not any(converts):
        return value, overflowed
    numbers = (value.fill_null(np.nan) if value.null_count else value).to_numpy()
    rows = np.flatnonzero(found.spread(converts, np.bool_) & np.isfinite(numbers))
    parts = zip(*(each.conversion for each in resolved), strict=True)
    scale, offset, divisor = (found.table(part, np.float64)[found.codes[rows]] for part in parts)
    converted = convert(numbers[rows], scale, offset, divisor)
    finite = np.isfinite(converted)
    overflowed[rows[~finite]] = True
    changed = np.zeros(len(value), np.bool_)
    changed[rows[finite]] = True
    # Arrow copies what isn't replaced as it is: nulls stay nulls and other values keep their bits.
    return pc.replace_with_mask(value, pa.array(changed), pa.array(converted[finite])), overflowed


def _units(found: Combinations, resolved: list[Resolved], overflowed: Mask) -> pa.DictionaryArray:
    """Each row's new unit; the old one where the value could not follow."""
    units = [each.unit for each in resolved]
    if not overflowed.any():
        return _gather(found, units)
    kept = [text.strip() for _, text in found.texts()]
    both = encode(pa.array(units + kept, pa.string()))
    codes = found.spread(both.codes[: len(units)], np.int32)
    codes[overflowed] = found.spread(both.codes[len(units) :], np.int32)[overflowed]
    return decode(Encoded(codes, both.texts))


def _gather(found: Combinations, texts: list[str]) -> pa.DictionaryArray:
    encoded = encode(pa.array(texts, pa.string()))
    return decode(Encoded(found.spread(encoded.codes, np.int32), encoded.texts))
