"""The elements that stand for a job's readers, such that Flink puts each on a subtask of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count


def reader_of(key: str) -> int:
    """The reader that a key of ``reader_keys`` is for."""
    return int(key.partition(".")[0])


def reader_keys(readers: int) -> list[str]:
    """A key for each reader; with so many key groups and subtasks as readers, each is alone on one of Flink's subtasks.

    Flink spreads a splittable DoFn's elements by a hash, and what falls on one subtask is done one after the other.
    Elsewhere the keys are as good as any.
    """
    return [next(key for key in _keys(index) if key_group(key, readers) == index) for index in range(readers)]


def _keys(index: int) -> Iterator[str]:
    return (f"{index}.{salt}" for salt in count())


def key_group(key: str, groups: int) -> int:
    """Where Flink puts a key: Java's hash of its encoded bytes, mixed as its KeyGroupRangeAssignment does."""
    encoded = key.encode()
    mixed = 1
    for byte in reversed(bytes([len(encoded)]) + encoded):
        mixed = _bits(31 * mixed + byte)
    mixed = _bits(_rotated(_bits(mixed * 0xCC9E2D51), 15) * 0x1B873593)
    mixed = _bits(_rotated(mixed, 13) * 5 + 0xE6546B64) ^ 4
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed = _bits((mixed ^ mixed >> shift) * factor)
    signed = mixed - (1 << 32) if mixed >> 31 else mixed
    return abs(signed) % groups


def _bits(number: int) -> int:
    return number & 0xFFFFFFFF


def _rotated(number: int, by: int) -> int:
    return _bits(number << by | number >> (32 - by))
