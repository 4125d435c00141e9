"""Which settings are taken and refused, and with which words."""

from __future__ import annotations

import pytest

from telebeam.transforms.anomaly.detectors import members
from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.spec import check_names, detector_spec
from telebeam.transforms.errors import ConfigurationError
from tests.transforms.anomaly.samples import ALL, FOREST, specs


def test_an_unknown_detector_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"(?s)prophet.*rolling_zscore.*isolation_forest.*auto"):
        detector_spec(detector="prophet")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"detector": "rolling_zscore", "last": 2}, "greater than or equal to 3"),
        ({"detector": "rolling_zscore", "last": 101}, "less than or equal to 100"),
        ({"detector": "rolling_zscore", "threshold": 0}, "greater than 0"),
        ({"detector": "rolling_zscore", "threshold": float("nan")}, "finite"),
        ({"detector": "rolling_zscore", "window": "5m"}, "Extra inputs"),
        ({"detector": "rolling_mean_deviation", "window": "10ms"}, "0.01s is out of range; expected 1s"),
        ({"detector": "rolling_mean_deviation", "window": "20000d"}, "out of range"),
        ({"detector": "ewma", "half_life": 0}, "0 readings is no half-life"),
        ({"detector": "ewma", "half_life": "soon"}, "not a duration"),
        ({"detector": "seasonal", "period": "year"}, "'day' or 'week'"),
        ({"detector": "seasonal", "buckets": 1}, "greater than or equal to 2"),
        ({"detector": "rate_of_change", "per_second": -1}, "-1 per second is no limit"),
        ({"detector": "rate_of_change", "per_second": "fast"}, "'auto'"),
        ({"detector": "stuck", "readings": 1}, "greater than or equal to 2"),
        ({"detector": "isolation_forest", "contamination": 0.6}, "less than or equal to 0.5"),
        ({"detector": "auto", "threshold": 3}, "Extra inputs"),
        ({"detector": "auto", "name": ""}, "at least 1 character"),
        ({"detector": "auto", "sensor_types": []}, "names no sensor type"),
        ({"detector": "auto", "expire_after": "1s"}, "expected 60s"),
        ({}, "detector"),
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused_with_what_was_expected(settings: dict, words: str):
    with pytest.raises(ValueError, match=words):
        detector_spec(**settings)


def test_settings_are_frozen_values():
    assert detector_spec(detector="auto") == detector_spec(detector="auto")
    with pytest.raises(ValueError, match="frozen"):
        detector_spec(detector="auto").name = "other"


def test_a_detector_is_named_after_itself_unless_it_has_a_name():
    assert detector_spec(detector="auto").label == "auto"
    assert detector_spec(detector="auto", name="mine").label == "mine"


def test_two_detectors_of_one_name_are_refused():
    twice = specs({"detector": "ewma"}, {"detector": "auto", "name": "ewma"})
    with pytest.raises(ValueError, match="two detectors are named 'ewma'"):
        check_names(twice)
    with pytest.raises(ConfigurationError, match="set name"):
        Scorer(twice)


def test_the_defaults_are_those_of_the_documents():
    assert detector_spec(detector="rolling_mean_deviation").deviation == 5.0
    assert detector_spec(detector="rolling_mean_deviation").window.total_seconds() == 900
    zscore = detector_spec(detector="rolling_zscore")
    assert (zscore.last, zscore.threshold) == (20, 3.0)
    forest = detector_spec(detector="isolation_forest")
    assert (forest.contamination, forest.alert_above) == (0.1, 0.8)


def test_settings_survive_json():
    for spec in specs(*ALL, FOREST):
        assert detector_spec(**spec.model_dump(by_alias=True)) == spec


def test_a_missing_scikit_learn_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"telebeam\[ml\]"):
        members(specs(FOREST))
