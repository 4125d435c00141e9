"""The sensors, device types and profiles that fleets are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Sensor:
    """One sensor of a device type, in the canonical unit of its sensor type.

    ``measured`` follows a daily cycle and a slow drift, with noise.  ``binary`` is 1 with the probability that the same
    cycle gives.  ``counter`` only grows, faster by day.
    """

    sensor_type: str
    kind: Literal["measured", "binary", "counter"]
    base: float
    """The middle; a counter's largest first reading."""
    daily: float
    """Half of the difference between day and night; for a counter, of its hourly growth."""
    noise: float = 0.0
    """The noise's standard deviation."""
    offset: float = 0.0
    """The largest deviation of one device from the others."""
    wander: float = 0.0
    """How far it drifts to and fro over nine days."""
    hourly: float = 0.0
    """What it gains in an hour: a counter's growth, a battery's loss."""
    floor: float = float("-inf")
    """Smaller values are physically impossible."""
    ceiling: float = float("inf")
    """Larger values are physically impossible."""


@dataclass(frozen=True)
class DeviceType:
    """A device: its model and its sensors, the measured ones first."""

    name: str
    model: str
    sensors: tuple[Sensor, ...]


@dataclass(frozen=True)
class Unit:
    """A unit as a fleet writes it: canonical value × scale + offset, rounded to so many digits."""

    sensor_type: str
    name: str
    digits: int
    scale: float = 1.0
    offset: float = 0.0


UNITS = (
    Unit("temperature", "celsius", 2),
    Unit("humidity", "percent", 1),
    Unit("pressure", "hpa", 2),
    Unit("voltage", "volts", 3),
    Unit("vibration", "millimeters_per_second", 3),
    Unit("energy", "kilowatt_hours", 3),
    Unit("motion", "1", 0),
    Unit("temperature", "fahrenheit", 2, 1.8, 32.0),
    Unit("temperature", "kelvin", 2, 1.0, 273.15),
    Unit("humidity", "%", 1),
    Unit("pressure", "kPa", 3, 0.1),
    Unit("pressure", "psi", 4, 0.014503773773),
    Unit("pressure", "bar", 5, 0.001),
    Unit("voltage", "mV", 0, 1000.0),
    Unit("vibration", "mm/s", 3),
    Unit("energy", "Wh", 0, 1000.0),
)
"""Every sensor type's canonical unit, then the others of its field."""

SENSOR_TYPES = tuple(dict.fromkeys(unit.sensor_type for unit in UNITS))

BEYOND_LIMITS = {
    "temperature": (-80.0, 150.0),
    "humidity": (-15.0, 130.0),
    "pressure": (500.0, 1500.0),
    "voltage": (-5.0, 75.0),
}
"""Sensor type → two values that the default limits refuse, in its canonical unit."""

_ROOM = Sensor("temperature", "measured", 21.0, 1.8, noise=0.15, offset=1.5, wander=0.6)
_ROOM_HUMIDITY = Sensor("humidity", "measured", 45.0, 5.0, noise=0.8, offset=5.0, wander=4.0, floor=0.0, ceiling=100.0)
_BATTERY = Sensor("voltage", "measured", 3.05, 0.01, noise=0.004, offset=0.05, hourly=-1e-5, floor=0.0)

DEVICE_TYPES = {
    kind.name: kind
    for kind in (
        DeviceType("climate", "TH-200", (_ROOM, _ROOM_HUMIDITY, _BATTERY)),
        DeviceType("occupancy", "PIR-10", (_ROOM, _BATTERY, Sensor("motion", "binary", 0.22, 0.2, offset=0.05))),
        DeviceType("meter", "EM-340", (
            Sensor("voltage", "measured", 24.0, 0.1, noise=0.05, offset=0.2, floor=0.0),
            Sensor("energy", "counter", 9000.0, 0.25, offset=0.3, hourly=0.6),
        )),
        DeviceType("weather", "WS-7", (
            Sensor("temperature", "measured", 9.0, 6.0, noise=0.2, offset=0.5, wander=4.0),
            Sensor("humidity", "measured", 65.0, 12.0, noise=1.0, offset=2.0, wander=8.0, floor=0.0, ceiling=100.0),
            Sensor("pressure", "measured", 1013.0, 0.8, noise=0.12, offset=1.0, wander=9.0),
            _BATTERY,
        )),
        DeviceType("machine", "VB-55", (
            Sensor("vibration", "measured", 2.4, 0.6, noise=0.12, offset=0.5, wander=0.2, floor=0.0),
            Sensor("temperature", "measured", 48.0, 6.0, noise=0.4, offset=4.0, wander=2.0),
            Sensor("energy", "counter", 60000.0, 2.0, offset=1.0, hourly=4.0),
        )),
        DeviceType("power_supply", "PS-48", (
            Sensor("voltage", "measured", 47.6, 0.2, noise=0.04, offset=0.3, wander=0.1, floor=0.0),
            Sensor("temperature", "measured", 38.0, 3.0, noise=0.3, offset=3.0, wander=1.0),
            Sensor("energy", "counter", 20000.0, 0.8, offset=0.5, hourly=1.6),
        )),
        DeviceType("cold_store", "CS-20", (
            Sensor("temperature", "measured", -19.0, 0.7, noise=0.25, offset=1.0, wander=0.3),
            Sensor("humidity", "measured", 70.0, 3.0, noise=1.0, offset=4.0, wander=2.0, floor=0.0, ceiling=100.0),
        )),
    )
}  # fmt: skip

MIX = ("climate", "occupancy", "meter", "weather", "machine", "power_supply")
"""The device types that take turns in a fleet of a given size."""

PROFILES: dict[str, tuple[tuple[str, str], ...]] = {
    "home": (
        ("climate", "living-room"), ("climate", "bedroom"), ("climate", "bathroom"),
        ("occupancy", "hall"), ("occupancy", "garage"), ("meter", "cellar"), ("weather", "garden"),
        ("machine", "laundry"), ("power_supply", "roof"),
    ),
    "office": (
        *(("climate", f"floor-{floor}/room-{room}") for floor in (1, 2, 3) for room in (1, 2)),
        *(("occupancy", f"floor-{floor}/meeting-room") for floor in (1, 2, 3)),
        *(("meter", f"floor-{floor}/panel") for floor in (1, 2, 3)),
        ("weather", "roof"), ("power_supply", "server-room"), ("machine", "roof/ventilation"),
        ("cold_store", "canteen"),
    ),
    "factory": (
        *(("machine", f"line-{line}/press-{press}") for line in (1, 2, 3) for press in (1, 2, 3, 4)),
        *(("climate", f"line-{line}/hall") for line in (1, 2, 3)),
        *(("meter", f"line-{line}/panel") for line in (1, 2, 3)),
        *(("power_supply", f"line-{line}/control") for line in (1, 2, 3)),
        *(("occupancy", f"gate-{gate}") for gate in (1, 2, 3, 4)),
        *(("cold_store", f"store-{store}") for store in (1, 2)),
        ("weather", "roof"), ("climate", "office"), ("climate", "laboratory"),
    ),
}  # fmt: skip
"""Profile → its devices: type and place."""

FIRMWARES = ("1.9.3", "2.0.1", "2.4.0", "2.4.1")
SITES = 50
PLACES_PER_SITE = 20
"""A fleet of a given size fills sites of twenty places; more devices than places share them."""
