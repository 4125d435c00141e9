"""Sessions are what a walk along each series finds, whatever the order and the parts in which readings come."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation.grid import DAY, SECOND
from telebeam.transforms.aggregation.kernel import rows_of_windows
from telebeam.transforms.aggregation.partials import Partials, partials_of, times_of
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.batches import concat
from tests.transforms.aggregation.samples import MIDNIGHT, bits, fleet, readings, shuffled

FIXED = settings(derandomize=True, deadline=None, max_examples=25)
TEN = Sessions(10 * SECOND, 600 * SECOND)


def rows(sessions: Partials, spec: Sessions) -> pa.RecordBatch:
    return rows_of_windows(sessions, spec.ends(sessions), spec.seconds)


def walk(batch: pa.RecordBatch, spec: Sessions) -> list[tuple[object, ...]]:
    """(device, start, end, count) by a walk along each device's readings."""
    found: list[list[int | str]] = []
    for device, time in sorted(zip(batch.column("device_id").to_pylist(), times_of(batch).tolist(), strict=True)):
        last = found[-1] if found else None
        block = time - time % spec.block
        if last is not None and last[0] == device and time < last[2] and last[1] >= block:
            last[2], last[3] = min(time + spec.gap, block + spec.block), last[3] + 1
        else:
            found.append([device, time, min(time + spec.gap, block + spec.block), 1])
    return [tuple(each) for each in found]


def told(batch: pa.RecordBatch) -> list[tuple[object, ...]]:
    times = [batch.column(name).cast(pa.int64()).to_pylist() for name in ("window_start", "window_end")]
    return list(zip(batch.column("device_id").to_pylist(), *times, batch.column("count").to_pylist(), strict=True))


@FIXED
@given(st.lists(st.integers(-1300, 1300), min_size=1, max_size=40), st.integers(0, 2**32), st.integers(1, 5))
@example([0, 10, 20], 1, 2)
@example([0, 9, 18, 30], 3, 4)
@example([1195, 1199, 1200, 1201], 0, 2)
def test_sessions_are_those_of_a_walk_for_any_split_and_order(halves, seed, parts):
    draw = np.random.default_rng(seed)
    times = [MIDNIGHT + half * SECOND // 2 for half in halves]
    values = draw.normal(0, 100, len(times)).tolist()
    batch = readings(values, times, device_id=[f"dev-{n}" for n in draw.integers(0, 2, len(times))])
    mixed = shuffled(batch, seed)
    cuts = np.sort(draw.integers(0, len(times) + 1, parts - 1)).tolist()
    pieces = [mixed.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(times)], strict=True)]
    whole = rows(TEN.aggregate(batch), TEN)
    assert told(whole) == walk(batch, TEN)
    merged = TEN.merge([TEN.aggregate(piece) for piece in pieces])
    assert bits(rows(merged, TEN)) == bits(whole)
    left = TEN.aggregate(pieces[0])
    for piece in pieces[1:]:
        left = TEN.merge([TEN.aggregate(piece), left])
    assert bits(rows(left, TEN)) == bits(whole)


def test_a_sessions_aggregates_are_those_of_its_readings():
    spec = Sessions(60 * SECOND, DAY)
    batch = fleet(800, seed=1, hours=4)
    whole = rows(spec.aggregate(batch), spec)
    assert whole.num_rows > 100
    frame, expected = batch.to_pylist(), []
    names = ("tenant", "device_id", "sensor_type", "measurement_type", "unit", "location")
    times = times_of(batch)
    for row in whole.to_pylist():
        start, end = (int(row[name].timestamp() * 1e6) for name in ("window_start", "window_end"))
        mine = [
            number
            for number, reading in enumerate(frame)
            if all(reading[name] == row[name] for name in names) and start <= times[number] < end
        ]
        alone = partials_of(batch.take(pa.array(mine)), np.full(len(mine), start))
        expected.append(rows_of_windows(alone, np.array([end]), spec.seconds))
    assert bits(whole) == bits(concat(expected))


def test_no_readings_have_no_sessions():
    empty = TEN.aggregate(readings([1.0]).slice(0, 0))
    assert len(empty) == 0
    assert len(TEN.merge([empty, empty])) == 0


def test_a_series_that_never_falls_silent_is_cut_at_each_block():
    times = [MIDNIGHT + second * SECOND for second in range(0, 1500, 5)]
    found = told(rows(TEN.aggregate(readings([1.0] * len(times), times)), TEN))
    assert [each[3] for each in found] == [120, 120, 60]
    assert [(end - MIDNIGHT) // SECOND for _, _, end, _ in found] == [600, 1200, 1505]
