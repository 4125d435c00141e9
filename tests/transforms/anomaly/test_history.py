"""What a scorer writes down: compact, and refused unless it is whole and its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.errors import JobError
from tests.transforms.anomaly.samples import ALL, FOREST, MIDNIGHT, SECOND, fleet, rows, specs


def test_a_damaged_history_is_refused_wherever_the_damage_is():
    scorer = Scorer(specs({"detector": "ewma"}))
    scorer.score(fleet(50, 1))
    whole = scorer.history().to_pybytes()
    for at in range(0, len(whole), 97):
        spoilt = bytearray(whole)
        spoilt[at] ^= 1
        with pytest.raises(JobError, match="damaged"):
            Scorer.restored(specs({"detector": "ewma"}), pa.py_buffer(bytes(spoilt)))
    for part in (b"", b"x", whole[:-1], whole[:40], whole * 2):
        with pytest.raises(JobError, match="damaged"):
            Scorer.restored(specs({"detector": "ewma"}), pa.py_buffer(part))


def test_a_history_of_other_settings_is_refused():
    history = Scorer(specs({"detector": "ewma"})).history()
    with pytest.raises(JobError, match="other detectors"):
        Scorer.restored(specs({"detector": "ewma", "threshold": 4}), history)


def test_a_history_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch):
    history = Scorer(specs({"detector": "ewma"})).history()
    monkeypatch.setattr("telebeam.transforms.anomaly.past.VERSION", 2)
    with pytest.raises(JobError, match="version 1; expected 2"):
        Scorer.restored(specs({"detector": "ewma"}), history)


def test_the_order_of_the_settings_does_not_matter():
    chosen = [{"detector": "ewma"}, {"detector": "stuck"}]
    scorer = Scorer(specs(*chosen))
    scorer.score(fleet(50, 1))
    assert Scorer.restored(specs(*chosen[::-1]), scorer.history()).series == scorer.series


def test_a_restored_scorer_writes_the_same_history():
    chosen = specs(*ALL, FOREST)
    scorer = Scorer(chosen)
    scorer.score(fleet(600, 4))
    assert Scorer.restored(chosen, scorer.history()).history().equals(scorer.history())


def test_a_scorer_that_saw_nothing_can_be_written_down():
    chosen = specs(*ALL, FOREST)
    assert Scorer.restored(chosen, Scorer(chosen).history()).series == 0


@pytest.mark.parametrize("settings", ALL, ids=lambda each: each.get("name", each["detector"]))
def test_a_series_takes_no_more_than_two_kilobytes(settings: dict):
    settings = {**settings, **({"last": 100} if "last" in settings or "zscore" in settings["detector"] else {})}
    if settings["detector"] == "seasonal":
        pytest.skip("its profile has as many buckets as are asked for: 24 bytes each")
    scorer = Scorer(specs(settings))
    devices = 4096
    names = [f"dev-{number:05}" for number in range(devices)]
    scorer.score(rows(np.full(devices, MIDNIGHT), np.arange(devices) * 1.0, device_id=names))
    assert scorer.series == devices
    assert scorer.state_bytes / devices <= 2048


def test_memory_does_not_grow_with_readings():
    scorer = Scorer(specs(*ALL, FOREST))
    sizes = []
    for piece in range(4):
        times = MIDNIGHT + (np.arange(400) + 400 * piece) * SECOND
        scorer.score(rows(times, np.random.default_rng(piece).normal(0, 1, 400)))
        sizes.append(len(scorer.history()))
    assert sizes[1] == sizes[2] == sizes[3]
