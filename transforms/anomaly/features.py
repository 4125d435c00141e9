"""What describes a reading to a trained model: the same numbers in training, in a stream and in a batch job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from telebeam.transforms.anomaly.lanes import LARGEST, Floats, History, Ints, Lanes, Slot, ratio
from telebeam.transforms.anomaly.windows import COUNT, Tail, blocks, seen

VERSION = 1
"""Raised when a feature, its order or its arithmetic changes: models of another version are refused."""
FEATURES = ("value", "deviation", "rate", "spread", "day_sin", "day_cos")
"""The names of the numbers that describe a reading, in their order."""
LAST = 20
"""Readings of its series before it that a reading is described by; one with fewer is not described."""
LAYOUT: Mapping[str, Slot] = {"count": COUNT, "raw": Slot(LAST), "last": Slot(1, np.int64, 0)}
"""What is remembered of a series: how many readings, the last values, and the last time."""

_SECOND = 1_000_000.0
_MINUTE, _MINUTES = 60_000_000, 1440
_MOST_DEVIATIONS = 100.0
_LEAST_SPREAD = 1e-9
"""Of the mean: what rounding leaves of a constant series' deviation is no unit."""
_ANGLES = [2.0 * math.pi * minute / _MINUTES for minute in range(_MINUTES)]
_SIN = np.array([math.sin(angle) for angle in _ANGLES])
_COS = np.array([math.cos(angle) for angle in _ANGLES])
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15))


class Described(NamedTuple):
    """Readings that have enough before them."""

    lane: Ints
    """int64[n]: the lane of each."""
    at: Ints
    """int64[n]: where each stands in ``Lanes.value``."""
    features: Floats
    """float64[6, n]: in the order of :data:`FEATURES`, finite."""
    expected: Floats
    """float64[n]: the mean of the readings before it, in the reading's unit."""

    def of(self, places: Ints) -> Described:
        """Some of them."""
        return Described(self.lane[places], self.at[places], self.features[:, places], self.expected[places])


def describe(lanes: Lanes, history: History) -> Described:
    """Describes each reading with 20 readings of its series before it, and remembers all.

    ``value`` is the reading itself, ``deviation`` its distance from the mean of the 20 before it in their standard
    deviations (within ±100), ``rate`` its change a second since the one before (over a second at least), ``spread`` the
    standard deviation of the 20, ``day_sin`` and ``day_cos`` the minute of the day (UTC) on a circle.  Cutting lanes in
    two and passing the history on gives the same bits.

    Args:
        lanes: The readings.
        history: Each lane's, laid out by :data:`LAYOUT`; is overwritten.
    """
    found, lanes_before = [], 0
    for part, past in blocks(lanes, history, by_readings=True):
        found.append(_describe(part, past, lanes_before))
        lanes_before += len(part)
    if not found:
        none = np.empty(0, np.int64)
        return Described(none, none, np.empty((len(FEATURES), 0)), np.empty(0))
    lane, at, features, expected = zip(*found, strict=True)
    return Described(
        np.concatenate(lane), np.concatenate(at), np.concatenate(features, axis=1), np.concatenate(expected)
    )


def _describe(lanes: Lanes, history: History, lanes_before: int) -> Described:
    lane, at = lanes.places()
    value, time = lanes.value[at], lanes.time[at]
    ready = np.flatnonzero(seen(history, lanes) >= LAST)
    tail = Tail.of(history["raw"], value, lanes.count)
    mean, spread = tail.mean_and_std(ready)
    now, before = value[ready], tail.numbers[tail.at[ready] - 1]
    begins, ends = np.cumsum(lanes.count) - lanes.count, np.cumsum(lanes.count) - 1
    time_before = np.empty_like(time)
    time_before[1:] = time[:-1]
    time_before[begins] = history["last"][0]
    seconds = np.maximum((time[ready] - time_before[ready]) / _SECOND, 1.0)
    minute = time[ready] // _MINUTE % _MINUTES
    features = np.empty((len(FEATURES), len(ready)))
    features[0] = now
    features[1] = _deviations(now - mean, np.maximum(spread, _LEAST_SPREAD * np.abs(mean)))
    features[2] = (now - before) / seconds
    features[3] = spread
    features[4], features[5] = _SIN[minute], _COS[minute]
    np.clip(features, -LARGEST, LARGEST, out=features)
    history["count"][0] += lanes.count
    history["last"][0] = time[ends]
    history["raw"][:] = tail.remembered()
    return Described(lane[ready] + lanes_before, at[ready], features, mean)


def _deviations(distance: Floats, unit: Floats) -> Floats:
    return np.clip(np.copysign(ratio(np.abs(distance), unit), distance), -_MOST_DEVIATIONS, _MOST_DEVIATIONS) + 0.0


def draw_order(identity: npt.NDArray[np.uint64], time: Ints, value: Floats) -> npt.NDArray[np.uint64]:
    """uint64[n]: a number for each reading that looks drawn at random and depends on the reading alone.

    The lowest numbers are a sample that is the same in whatever order readings come.  The finalizer of SplitMix64
    (Steele, Lea and Flood, OOPSLA 2014), over series, time and value.

    Args:
        identity: uint64[n]: checksums of the readings' series.
        time: int64[n], µs.
        value: float64[n].
    """
    number = identity
    for part in (time.view(np.uint64), value.view(np.uint64)):
        number = number ^ (part * _MIX[2])
        number = (number ^ (number >> np.uint64(30))) * _MIX[0]
        number = (number ^ (number >> np.uint64(27))) * _MIX[1]
        number = number ^ (number >> np.uint64(31))
    return number
