"""What the registry knows of a reading's device, at the reading's time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import CALIBRATED
from telebeam.transforms.cleansing.dictionaries import encode, in_flight, replace
from telebeam.transforms.devices.limits import DEVICE_TYPE
from telebeam.transforms.devices.registry import ALWAYS, Calibration, Registry
from telebeam.transforms.devices.rows import Status
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.issues import add_issues
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.schema import DICTIONARY, TEXT, TIMESTAMP, Issue, Reason

UNKNOWN_DETAIL = "device_id is not in the registry, or was not yet at that time"
"""The detail of a reject with reason ``unknown_device``."""

OVERDUE = pa.schema(
    [
        pa.field("device_id", TEXT, nullable=False),
        pa.field("device_type", TEXT, nullable=False),
        pa.field("tenant", TEXT),
        pa.field("location", TEXT),
        pa.field("group", TEXT),
        pa.field("last_seen", TIMESTAMP),
        pa.field("interval_seconds", pa.float64(), nullable=False),
        pa.field("silent_seconds", pa.float64()),
    ]
)
"""One row is one device that should have sent; ``silent_seconds`` is null for one that never has and has no
``valid_from``."""

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_LATEST = np.iinfo(np.int64).max


class Enriched(NamedTuple):
    """A batch in two: what is kept, and what is refused because its device is unknown."""

    readings: pa.RecordBatch
    rejected: pa.RecordBatch


class _Found(NamedTuple):
    """For each reading its device's code and the registry's row at its time; -1 for none."""

    device: Rows
    row: Rows
    time: Rows


def enrich(batch: pa.RecordBatch, registry: Registry, spec: DevicesSpec, *, calibrate: bool = True) -> Enriched:
    """The readings with what the registry says of their devices at their times, and those of refused unknown devices.

    - ``tenant`` and ``location`` are the registry's where it has them, and else stay as they are.
    - ``value`` becomes value × scale + offset and ``unit`` the registry's, by the row of the reading's sensor type,
      else by that of the device.  A value that no double could hold afterwards stays, with its unit and the issue
      ``out_of_range``; one that needs no calibration keeps its exact bits.
    - ``device_type`` is a column more where any type has limits of its own.
    - A reading of a device that is not in the registry at that time is kept, flagged ``unknown_device``, or in
      ``rejected`` with ``reason`` and ``detail``, as ``spec.unknown`` says.
    - One of a decommissioned device is kept and flagged ``decommissioned_device``.

    Each row's result depends on that row and the registry alone.

    Args:
        batch: Readings in flight, before they are cleansed: a calibrated value's unit still has to be converted.
            Columns that are none of theirs are kept untouched in both parts.
        registry: A snapshot.
        spec: What to do with unknown devices.
        calibrate: Whether values are as the devices sent them; false for readings that were enriched before, as those
            of the lake, which must not be calibrated twice.  A batch marked ``CALIBRATED`` never is.
    """
    metadata = dict(batch.schema.metadata or {})
    calibrate = calibrate and metadata.pop(CALIBRATED, None) is None
    batch = in_flight(batch).replace_schema_metadata(metadata)
    found = _find(batch, registry)
    unknown = found.row < 0
    masks = {Issue.DECOMMISSIONED_DEVICE: _spread(registry.status == Status.DECOMMISSIONED, found.row, False)}
    if spec.unknown == "flag":
        masks[Issue.UNKNOWN_DEVICE] = unknown
    columns: dict[str, pa.Array] = {}
    if not unknown.all():
        for name in ("tenant", "location"):
            given = _spread(registry.texts(name).codes, found.row, -1)
            columns |= _override(batch, name, given, registry.texts(name).texts)
        if calibrate:
            columns |= _calibrate(batch, registry, found, masks)
    columns["issues"] = add_issues(batch.column("issues"), masks)
    enriched = replace(batch, columns)
    if any(kind.limits for kind in spec.types.values()):
        enriched = enriched.append_column(DEVICE_TYPE, _texts_of(registry, DEVICE_TYPE, found.row))
    return _split(enriched, unknown & (spec.unknown == "reject"))


def _find(batch: pa.RecordBatch, registry: Registry) -> _Found:
    ids = encode(batch.column("device_id"))
    device = registry.codes(ids.texts)[ids.codes] if batch.num_rows else np.zeros(0, np.int64)
    time = batch.column("timestamp").cast(pa.int64()).fill_null(_LATEST).to_numpy()
    return _Found(device, registry.devices.find(device, time), time)


def _spread(values: npt.NDArray[Any], rows: Rows, otherwise: Any) -> npt.NDArray[Any]:
    """For each reading the value of its row, or another where it has none."""
    if not len(values):
        return np.full(len(rows), otherwise)
    return np.where(rows >= 0, values[rows], otherwise)


def _override(batch: pa.RecordBatch, name: str, given: npt.NDArray[Any], texts: pa.StringArray) -> dict[str, pa.Array]:
    """The column with other texts where their code is given (not -1)."""
    codes = given.astype(np.int64)
    changes = codes >= 0
    if not changes.any():
        return {}
    column = batch.column(name)
    old = column.indices.fill_null(-1).to_numpy().astype(np.int64)
    # A registry has more texts than a batch: only those that occur travel on.
    used = np.flatnonzero(np.bincount(codes[changes], minlength=len(texts)))
    place = np.zeros(len(texts), np.int64)
    place[used] = len(column.dictionary) + np.arange(len(used))
    merged = pa.concat_arrays([column.dictionary, texts.take(pa.array(used))]).dictionary_encode()
    new = np.where(changes, place[codes], old)
    numbers = np.append(merged.indices.fill_null(-1).to_numpy(), -1)[new].astype(np.int32)
    return {name: pa.DictionaryArray.from_arrays(pa.array(numbers, mask=numbers < 0), merged.dictionary)}


def _calibrate(
    batch: pa.RecordBatch, registry: Registry, found: _Found, masks: dict[Issue, Mask]
) -> dict[str, pa.Array]:
    """The value and unit columns, where any reading of the batch has a calibration."""
    columns: dict[str, pa.Array] = {}
    sensor = _sensor_rows(batch, registry, found)
    changed = batch
    # A sensor's own calibration comes instead of its device's.
    for calibration, rows in (
        (registry.calibration, np.where(sensor >= 0, -1, found.row)),
        (registry.sensor_calibration, sensor),
    ):
        value, overflowed = _scaled(changed.column("value"), calibration, rows)
        units = _spread(calibration.unit.codes, np.where(overflowed, -1, rows), -1)
        new = _override(changed, "unit", units, calibration.unit.texts)
        if value is not None:
            new["value"] = value
            masks[Issue.OUT_OF_RANGE] = masks.get(Issue.OUT_OF_RANGE, False) | overflowed
        changed = replace(changed, new)
        columns |= new
    return columns


def _sensor_rows(batch: pa.RecordBatch, registry: Registry, found: _Found) -> Rows:
    """For each reading the row of its sensor's own calibration, -1 for none."""
    if not registry.sensor_types:
        return np.full(batch.num_rows, -1, np.int64)
    types = encode(batch.column("sensor_type"))
    names = [registry.sensor_types.get(text.strip().lower(), -1) for text in types.texts.to_pylist()]
    place = np.array(names, np.int64)[types.codes] if len(names) else np.zeros(0, np.int64)
    known = (place >= 0) & (found.row >= 0)
    return registry.sensors.find(np.where(known, found.device * len(registry.sensor_types) + place, -1), found.time)


def _scaled(values: pa.DoubleArray, calibration: Calibration, rows: Rows) -> tuple[pa.DoubleArray | None, Mask]:
    """The values after scale and offset, None where none changes, and which of them would not be finite."""
    overflowed = np.zeros(len(rows), np.bool_)
    numbers = values.fill_null(np.nan).to_numpy()
    places = np.flatnonzero(_spread(calibration.changes, rows, False) & np.isfinite(numbers))
    if not len(places):
        return None, overflowed
    with np.errstate(over="ignore"):
        scaled = numbers[places] * calibration.scale[rows[places]] + calibration.offset[rows[places]]
    finite = np.isfinite(scaled)
    overflowed[places[~finite]] = True
    mask = np.zeros(len(rows), np.bool_)
    mask[places[finite]] = True
    return pc.replace_with_mask(values, pa.array(mask), pa.array(scaled[finite])), overflowed


def _split(batch: pa.RecordBatch, refused: Mask) -> Enriched:
    rows = int(refused.sum())
    readings = batch.filter(pa.array(~refused)) if rows else batch
    rejected = batch.filter(pa.array(refused)) if rows else batch.slice(0, 0)
    texts = [pa.array([text] * rows, TEXT) for text in (Reason.UNKNOWN_DEVICE.value, UNKNOWN_DETAIL)]
    fields = [pa.field(name, TEXT, nullable=False) for name in ("reason", "detail")]
    schema = pa.schema([*batch.schema, *fields], batch.schema.metadata)
    return Enriched(readings, pa.RecordBatch.from_arrays([*rejected.columns, *texts], schema=schema))


def groups_of(batch: pa.RecordBatch, registry: Registry) -> pa.DictionaryArray:
    """For each reading the group of its device at its time; null for none."""
    return _looked_up(batch, registry, "group")


def known_devices(batch: pa.RecordBatch, registry: Registry) -> Mask:
    """bool[n]: whether each reading's device is in the registry at its time."""
    return _find(in_flight(batch), registry).row >= 0


def types_of(batch: pa.RecordBatch, registry: Registry) -> pa.DictionaryArray:
    """For each reading the type of its device at its time; null for none."""
    return _looked_up(batch, registry, "device_type")


def _looked_up(batch: pa.RecordBatch, registry: Registry, name: str) -> pa.DictionaryArray:
    return _texts_of(registry, name, _find(in_flight(batch), registry).row)


def _texts_of(registry: Registry, name: str, rows: Rows) -> pa.DictionaryArray:
    codes, texts = registry.texts(name)
    numbers = _spread(codes, rows, -1).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(numbers, mask=numbers < 0), texts).cast(DICTIONARY)


def quality_by_type(spec: DevicesSpec, quality: QualitySpec) -> Mapping[str, QualitySpec]:
    """The rules for each device type that has limits of its own: a sensor type's limits there replace the general ones.

    >>> spec = DevicesSpec.model_validate({"types": {"freezer": {"limits": {"temperature": {"max": 0}}}, "door": {}}})
    >>> [(name, rules.limits["temperature"].max) for name, rules in quality_by_type(spec, QualitySpec()).items()]
    [('freezer', 0.0)]
    """
    return {
        name: quality.model_copy(update={"limits": {**quality.limits, **kind.limits}})
        for name, kind in spec.types.items()
        if kind.limits
    }


def overdue(registry: Registry, spec: DevicesSpec, seen: pa.RecordBatch, now: int) -> pa.RecordBatch:
    """The active devices that have been silent for longer than their type's interval, in order of their ids.

    A device that has never been seen is silent since its first ``valid_from``.

    Args:
        registry: A snapshot; of each device the row that holds at ``now`` counts.
        spec: The types' intervals; devices of a type without one are never overdue.
        seen: ``device_id`` and ``timestamp`` of readings, several of a device or none.
        now: The instant, in µs since 1970; what was seen later doesn't count.

    Returns:
        Rows of :data:`OVERDUE`.
    """
    ids = encode(seen.column("device_id"))
    device = registry.codes(ids.texts)[ids.codes] if seen.num_rows else np.zeros(0, np.int64)
    time = seen.column("timestamp").cast(pa.int64()).fill_null(_LATEST).to_numpy()
    counts = (device >= 0) & (time <= now)
    last = np.full(len(registry), ALWAYS, np.int64)
    np.maximum.at(last, device[counts], time[counts])
    codes = np.arange(len(registry), dtype=np.int64)
    row = registry.devices.find(codes, np.full(len(codes), now, np.int64))
    interval = _intervals(registry, spec)[row] if len(registry.since) else np.zeros(len(codes), np.int64)
    begun = np.maximum(last, _first_moments(registry))
    # Against overflow: what is silent since ever is compared as such.
    silent = np.where(begun == ALWAYS, _LATEST, now - np.maximum(begun, -(2**62)))
    late = np.flatnonzero((row >= 0) & (interval > 0) & (silent > interval))
    late = late[registry.status[row[late]] == Status.ACTIVE]
    return _overdue_rows(registry, row[late], late, last[late], interval[late], silent[late])


def _intervals(registry: Registry, spec: DevicesSpec) -> Rows:
    """int64[r]: the interval of each row's type in µs, 0 for none."""
    codes, texts = registry.texts("device_type")
    types = [spec.types.get(name) for name in texts.to_pylist()]
    micros = [round(kind.interval.total_seconds() * 1e6) if kind and kind.interval else 0 for kind in types]
    return np.array([*micros, 0], np.int64)[codes]


def _first_moments(registry: Registry) -> Rows:
    """int64[d]: each device's first ``valid_from``; :data:`ALWAYS` too for a device that has only calibrations."""
    first = np.full(len(registry), ALWAYS, np.int64)
    earliest = np.full(len(registry), _LATEST, np.int64)
    np.minimum.at(earliest, registry.device_codes, registry.since)
    return np.where(earliest == _LATEST, first, earliest)


def _overdue_rows(
    registry: Registry, row: Rows, device: Rows, last: Rows, interval: Rows, silent: Rows
) -> pa.RecordBatch:
    def text(name: str) -> pa.Array:
        codes, texts = registry.texts(name)
        places = codes[row]
        return texts.take(pa.array(places, mask=places < 0))

    columns = {name: text(name) for name in ("device_type", "tenant", "location", "group")}
    columns["device_id"] = pa.array(registry.device_ids, TEXT).take(pa.array(device))
    columns["last_seen"] = pa.array(last, mask=last == ALWAYS).cast(TIMESTAMP)
    columns["interval_seconds"] = pa.array(interval / 1e6)
    columns["silent_seconds"] = pa.array(silent / 1e6, mask=silent == _LATEST)
    return pa.RecordBatch.from_arrays([columns[name] for name in OVERDUE.names], schema=OVERDUE)
