"""``telebeam devices``: what the registry says, and which devices have been silent for too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.devices.registry import load_registry
from telebeam.io.lake import Lake
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.devices.kernel import overdue
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.errors import ConfigurationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_SEEN = ("device_id", "timestamp")


@dataclass(frozen=True)
class Inventory:
    """What a registry says at a moment.

    Attributes:
        at: The moment.
        since: From when on the lake was looked at; None where there is no lake, or no type with an interval.
        devices: How many devices the registry knows.
        types: (device type or None, status) → how many devices.
        overdue: Those that should have sent; rows of :data:`~telebeam.transforms.devices.kernel.OVERDUE`.
    """

    at: datetime
    since: datetime | None
    devices: int
    types: Counter[tuple[str | None, str]]
    overdue: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` has it: times as text."""
        counts = sorted(self.types.items(), key=lambda item: (item[0][0] or "", item[0][1]))
        return {
            "at": self.at.isoformat(),
            "since": _text(self.since),
            "devices": self.devices,
            "types": [{"device_type": kind, "status": status, "devices": n} for (kind, status), n in counts],
            "overdue": [{**row, "last_seen": _text(row["last_seen"])} for row in self.overdue],
        }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def inventory(spec: PipelineSpec, at: datetime, look_back: timedelta, advance: Callable[[int], None]) -> Inventory:
    """What the registry says at a moment, and which active devices have been silent for longer than their interval.

    Args:
        spec: The configuration; its registry and its lake are read.
        at: The moment.
        look_back: How far before it the lake is looked at; a device that was last seen before that counts as silent.
        advance: Is told how many readings were gone through.

    Raises:
        ConfigurationError: There is no registry, or it is wrong.
        SourceError: A file of the lake is damaged.
    """
    if spec.devices is None or spec.devices.registry is None:
        raise ConfigurationError("there is no registry of devices", "add devices: {registry: devices.yaml}")
    registry = load_registry(spec.devices.registry)
    now = (at - _EPOCH) // timedelta(microseconds=1)
    if spec.sinks.lake is None or not any(kind.interval for kind in spec.devices.types.values()):
        return Inventory(at, None, len(registry), _counts(registry, now), [])
    since = (at - look_back).replace(minute=0, second=0, microsecond=0)
    seen = _last_seen(Lake(spec.sinks.lake.path), since, at, advance)
    late = overdue(registry, spec.devices, seen, now)
    return Inventory(at, since, len(registry), _counts(registry, now), late.to_pylist())


def _counts(registry: Registry, now: int) -> Counter[tuple[str | None, str]]:
    if not len(registry):
        return Counter()
    codes = np.arange(len(registry), dtype=np.int64)
    rows = registry.devices.find(codes, np.full(len(codes), now, np.int64))
    kinds, names = registry.texts("device_type")
    said, states = registry.texts("status")
    found: Counter[tuple[str | None, str]] = Counter()
    for row in rows.tolist():
        if row < 0:
            found[None, "not yet"] += 1
            continue
        status = states[int(said[row])].as_py() if said[row] >= 0 else "active"
        found[names[int(kinds[row])].as_py() if kinds[row] >= 0 else None, status] += 1
    return found


def _last_seen(lake: Lake, since: datetime, until: datetime, advance: Callable[[int], None]) -> pa.RecordBatch:
    """``device_id`` and ``timestamp`` of each device's last reading in [since, until]; an hour at a time."""
    tables = []
    hour = since
    while hour <= until:
        readings = lake.readings(hour, hour + _HOUR, columns=_SEEN)
        advance(readings.num_rows)
        # What is later than the moment doesn't count, so the last one before it must not be hidden by it.
        if hour + _HOUR > until:
            readings = readings.filter(pc.less_equal(readings["timestamp"], pa.scalar(until)))
        if readings.num_rows:
            tables.append(readings.group_by("device_id").aggregate([("timestamp", "max")]))
        hour += _HOUR
    columns: list[Any] = [pa.array([], pa.string()), pa.array([], pa.timestamp("us", "UTC"))]
    if tables:
        whole = pa.concat_tables(tables).group_by("device_id").aggregate([("timestamp_max", "max")])
        columns = [whole["device_id"].combine_chunks(), whole["timestamp_max_max"].combine_chunks()]
    return pa.RecordBatch.from_arrays(columns, names=list(_SEEN))
