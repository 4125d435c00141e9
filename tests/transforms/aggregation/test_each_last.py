"""What the last readings say at each reading is what they say by themselves, however they came."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation.each_last import EXPIRE_AFTER, EachLast
from telebeam.transforms.aggregation.last_n import LastN
from telebeam.transforms.batches import concat
from telebeam.transforms.errors import JobError
from telebeam.transforms.schema import LAST_N_IN_FLIGHT, SERIES
from tests.transforms.aggregation.samples import MIDNIGHT, SECOND, bits, fleet, readings, shuffled

VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-100, 100),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 1e-200, 1e150, 3.0]),
)
DAY = 86_400 * SECOND


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    """Readings of two devices with ties in time, silences, and equal and huge values."""
    values = draw(st.lists(VALUES, min_size=1, max_size=40))
    rows = len(values)
    gaps = st.sampled_from([0, 0, 1, SECOND, 7 * SECOND, 29 * DAY, 31 * DAY])
    times = np.cumsum(draw(st.lists(gaps, min_size=rows, max_size=rows))) + MIDNIGHT
    few = st.integers(0, 1)
    columns: dict[str, Any] = {
        name: draw(st.lists(few, min_size=rows, max_size=rows)) for name in ("source_offset", "source_partition")
    }
    columns["source"] = [f"part-{n}" for n in draw(st.lists(few, min_size=rows, max_size=rows))]
    columns["device_id"] = [f"dev-{n}" for n in draw(st.lists(few, min_size=rows, max_size=rows))]
    return readings(values, times.tolist(), **columns)


def in_pieces(batch: pa.RecordBatch, edges: list[int], numbers: list[int], restart: int) -> dict[int, pa.RecordBatch]:
    """What comes of pieces of time, written down and restored before one of them, and expired before each."""
    times = batch.column("timestamp").cast(pa.int64()).to_numpy()
    last, found = EachLast(numbers), []
    whole = [int(times.min()), *sorted(edges), int(times.max()) + 1]
    for place, (since, until) in enumerate(pairwise(whole)):
        if place == restart:
            last = EachLast.restored(numbers, last.history())
        last.expire(since)
        found.append(last.advance(batch.filter(pa.array((times >= since) & (times < until)))))
    return {number: concat([part[number] for part in found]) for number in numbers}


def ordered(rows: pa.RecordBatch) -> pa.RecordBatch:
    """By series, time and origin: the order of what one piece gives."""
    names = [*SERIES, "timestamp", "source", "source_partition", "source_offset", "value"]
    table = pa.Table.from_batches([rows]).cast(pa.schema([
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in rows.schema
    ]))  # fmt: skip
    return table.sort_by([(name, "ascending") for name in names]).combine_chunks().to_batches()[0]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(batches(), st.sets(st.sampled_from([2, 3, 4, 7, 10]), min_size=1), st.data())
def test_no_cut_and_no_restart_shows_in_a_bit(batch, numbers, data):
    times = sorted(set(batch.column("timestamp").cast(pa.int64()).to_pylist()))
    edges = data.draw(st.lists(st.sampled_from(times), max_size=4, unique=True))
    whole = EachLast(sorted(numbers)).advance(shuffled(batch, len(times)))
    parts = in_pieces(shuffled(batch, 1), edges, sorted(numbers), data.draw(st.integers(0, 4)))
    for number in numbers:
        assert whole[number].schema == LAST_N_IN_FLIGHT
        assert bits(ordered(parts[number])) == bits(ordered(whole[number]))


def windows(rows: list[dict[str, Any]], number: int) -> list[list[dict[str, Any]]]:
    """The last so many rows of the same series at each row, none from before a silence of thirty days."""
    found = []
    for place, row in enumerate(rows):
        mine = [one for one in rows[: place + 1] if all(one[name] == row[name] for name in SERIES)]
        breaks = [k for k in range(1, len(mine)) if micros(mine[k]) - micros(mine[k - 1]) > EXPIRE_AFTER]
        found.append(mine[max([0, *breaks]) :][-number:])
    return found


def micros(row: dict[str, Any]) -> int:
    return int(row["timestamp"].timestamp() * SECOND)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(batches(), st.integers(2, 12))
def test_each_row_is_what_its_window_says_by_itself(batch, number):
    rows = ordered(EachLast([number]).advance(shuffled(batch, 2))[number]).to_pylist()
    for row, mine in zip(rows, windows(rows, number), strict=True):
        values = [one["value"] + 0.0 for one in mine]
        size = max(map(abs, values))
        assert (row["n"], row["count"]) == (number, len(mine))
        assert (row["min"], row["max"]) == (min(values), max(values))
        mean = sum(map(Fraction, values)) / len(values)
        assert abs(Fraction(row["mean"]) - mean) <= 4 * Fraction(math.ulp(size))
        assert row["min"] <= row["mean"] <= row["max"]
        if size > 2.0**480:
            assert row["std"] is row["trend_per_second"] is None
            continue
        variance = float(sum((Fraction(x) - mean) ** 2 for x in values) / len(values))
        assert row["std"] == pytest.approx(variance**0.5, rel=1e-9, abs=size * 1e-14 + 1e-150)
        ages = [micros(one) - micros(mine[-1]) for one in mine]
        if len({*ages}) == 1:
            assert row["trend_per_second"] is None
            continue
        middle = Fraction(sum(ages), len(ages))
        slope = sum((age - middle) * (Fraction(x) - mean) for age, x in zip(ages, values, strict=True))
        slope = float(slope / sum((age - middle) ** 2 for age in ages) * SECOND)
        shortest = max(abs(age) for age in ages) / SECOND
        assert row["trend_per_second"] == pytest.approx(slope, rel=1e-9, abs=(size * 1e-13 + 1e-300) / shortest)


@pytest.mark.parametrize("number", [2, 10, 300])
def test_the_newest_row_of_a_series_is_what_the_kept_readings_say(number: int):
    batch = fleet(3000, seed=4, devices=2, hours=200)
    rows = EachLast([number]).advance(batch)[number].to_pylist()
    newest = {tuple(row[name] for name in SERIES): row for row in rows}
    said = LastN.create(number).add(batch).extract().to_pylist()
    assert len(said) == len(newest) > 10
    for window in said:
        row = newest[tuple(window[name] for name in SERIES)]
        for name in ("count", "min", "max"):
            assert row[name] == window[name]
        for name in ("mean", "std", "trend_per_second"):
            assert row[name] == pytest.approx(window[name], rel=1e-9, abs=1e-12)


def test_a_long_window_far_from_zero_keeps_its_digits():
    draw = np.random.default_rng(5)
    values = 1e9 + np.round(draw.normal(0, 1e-3, 25_000), 6)
    times = (MIDNIGHT + np.arange(len(values)) * SECOND).tolist()
    rows = EachLast([10_000]).advance(readings(values.tolist(), times))[10_000]
    exact = [Fraction(x) for x in values[-10_000:].tolist()]
    mean = sum(exact) / len(exact)
    std = float(sum((x - mean) ** 2 for x in exact) / len(exact)) ** 0.5
    last = rows.slice(rows.num_rows - 1).to_pylist()[0]
    assert last["count"] == 10_000
    assert last["mean"] == pytest.approx(float(mean), rel=1e-15)
    assert last["std"] == pytest.approx(std, rel=1e-12)


def test_equal_values_have_no_deviation_and_no_slope():
    rows = EachLast([7]).advance(readings([0.1] * 30))[7].to_pylist()
    assert {(row["mean"], row["std"]) for row in rows} == {(0.1, 0.0)}
    assert [row["trend_per_second"] for row in rows] == [None] + [0.0] * 29


def test_a_straight_line_has_its_slope():
    rows = EachLast([5]).advance(readings([0.5 * i for i in range(20)]))[5].to_pylist()
    assert [row["trend_per_second"] for row in rows[1:]] == [0.5] * 19


def test_equal_times_stand_in_the_order_of_their_origin():
    batch = readings([3.0, 1.0, 2.0], [MIDNIGHT] * 3, source_offset=[3, 1, 2])
    rows = EachLast([2]).advance(batch)[2].to_pylist()
    assert [(row["value"], row["mean"]) for row in rows] == [(1.0, 1.0), (2.0, 1.5), (3.0, 2.5)]


def test_nothing_gives_nothing_and_one_reading_says_itself():
    last = EachLast([2, 5])
    assert {number: rows.num_rows for number, rows in last.advance(readings([1.0]).slice(0, 0)).items()} == {2: 0, 5: 0}
    (row,) = last.advance(readings([-0.0]))[5].to_pylist()
    assert (row["count"], row["mean"], row["std"], row["trend_per_second"]) == (1, 0.0, 0.0, None)
    assert last.expire(0) == 0


def test_what_is_remembered_is_bounded_and_goes_when_a_series_is_silent():
    last = EachLast([10])
    for hour in range(5):
        last.advance(fleet(2000, seed=hour, devices=2, start=MIDNIGHT + hour * 3600 * SECOND))
        assert last.series <= 12
        assert last.state_bytes <= 12 * (9 * 16 + 8)
    last.advance(readings([1.0], [MIDNIGHT + 40 * DAY]))
    assert last.expire(MIDNIGHT + 40 * DAY) == 12
    assert (last.series, last.state_bytes) == (1, 24)


def test_what_is_not_its_past_is_refused():
    last = EachLast([10])
    last.advance(readings([1.0, 2.0]))
    kept = last.history()
    with pytest.raises(JobError, match="expected 1 of \\[5\\]"):
        EachLast.restored([5], kept)
    for damaged in (kept.slice(0, 40), kept.slice(1), pa.py_buffer(b"")):
        with pytest.raises(JobError, match="damaged"):
            EachLast.restored([10], damaged)
    with pytest.raises(JobError, match="ascending"):
        last.advance(readings([1.0]))
