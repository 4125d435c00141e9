"""Quantiles: exact while a group is small, within the stated error above, whatever the order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation.quantiles import (
    EXACT_VALUES,
    RELATIVE_ERROR,
    Distribution,
    bucket_of,
    middle_of,
)  # fmt: skip

FRACTIONS = (0.0, 0.5, 0.95, 0.99, 1.0)
NORMAL = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
FIXED = settings(derandomize=True, deadline=None, max_examples=200)


def of_groups(groups: list[np.ndarray]) -> Distribution:
    sizes = np.array([len(group) for group in groups])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return Distribution.of_rows(np.concatenate(groups)).merge_runs(starts, sizes)


def quantiles(groups: list[np.ndarray]) -> np.ndarray:
    low, high = (np.array([get(group) for group in groups]) for get in (np.min, np.max))
    return np.array(of_groups(groups).quantiles(FRACTIONS, low, high))


def neighbours(values: np.ndarray, fraction: float) -> tuple[float, float]:
    ordered, position = np.sort(values), fraction * (len(values) - 1)
    return ordered[math.floor(position)], ordered[math.ceil(position)]


def widened(low: float, high: float) -> tuple[float, float]:
    with np.errstate(over="ignore"):
        return low - abs(low) * RELATIVE_ERROR, high + abs(high) * RELATIVE_ERROR


@FIXED
@given(st.lists(NORMAL.filter(lambda x: abs(x) < 1e300), min_size=1, max_size=EXACT_VALUES))
def test_up_to_128_values_quantiles_are_those_of_the_values(values):
    group = np.array(values)
    found = quantiles([group])[:, 0]
    expected = [np.quantile(group, fraction) for fraction in FRACTIONS]
    largest = np.abs(group).max()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15 * largest)
    for quantile, fraction in zip(found, FRACTIONS, strict=True):
        low, high = neighbours(group, fraction)
        assert low <= quantile <= high


@FIXED
@given(st.lists(NORMAL, min_size=1, max_size=20), st.integers(EXACT_VALUES + 1, 400), st.integers(0, 2**32))
@example([-1.0, 0.0, 1.0], 200, 1)
@example([5.0], 129, 1)
@example([-1.7e308, 1.7e308], 129, 1)
def test_above_that_each_quantile_is_within_the_error_of_its_neighbours(pool, size, seed):
    group = np.random.default_rng(seed).choice(np.array(pool), size)
    for quantile, fraction in zip(quantiles([group])[:, 0], FRACTIONS, strict=True):
        low, high = widened(*neighbours(group, fraction))
        assert low <= quantile <= high


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1.0, 1e6, 1e300])
@pytest.mark.parametrize("shift", [-10.0, 0.0, 3.0])
def test_the_error_holds_for_any_scale_and_sign(scale, shift):
    draw = np.random.default_rng(7)
    groups = [(draw.standard_normal(size) + shift) * scale for size in (129, 1000, 40_000)]
    found = quantiles(groups)
    for place, group in enumerate(groups):
        for quantile, fraction in zip(found[:, place], FRACTIONS, strict=True):
            low, high = widened(*neighbours(group, fraction))
            assert low <= quantile <= high


def test_values_further_apart_than_a_double_reaches_have_a_median():
    assert quantiles([np.array([-1.7e308, 1.7e308])])[1, 0] == 0.0
    assert np.isfinite(quantiles([np.array([-1.7e308, 1.7e308] * 100)])).all()


def test_denormals_are_within_the_width_of_their_buckets():
    group = np.arange(1, 400) * 2.0**-1060
    found = quantiles([group])[:, 0]
    assert np.abs(found - np.quantile(group, FRACTIONS)).max() <= 2.0**-1029


@FIXED
@given(st.lists(st.integers(0, 300), min_size=1, max_size=6).filter(sum), st.integers(0, 2**32))
def test_any_tree_of_merges_gives_the_same_bits(sizes, seed):
    draw = np.random.default_rng(seed)
    values = draw.choice([-2.5, 0.0, 1.0, 3.25, 1e9], sum(sizes))
    whole = of_groups([values])
    parts = [part for part in np.split(draw.permutation(values), np.cumsum(sizes)[:-1]) if len(part)]
    groups = of_groups(parts)
    merged = groups.merge_runs(np.zeros(1, np.int64), np.array([len(values)]))
    low, high = np.array([values.min()]), np.array([values.max()])
    for left, right in zip(merged.quantiles(FRACTIONS, low, high), whole.quantiles(FRACTIONS, low, high), strict=True):
        assert left.tobytes() == right.tobytes()


@FIXED
@given(NORMAL)
@example(0.0)
@example(1.7976931348623157e308)
@example(-1.7976931348623157e308)
@example(2.0**-1022)
def test_a_buckets_middle_is_within_the_error_of_its_values(value):
    middle = middle_of(bucket_of(np.array([value])))[0]
    assert abs(middle - value) <= RELATIVE_ERROR * abs(value)


@FIXED
@given(st.lists(NORMAL, min_size=2, max_size=50))
def test_buckets_rise_with_the_values(values):
    ordered = np.sort(np.array(values))
    assert (np.diff(bucket_of(ordered + 0.0)) >= 0).all()


def test_a_groups_quantiles_do_not_depend_on_the_groups_beside_it():
    values = np.array([-1.961908233734975e136, 0.0, 5e-324])
    low, high = values[:1], values[2:]
    alone = Distribution(values, np.array([3]), *_no_buckets(1)).quantiles((0.05, 0.95), low, high)
    both = np.concatenate([values, [-1.7e308, 1.7e308]])
    beside = Distribution(both, np.array([3, 5]), *_no_buckets(2)).quantiles(
        (0.05, 0.95), np.append(low, -1.7e308), np.append(high, 1.7e308)
    )
    assert [found[0] for found in beside] == [found[0] for found in alone]


def _no_buckets(groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(groups, np.int64)
