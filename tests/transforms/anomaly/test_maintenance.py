"""Laws of looking ahead: a straight line is found and its crossing foretold; failures with a forerunner are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.maintenance import (
    COLUMNS,
    FEATURES,
    HOUR,
    arrange,
    fit_failures,
    label,
    time_to_threshold,
)
from telebeam.transforms.schema import WINDOWS
from tests.transforms.anomaly.samples import MIDNIGHT

STEP = int(HOUR)


def windows(values: np.ndarray, device: str = "pump-1", std: Any = 1.0, start: int = MIDNIGHT) -> pa.RecordBatch:
    """Windows of an hour of one series, whose means are given."""
    values = np.asarray(values, np.float64)
    begins = start + np.arange(len(values)) * STEP
    given_ = {
        "tenant": "default", "device_id": device, "sensor_type": "vibration", "measurement_type": "vibration",
        "unit": "mm/s", "location": None, "window_start": begins, "window_end": begins + STEP, "mean": values,
        "std": std, "max": values + 1, "p95": values + 0.5,
    }  # fmt: skip
    columns = []
    for name in COLUMNS:
        content, kind = given_[name], WINDOWS.field(name).type
        content = content if isinstance(content, np.ndarray) else [content] * len(values)
        columns.append(
            pa.array(content, pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else pa.array(content, kind)
        )
    return pa.RecordBatch.from_arrays(columns, names=list(COLUMNS))


def joined(*batches: pa.RecordBatch) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


@given(level=st.floats(-1e6, 1e6), slope=st.floats(0.01, 1e3), rows=st.integers(3, 40), last=st.integers(3, 50))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_straight_line_is_at_the_threshold_when_it_says(level: float, slope: float, rows: int, last: int):
    threshold = level + slope * (rows - 1) + 7 * slope
    found = time_to_threshold(arrange(windows(level + slope * np.arange(rows))), threshold, last)
    assert found.per_hour[0] == pytest.approx(slope, rel=1e-6)
    assert found.hours[0] == pytest.approx(7, abs=1e-4)
    assert found.earliest[0] <= found.hours[0] <= found.latest[0]
    assert found.latest[0] == pytest.approx(7, abs=1e-2)


def test_a_falling_threshold_is_the_mirror_of_a_rising_one():
    draw = np.random.default_rng(1)
    values = 10 + 0.1 * np.arange(30) + draw.normal(0, 0.2, 30)
    up = time_to_threshold(arrange(windows(values)), 20.0, 24)
    down = time_to_threshold(arrange(windows(-values)), -20.0, 24, falling=True)
    assert up.hours[0] == down.hours[0]
    assert (up.earliest[0], up.latest[0]) == (down.earliest[0], down.latest[0])
    assert up.per_hour[0] == -down.per_hour[0]
    assert up.current[0] == -down.current[0]


def test_the_interval_holds_the_true_crossing_nineteen_times_in_twenty():
    draw, held = np.random.default_rng(1), 0
    for _ in range(300):
        values = 10 + 0.2 * np.arange(24) + draw.normal(0, 0.5, 24)
        found = time_to_threshold(arrange(windows(values)), 10 + 0.2 * 23 + 0.2 * 20, 24)
        held += found.earliest[0] <= 20 <= found.latest[0]
    assert held >= 285


def test_what_is_beyond_the_threshold_is_there_and_what_does_not_rise_never_comes():
    batch = joined(
        windows(np.arange(10.0) + 50, "beyond"), windows(np.full(10, 1.0), "flat"), windows(-np.arange(10.0), "sinks")
    )
    found = time_to_threshold(arrange(batch), 20.0, 24)
    assert found.hours.tolist() == [0.0, np.inf, np.inf]
    assert found.latest.tolist() == [0.0, np.inf, np.inf]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_windows_have_no_line(rows: int):
    found = time_to_threshold(arrange(windows(np.arange(rows) + 1.0)), 20.0, 24)
    assert [len(each) for each in found] == [min(rows, 1)] * 5
    assert np.isnan(found.per_hour).all()
    assert np.isinf(found.hours).all()
    assert found.current.tolist() == [float(rows)] * min(rows, 1)


def test_the_order_of_rows_changes_nothing_and_series_do_not_touch_each_other():
    draw = np.random.default_rng(1)
    parts = [windows(draw.normal(10, 1, 30) + 0.1 * np.arange(30), f"pump-{number}") for number in range(4)]
    whole = joined(*parts)
    mixed = whole.take(pa.array(draw.permutation(whole.num_rows)))
    one, other = (time_to_threshold(arrange(each), 20.0, 24) for each in (whole, mixed))
    alone = [time_to_threshold(arrange(part), 20.0, 24) for part in parts]
    for place, name in enumerate(one._fields):
        assert (one[place] == other[place]).all(), name
        assert one[place] == pytest.approx(np.concatenate([each[place] for each in alone]), rel=1e-9)


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, -0.0])
def test_the_ends_of_the_doubles_give_numbers_and_no_warning(value: float):
    found = time_to_threshold(arrange(windows(np.where(np.arange(9) % 2, value, -value))), 20.0, 24)
    assert np.isfinite(found.current).all()
    assert (found.hours >= 0).all()


def failing(devices: int, seed: int) -> tuple[pa.RecordBatch, dict[str, list[tuple[int, int]]]]:
    """A fortnight of pumps; those with an odd number shake harder for two days, and fail."""
    draw, parts, failures = np.random.default_rng(seed), [], {}
    for number in range(devices):
        values = draw.normal(2, 0.2, 336)
        if number % 2:
            at = int(draw.integers(100, 300))
            values[at - 48 : at] += np.linspace(1, 6, 48)
            values[at : at + 5] = 0.0
            failures[f"pump-{number}"] = [(MIDNIGHT + at * STEP, MIDNIGHT + (at + 5) * STEP)]
        parts.append(windows(values, f"pump-{number}"))
    return joined(*parts), failures


def test_a_failure_that_is_heard_coming_is_foretold():
    batch, failures = failing(12, 1)
    found = arrange(batch)
    history = label(found, failures, 24)
    assert history.failed.sum() == 6 * 25  # those that end 0, 1 … 24 hours before
    model = fit_failures(found.features[:, history.at], history.failed)
    assert model is not None
    other, failures = failing(12, 2)
    found = arrange(other)
    history = label(found, failures, 24)
    chance = model.probability(found.features[:, history.at])
    called = chance > 0.8
    assert ((chance >= 0) & (chance <= 1)).all()
    assert history.failed[called].mean() > 0.8
    assert called[history.failed].mean() > 0.5


def test_windows_are_known_to_be_before_a_failure_or_not_or_are_left_out():
    found = arrange(windows(np.arange(10.0), "pump-1"))
    failures = {"pump-1": [(MIDNIGHT + 4 * STEP + 1, MIDNIGHT + 6 * STEP)]}
    history = label(found, failures, 2)
    # Windows 4 and 5 touch the failure, and what comes within two hours of the last two is not known.
    assert history.at.tolist() == [0, 1, 2, 3, 6, 7]
    assert history.failed.tolist() == [False, False, True, True, False, False]


def test_one_outcome_alone_teaches_nothing():
    features = np.zeros((len(FEATURES), 5))
    assert fit_failures(features, np.zeros(5, bool)) is None
    assert fit_failures(features, np.ones(5, bool)) is None


def test_the_regression_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(1)
    features = draw.normal(3, [[1], [2], [3], [4], [5]], (5, 400))
    failed = draw.random(400) < 1 / (1 + np.exp(-(features[0] - 3)))
    model = fit_failures(features, failed)
    assert model is not None
    scaled = (features - model.mean[:, None]) / model.scale[:, None]
    theirs = LogisticRegression(C=1.0, tol=1e-10).fit(scaled.T, failed)
    assert model.weights == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert model.bias == pytest.approx(theirs.intercept_[0], abs=1e-4)
