"""A forest as arrays is scikit-learn's forest; arrays that are none of a forest are refused."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.isolation import Isolation, grow, scaled, usual_length


def sample(readings: int, seed: int, hostile: bool = False) -> np.ndarray:
    draw = np.random.default_rng(seed)
    found = draw.normal(0, 1, (4, readings))
    found[1] = np.round(found[1])
    found[2] = 0.1
    if hostile:
        ends = np.array([1e150, -1e150, 0.0, 5e-324, 1.0])
        found[3] = ends[draw.integers(0, len(ends), readings)]
    return found


@given(readings=st.integers(2, 600), seed=st.integers(0, 2**20), hostile=st.booleans())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_path_lengths_are_those_of_scikit_learn(readings: int, seed: int, hostile: bool):
    from sklearn.ensemble import IsolationForest

    features = sample(readings, seed, hostile)
    forest = grow(features, 10)
    per_tree = min(256, readings)
    theirs = IsolationForest(n_estimators=10, max_samples=per_tree, random_state=20260101)
    theirs.fit(scaled(features, forest.mean, forest.scale).T)
    other = np.concatenate([features, sample(200, seed + 1, hostile)], axis=1)
    score = -theirs.score_samples(scaled(other, forest.mean, forest.scale).T)
    assert np.allclose(score, 2 ** (-forest.path_lengths(other) / max(usual_length(per_tree), 1e-300)), rtol=1e-12)


@given(cuts=st.lists(st.integers(0, 20_000), max_size=5), seed=st.integers(0, 99))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_a_readings_score_does_not_depend_on_those_beside_it(cuts: list[int], seed: int):
    forest = grow(sample(3000, seed), 10)
    features = sample(20_000, seed + 1, hostile=True)
    whole = forest.scores(features)
    pieces = [forest.scores(part) for part in np.split(features, sorted(cuts), axis=1)]
    assert (np.concatenate(pieces).view(np.int64) == whole.view(np.int64)).all()


def test_a_tenth_of_the_sample_scores_above_a_half_and_a_ten_thousandth_above_eight_tenths():
    features = np.random.default_rng(1).normal(0, 1, (4, 20_000))
    scores = grow(features, 20).scores(features)
    assert (scores > 0.5).mean() == pytest.approx(0.1, abs=0.002)
    assert (scores > 0.8).sum() <= 2
    assert ((scores >= 0) & (scores <= 1)).all()
    far = np.full((4, 1), 1e9)
    assert grow(features, 20).scores(far)[0] > 0.8


def test_equal_readings_give_scores_that_are_shares():
    features = np.full((4, 300), 21.5)
    forest = grow(features, 10)
    assert np.isin(forest.scores(features), [0.0, 0.5]).all()
    assert 0 <= forest.scores(np.full((4, 1), 1e150))[0] <= 1


def broken(name: str, change: Any) -> dict[str, Any]:
    forest = grow(sample(300, 1), 10)
    arrays = {field.name: getattr(forest, field.name).copy() for field in fields(Isolation)}
    arrays[name] = change(arrays[name])
    return arrays


def with_first(value: float) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array.ravel()[0] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mean", with_first(np.nan)),
        ("scale", with_first(0.0)),
        ("scale", lambda a: a[1:]),
        ("feature", with_first(4)),
        ("feature", lambda a: a[:, 1:]),
        ("feature", lambda a: a.astype(np.int64)),
        ("threshold", with_first(np.nan)),
        ("path", with_first(np.inf)),
        ("path", with_first(-1.0)),
        ("path", lambda a: a[:, :-1]),
        ("path", lambda a: a[:0]),
        ("path", lambda a: np.repeat(a, 4, axis=1)),
        ("anchors", lambda a: a[::-1]),
        ("anchors", lambda a: a[:3]),
    ],
)
def test_arrays_that_are_none_of_a_forest_are_refused(name: str, change: Any):
    arrays = broken(name, change)
    with pytest.raises(ValueError, match=r"expected|finite"):
        Isolation(**arrays)


def test_a_forest_of_the_same_arrays_is_taken():
    forest = grow(sample(300, 1), 10)
    assert (replace(forest).scores(sample(9, 1)) == forest.scores(sample(9, 1))).all()
