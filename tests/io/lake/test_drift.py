"""Drift and its alerts are in the lake once, whoever is killed."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.drift import DriftFiles
from telebeam.io.lake.spec import LakeSpec
from telebeam.transforms.anomaly.drift_meter import HOUR
from telebeam.transforms.anomaly.drift_rows import Judged, rows_of_span
from telebeam.transforms.errors import SourceError
from tests.io.lake.disks import DiedError, dying_after, tree
from tests.transforms.anomaly.test_drift_rows import drift

DAY = 24 * HOUR
NIGHTS = (0.1, 0.9, 0.8, 0.1, 0.7)
"""Each night's PSI."""


def files(folder: Path, model: str = "week") -> DriftFiles:
    spec = LakeSpec(path=str(folder))
    return DriftFiles(spec, storage.locate(spec.path), "fleet", model)


def judged(night: int, model: str = "week") -> Judged:
    return Judged("fleet", model, night * DAY, (night + 1) * DAY)


def file(folder: Path, night: int, psi: float | None = None, model: str = "week") -> pa.RecordBatch:
    span = judged(night, model)
    rows = rows_of_span([drift(NIGHTS[night] if psi is None else psi)], span)
    return files(folder, model).file(rows, span)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for night in range(len(NIGHTS)):
        file(folder, night)
    return folder


def test_a_file_a_span_and_one_an_instant_with_changes(whole: Path):
    names = [name for name in tree(whole) if name.endswith(".parquet")]
    assert sum(name.startswith("drift/") for name in names) == 5
    assert sum(name.startswith("alerts/") for name in names) == 3
    states = [(row["timestamp"].timestamp() / 86_400, row["state"]) for row in Lake(str(whole)).alerts().to_pylist()]
    assert sorted(states) == [(2.0, "firing"), (4.0, "resolved"), (5.0, "firing")]


@pytest.mark.parametrize("operations", range(12))
def test_a_kill_anywhere_is_mended_by_the_same_span_or_by_the_next(whole: Path, tmp_path: Path, operations: int):
    for night in range(3):
        file(tmp_path / "a", night)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with suppress(DiedError), dying_after(operations, tmp_path / "a"):
        file(tmp_path / "a", 3)
    for night in (3, 4):
        file(tmp_path / "a", night)
    assert tree(tmp_path / "a") == tree(whole)
    with suppress(DiedError), dying_after(operations, tmp_path / "b"):
        file(tmp_path / "b", 3)
    file(tmp_path / "b", 4)
    there = tree(tmp_path / "b")
    if any(name.startswith("drift/date=1970-01-04") for name in there):
        assert there == tree(whole)


def test_a_span_that_finds_something_else_takes_its_changes_back(whole: Path, tmp_path: Path):
    for night in range(5):
        file(tmp_path, night, 0.9)
    assert len(Lake(str(tmp_path)).alerts()) == 1
    for night in range(5):
        file(tmp_path, night)
    assert tree(tmp_path) == tree(whole)
    files(tmp_path).file(rows_of_span([], judged(1)), judged(1))
    assert len(Lake(str(tmp_path)).alerts()) == 3
    found = sorted(row["timestamp"].timestamp() / 86_400 for row in Lake(str(tmp_path)).alerts().to_pylist())
    assert found == [3.0, 4.0, 5.0]


def test_models_and_pipelines_whose_names_run_together_are_kept_apart(tmp_path: Path):
    spec = LakeSpec(path=str(tmp_path))
    for pipeline, model in (("a-b", "c"), ("a", "b-c")):
        span = Judged(pipeline, model, 0, DAY)
        DriftFiles(spec, storage.locate(spec.path), pipeline, model).file(rows_of_span([drift(0.9)], span), span)
    assert len(Lake(str(tmp_path)).alerts()) == 2
    assert files(tmp_path).rows().num_rows == 0


def test_what_would_be_is_what_is_and_files_nothing(tmp_path: Path):
    for night in range(2):
        file(tmp_path, night)
    before = tree(tmp_path)
    rows = rows_of_span([drift(0.1)], judged(2))
    would = files(tmp_path).with_span(rows, judged(2))
    assert tree(tmp_path) == before
    assert files(tmp_path).file(rows, judged(2)).equals(would)


def test_a_damaged_file_is_an_error_with_its_place(tmp_path: Path):
    file(tmp_path, 0)
    (path,) = (tmp_path / "drift").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="drift"):
        file(tmp_path, 1)
