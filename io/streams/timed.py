"""Readers that are called again by timers, for engines that keep something of each resume of a splittable DoFn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import apache_beam as beam
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer
from apache_beam.utils.timestamp import Duration, Timestamp

from telebeam.io import storage
from telebeam.io.streams.job import StreamJob, tell_ended
from telebeam.io.streams.positions import TRACKER
from telebeam.io.streams.registry import leased, release

KEY_GROUPS = 128
"""Of Flink, up to a parallelism of 85."""
_HELD = Duration(seconds=86_400)
_NEXT = TimerSpec("next_1", TimeDomain.REAL_TIME)


class HoldReaders(beam.DoFn):
    """Gives each key once a day, so that its collection never ends: behind one that has ended, Flink drops timers."""

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, key: str, tracker: Any = TRACKER) -> Iterator[tuple[str, bytes]]:
        """The key."""
        tracker.try_claim({})
        yield key, b""
        tracker.defer_remainder(_HELD)


class FileTimedBundles(beam.DoFn):
    """One bundle of a reader each time that its timer fires.

    Flink makes a state with a name of its own for each resume of a splittable DoFn, and never removes it
    (https://github.com/apache/beam/issues/27648): 5.6 kB of each later checkpoint and up to 76 kB of the heap.  A timer
    has one name and leaves nothing.
    """

    def __init__(self, job: StreamJob) -> None:
        super().__init__()
        self._job = job

    def process(self, element: tuple[str, bytes], timer: Any = beam.DoFn.TimerParam(_NEXT)) -> None:
        """Begins the reader's first bundle."""
        del element
        timer.set(Timestamp.of(time.time()))

    @on_timer(_NEXT)
    def bundle(self, key: Any = beam.DoFn.KeyParam, timer: Any = beam.DoFn.TimerParam(_NEXT)) -> Iterator[bytes]:
        """Files a bundle and gives its notice."""
        index = reader_of(key)
        with leased(self._job, index) as reader:
            bundle = reader.bundle()
        yield bundle.notice.encode()
        if bundle.ended:
            release(self._job, index)
            tell_ended(storage.locate(self._job.lake.path), self._job.pipeline, self._job.run, index)
        else:
            timer.set(Timestamp.of(time.time()))


def reader_of(key: str) -> int:
    """The reader that a key of ``reader_keys`` is for."""
    return int(key.partition(".")[0])


def reader_keys(readers: int) -> list[str]:
    """A key for each reader, such that Flink gives no two readers to one of its subtasks while it has as many.

    What falls on one subtask is done one after the other.  Elsewhere the keys are as good as any.
    """
    return [
        next(key for key in _keys(index) if key_group(key) == KEY_GROUPS * (2 * index + 1) // (2 * readers))
        for index in range(readers)
    ]


def _keys(index: int) -> Iterator[str]:
    return (f"{index}.{salt}" for salt in count())


def key_group(key: str) -> int:
    """Where Flink puts a key: Java's hash of its encoded bytes, mixed by MurmurHash3, as in its KeyGroupRangeAssignment."""
    encoded = key.encode()
    mixed = 1
    for byte in reversed(bytes([len(encoded)]) + encoded):
        mixed = _bits(31 * mixed + byte)
    mixed = _bits(_rotated(_bits(mixed * 0xCC9E2D51), 15) * 0x1B873593)
    mixed = _bits(_rotated(mixed, 13) * 5 + 0xE6546B64) ^ 4
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed = _bits((mixed ^ mixed >> shift) * factor)
    signed = mixed - (1 << 32) if mixed >> 31 else mixed
    return abs(signed) % KEY_GROUPS


def _bits(number: int) -> int:
    return number & 0xFFFFFFFF


def _rotated(number: int, by: int) -> int:
    return _bits(number << by | number >> (32 - by))
