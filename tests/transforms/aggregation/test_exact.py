"""Sums of doubles are exact: the reference is fractions."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation import exact

ANY = st.floats(allow_nan=False, allow_infinity=False)
"""Over the whole range, denormals and −0.0 included."""
SMALLEST, LARGEST = math.ulp(0.0), sys.float_info.max

FIXED = settings(derandomize=True, deadline=None, max_examples=300)


def total(numbers: list[float]) -> exact.Limbs:
    return exact.add_groups(exact.split(np.array(numbers)), np.zeros(1, np.int64), len(numbers))


def as_fraction(limbs: exact.Limbs, row: int = 0) -> Fraction:
    whole, k = exact.to_integer(limbs, row)
    return Fraction(whole) * Fraction(2) ** (exact.BITS * k)


def as_double(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


@FIXED
@given(st.lists(ANY, min_size=1, max_size=40))
@example([1e16, 1.0, -1e16])
@example([1e300, 1e-300, -1e300])
@example([SMALLEST, SMALLEST, -0.0])
@example([1e300, SMALLEST])
@example([LARGEST, LARGEST, -LARGEST])
def test_a_sum_is_the_sum_of_the_fractions(numbers):
    assert as_fraction(total(numbers)) == sum(map(Fraction, numbers))


@FIXED
@given(st.lists(ANY, min_size=1, max_size=40))
@example([1.0, 2.0**-53, 2.0**-200])
@example([1.0, 2.0**-53, -(2.0**-200)])
@example([1.0, -(2.0**-54), -(2.0**-200)])
@example([-1.0, -(2.0**-53), -SMALLEST])
@example([1.0 + 2**-52, 2.0**-53])
@example([LARGEST, LARGEST])
@example([LARGEST, math.ulp(LARGEST) / 2, -SMALLEST])
@example([-LARGEST] * 40)
def test_the_double_read_off_is_the_nearest_to_the_sum(numbers):
    high, low = exact.to_double_double(total(numbers), 1)
    assert high[0] == as_double(sum(map(Fraction, numbers), Fraction(0)))
    assert abs(low[0]) <= math.ulp(high[0])


@FIXED
@given(st.lists(ANY, min_size=2, max_size=30), st.data())
def test_equal_sums_have_equal_limbs_however_they_are_split_and_ordered(numbers, data):
    others = data.draw(st.permutations(numbers))
    cut = data.draw(st.integers(1, len(numbers) - 1))
    together = exact.carry(exact.add([total(others[:cut]), total(others[cut:])]))
    assert {k: limb.tolist() for k, limb in together.items()} == {
        k: limb.tolist() for k, limb in exact.carry(total(numbers)).items()
    }


MODERATE = ANY.filter(lambda x: x == 0 or exact.TINY <= abs(x) <= exact.HUGE)


@FIXED
@given(MODERATE)
def test_a_square_is_its_rounding_and_its_error(number):
    p, e = exact.square(np.array([number]))
    assert Fraction(p[0]) + Fraction(e[0]) == Fraction(number) ** 2


@FIXED
@given(st.integers(0, 366 * 86400 * 10**6), MODERATE)
def test_a_product_with_a_time_is_its_rounding_and_its_error(time, number):
    p, e = exact.product(np.array([float(time)]), np.array([number]))
    assert Fraction(p[0]) + Fraction(e[0]) == Fraction(time) * Fraction(number)


@pytest.mark.parametrize("number", [LARGEST, 2.0**1023, 1.0, SMALLEST, 2.0**-1022, 0.1])
def test_the_limbs_of_many_elements_are_each_elements_own(number):
    limbs = exact.split(np.array([number, -number, 0.0]))
    assert [as_fraction(limbs, row) for row in range(3)] == [Fraction(number), -Fraction(number), 0]


def test_more_addends_than_an_int64_has_room_for_are_added_exactly():
    rows = exact.MAX_ADDENDS + 5
    # 2**40 − 1 ulp fills the highest limb: 2**23 of them overflow 63 bits.
    numbers = np.full(2 * rows, np.nextafter(2.0**40, 0))
    numbers[-1] = -3.5
    limbs = exact.add_groups(exact.split(numbers), np.array([0, 7]), len(numbers))
    expected = Fraction(numbers[0]) * (2 * rows - 8) - Fraction(7, 2)
    assert [as_fraction(limbs, 0), as_fraction(limbs, 1)] == [7 * Fraction(numbers[0]), expected]


def test_negative_addends_without_end_are_added_exactly_too():
    rows = exact.MAX_ADDENDS + 5
    limbs = exact.add_groups(exact.split(np.full(rows, -0.1)), np.zeros(1, np.int64), rows)
    assert as_fraction(limbs) == Fraction(-0.1) * rows


@FIXED
@given(st.integers(-(2**300), 2**300), st.integers(-20, 26), st.integers(1, 2**40))
def test_a_quotient_of_whole_numbers_is_rounded_once(whole, k, divisor):
    expected = as_double(Fraction(whole) * Fraction(2) ** (exact.BITS * k) / divisor)
    assert exact.to_double(whole, k, divisor) == expected


def test_no_addend_is_zero():
    assert exact.split(np.zeros(3)) == {}
    high, low = exact.to_double_double({}, 3)
    assert high.tolist() == low.tolist() == [0.0] * 3
