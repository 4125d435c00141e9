"""Messages of a fleet, made faster than a broker takes them: bytes of text put together from pieces made once.

A fleet has a thousand devices of four sensors.  Reading number ``i`` is of series ``i % 4000``, so that every series
reports equally often, and its value is a function of ``i``: the same number gives the same reading, time apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

SENSORS = (
    ("temperature", "celsius", 21.0, 8.0, 150.0),
    ("humidity", "percent", 55.0, 30.0, 130.0),
    ("pressure", "hpa", 1013.0, 40.0, 1900.0),
    ("voltage", "volts", 12.0, 3.0, 90.0),
)
"""Sensor type, unit, mean, swing, and a value beyond the limits that configurations name."""
OUT_OF_RANGE_EVERY = 1009
_VALUES = 4093
"""Prime, so that a series does not see the same few values again and again."""
_CHUNK = 20_000


class Message(NamedTuple):
    """What goes to the topic: the device or gateway that sends it, its bytes, and its time in ms since 1970."""

    key: str
    payload: bytes
    time_ms: int


class Fleet:
    """The messages of some devices.

    Args:
        devices: How many; each has four sensors, so four series.
        readings: How many readings a message holds.  1: an object, keyed by its device.  100: an array of what a
            gateway of 25 devices reads at one moment, keyed by the gateway.
    """

    def __init__(self, devices: int = 1000, readings: int = 1) -> None:
        self.readings = readings
        self.series = devices * len(SENSORS)
        self._heads: list[bytes] = []
        self._middles: list[bytes] = []
        self._tails: list[bytes] = []
        self._keys: list[str] = []
        for number in range(self.series):
            self._add_series(number // len(SENSORS), SENSORS[number % len(SENSORS)])
        self._values = [_value_texts(*sensor[2:]) for sensor in SENSORS]

    @property
    def devices(self) -> list[str]:
        """The names of all devices."""
        return list(dict.fromkeys(head.split(b'"')[3].decode() for head in self._heads))

    def _add_series(self, device: int, sensor: tuple[str, str, float, float, float]) -> None:
        kind, unit, *_ = sensor
        site, room = device // 25 % 40, device % 25
        name = f"climate-{device:07d}"
        gateway = f"gateway-{device // 25:04d}"
        self._keys.append(name if self.readings == 1 else gateway)
        self._heads.append(b'{"device_id":"%b","timestamp":"' % name.encode())
        self._middles.append(b'Z","sensor_type":"%b","measurement_type":"%b","value":' % (kind.encode(), kind.encode()))
        place = f"site-{site:02d}/room-{room:02d}"
        about = f'{{"firmware":"2.{device % 7}.{device % 3}","model":"CL-{device % 5}0","gateway":"{gateway}"}}'
        tail = f',"unit":"{unit}","location":"{place}","quality_score":1.0,"metadata":{about}}}'
        self._tails.append(tail.encode())

    def messages(self, first: int, times_ms: Sequence[int]) -> list[Message]:
        """The messages from number ``first`` on, one for each time."""
        texts = np.datetime_as_string(np.asarray(times_ms, dtype="datetime64[ms]")).astype("S").tolist()
        numbers = range(first, first + len(texts))
        made = self._single if self.readings == 1 else self._array
        return [
            Message(self._keys[number * self.readings % self.series], made(number, text), time)
            for number, text, time in zip(numbers, texts, times_ms, strict=True)
        ]

    def _single(self, number: int, time: bytes) -> bytes:
        series = number % self.series
        value = self._values[series % len(SENSORS)][number // len(SENSORS) % _VALUES]
        return b"%b%b%b%b%b" % (self._heads[series], time, self._middles[series], value, self._tails[series])

    def _array(self, number: int, time: bytes) -> bytes:
        begin = number * self.readings
        return b"[%b]" % b",".join(self._single(n, time) for n in range(begin, begin + self.readings))

    def backlog(self, readings: int, rate: float, end_ms: int) -> Iterator[Message]:
        """About so many readings whose times ascend at ``rate`` readings a second up to ``end_ms``."""
        count = max(1, readings // self.readings)
        start = end_ms - count * self.readings * 1000 / rate
        step = self.readings * 1000 / rate
        chunks = (
            self.messages(first, [int(start + n * step) for n in range(first, min(first + _CHUNK, count))])
            for first in range(0, count, _CHUNK)
        )
        return chain.from_iterable(chunks)


def _value_texts(mean: float, swing: float, beyond: float) -> list[bytes]:
    random = np.random.default_rng(7)
    values = mean + swing * np.sin(np.arange(_VALUES) / 97) + random.normal(0, swing / 20, _VALUES)
    values[::OUT_OF_RANGE_EVERY] = beyond
    return [b"%.3f" % value for value in values.tolist()]
