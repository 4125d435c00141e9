"""Drift is nothing between samples of one world, much between two, and does not depend on how readings are cut."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.drift import BINS, Histogram
from telebeam.transforms.anomaly.drift_meter import DriftMeter
from telebeam.transforms.anomaly.features import FEATURES
from tests.transforms.anomaly.models import two_versions
from tests.transforms.anomaly.samples import MIDNIGHT, SECOND, fleet, times_of


def normal(mean: float, std: float, seed: int, n: int = 20_000) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, std, (1, n))


def test_one_world_has_no_drift_and_another_has():
    trained = Histogram.of(normal(0, 1, 1))
    same, shifted, wide = (trained.count(normal(*each)) for each in ((0, 1, 2), (1, 1, 3), (0, 3, 4)))
    assert trained.psi(same)[0] < 0.01
    assert trained.ks(same)[0] < 0.02
    assert trained.psi(shifted)[0] > 0.25
    assert trained.psi(wide)[0] > 0.25
    # The distance of two normal distributions one deviation apart is 2Φ(1/2) − 1.
    assert trained.ks(shifted)[0] == pytest.approx(0.3829, abs=0.02)


def test_the_index_of_known_shares_is_what_its_formula_gives():
    edges = np.arange(1.0, BINS)[np.newaxis]
    one, other = np.zeros((1, BINS)), np.zeros((1, BINS))
    one[0, [0, 49]], other[0, [0, 49]] = [50, 50], [20, 80]
    p, q = np.array([0.5, 0.5]), np.array([0.2, 0.8])
    assert Histogram(edges, one).psi(Histogram(edges, other))[0] == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert Histogram(edges, one).ks(Histogram(edges, other))[0] == pytest.approx(0.3)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_sample_beside_itself_has_no_drift_whatever_it_holds(values: list[float]):
    features = np.clip(np.array([values]), -1e150, 1e150)
    own = Histogram.of(features)
    assert own.counts.sum() == len(values)
    assert (own.psi(own)[0], own.ks(own)[0]) == (0.0, 0.0)
    parts = [own.count(part) for part in np.array_split(features, 3, axis=1)]
    assert ((parts[0] + parts[1] + parts[2]).counts == own.counts).all()


@pytest.mark.parametrize(
    ("edges", "counts"),
    [
        (np.zeros((1, 3)), np.zeros((1, BINS))),
        (np.full((1, BINS - 1), np.nan), np.zeros((1, BINS))),
        (-np.arange(1.0, BINS)[np.newaxis], np.zeros((1, BINS))),
        (np.zeros((1, BINS - 1)), np.full((1, BINS), -1.0)),
    ],
)
def test_what_is_no_histogram_is_refused(edges: np.ndarray, counts: np.ndarray):
    with pytest.raises(ValueError, match="histogram"):
        Histogram(edges, counts)


@given(cuts=st.lists(st.integers(0, 7200), max_size=4).map(sorted))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_the_meter_says_the_same_however_time_is_cut(cuts: list[int]):
    batch = fleet(1500, 3, devices=2)
    assert measured(batch, [MIDNIGHT + cut * SECOND for cut in cuts]) == measured(batch, [])


def measured(batch: pa.RecordBatch, edges: list[int]) -> list:
    meter, time = DriftMeter(two_versions(), "fleet"), times_of(batch)
    for low, high in zip([-(2**62), *edges], [*edges, 2**62], strict=True):
        piece = batch.filter(pa.array((time >= low) & (time < high)))
        if piece.num_rows:
            meter.add(piece)
    return meter.drifts()


def test_the_meter_has_rows_of_each_hour_and_of_all_by_the_version_of_the_time():
    found = measured(fleet(3000, 1, devices=2), [])
    hours = {(row.version, row.hour) for row in found}
    first = MIDNIGHT // (3600 * SECOND)
    assert hours == {("v1", None), ("v1", first), ("v2", None), ("v2", first + 1)}
    assert {row.feature for row in found} == set(FEATURES) - {"day_sin", "day_cos"}
    # The first version was grown from these readings and those of the next hour.
    assert max(row.psi for row in found if row.version == "v1" and row.hour is None) < 0.2
