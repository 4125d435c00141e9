"""The last readings of a series are the same however they came, and say what a window of them would."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.aggregation.last_n import LastN
from telebeam.transforms.aggregation.partials import times_of
from telebeam.transforms.batches import concat
from tests.transforms.aggregation.samples import MIDNIGHT, SECOND, bits, fleet, readings, shuffled

VALUES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 1e308, -1e308]))


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.lists(VALUES, min_size=1, max_size=30), st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 4))
def test_any_split_and_any_order_keep_the_same_readings(values, seed, number, parts):
    draw = np.random.default_rng(seed)
    times = (MIDNIGHT + draw.integers(0, 8, len(values)) * SECOND).tolist()
    columns = {name: draw.integers(0, 2, len(values)).tolist() for name in ("source_offset", "source_partition")}
    batch = readings(values, times, device_id=[f"dev-{n}" for n in draw.integers(0, 2, len(values))], **columns)
    whole = bits(LastN.create(number).add(batch).extract())
    mixed = shuffled(batch, seed)
    cuts = np.sort(draw.integers(0, len(values) + 1, parts - 1)).tolist()
    pieces = [mixed.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
    one_by_one = LastN.create(number)
    for piece in pieces:
        one_by_one = one_by_one.add(piece)
    merged = LastN.create(number).merge([LastN.create(number).add(piece) for piece in pieces])
    assert bits(one_by_one.extract()) == whole
    assert bits(merged.extract()) == whole


def test_they_say_what_is_true_of_the_last_ten():
    batch = fleet(3000, seed=1, devices=3)
    rows = LastN.create(10).add(batch).extract()
    names = ("device_id", "sensor_type", "location")
    keys = list(zip(*(batch.column(name).to_pylist() for name in names), strict=True))
    order = np.lexsort((batch.column("source_offset"), times_of(batch)))
    for row in rows.to_pylist():
        mine = [number for number in order.tolist() if keys[number] == tuple(row[name] for name in names)][-10:]
        values = batch.column("value").to_numpy()[mine]
        seconds = times_of(batch)[mine] / SECOND - MIDNIGHT / SECOND
        assert row["count"] == 10
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert row["std"] == pytest.approx(values.std(), rel=1e-9)
        assert (row["min"], row["max"], row["last"]) == (values.min(), values.max(), values[-1])
        assert row["trend_per_second"] == pytest.approx(np.polyfit(seconds, values, 1)[0], rel=1e-6)


def test_what_is_kept_does_not_grow():
    kept = LastN.create(10)
    for seed in range(5):
        kept = kept.add(fleet(2000, seed=seed, devices=2))
        assert kept.readings.num_rows <= 10 * 2 * 2 * 3
    assert concat([kept.readings]).num_rows == kept.readings.num_rows


def test_of_nothing_there_is_nothing():
    assert LastN.create(3).add(readings([1.0]).slice(0, 0)).extract().num_rows == 0
    with pytest.raises(ValueError, match="at least 1"):
        LastN.create(0)


def test_one_reading_is_the_last_one():
    (row,) = LastN.create(5).add(readings([4.0])).extract().to_pylist()
    assert (row["count"], row["mean"], row["std"], row["trend_per_second"]) == (1, 4.0, 0.0, None)
    assert row["window_start"] == row["window_end"]


def test_a_slice_of_a_batch_is_a_batch():
    batch = fleet(100, seed=4)
    parts = [LastN.create(4).add(pa.RecordBatch.from_arrays(batch.slice(50).columns, schema=batch.schema))]
    assert bits(parts[0].extract()) == bits(LastN.create(4).add(batch.slice(50)).extract())
