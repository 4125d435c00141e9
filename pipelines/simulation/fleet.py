"""The devices of a simulation and their sensors, as arrays.

The order is that of the clock: a device reports at ``start + k × interval + phase``, with a phase of its own below the
interval, and devices stand in the order of their phases.  So *tick by tick, device by device, sensor by sensor* is the
order of time, and the number of a reading in that order — its **position** — names it in all of the simulation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from telebeam.pipelines.simulation import catalog
from telebeam.pipelines.simulation.randomness import Stream, bits, uniform
from telebeam.pipelines.simulation.spec import SimulationSpec

SHAPES = ("reading", "metric", "data", "flat")
GROUPED = (2, 3)
"""The shapes whose record holds all values of a device."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fleet:
    """Arrays with an entry for each device (``D``) or each sensor (``R``), in the order of time."""

    seed: int
    device_ids: pa.Array
    """D texts."""
    locations: pa.Array
    metadata: pa.Array
    location: Ints
    """D indices into ``locations``."""
    meta: Ints
    """D indices into ``metadata``."""
    shape: Ints
    """D indices into :data:`SHAPES`."""
    phase_ms: Ints
    """D milliseconds, ascending."""
    first_row: Ints
    """D + 1 numbers: where the device's sensors begin."""
    measured: Ints
    """D counts: the device's first sensors that are ``measured``."""
    device: Ints
    """R indices of devices."""
    sensor: Ints
    """R indices into :data:`SENSORS`."""
    unit: Ints
    """R indices into :data:`catalog.UNITS`."""
    base: Floats
    """R middles, with the device's own deviation."""
    wander_angle: Floats
    """R angles at which the slow drift begins."""
    hourly: Floats
    """R gains in an hour."""

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return len(self.phase_ms)

    @property
    def rows(self) -> int:
        """How many sensors there are: readings in a tick."""
        return len(self.device)


SENSORS = tuple(sensor for kind in catalog.DEVICE_TYPES.values() for sensor in kind.sensors)
"""The sensors of all device types, one after the other."""

_TYPES = tuple(catalog.DEVICE_TYPES)
_COUNTS = np.array([len(kind.sensors) for kind in catalog.DEVICE_TYPES.values()])
_MEASURED = np.array([sum(s.kind == "measured" for s in kind.sensors) for kind in catalog.DEVICE_TYPES.values()])
_FIRST_SENSOR = np.concatenate([[0], np.cumsum(_COUNTS)[:-1]])


def build_fleet(spec: SimulationSpec, *, records: bool = True) -> Fleet:
    """The fleet of a simulation.

    Args:
        spec: What is simulated.
        records: Whether devices send payloads of ``spec.shape``; otherwise every reading is a record of its own, as in
            an archive.
    """
    types, places = _members(spec)
    count = len(types)
    chance = bits(spec.seed, Stream.FLEET, np.arange(count * 4, dtype=np.int64)).reshape(count, 4)
    phase = (uniform(chance[:, 0]) * spec.interval_ms).astype(np.int64)
    order = np.argsort(phase, kind="stable")
    firmware = (uniform(chance[:, 1]) * len(catalog.FIRMWARES)).astype(np.int64)
    type_code, place, firmware = types[order], places.code[order], firmware[order]
    metadata, meta = _metadata(type_code, firmware, places.site[order], places.sites)
    first_row = np.concatenate([[0], np.cumsum(_COUNTS[type_code])])
    device = np.repeat(np.arange(count), _COUNTS[type_code])
    sensor = _FIRST_SENSOR[type_code][device] + np.arange(len(device)) - first_row[device]
    shape = _shapes(spec, order) if records else np.zeros(count, dtype=np.int64)
    own = bits(spec.seed, Stream.FLEET, _row_keys(order, device, first_row, count))
    return Fleet(
        seed=spec.seed,
        device_ids=_device_ids(spec, types).take(pa.array(order)),
        locations=places.names, location=place, metadata=metadata, meta=meta, shape=shape, phase_ms=phase[order],
        first_row=first_row, measured=_MEASURED[type_code], device=device, sensor=sensor,
        unit=_units(spec, sensor, shape[device], own), **_deviations(sensor, own),
    )  # fmt: skip


def parameter(name: str) -> Floats:
    """One property of all of :data:`SENSORS`."""
    return np.array([getattr(sensor, name) for sensor in SENSORS], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Places:
    names: pa.Array
    code: Ints
    sites: tuple[str, ...]
    site: Ints


def _members(spec: SimulationSpec) -> tuple[Ints, _Places]:
    """Each device's type and place, in the order of their numbers."""
    if spec.profile is not None:
        members = catalog.PROFILES[spec.profile]
        names = list(dict.fromkeys(f"{spec.profile}/{place}" for _, place in members))
        code = np.array([names.index(f"{spec.profile}/{place}") for _, place in members])
        types = np.array([_TYPES.index(kind) for kind, _ in members])
        return types, _Places(pa.array(names), code, (spec.profile,), np.zeros(len(members), dtype=np.int64))
    count = spec.devices or 0
    number = np.arange(count)
    types = np.array([_TYPES.index(kind) for kind in catalog.MIX])[number % len(catalog.MIX)]
    code = number % (catalog.SITES * catalog.PLACES_PER_SITE)
    sites = tuple(f"site-{site:02d}" for site in range(1, catalog.SITES + 1))
    names = [f"{site}/room-{room:02d}" for site in sites for room in range(1, catalog.PLACES_PER_SITE + 1)]
    return types, _Places(pa.array(names), code, sites, code // catalog.PLACES_PER_SITE)


def _device_ids(spec: SimulationSpec, types: Ints) -> pa.Array:
    number = pc.utf8_lpad(pc.cast(pa.array(np.arange(1, len(types) + 1)), pa.string()), 7 if spec.devices else 2, "0")
    kind = pa.array(_TYPES).take(pa.array(types))
    return pc.binary_join_element_wise(kind, number, "-") if spec.devices else pc.binary_join_element_wise(
        pa.scalar(spec.profile), kind, number, "-"
    )  # fmt: skip


def _metadata(types: Ints, firmware: Ints, site: Ints, sites: tuple[str, ...]) -> tuple[pa.Array, Ints]:
    codes, meta = np.unique((site * len(_TYPES) + types) * len(catalog.FIRMWARES) + firmware, return_inverse=True)
    texts = []
    for code in codes.tolist():
        rest, version = divmod(code, len(catalog.FIRMWARES))
        where, kind = divmod(rest, len(_TYPES))
        held = {
            "firmware": catalog.FIRMWARES[version],
            "model": catalog.DEVICE_TYPES[_TYPES[kind]].model,
            "site": sites[where],
        }
        texts.append(json.dumps(held, separators=(",", ":")))
    return pa.array(texts, pa.string()), meta


def _shapes(spec: SimulationSpec, order: Ints) -> Ints:
    if spec.shape == "mixed":
        # Types take turns too: a plain turn of shapes would tie each type to two of them.
        return (order + order // len(catalog.MIX)) % len(SHAPES)
    return np.full(len(order), SHAPES.index(spec.shape))


def _row_keys(order: Ints, device: Ints, first_row: Ints, count: int) -> Ints:
    """Positions of the sensors' own random numbers, behind those of the devices; at most 64 sensors a device."""
    keys: Ints = count * 4 + order[device] * 64 + np.arange(len(device)) - first_row[device]
    return keys


def _units(spec: SimulationSpec, sensor: Ints, shape: Ints, own: NDArray[np.uint64]) -> Ints:
    kinds = [catalog.SENSOR_TYPES.index(one.sensor_type) for one in SENSORS]
    canonical: Ints = np.array(kinds)[sensor]
    if spec.units == "canonical":
        return canonical
    chosen = canonical.copy()
    draw = uniform(own)
    for kind, sensor_type in enumerate(catalog.SENSOR_TYPES):
        choices = np.array([i for i, unit in enumerate(catalog.UNITS) if unit.sensor_type == sensor_type])
        mine = (canonical == kind) & ~np.isin(shape, GROUPED)
        chosen[mine] = choices[(draw[mine] * len(choices)).astype(np.int64)]
    return chosen


def _deviations(sensor: Ints, own: NDArray[np.uint64]) -> dict[str, Floats]:
    """What makes a device's sensor differ from the others of its kind."""
    low, high = ((own >> np.uint64(shift) & np.uint64(0xFFFF)).astype(np.float64) / 65536 for shift in (0, 16))
    counter = np.array([one.kind == "counter" for one in SENSORS])[sensor]
    deviation = parameter("offset")[sensor] * (2 * low - 1)
    middle = parameter("base")[sensor]
    return {
        "base": np.where(counter, middle * low, middle + deviation),
        "wander_angle": 2 * np.pi * high,
        "hourly": parameter("hourly")[sensor] + np.where(counter, deviation, 0.0),
    }
