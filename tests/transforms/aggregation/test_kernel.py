"""The laws of windows: any split, order and tree of merges give the same bits, and the right ones."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation.kernel import aggregate, extract, merge
from telebeam.transforms.batches import READING_BATCH_ROWS
from telebeam.transforms.schema import AGGREGATES, WINDOWS, conform
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, SECOND, bits, fleet, readings, shuffled

FIXED = settings(derandomize=True, deadline=None, max_examples=60)
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(-100, 100), st.sampled_from([0.0, -0.0, 1e300, 5e-324])
)


def windows(batch: pa.RecordBatch, seconds: int = 60) -> pa.RecordBatch:
    return extract(aggregate(batch, seconds), seconds)


def only(batch: pa.RecordBatch) -> dict[str, object]:
    assert batch.num_rows == 1
    return batch.to_pylist()[0]


# Any split, any order


@FIXED
@given(st.lists(VALUES, min_size=1, max_size=60), st.integers(0, 2**32), st.integers(1, 7))
@example([0.0, -0.0, 0.0], 1, 3)
@example([1e16, 1.0, -1e16], 1, 2)
def test_any_split_and_any_order_give_the_same_bits(values, seed, parts):
    draw = np.random.default_rng(seed)
    times = (MIDNIGHT + draw.integers(0, 150, len(values)) * SECOND).tolist()
    offsets = draw.integers(0, 2, len(values)).tolist()
    devices = [f"dev-{n}" for n in draw.integers(0, 2, len(values))]
    batch = readings(values, times, source_offset=offsets, device_id=devices)
    whole = bits(windows(batch))
    mixed = shuffled(batch, seed)
    cuts = np.sort(draw.integers(0, len(values) + 1, parts - 1))
    pieces = [mixed.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True) if b > a]
    assert bits(extract(merge([aggregate(piece, 60) for piece in pieces]), 60)) == whole


@pytest.mark.parametrize("seconds", [1, 60, 420, 86400])
def test_any_tree_of_merges_gives_the_same_bits(seconds):
    batch = fleet(6000, seed=3)
    whole = bits(windows(batch, seconds))
    mixed = shuffled(batch, 4)
    parts = [aggregate(mixed.slice(first, 500), seconds) for first in range(0, 6000, 500)]
    left = parts[0]
    for part in parts[1:]:
        left = merge([left, part])
    pairs = parts
    while len(pairs) > 1:
        pairs = [merge(pairs[place : place + 2][::-1]) for place in range(0, len(pairs), 2)]
    for merged in (left, pairs[0], merge(parts[::-1])):
        assert bits(extract(merged, seconds)) == whole


def test_a_batch_of_many_slices_is_the_merge_of_its_readings():
    batch = fleet(2 * READING_BATCH_ROWS + 17, seed=5, hours=3)
    one_by_one = merge([aggregate(batch.slice(first, 1000), 60) for first in range(0, batch.num_rows, 1000)])
    assert bits(extract(one_by_one, 60)) == bits(windows(batch))


def test_merging_what_is_merged_changes_nothing():
    partials = aggregate(fleet(2000, seed=6), 60)
    assert bits(extract(merge([merge([partials])]), 60)) == bits(extract(partials, 60))


def test_equal_texts_are_one_series_however_dictionaries_hold_them():
    batch = readings([1.0, 2.0, 3.0])
    for dictionary, codes in ((["a-1", "a-1"], [0, 1, 0]), (["x-1", "a-1"], [1, 1, 1]), (["a-1"], [0, 0, 0])):
        column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(dictionary))
        again = batch.set_column(batch.schema.get_field_index("device_id"), "device_id", column)
        assert only(windows(again))["count"] == 3
    missing = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int32()), pa.array([None, "hall"]))
    place = batch.schema.get_field_index("location")
    rows = windows(batch.set_column(place, "location", missing)).to_pylist()
    assert [(row["location"], row["count"]) for row in rows] == [(None, 2), ("hall", 1)]


def test_no_readings_have_no_windows():
    empty = windows(readings([1.0]).slice(0, 0))
    assert empty.num_rows == 0
    assert conform(empty, WINDOWS).schema == WINDOWS


# First and last


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("source_offset", [3, 1, 2]),
        ("source_partition", [2, 0, 1]),
        ("source", ["c", "a", "b"]),
        ("value", [9.0, -1.0, 4.0]),
    ],
)
def test_ties_of_time_are_broken_by_offset_partition_source_and_value(column, values):
    columns = {"source_offset": 0, column: values}
    numbers = columns.pop("value", [10.0, 20.0, 30.0])
    row = only(windows(readings(numbers, [MIDNIGHT] * 3, **columns)))
    smallest, largest = values.index(min(values)), values.index(max(values))
    assert (row["first"], row["last"]) == (numbers[smallest], numbers[largest])


def test_the_offset_decides_before_the_partition_and_the_partition_before_the_source():
    row = only(windows(readings(
        [1.0, 2.0, 3.0], [MIDNIGHT] * 3, source_offset=[1, 0, 0], source_partition=[0, 1, 0], source=["a", "a", "b"]
    )))  # fmt: skip
    assert (row["first"], row["last"]) == (3.0, 1.0)


def test_the_names_of_sources_are_compared_and_not_their_codes():
    batch = readings([1.0, 2.0], [MIDNIGHT] * 2, source=["z", "a"], source_offset=0)
    assert only(windows(batch))["first"] == 2.0


# Windows


@pytest.mark.parametrize("seconds", [1, 7 * 60, 3600, 86400, 366 * 86400])
def test_a_window_is_aligned_to_the_epoch_and_holds_its_start_but_not_its_end(seconds):
    length = seconds * SECOND
    for start in (-length, 0, 3 * length, -5 * length):
        batch = readings([1.0, 2.0, 3.0, 4.0], [start - 1, start, start + length - 1, start + length])
        assert windows(batch, seconds).column("count").to_pylist() == [1, 2, 1]
        starts = windows(batch, seconds).column("window_start").cast(pa.int64()).to_pylist()
        assert starts == [start - length, start, start + length]


def test_a_window_before_1970_is_a_window():
    row = only(windows(readings([5.0], [-1])))
    assert row["window_start"] == datetime(1969, 12, 31, 23, 59, tzinfo=UTC)
    assert row["window_end"] == datetime(1970, 1, 1, tzinfo=UTC)


def test_windows_far_apart_are_kept_apart():
    far = [-(10**17), 0, 2 * 10**17]
    assert windows(readings([1.0] * 9, far * 3), 1).column("count").to_pylist() == [3, 3, 3]


# Numbers


def numacc(base: float, low: float, high: float, pairs: int) -> list[float]:
    """A NIST-like series: a base, then as many of a lower and a higher value by turns; its deviation is known."""
    return [base] + [low, high] * pairs


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [
        ([10000001.0, 10000003.0, 10000002.0], 10000002.0, math.sqrt(2 / 3)),  # NumAcc1
        (numacc(1.2, 1.1, 1.3, 500), 1.2, 0.1 * math.sqrt(1000 / 1001)),  # NumAcc2
        (numacc(1000000.2, 1000000.1, 1000000.3, 500), 1000000.2, 0.1 * math.sqrt(1000 / 1001)),  # NumAcc3
        (numacc(10000000.2, 10000000.1, 10000000.3, 500), 10000000.2, 0.1 * math.sqrt(1000 / 1001)),  # NumAcc4
    ],
)
def test_the_deviation_of_large_numbers_close_together_keeps_its_digits(values, mean, deviation):
    row = only(windows(readings(values), 3600))
    assert row["mean"] == pytest.approx(mean, rel=1e-15)
    # The data are not decimals but the doubles nearest to them: that alone moves the eighth digit of NumAcc4.
    data = np.array(values)
    exact = math.sqrt(math.fsum(((data - mean) ** 2).tolist()) / len(data))
    assert row["std"] == pytest.approx(exact, rel=1e-13)
    assert row["std"] == pytest.approx(deviation, rel=2e-8)


@pytest.mark.parametrize("value", [0.1, -3e7 / 7, 1e16, 123456.789, 1e140, -1e-140])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 129, 1000])
def test_a_constant_has_no_deviation_and_no_trend(value, count):
    row = only(windows(readings([value] * count), 3600))
    assert row["std"] == 0.0
    assert row["trend_per_second"] == (0.0 if count > 1 else None)
    assert row["mean"] == value
    assert {row[name] for name in ("min", "max", "first", "last", "p50", "p95")} <= {value, row["p50"]}


def test_a_line_has_its_slope():
    row = only(windows(readings([3.0 + 0.25 * i for i in range(100)]), 3600))
    assert row["trend_per_second"] == 0.25


def test_the_trend_needs_two_times():
    row = only(windows(readings([1.0, 2.0, 3.0], [MIDNIGHT + 5] * 3)))
    assert row["trend_per_second"] is None
    assert row["std"] == pytest.approx(math.sqrt(2 / 3), rel=1e-15)


@pytest.mark.parametrize("huge", [1e146, -1e300, 1.7e308])
def test_values_without_a_square_leave_deviation_and_trend_open_and_nothing_else(huge):
    row = only(windows(readings([1.0, huge, 2.0])))
    assert row["std"] is None
    assert row["trend_per_second"] is None
    expected = {"count": 3, "min": min(1.0, huge), "max": max(2.0, huge), "first": 1.0, "last": 2.0,
                "sum": math.fsum([1.0, huge, 2.0]), "quality_mean": 1.0}  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert row["mean"] == pytest.approx(huge / 3, rel=1e-15)


def test_a_sum_beyond_a_double_is_infinite_and_its_mean_is_not():
    row = only(windows(readings([1.7e308] * 50)))
    assert (row["sum"], row["mean"], row["p50"]) == (math.inf, 1.7e308, 1.7e308)


def test_what_cancels_is_gone_and_what_does_not_is_there():
    row = only(windows(readings([1e16, 1.0, -1e16])))
    assert (row["sum"], row["mean"]) == (1.0, 1 / 3)


def test_no_zero_is_negative():
    for values in ([-0.0], [0.0, -0.0], [-0.0, 0.0]):
        row = only(windows(readings(values)))
        assert all(math.copysign(1, row[name]) == 1 for name in AGGREGATES if row[name] is not None)


def test_rows_are_in_the_order_of_series_and_start_and_have_the_contracts_types():
    batch = conform(windows(shuffled(fleet(3000, seed=9), 1)), WINDOWS)
    rows = [(*(row[name] or "" for name in WINDOWS.names[:6]), row["window_start"]) for row in batch.to_pylist()]
    assert rows == sorted(rows)
    assert batch.schema == WINDOWS
    for field in WINDOWS:
        assert field.nullable or not batch.column(field.name).null_count or field.name == "std"


def test_a_window_of_an_hour_holds_no_more_than_its_histogram():
    batch = fleet(50_000, seed=2, devices=1, start=MIDNIGHT - MIDNIGHT % HOUR)
    distribution = aggregate(batch, 3600).distribution
    assert len(distribution.values) == 0
    assert distribution.counts.sum() == 50_000
    assert len(distribution.buckets) < 10_000
