"""What sensors measure: values at ticks, as a pure function of the fleet and the position.

value = base + daily · cos(day) + wander · sin(nine days) + hourly · t + noise, with a peak at 14:00 UTC; see
:class:`~telebeam.pipelines.simulation.catalog.Sensor` for binary sensors and counters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telebeam.pipelines.simulation.fleet import SENSORS, Fleet, Floats, Ints, parameter
from telebeam.pipelines.simulation.randomness import Stream, bell, bits, uniform

_DAY_MS = 86_400_000
_PEAK_MS = 14 * 3_600_000
_WANDER_MS = 9 * _DAY_MS
_HOUR_MS = 3_600_000.0


class Signals:
    """The sensors of a fleet at any tick.

    Args:
        fleet: The devices.
        start_ms: The first tick, in milliseconds since the epoch.
        interval_ms: Milliseconds between two ticks.
    """

    def __init__(self, fleet: Fleet, start_ms: int, interval_ms: int) -> None:
        self._fleet = fleet
        self._start_ms = start_ms
        self._interval_ms = interval_ms
        sensor = fleet.sensor
        kind = np.array([one.kind for one in SENSORS])[sensor]
        daily = parameter("daily")[sensor]
        counter, self._binary = kind == "counter", kind == "binary"
        # A counter's growth follows the day's cosine, so the counter itself follows its integral, the sine.
        self._cosine = np.where(counter, 0.0, daily)
        self._sine = np.where(counter, daily * _DAY_MS / _HOUR_MS / (2 * np.pi), 0.0)
        wander = parameter("wander")[sensor]
        self._wander_sine = wander * np.cos(fleet.wander_angle)
        self._wander_cosine = wander * np.sin(fleet.wander_angle)
        self.noise: Floats = parameter("noise")[sensor]
        self.floor: Floats = parameter("floor")[sensor]
        self.ceiling: Floats = parameter("ceiling")[sensor]

    def block(self, first_tick: int, ticks: int, first_row: int, end_row: int) -> Floats:
        """The values of some sensors over some ticks, in canonical units: ticks × sensors."""
        tick = np.arange(first_tick, first_tick + ticks)[:, np.newaxis]
        return self._values(tick, np.arange(first_row, end_row)[np.newaxis, :])

    def at(self, tick: Ints, row: Ints) -> Floats:
        """The values at single points, in canonical units; the same as in :meth:`block`."""
        return self._values(tick, row)

    def _values(self, tick: Ints, row: Ints) -> Floats:
        elapsed = tick * self._interval_ms
        now = self._start_ms + elapsed
        day = 2 * np.pi / _DAY_MS * ((now - _PEAK_MS) % _DAY_MS)
        nine_days = 2 * np.pi / _WANDER_MS * (now % _WANDER_MS)
        # `take` and not a basic slice of a whole row, so that the arithmetic is the same for blocks and points.
        values: Floats = self._cosine[row] * np.cos(day)
        for amplitude, course in (
            (self._sine, np.sin(day)),
            (self._wander_sine, np.sin(nine_days)),
            (self._wander_cosine, np.cos(nine_days)),
            (self._fleet.hourly, elapsed / _HOUR_MS),
        ):
            values += amplitude[row] * course
        values += self._fleet.base[row]
        random = bits(self._fleet.seed, Stream.NOISE, tick * self._fleet.rows + row)
        noise = bell(random)
        noise *= self.noise[row]
        values += noise
        np.maximum(values, self.floor[row], out=values)
        np.minimum(values, self.ceiling[row], out=values)
        return self._switch(values, random, row)

    def _switch(self, values: Floats, random: NDArray[np.uint64], row: Ints) -> Floats:
        binary = np.broadcast_to(self._binary[row], values.shape)
        if binary.any():
            np.copyto(values, uniform(random) < values, where=binary)
        return values
