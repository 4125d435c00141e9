"""A job's models: checked before it starts, looked for once a minute, and never worth its end while it runs."""

from __future__ import annotations

import copy
import logging
import shutil
from pathlib import Path

import pytest

from telebeam.io.models.source import LOOK_SECONDS, LakeModels, check_models, with_models
from telebeam.transforms.anomaly.spec import TrainedModel, detector_spec
from telebeam.transforms.errors import ConfigurationError
from tests.io.models.samples import folder, put
from tests.transforms.anomaly.samples import HOUR, MIDNIGHT

FLEET = detector_spec(detector="model", model="fleet")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def source(lake: Path, clock: Clock) -> LakeModels:
    return LakeModels(str(lake), ("fleet",), clock)


def test_a_new_version_is_found_within_a_minute_and_not_looked_for_before(tmp_path: Path, clock: Clock):
    put(tmp_path)
    models = source(tmp_path, clock)
    first = models.current()
    put(tmp_path, 2, MIDNIGHT + HOUR)
    clock.now += LOOK_SECONDS - 1
    assert models.current() is first
    clock.now += 1
    assert [each.valid_from for each in models.current().of("fleet")] == [MIDNIGHT, MIDNIGHT + HOUR]
    second = models.current()
    clock.now += LOOK_SECONDS
    assert models.current() is second


def test_a_job_that_begins_with_a_damaged_version_is_refused(tmp_path: Path, clock: Clock):
    (folder(tmp_path, put(tmp_path)) / "arrays.arrow").write_bytes(b"no")
    with pytest.raises(ConfigurationError, match=r"checksum of arrays\.arrow is wrong"):
        source(tmp_path, clock).current()


def test_a_job_that_runs_goes_on_without_a_damaged_version(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
):
    put(tmp_path)
    models = source(tmp_path, clock)
    first = models.current()
    (folder(tmp_path, put(tmp_path, 2)) / "arrays.arrow").write_bytes(b"no")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.now += LOOK_SECONDS
            assert models.current() is first
    assert len([record for record in caplog.records if "goes on without it" in record.getMessage()]) == 1


def test_a_lake_that_is_away_changes_nothing(tmp_path: Path, clock: Clock):
    put(tmp_path)
    models = source(tmp_path, clock)
    first = models.current()
    shutil.rmtree(tmp_path / "_models")
    clock.now += LOOK_SECONDS
    assert models.current() is first


def test_what_travels_to_a_worker_is_the_lake_and_the_names(tmp_path: Path, clock: Clock):
    put(tmp_path)
    models = source(tmp_path, clock)
    models.current()
    there = copy.copy(models)
    assert there == models
    assert there._models is None
    assert there.current().fingerprint == models.current().fingerprint


def test_detectors_of_one_job_share_what_was_read(tmp_path: Path):
    other = detector_spec(detector="auto")
    found = with_models([FLEET, other, FLEET], str(tmp_path))
    assert found[1] is other
    assert isinstance(found[0], TrainedModel)
    assert found[0].models is found[2].models  # type: ignore[union-attr]
    assert found[0].models == LakeModels(str(tmp_path), ("fleet",))


def test_a_model_or_version_that_is_not_there_is_refused_before_the_job(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="has no model fleet") as caught:
        check_models([FLEET], str(tmp_path))
    assert caught.value.hint == "telebeam train CONFIG --name fleet"
    there = put(tmp_path).version
    check_models([FLEET, detector_spec(detector="auto")], str(tmp_path))
    check_models([detector_spec(detector="model", model="fleet", version=there)], str(tmp_path))
    with pytest.raises(ConfigurationError, match="has no version v9") as caught:
        check_models([detector_spec(detector="model", model="fleet", version="v9")], str(tmp_path))
    assert caught.value.hint == f"it has {there}"
    with pytest.raises(ConfigurationError, match="has no model other") as caught:
        check_models([detector_spec(detector="model", model="other")], str(tmp_path))
    assert caught.value.hint == "the lake has fleet"
