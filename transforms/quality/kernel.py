"""Which readings can be used, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import concat
from telebeam.transforms.cleansing.dictionaries import combine, encode, has_control_bytes, in_flight, replace
from telebeam.transforms.cleansing.spec import CleanseSpec, cleanse_spec
from telebeam.transforms.cleansing.units import converter, unit_name
from telebeam.transforms.devices.limits import parts_by_type
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.issues import add_issues, count_issues
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.schema import Issue, Reason

Mask = npt.NDArray[np.bool_]

SHORTEST_DEVICE_ID, LONGEST_DEVICE_ID = 3, 256
"""Characters of a device id."""

DETAILS = {
    Reason.MISSING_DEVICE_ID: "device_id is null or empty",
    Reason.BAD_DEVICE_ID: "device_id is shorter than 3 or longer than 256 characters, or holds control characters",
    Reason.MISSING_TIMESTAMP: "timestamp is null",
    Reason.FUTURE: "timestamp is further ahead of the clock than max_future_seconds allows",
    Reason.TOO_OLD: "timestamp is further behind the clock than max_age_days allows",
    Reason.MISSING_VALUE: "value is null",
    Reason.BAD_VALUE: "value is not finite",
}
"""Reasons for which a reading is refused here; where several hold, the first of them is given."""

_REASONS = pa.array([reason.value for reason in DETAILS], pa.string())
_DETAILS = pa.array(list(DETAILS.values()), pa.string())
_SCORES = np.array([10, 8, 6, 4, 2, 1]) / 10  # 1 − 0.2 × issues, at least 0.1, and each the nearest double
_TIMES = np.iinfo(np.int64)


class Checked(NamedTuple):
    """A batch in two: what is kept, and what is refused."""

    readings: pa.RecordBatch
    rejected: pa.RecordBatch


def check_quality(
    batch: pa.RecordBatch,
    spec: QualitySpec,
    now: datetime | int,
    by_type: Mapping[str, QualitySpec] | None = None,
) -> Checked:
    """The readings that can be used, with issues and score, and the rest with a reason.

    ``rejected`` has the readings' columns and ``reason`` and ``detail`` (:data:`DETAILS`).  ``readings`` differ
    from what was given in two columns: ``issues`` gets ``out_of_range`` where a value is beyond the limits of its
    sensor type (and ``bad_quality_score`` where the score that a payload brought is none), ``quality_score`` is the
    smaller one of what it was and of ``max(0.1, 1 − 0.2 × issues)``.  A value whose unit isn't that of the limits
    is compared with them in its own unit, and not at all where no conversion leads to it.

    Each row's result depends on that row, the rules and ``now`` alone, and checking twice is checking once.

    Args:
        batch: Readings in flight, cleansed; columns that are none of theirs, and the schema's metadata, are kept
            untouched in both parts.
        spec: The rules.
        now: The clock, as an aware datetime or in microseconds since 1970.
        by_type: The rules for device types that have limits of their own, told by the column ``device_type``; their
            rows come last.

    Raises:
        ConfigurationError: ``now`` is a datetime without a zone.
    """
    moment = _microseconds(now)
    parts = [_check(part, rules, moment) for part, rules in parts_by_type(in_flight(batch), by_type or {}, spec)]
    return Checked(concat([part.readings for part in parts]), concat([part.rejected for part in parts]))


def _check(batch: pa.RecordBatch, spec: QualitySpec, now: int) -> Checked:
    readings, rejected = _split(batch, _first_reasons(batch, spec, now))
    return Checked(_score(readings, spec), rejected)


def _microseconds(now: datetime | int) -> int:
    if isinstance(now, int):
        return now
    if now.tzinfo is None:
        raise ConfigurationError(f"now is {now}, which names no zone", hint="write datetime.now(UTC)")
    return (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _first_reasons(batch: pa.RecordBatch, spec: QualitySpec, now: int) -> npt.NDArray[np.int8]:
    """For each row the place of its reason in :data:`DETAILS`, or −1."""
    masks = _bad_devices(batch.column("device_id")) | _bad_times(batch.column("timestamp"), spec, now)
    masks |= _bad_values(batch.column("value"))
    first = np.full(batch.num_rows, -1, np.int8)
    for place, reason in reversed(list(enumerate(DETAILS))):
        if reason in masks:
            first[masks[reason]] = place
    return first


def _bad_devices(column: pa.DictionaryArray) -> dict[Reason, Mask]:
    codes, texts = encode(column)
    lengths = pc.utf8_length(texts).to_numpy()
    missing = lengths == 0
    bad = ~missing & ((lengths < SHORTEST_DEVICE_ID) | (lengths > LONGEST_DEVICE_ID))
    if has_control_bytes(texts):
        bad |= pc.match_substring_regex(texts, r"\p{Cc}").to_numpy(zero_copy_only=False)
    found = {Reason.MISSING_DEVICE_ID: missing, Reason.BAD_DEVICE_ID: bad}
    return {reason: marks[codes] for reason, marks in found.items() if marks.any()}


def _bad_times(column: pa.TimestampArray, spec: QualitySpec, now: int) -> dict[Reason, Mask]:
    latest = min(now + int(min(spec.max_future_seconds, 1e12) * 1e6), _TIMES.max)
    oldest = (
        _TIMES.min if spec.max_age_days is None else max(now - int(min(spec.max_age_days, 1e9) * 86_400e6), _TIMES.min)
    )
    times = column.view(pa.int64())
    extremes = pc.min_max(times).as_py()
    masks = {}
    if column.null_count:
        masks[Reason.MISSING_TIMESTAMP] = column.is_null().to_numpy(zero_copy_only=False)
    if extremes["max"] is not None and extremes["max"] > latest:
        masks[Reason.FUTURE] = times.fill_null(latest).to_numpy() > latest
    if extremes["min"] is not None and extremes["min"] < oldest:
        masks[Reason.TOO_OLD] = times.fill_null(oldest).to_numpy() < oldest
    return masks


def _bad_values(column: pa.DoubleArray) -> dict[Reason, Mask]:
    masks = {}
    if column.null_count:
        masks[Reason.MISSING_VALUE] = column.is_null().to_numpy(zero_copy_only=False)
        column = column.fill_null(0.0)
    finite = np.isfinite(column.to_numpy())
    if not finite.all():
        masks[Reason.BAD_VALUE] = ~finite
    return masks


def _split(batch: pa.RecordBatch, reasons: npt.NDArray[np.int8]) -> Checked:
    refused = reasons >= 0
    rows = np.flatnonzero(refused)
    if len(rows):
        readings, rejected = batch.filter(pa.array(~refused)), batch.take(pa.array(rows))
    else:
        readings, rejected = batch, batch.slice(0, 0)
    places = pa.array(reasons[rows])
    columns = [*rejected.columns, _REASONS.take(places), _DETAILS.take(places)]
    fields = [pa.field(name, pa.string(), nullable=False) for name in ("reason", "detail")]
    wider = pa.schema([*batch.schema, *fields], batch.schema.metadata)
    return Checked(readings, pa.RecordBatch.from_arrays(columns, schema=wider))


def _score(readings: pa.RecordBatch, spec: QualitySpec) -> pa.RecordBatch:
    """The readings with range issues and their score."""
    column = readings.column("quality_score")
    scores = (column.fill_null(1.0) if column.null_count else column).to_numpy()
    masks = {}
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        masks[Issue.BAD_QUALITY_SCORE] = ~((scores >= 0) & (scores <= 1))
        scores = np.where(masks[Issue.BAD_QUALITY_SCORE], 1.0, scores)
    masks[Issue.OUT_OF_RANGE] = _out_of_range(readings, spec)
    issues = add_issues(readings.column("issues"), masks)
    counts = count_issues(issues)
    flagged = np.flatnonzero(counts > 0)
    scores = scores.copy()
    scores[flagged] = np.minimum(scores[flagged], _SCORES[np.minimum(counts[flagged], len(_SCORES) - 1)])
    return replace(readings, {"issues": issues, "quality_score": pa.array(scores)})


def _out_of_range(readings: pa.RecordBatch, spec: QualitySpec) -> Mask:
    found = combine(encode(readings.column("sensor_type"), _names), encode(readings.column("unit")))
    units = cleanse_spec(spec)
    bounds = [_bounds(spec, units, name, text) for name, text in found.texts()]
    values = readings.column("value").to_numpy()
    outside: Mask = values < found.spread([low for low, _ in bounds], np.float64)
    outside |= values > found.spread([high for _, high in bounds], np.float64)
    return outside


def _names(texts: pa.StringArray) -> pa.StringArray:
    return pc.utf8_lower(pc.utf8_trim_whitespace(texts))


def _bounds(spec: QualitySpec, units: CleanseSpec, sensor_type: str, unit: str) -> tuple[float, float]:
    """The smallest and the largest plausible value of a sensor type, in the unit that its readings have."""
    limit, canonical = spec.limits.get(sensor_type), units.unit_of(sensor_type)
    if limit is None:
        return -np.inf, np.inf
    low = -np.inf if limit.min is None else limit.min
    high = np.inf if limit.max is None else limit.max
    if canonical is None or not unit.strip():
        return low, high
    name = unit_name(unit, canonical)
    conversion = converter(name, canonical) if name else None
    return (conversion.invert(low), conversion.invert(high)) if conversion else (-np.inf, np.inf)
