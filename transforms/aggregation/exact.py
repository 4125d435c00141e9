"""Sums of doubles that are exact, and so the same in any order and however the rows are split.

A double is split at fixed powers of two, 2**(40 k), into integer *limbs* of at most 40 bits; limbs of equal k are added
as int64, without rounding.  After each addition carries are moved up, so that every limb but the highest lies within
±2**39: then equal sums have equal limbs.  That is the fixed-point form of reproducible summation (Demmel and Nguyen,
"Parallel Reproducible Summation", IEEE Transactions on Computers 64, 2015), with as many bins as a batch's values need:
one for whole numbers, three for most decimals.

Squares and products enter as p + e, the rounded product and its error, both doubles (Dekker, Numerische Mathematik 18,
1971), so that they are exact too.  What is read off in the end is computed in double-double arithmetic (106 bits).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Limbs = dict[int, npt.NDArray[np.int64]]
"""k → the limbs that count 2**(40 k), one an element."""

BITS = 40
MAX_ADDENDS = 1 << 22
"""So many limbs of 40 bits fit into an int64 without carries being moved."""

HUGE = 2.0**480
"""A greater magnitude has no square within a double, with room for the sum of 2**63 of them."""

TINY = 2.0**-480
"""The square of a smaller magnitude loses bits below the smallest double: it is taken as zero."""

_HALF = 1 << (BITS - 1)
_DIGIT = 20
_DIGIT_END = 1 << _DIGIT
"""A limb of 40 bits times a digit of 20 leaves room in an int64 for the sum of a few."""
_LOWEST = -27  # 2**-1080 counts the smallest denormal, 2**-1074, in whole numbers
_HIGHEST = 25  # 2**1000
_VELTKAMP = 134_217_729.0  # 2**27 + 1


def split(numbers: Doubles) -> Limbs:
    """The limbs of finite doubles; Σ limbs[k] · 2**(40 k) is the number.

    >>> {k: limb.tolist() for k, limb in split(np.array([3.0, -0.5])).items()}
    {0: [3, 0], -1: [0, -549755813888]}
    """
    rest = numbers
    largest = float(np.abs(numbers).max(initial=0.0))
    limbs: Limbs = {}
    if largest == 0.0:
        return limbs
    k = max(_LOWEST, int(np.frexp(largest)[1]) // BITS)
    while k >= _LOWEST:
        # The largest double, rounded up to whole 2**1000, would be none.
        quotient = (np.trunc if k == _HIGHEST else np.rint)(_scale(rest, -k))
        limbs[k] = quotient.astype(np.int64)
        rest = rest - _scale(quotient, k)
        if not rest.any():
            break
        k -= 1
    return limbs


def _scale(numbers: Doubles, k: int) -> Doubles:
    """The numbers times 2**(40 k); beyond a double they are infinite."""
    # 2.0**1040 is no double and 2.0**-1040 loses bits: there the exponent is moved.
    if abs(k) <= _HIGHEST:
        return numbers * 2.0 ** (BITS * k)
    return np.ldexp(numbers, BITS * k)


def square(numbers: Doubles) -> tuple[Doubles, Doubles]:
    """(p, e) with p + e = numbers² exactly, for magnitudes between TINY and HUGE."""
    return product(numbers, numbers)


def product(left: Doubles, right: Doubles) -> tuple[Doubles, Doubles]:
    """(p, e) with p + e = left · right exactly, unless something over- or underflows."""
    p = left * right
    left_high, left_low = _halves(left)
    right_high, right_low = (left_high, left_low) if right is left else _halves(right)
    e = ((left_high * right_high - p) + left_high * right_low + left_low * right_high) + left_low * right_low
    return p, e


def _halves(numbers: Doubles) -> tuple[Doubles, Doubles]:
    scaled = numbers * _VELTKAMP
    high = scaled - (scaled - numbers)
    return high, numbers - high


def add(parts: Iterable[Limbs]) -> Limbs:
    """The limb-wise sum of several sums, element by element, without carries."""
    total: Limbs = {}
    for part in parts:
        for k, limb in part.items():
            _accumulate(total, k, limb)
    return total


def add_groups(limbs: Limbs, starts: npt.NDArray[np.int64], rows: int) -> Limbs:
    """The sums of runs of elements, carries moved.

    Args:
        limbs: Of ``rows`` elements.
        starts: The first element of each run, ascending from 0; no run is empty.
        rows: How many elements there are.
    """
    if len(starts) == rows:
        return carry(limbs)
    long = int(np.diff(np.append(starts, rows)).max()) > MAX_ADDENDS
    if long:
        # Two limbs of half the width have room for 2**42 addends more.
        high = {k: np.add.reduceat(limb >> 20, starts) for k, limb in limbs.items()}
        low = {k: np.add.reduceat(limb & 0xFFFFF, starts) for k, limb in limbs.items()}
        shifted = {k: (limb & 0xFFFFF) << 20 for k, limb in high.items()}
        return carry(add([low, shifted, {k + 1: limb >> 20 for k, limb in high.items()}]))
    return carry({k: np.add.reduceat(limb, starts) for k, limb in limbs.items()})


def carry(limbs: Limbs) -> Limbs:
    """The same sums with every limb but the highest within ±2**39."""
    if not limbs:
        return limbs
    result: Limbs = {}
    zero = np.zeros_like(next(iter(limbs.values())))
    moved = zero
    k, top = min(limbs), max(limbs)
    while k <= top or moved.any():
        limb = limbs.get(k, zero) + moved
        moved = (limb + _HALF) >> BITS
        result[k] = limb - (moved << BITS)
        k += 1
    return {k: limb for k, limb in result.items() if limb.any()}


def scale(limbs: Limbs, factors: npt.NDArray[np.int64]) -> Limbs:
    """Each sum times a whole number, carries moved.

    >>> {k: limb.tolist() for k, limb in scale({0: np.array([3, -5])}, np.array([1 << 40, 2])).items()}
    {0: [0, -10], 1: [3, 0]}

    Args:
        limbs: Within ±2**39, as :func:`carry` leaves them.
        factors: One a sum, from 0 up to 2**60.
    """
    digits = {place: (factors >> (_DIGIT * place)) & (_DIGIT_END - 1) for place in range(3)}
    result: Limbs = {}
    for place, digit in digits.items():
        if not digit.any():
            continue
        for k, limb in limbs.items():
            whole, half = divmod(place, 2)
            scaled = limb * digit
            if half:
                # Digits at odd places count 2**(40 k + 20): what is above 20 bits goes up.
                _accumulate(result, k + whole, (scaled & (_DIGIT_END - 1)) << _DIGIT)
                _accumulate(result, k + whole + 1, scaled >> _DIGIT)
            else:
                _accumulate(result, k + whole, scaled)
    return carry(result)


def _accumulate(total: Limbs, k: int, limb: npt.NDArray[np.int64]) -> None:
    total[k] = total[k] + limb if k in total else limb


def to_double_double(limbs: Limbs, rows: int) -> tuple[Doubles, Doubles]:
    """(high, low) of each sum, carries moved; high is the double nearest to it, infinite where none is."""
    high, low, rest = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in sorted(limbs, reverse=True):
            high, error = two_sum(high, _scale(limbs[k].astype(np.float64), k))
            low, error = two_sum(low, error)
            rest = rest + error
        total, error = two_sum(high, low)
        # Half way between two doubles, what is behind 106 bits decides.
        beyond = total + 2 * error
        tied = (beyond - total == 2 * error) & (error * np.sign(rest) > 0) & (np.nextafter(total, beyond) == beyond)
        result = np.where(tied, beyond, total), np.where(tied, -error, error)
    infinite = np.isnan(result[0]) | np.isinf(result[0])
    if infinite.any():
        for row in np.flatnonzero(infinite).tolist():
            result[0][row], result[1][row] = to_double(*to_integer(limbs, row)), 0.0
    return result


def to_double(whole: int, k: int, divisor: int = 1) -> float:
    """The double nearest to whole · 2**(40 k) / divisor, infinite where none is.

    >>> to_double(3, 0, 2), to_double(1, 26), to_double(1, 26, 1 << 20)
    (1.5, inf, 1.1235582092889474e+307)
    """
    bits = BITS * k
    numerator, denominator = (whole << bits, divisor) if bits >= 0 else (whole, divisor << -bits)
    try:
        return numerator / denominator  # Python divides whole numbers with one rounding
    except OverflowError:
        return float("inf") if whole > 0 else float("-inf")


def to_integer(limbs: Limbs, row: int) -> tuple[int, int]:
    """(m, k) with m · 2**(40 k) the sum at a row, exactly."""
    if not limbs:
        return 0, 0
    lowest = min(limbs)
    return sum(int(limb[row]) << (BITS * (k - lowest)) for k, limb in limbs.items()), lowest


def two_sum(left: Doubles, right: Doubles) -> tuple[Doubles, Doubles]:
    """(s, e) with s + e = left + right exactly (Knuth)."""
    total = left + right
    part = total - left
    return total, (left - (total - part)) + (right - part)


def multiply(left: tuple[Doubles, Doubles], right: tuple[Doubles, Doubles]) -> tuple[Doubles, Doubles]:
    """The product of two double-doubles."""
    p, e = product(left[0], right[0])
    return two_sum(p, e + (left[0] * right[1] + left[1] * right[0]))


def subtract(left: tuple[Doubles, Doubles], right: tuple[Doubles, Doubles]) -> tuple[Doubles, Doubles]:
    """The difference of two double-doubles."""
    high, error = two_sum(left[0], -right[0])
    low, low_error = two_sum(left[1], -right[1])
    high, error = two_sum(high, error + low)
    return two_sum(high, error + low_error)


def divide(left: tuple[Doubles, Doubles], right: Doubles) -> tuple[Doubles, Doubles]:
    """A double-double divided by a double."""
    quotient = left[0] / right
    p, e = product(quotient, right)
    rest = ((left[0] - p) - e) + left[1]
    return two_sum(quotient, rest / right)
