"""What each detector finds, forgives and learns."""

from __future__ import annotations

import numpy as np
import pytest

from telebeam.transforms.anomaly.lanes import PerSeries
from tests.transforms.anomaly.samples import DAY, FOREST, HOUR, MIDNIGHT, SECOND, anomalies, rows, score, series


def noise(n: int, seed: int = 0, level: float = 20.0, size: float = 1.0) -> np.ndarray:
    """Noise that is never more than three deviations away."""
    return level + size * np.clip(np.random.default_rng(seed).normal(0, 1, n), -3, 3)


def numbers(batch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


LEVEL = {
    "mean": {"detector": "rolling_mean_deviation", "window": "5m", "deviation": 8.0},
    "zscore": {"detector": "rolling_zscore", "threshold": 6.0},
    "robust": {"detector": "robust_zscore", "threshold": 8.0},
    "ewma": {"detector": "ewma", "threshold": 6.0},
    "auto": {"detector": "auto"},
}


@pytest.mark.parametrize("settings", LEVEL.values(), ids=list(LEVEL))
def test_a_far_value_is_an_anomaly_and_the_noise_is_not(settings: dict):
    values = noise(400)
    values[300] += 15
    assert anomalies(series(values), settings) == [300]


@pytest.mark.parametrize("settings", LEVEL.values(), ids=list(LEVEL))
def test_a_second_outlier_is_found_right_after_the_first(settings: dict):
    values = noise(400)
    values[300] += 20
    values[302] -= 20
    assert {300, 302} <= set(anomalies(series(values), settings))


@pytest.mark.parametrize("settings", LEVEL.values(), ids=list(LEVEL))
def test_an_outlier_hardly_moves_what_is_expected(settings: dict):
    values = noise(400)
    before = score(series(values), settings)
    values[300] += 1e6
    after = score(series(values), settings)
    moved = np.abs(numbers(after, "expected") - numbers(before, "expected"))[301:]
    assert moved.max() < 6


@pytest.mark.parametrize("settings", LEVEL.values(), ids=list(LEVEL))
def test_a_lasting_shift_is_an_anomaly_at_first_and_then_the_new_level(settings: dict):
    values = noise(600)
    values[300:] += 100
    found = anomalies(series(values), settings)
    assert found[0] == 300
    assert max(found) < 450
    expected = numbers(score(series(values), settings), "expected")
    assert abs(expected[-1] - 120) < 3


@pytest.mark.parametrize("settings", [*LEVEL.values(), FOREST], ids=[*LEVEL, "forest"])
def test_the_first_reading_is_never_an_anomaly(settings: dict):
    found = score(series([1e300]), settings).to_pylist()[0]
    assert (found["expected"], found["anomaly_score"], found["is_anomaly"]) == (None, 0.0, False)


def test_a_deviation_of_five_from_the_quarter_hours_mean_is_none_and_more_is():
    for far, found in ((5.0, []), (5.001, [90])):
        assert anomalies(series([20.0] * 90 + [20 + far]), {"detector": "rolling_mean_deviation"}) == found


def test_the_mean_is_of_the_window_alone():
    batch = series([10.0] * 90 + [12.0] * 180, every=10)
    expected = numbers(score(batch, {"detector": "rolling_mean_deviation"}), "expected")
    assert expected[89] == 10.0
    assert expected[135] == pytest.approx(11.0, abs=0.1)
    assert expected[-1] == 12.0


def test_without_a_reading_in_the_window_nothing_is_expected():
    batch = rows(MIDNIGHT + np.array([0, 1, 3600]) * SECOND, np.array([1.0, 1.0, 99.0]))
    assert score(batch, {"detector": "rolling_mean_deviation"}).column("expected").to_pylist() == [None, 1.0, None]


def test_the_z_score_is_that_of_the_last_twenty():
    values = noise(21)
    found = score(series(values), {"detector": "rolling_zscore"}).to_pylist()
    assert [row["expected"] for row in found[:20]] == [None] * 20
    z = abs(values[20] - values[:20].mean()) / values[:20].std() / 3.0
    assert found[20]["expected"] == pytest.approx(values[:20].mean())
    assert found[20]["anomaly_score"] == pytest.approx(z / (1 + z))


def test_the_robust_score_is_that_of_median_and_mad():
    values = noise(21)
    found = score(series(values), {"detector": "robust_zscore"}).to_pylist()[20]
    median = np.median(values[:20])
    z = 0.6745 * abs(values[20] - median) / np.median(np.abs(values[:20] - median)) / 3.5
    assert found["expected"] == pytest.approx(median)
    assert found["anomaly_score"] == pytest.approx(z / (1 + z))


def test_where_most_readings_are_equal_the_mean_deviation_takes_the_mads_place():
    values = [1.0] * 15 + [2.0] * 5 + [1.5]
    part = 0.5 / (1.253314 * 0.25) / 3.5
    found = score(series(values), {"detector": "robust_zscore"}).to_pylist()[20]
    assert found["anomaly_score"] == pytest.approx(part / (1 + part))


@pytest.mark.parametrize("detector", ["rolling_zscore", "robust_zscore", "ewma", "seasonal"])
def test_a_move_within_the_least_deviation_is_no_anomaly_in_a_flat_series(detector: str):
    values = [20.0] * 3_000
    values[2_700] = 20.4
    buckets = {"buckets": 24} if detector == "seasonal" else {}
    batch = series(values, every=120)
    assert anomalies(batch, {"detector": detector, **buckets})[:1] == [2_700]
    assert anomalies(batch, {"detector": detector, "min_deviation": 0.5, **buckets}) == []


def test_half_lives_in_readings_and_in_time_agree_where_readings_are_regular():
    values = noise(300)
    one = score(series(values, every=10), {"detector": "ewma", "half_life": 30})
    other = score(series(values, every=10), {"detector": "ewma", "half_life": "5m"})
    assert np.allclose(numbers(one, "anomaly_score"), numbers(other, "anomaly_score"))


@pytest.mark.parametrize(("period", "days"), [("day", 4), ("week", 28)])
def test_what_is_usual_at_noon_is_an_anomaly_at_midnight(period: str, days: int):
    minutes = np.arange(days * 1440 // 10) * 10
    values = 20 + 10 * (minutes % 1440 // 60 == 12) + noise(len(minutes), level=0, size=0.2)
    batch = rows(MIDNIGHT + minutes * 60 * SECOND, values)
    settings = {"detector": "seasonal", "period": period, "buckets": 24 if period == "day" else 168, "threshold": 6}
    assert anomalies(batch, settings) == []
    values[-1] = 30
    assert anomalies(rows(MIDNIGHT + minutes * 60 * SECOND, values), settings) == [len(values) - 1]


def test_a_fixed_rate_is_met_between_two_readings():
    batch = rows(MIDNIGHT + np.array([0, 10, 20, 20, 30]) * SECOND, np.array([0.0, 5.0, 10.1, 99.0, 99.0]))
    assert anomalies(batch, {"detector": "rate_of_change", "per_second": 0.5}) == [2]
    expected = score(batch, {"detector": "rate_of_change", "per_second": 0.5}).column("expected").to_pylist()
    assert expected == [None, 0.0, 5.0, None, 99.0]


def test_a_usual_rate_is_learned():
    values = np.cumsum(noise(300, level=0.0))
    values[200:] += 40
    assert anomalies(series(values), {"detector": "rate_of_change"}) == [200]


def test_a_value_is_stuck_from_the_time_and_the_count_on():
    values = [*noise(20), *[7.0] * 20, 8.0]
    assert anomalies(series(values, every=60), {"detector": "stuck", "for": "5m", "readings": 3}) == list(range(25, 40))
    assert anomalies(series(values, every=60), {"detector": "stuck", "for": 0, "readings": 12}) == list(range(31, 40))


def test_a_slow_drift_is_not_stuck_within_a_tolerance():
    drift = np.arange(200) * 0.01
    settings = {"detector": "stuck", "for": 0, "readings": 20, "tolerance": 0.1}
    assert anomalies(series(drift), settings) == []
    assert anomalies(series(drift / 100), settings)[0] == 19


def test_a_forest_finds_what_is_isolated_and_is_fitted_before_it_scores():
    values = noise(2000)
    values[1500] = 60
    found = score(series(values), {**FOREST, "trees": 50, "sample": 512})
    scores = numbers(found, "anomaly_score")
    assert (scores[:20] == 0).all()
    assert np.argmax(scores) in (1500, 1501)  # the way back is as rare as the way there
    assert found.column("is_anomaly")[1500].as_py()
    assert numbers(found, "is_anomaly").mean() < 0.02
    assert 0.02 < (scores[1000:1500] > 0.5).mean() < 0.2  # contamination


def test_forests_of_different_sensor_types_know_nothing_of_each_other():
    many = rows(
        np.repeat(MIDNIGHT + np.arange(400) * 10 * SECOND, 2),
        noise(800) + np.tile([0.0, 1000.0], 400),
        sensor_type=["temperature", "pressure"] * 400,
    )
    scores = score(many, {**FOREST, "trees": 50})
    assert numbers(scores, "is_anomaly").mean() < 0.02


def test_auto_finds_a_drift_while_it_lasts_or_when_it_ends():
    values = noise(3000, size=0.5)
    values[2000:2100] += np.linspace(0, 10, 100)
    found = anomalies(series(values), {"detector": "auto"})
    assert found
    assert 2000 <= found[0] <= 2100


def test_auto_finds_a_stuck_noise_and_forgives_a_contact():
    values = np.round(noise(2000), 2)
    values[1500:1600] = values[1500]
    found = anomalies(series(values), {"detector": "auto"})
    assert 1500 < found[0] < 1515
    contact = (np.random.default_rng(1).random(2500) < 0.02).astype(float)
    assert anomalies(series(contact), {"detector": "auto"}) == []


def test_auto_forgives_the_days_course_and_noise_of_any_size():
    minutes, sizes = np.arange(2 * 1440), (1e-9, 1.0, 1e9)
    course = 50 * np.sin(minutes / 1440 * 2 * np.pi) + noise(len(minutes), level=0.0)
    names = np.repeat([f"dev-{size:g}" for size in sizes], len(minutes)).tolist()
    times = np.tile(MIDNIGHT + minutes * 60 * SECOND, len(sizes))
    batch = rows(times, np.concatenate([size * course for size in sizes]), device_id=names)
    assert anomalies(batch, {"detector": "auto"}) == []


def test_auto_says_what_is_new_once_and_not_for_as_long_as_it_lasts():
    values = noise(4000)
    values[3000:3100] += 40
    scores = numbers(score(series(values), {"detector": "auto"}), "anomaly_score")
    assert scores[3000] > 0.9
    assert (scores[3001:3100] > 0.9).sum() <= 10
    assert scores[3000] == scores.max()


def test_an_anomaly_of_auto_scores_a_half_or_more():
    draw = np.random.default_rng(4)
    values = noise(2500) + 30 * (draw.random(2500) < 0.01) * draw.normal(0, 1, 2500)
    found = score(series(values), {"detector": "auto"})
    scores, anomaly = numbers(found, "anomaly_score"), numbers(found, "is_anomaly")
    assert anomaly.any()
    assert scores[anomaly].min() >= 0.5


def test_seasons_turn_at_full_hours_of_utc():
    times = MIDNIGHT + np.arange(0, 3 * DAY, HOUR // 2)
    values = (times // HOUR % 24).astype(float)
    expected = numbers(score(rows(times, values), {"detector": "seasonal"}), "expected")
    assert (expected[-48:] == values[-48:]).all()


def test_a_detector_of_single_series_refuses_a_common_history():
    with pytest.raises(ValueError, match="none"):
        PerSeries().restore(score(series([1.0]), {"detector": "ewma"}))
