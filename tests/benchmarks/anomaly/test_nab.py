"""The score of the Numenta Anomaly Benchmark, held to what its paper says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.anomaly.nab import report
from benchmarks.anomaly.nab_scoring import PROFILES, Profile, Scored, outcome, probation, sigmoid, worths

STANDARD, LOW_FP, LOW_FN = PROFILES


def file(fired: list[int], windows: list[tuple[int, int]], length: int = 1000) -> Scored:
    scores = np.zeros(length)
    scores[fired] = 1.0
    return Scored(scores, windows)


def by_the_letter(files: list[Scored], profile: Profile, threshold: float) -> float:
    """The paper's sums, one reading after the other."""
    total = windows = 0.0
    for each in files:
        best = dict.fromkeys(range(len(each.windows)), -profile.false_negative)
        for row, value in enumerate(each.scores):
            if value < threshold or row < probation(len(each.scores)):
                continue
            inside = [n for n, (first, last) in enumerate(each.windows) if first <= row <= last]
            past = [window for window in each.windows if window[1] < row]
            if inside:
                first, last = each.windows[inside[0]]
                worth = 2 / (1 + np.exp(-5 * (last - row + 1) / (last - first + 1))) - 1
                best[inside[0]] = max(best[inside[0]], profile.true_positive * worth / (2 / (1 + np.exp(-5)) - 1))
            else:
                behind = (row - past[-1][1]) / (past[-1][1] - past[-1][0]) if past else 9.0
                total += profile.false_positive * (-1.0 if behind > 3 else 2 / (1 + np.exp(5 * behind)) - 1)
        total += sum(best.values())
        windows += len(best)
    return (
        100 * (total + profile.false_negative * windows) / ((profile.true_positive + profile.false_negative) * windows)
    )


def test_the_sigmoid_is_that_of_the_paper():
    values = sigmoid(np.array([-1.0, -0.5, 0.0, 1.0, 3.5]))
    assert values.tolist() == pytest.approx([0.98661, 0.84828, 0.0, -0.98661, -1.0], abs=1e-5)


def test_the_first_reading_of_each_window_alone_is_a_hundred_and_silence_is_nothing():
    windows = [(300, 399), (600, 650)]
    for profile in PROFILES:
        assert outcome([file([300, 600], windows)], profile).score == pytest.approx(100.0)
        assert outcome([file([], windows)], profile, threshold=0.5).score == pytest.approx(0.0)


def test_only_the_earliest_detection_in_a_window_counts():
    one, many = (outcome([file(fired, [(300, 399)])], STANDARD, 0.5).score for fired in ([320], [320, 330, 399]))
    assert one == many
    assert outcome([file([330], [(300, 399)])], STANDARD, 0.5).score < one


def test_a_false_detection_costs_less_shortly_behind_a_window_than_far_from_one():
    near, far, before = (outcome([file([300, extra], [(300, 399)])], STANDARD, 0.5).score for extra in (405, 900, 200))
    assert 100 > near > far == before
    assert far == pytest.approx(100 - 100 * 0.11 / 2)


def test_the_probation_is_fifteen_percent_and_750_readings_at_most():
    assert (probation(1000), probation(5000), probation(20_000)) == (150, 750, 750)
    assert outcome([file([300, 149], [(300, 399)])], STANDARD, 0.5).score == pytest.approx(100.0)
    assert outcome([file([300, 150], [(300, 399)])], STANDARD, 0.5).score < 100


def test_a_false_detection_costs_most_where_few_are_wanted_and_least_where_misses_are_feared():
    noisy = [file([300, 600, 900, 950], [(300, 399), (600, 650)])]
    few, usual, feared = (outcome(noisy, profile, 0.5).score for profile in (LOW_FP, STANDARD, LOW_FN))
    assert few < usual < feared


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_the_best_threshold_of_the_sweep_is_the_best_by_the_letter(profile: Profile):
    draw = np.random.default_rng(5)
    files = []
    for _ in range(4):
        scores = np.round(draw.random(300) ** 6, 1)
        files.append(Scored(scores, [(60, 89), (150, 170)] if draw.random() < 0.7 else []))
    levels = [*np.unique(np.concatenate([each.scores for each in files])).tolist(), 2.0]
    sums = {level: by_the_letter(files, profile, level) for level in levels}
    best = outcome(files, profile)
    assert best.score == pytest.approx(max(sums.values()))
    for level, value in sums.items():
        assert outcome(files, profile, level).score == pytest.approx(value)


def test_a_detection_counts_for_its_own_file_alone():
    files = [file([300], [(300, 399)]), file([], [(300, 399)])]
    assert outcome(files, STANDARD, 0.5).score == pytest.approx(50.0)
    assert worths(files[0])[1].max() == 0


def test_a_folder_is_scored_as_a_whole(tmp_path: Path):
    minutes = np.datetime64("2026-01-01T00:00:00") + np.arange(1500) * np.timedelta64(5, "m")
    values = np.random.default_rng(2).normal(50, 1, 1500)
    values[1000:] += 40
    (tmp_path / "kind").mkdir()
    lines = [f"{str(at).replace('T', ' ')},{value}" for at, value in zip(minutes, values, strict=True)]
    (tmp_path / "kind" / "shift.csv").write_text("timestamp,value\n" + "\n".join(lines))
    window = [f"{str(minutes[row]).replace('T', ' ')}.000000" for row in (990, 1090)]
    (tmp_path / "labels.json").write_text(json.dumps({"kind/shift.csv": [window]}))
    found = report(tmp_path, {"detector": "auto"})
    assert found["profiles"]["standard"]["score"] > 95
    assert found["standard"]["kind/shift.csv"]["found"] == 1
