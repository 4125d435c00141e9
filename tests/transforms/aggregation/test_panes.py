"""Windows made from panes are those of one pass over the readings, to the last bit."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation.grid import DAY, SECOND, Grid
from telebeam.transforms.aggregation.kernel import aggregate, extract, merge, slide
from telebeam.transforms.aggregation.panes import (
    ANYWHERE,
    AT_LOCATION,
    IN_GROUP,
    Grouping,
    coarsen,
    finest_first,
    grouped,
    rebase,
)
from telebeam.transforms.aggregation.partials import Partials, partials_of, times_of
from telebeam.transforms.batches import concat
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from tests.transforms.aggregation.samples import MIDNIGHT, bits, fleet, readings, shuffled

FIXED = settings(derandomize=True, deadline=None, max_examples=40)
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-100, 100),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 1e-200, 2.0**480, 1e145]),
)
OSLO = Grid(DAY, DAY, "Europe/Oslo")


def sorted_bits(batches: list[pa.RecordBatch]) -> dict[str, object]:
    """The rows of some batches in one order, each of which has other windows."""
    rows = concat(batches)
    keys = [tuple(str(row[name]) for name in rows.schema.names[:7]) for row in rows.to_pylist()]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
    return bits(rows.take(pa.array(order)))


def brute(batch: pa.RecordBatch, grid: Grid) -> list[pa.RecordBatch]:
    """All windows of a grid from the rows: those that start at one remainder do not overlap."""
    times = times_of(batch)
    offsets = range(0, grid.length, grid.every)
    return [extract(partials_of(batch, times - (times - offset) % grid.length), grid) for offset in offsets]


def cut(batch: pa.RecordBatch, seed: int, parts: int) -> list[pa.RecordBatch]:
    mixed = shuffled(batch, seed)
    cuts = np.sort(np.random.default_rng(seed).integers(0, batch.num_rows + 1, parts - 1)).tolist()
    return [mixed.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, batch.num_rows], strict=True) if b > a]


# Sliding


@FIXED
@given(st.lists(VALUES, min_size=1, max_size=40), st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 4))
@example([1e308, 1.0, -1e308], 1, 3, 1)
@example([5e-324, 1e-320], 1, 3, 1)
def test_sliding_windows_are_those_of_the_rows_for_any_split_and_order(values, seed, panes, parts):
    draw = np.random.default_rng(seed)
    grid = Grid(20 * SECOND, panes * 20 * SECOND)
    times = (MIDNIGHT + draw.integers(-300, 300, len(values)) * SECOND // 2).tolist()
    devices = [f"dev-{n}" for n in draw.integers(0, 2, len(values))]
    batch = readings(values, times, device_id=devices, source_offset=draw.integers(0, 2, len(values)).tolist())
    windows = slide(merge([aggregate(piece, grid) for piece in cut(batch, seed, parts)]), grid)
    assert sorted_bits([extract(windows, grid)]) == sorted_bits(brute(batch, grid))


@pytest.mark.parametrize("panes", [1, 2, 3, 15, 60])
def test_sliding_windows_of_many_readings_are_those_of_the_rows(panes):
    grid = Grid(60 * SECOND, panes * 60 * SECOND)
    batch = fleet(4000, seed=panes, devices=2, hours=0.5)
    windows = slide(merge([aggregate(piece, grid) for piece in cut(batch, 1, 3)]), grid)
    assert sorted_bits([extract(windows, grid)]) == sorted_bits(brute(batch, grid))


def test_sliding_the_parts_and_merging_is_sliding_the_whole():
    grid = Grid(60 * SECOND, 15 * 60 * SECOND)
    batch = fleet(3000, seed=8)
    parts = [slide(aggregate(piece, grid), grid) for piece in cut(batch, 2, 5)]
    assert bits(extract(merge(parts), grid)) == bits(extract(slide(aggregate(batch, grid), grid), grid))


def test_a_fixed_window_is_one_of_the_sliding_ones_of_its_length():
    grid = Grid(60 * SECOND, 900 * SECOND)
    batch = fleet(3000, seed=9)
    windows = extract(slide(aggregate(batch, grid), grid), grid)
    is_fixed = np.array(windows.column("window_start").cast(pa.int64())) % grid.length == 0
    assert bits(windows.filter(pa.array(is_fixed))) == bits(extract(aggregate(batch, 900), 900))


def test_no_readings_slide_to_no_windows():
    grid = Grid(60 * SECOND, 900 * SECOND)
    assert len(slide(aggregate(readings([1.0]).slice(0, 0), grid), grid)) == 0


# Coarser from finer


@FIXED
@given(
    st.lists(VALUES, min_size=1, max_size=40),
    st.integers(0, 2**32),
    st.sampled_from([(1, 60), (60, 900), (900, 3600), (60, 86_400), (3600, 7 * 86_400)]),
)
def test_coarser_windows_from_finer_partials_are_those_of_the_rows(values, seed, lengths):
    finer, coarser = (Grid(seconds * SECOND, seconds * SECOND) for seconds in lengths)
    draw = np.random.default_rng(seed)
    times = (
        MIDNIGHT + draw.integers(-3, 3, len(values)) * finer.length + draw.integers(0, SECOND, len(values))
    ).tolist()
    batch = readings(values, times, device_id=[f"dev-{n}" for n in draw.integers(0, 2, len(values))])
    panes = merge([aggregate(piece, finer) for piece in cut(batch, seed, 3)])
    assert bits(extract(coarsen(panes, coarser), coarser)) == bits(extract(aggregate(batch, coarser), coarser))


def test_a_chain_of_lengths_ends_in_the_bits_of_the_rows():
    batch = fleet(6000, seed=3, hours=30)
    panes: Partials = aggregate(batch, 60)
    for seconds in (900, 3600, 86_400, 7 * 86_400):
        grid = Grid(seconds * SECOND, seconds * SECOND)
        panes = coarsen(panes, grid)
        assert bits(extract(panes, grid)) == bits(extract(aggregate(batch, seconds), seconds))


def test_days_of_a_zone_from_hours_are_those_of_the_rows():
    batch = fleet(2000, seed=4, hours=80, start=1_774_569_600_000_000)  # 2026-03-27; the 29th has 23 hours
    days = coarsen(aggregate(batch, 3600), OSLO)
    assert bits(extract(days, OSLO)) == bits(extract(aggregate(batch, OSLO), OSLO))


def test_moving_the_start_by_a_year_keeps_every_bit():
    batch = readings([1e308, -3.5, 1e-300], [MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2])
    start = np.full(3, MIDNIGHT - 366 * DAY)
    moved = rebase(partials_of(batch, np.full(3, MIDNIGHT)), start[:1])
    direct = partials_of(batch, start)
    for moment in ("value", "time", "time_square", "quality"):
        found, right = moved.sums[moment], direct.sums[moment]
        assert {k: limb.tolist() for k, limb in found.items()} == {k: limb.tolist() for k, limb in right.items()}


def test_each_grid_takes_the_coarsest_panes_that_fit():
    minute, slid, quarter, odd, hour, day = (
        Grid(every * SECOND, length * SECOND)
        for every, length in ((60, 60), (60, 900), (900, 900), (420, 420), (3600, 3600), (86_400, 86_400))
    )
    planned = dict(finest_first([day, hour, OSLO, odd, slid, minute, quarter]))
    assert planned[minute] is None
    assert planned[slid] == minute
    assert planned[quarter] in (minute, slid)
    assert planned[odd] in (minute, slid)
    assert planned[hour] == quarter
    assert planned[day] == hour
    assert planned[OSLO] is None


# Groups


@pytest.mark.parametrize("by", ["all", "location"])
def test_a_groups_windows_are_those_of_its_readings(by: Grouping):
    batch = fleet(2000, seed=5)
    windows = grouped(merge([aggregate(piece, 60) for piece in cut(batch, 6, 4)]), by)
    rows = batch.to_pylist()
    one = readings(
        [row["value"] for row in rows],
        [int(time) for time in times_of(batch)],
        **{
            name: [row[name] for row in rows]
            for name in ("sensor_type", "measurement_type", "unit", "quality_score", "source", "source_partition")
        },
        source_offset=[row["source_offset"] for row in rows],
        device_id=AT_LOCATION if by == "location" else ANYWHERE,
        location=[row["location"] if by == "location" else None for row in rows],
    )
    assert bits(extract(windows, 60)) == bits(extract(aggregate(one, 60), 60))


def test_the_registrys_groups_are_those_in_which_it_has_a_device_at_a_windows_start():
    minute = 60_000_000
    times = [MIDNIGHT + n * 10_000_000 for n in range(36)]  # three devices, two minutes
    names = [f"dev-{n % 3}" for n in range(36)]
    batch = readings([float(n) for n in range(36)], times, device_id=names, location=None)
    moved = datetime.fromtimestamp((MIDNIGHT + 3 * minute) / 1e6, UTC)
    rows = [
        {"device_id": "dev-0", "group": "north"},
        {"device_id": "dev-1", "group": "north"},
        {"device_id": "dev-1", "group": "south", "valid_from": moved},
        {"device_id": "dev-2"},  # in no group
    ]
    registry = Registry.of(pa.RecordBatch.from_pylist(rows, schema=REGISTRY))
    windows = grouped(aggregate(batch, 60), "group", lambda: Fleet(DevicesSpec(), registry))
    found = extract(windows, 60).to_pylist()
    counts = {(row["window_start"].minute, row["location"]): row["count"] for row in found}
    assert {row["device_id"] for row in found} == {IN_GROUP}
    assert counts == {
        **{(n, "north"): 4 for n in range(3)}, **{(n, "north"): 2 for n in range(3, 6)},
        **{(n, "south"): 2 for n in range(3, 6)},
    }  # fmt: skip
    none = grouped(aggregate(batch, 60), "group", lambda: Fleet(DevicesSpec(), Registry.empty()))
    assert len(none) == 0
