"""What describes a reading follows from it and the twenty before it, however time is cut."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.features import FEATURES, LAST
from telebeam.transforms.anomaly.training import Describer
from tests.transforms.anomaly.samples import MIDNIGHT, SECOND, fleet, rows, times_of


def described(batch: pa.RecordBatch, cuts: list[int]) -> list[tuple[object, ...]]:
    """(series, time, value, features' bits) of all described readings, sorted."""
    time, describer, found = times_of(batch), Describer(), []
    for low, high in zip([-(2**62), *cuts], [*cuts, 2**62], strict=True):
        piece = batch.filter(pa.array((time >= low) & (time < high)))
        if piece.num_rows:
            lanes, _, part = describer.describe(piece)
            identity, at = lanes.identity[part.lane].tolist(), part.at
            bits = np.vstack([part.features, part.expected]).view(np.int64).T.tolist()
            found += list(zip(identity, lanes.time[at].tolist(), lanes.value[at].tolist(), bits, strict=True))
    return sorted(found)


@given(cuts=st.lists(st.integers(0, 7200), max_size=5), seed=st.integers(0, 2**20), hostile=st.booleans())
@settings(max_examples=10, deadline=None, derandomize=True)
def test_cutting_time_changes_no_bit_of_a_feature(cuts: list[int], seed: int, hostile: bool):
    batch = fleet(900, seed, devices=2, hostile=hostile)
    whole = described(batch, [])
    assert whole
    assert described(batch, sorted(MIDNIGHT + cut * SECOND for cut in cuts)) == whole


def test_features_are_what_their_names_say():
    draw = np.random.default_rng(1)
    values = np.round(draw.normal(20, 1, 60), 2)
    times = MIDNIGHT + np.cumsum(draw.integers(2, 90, 60)) * SECOND
    _, _, found = Describer().describe(rows(times, values))
    assert found.features.shape == (len(FEATURES), 60 - LAST)
    for place, features in enumerate(found.features.T, LAST):
        before = values[place - LAST : place]
        angle = 2 * math.pi * (int(times[place] - MIDNIGHT) // 60_000_000) / 1440
        rate = (values[place] - values[place - 1]) / ((times[place] - times[place - 1]) / 1e6)
        spread = before.std()
        expected = [values[place], (values[place] - before.mean()) / spread, rate, spread]
        assert features == pytest.approx([*expected, math.sin(angle), math.cos(angle)])


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, -0.0, 0.1])
def test_features_are_finite_at_the_ends_of_the_doubles(value: float):
    values = np.where(np.arange(100) % 30 == 29, -value, value)
    _, _, found = Describer().describe(rows(MIDNIGHT + np.arange(100) * SECOND, values))
    assert np.isfinite(found.features).all()
    assert np.isfinite(found.expected).all()


def test_a_constant_series_has_no_deviation():
    _, _, found = Describer().describe(rows(MIDNIGHT + np.arange(50) * SECOND, np.full(50, 0.1)))
    assert np.abs(found.features[1]).max() < 1e-6


def test_readings_of_one_instant_have_a_finite_rate():
    _, _, found = Describer().describe(rows(np.full(50, MIDNIGHT), np.arange(50.0)))
    assert (found.features[2] == 1.0).all()
