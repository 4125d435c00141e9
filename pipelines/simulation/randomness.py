"""Random numbers that are looked up, not drawn.

A generator's n-th number depends on how many were drawn before; a fleet that is made in chunks would then depend on
the chunks.  Here a number is a hash of (seed, stream, position), so that any part of a simulation can be made alone.
The hash is SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_WORD = 2**64 - 1
_EVERY_OTHER_16 = np.uint64(0x0000FFFF0000FFFF)
_LOW_32 = np.uint64(0xFFFFFFFF)
# Four uniform 16-bit numbers: their sum has this mean and this standard deviation.
_SUM_MEAN = 2 * 65535.0
_SUM_STD = float(np.sqrt((65536.0**2 - 1) / 3))


class Stream(IntEnum):
    """What a number is for; streams are independent of each other."""

    FLEET = 1
    NOISE = 2
    POINT = 3
    RECORD = 4
    EPISODE = 5
    EPISODE_EXTENT = 6
    EPISODE_SENSOR = 7
    DETAIL = 8


def bits(seed: int, stream: Stream, positions: NDArray[np.int64]) -> Bits:
    """64 random bits for each position, of any shape."""
    key = _scramble((_scramble(seed + _GOLDEN) + stream * _GOLDEN) & _WORD)
    mixed = positions.astype(np.uint64)
    mixed *= np.uint64(_GOLDEN)
    mixed += np.uint64(key)
    other = np.empty_like(mixed)
    for shift, factor in _MIX:
        np.right_shift(mixed, np.uint64(shift), out=other)
        mixed ^= other
        mixed *= np.uint64(factor)
    np.right_shift(mixed, np.uint64(31), out=other)
    mixed ^= other
    return mixed


def uniform(random: Bits) -> NDArray[np.float64]:
    """Numbers from 0 up to but not 1, of 53 bits."""
    return (random >> np.uint64(11)).astype(np.float64) * 2.0**-53


def halves(random: Bits) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two independent numbers from 0 up to but not 1, of 32 bits each."""
    return (random & _LOW_32).astype(np.float64) * 2.0**-32, (random >> np.uint64(32)).astype(np.float64) * 2.0**-32


def bell(random: Bits) -> NDArray[np.float64]:
    """Noise of mean 0 and deviation 1 that never exceeds 3.47: the sum of four uniform numbers (Irwin–Hall).

    Integers only, so that every machine has the same noise; bounded, so that a labelled spike stands out.
    """
    pairs = random >> np.uint64(16)
    pairs &= _EVERY_OTHER_16
    pairs += random & _EVERY_OTHER_16
    total = ((pairs & _LOW_32) + (pairs >> np.uint64(32))).astype(np.float64)
    total -= _SUM_MEAN
    total /= _SUM_STD
    return total


def _scramble(number: int) -> int:
    for shift, factor in _MIX:
        number = ((number ^ (number >> shift)) * factor) & _WORD
    return number ^ (number >> 31)
