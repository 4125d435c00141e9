"""``telebeam train``, ``drift`` and ``maintenance`` over a simulated lake, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.in_order import replay
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.models.source import with_models
from telebeam.io.models.store import load_version, versions
from telebeam.pipelines.cli import main
from telebeam.transforms.anomaly.spec import detector_spec
from telebeam.transforms.order import OrderSpec

CONFIG = """pipeline: fleet
source: {parquet: {path: "archive/*.parquet"}}
quality: {max_age_days: null}
windows: [{every: 10m}]
sinks: {lake: {path: lake}}
"""
END = "2026-01-01T05:00:00Z"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and a lake of six hours."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("fleet.yaml").write_text(CONFIG, encoding="utf-8")
        main_ok("simulate", "--devices", "8", "--duration", "6h", "--interval", "30s", "--to", "parquet:archive")
        main_ok("run", "fleet.yaml", "--json")
    return folder


@pytest.fixture
def lake(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same lake, and no model in it."""
    (tmp_path / "lake").mkdir()
    for name in ("readings", "windows"):
        (tmp_path / "lake" / name).symlink_to(filled / "lake" / name)
    (tmp_path / "fleet.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lake"


def main_ok(*arguments: str) -> None:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 0


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    main_ok(*arguments, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    return capsys.readouterr().err


def test_a_model_is_trained_published_and_scores_what_comes_after(lake: Path, capsys: pytest.CaptureFixture[str]):
    found = said(capsys, "train", "fleet.yaml", "--end", END)
    root = storage.locate(str(lake))
    assert versions(root, "fleet") == [found["version"]]
    assert (found["new"], found["valid_from"], found["end"]) == (True, END, END)
    assert found["held_out_from"] == "2026-01-01T04:00:00Z"
    kinds = {each["sensor_type"] for each in found["forests"]}
    assert kinds == set(pc.unique(Lake(str(lake)).readings()["sensor_type"]).to_pylist())
    for each in found["forests"]:
        assert each["held_out"] > 0
        assert 0 <= each["alert_rate"] <= 1
        assert each["quantiles"]["0.5"] <= each["quantiles"]["1"]
    detectors = with_models([detector_spec(detector="model", model="fleet")], str(lake))
    first = load_version(root, "fleet", found["version"]).valid_from // HOUR
    list(replay(LakeSpec(path=str(lake)), OrderSpec("fleet", detectors, ()), first - 5, first))
    scores = Lake(str(lake)).scores()
    assert scores.num_rows == Lake(str(lake)).readings().num_rows
    judged = scores.filter(pc.is_valid(scores["expected"]))
    assert pc.min(judged["timestamp"]).as_py().isoformat() >= END.replace("Z", "+00:00")
    later = pc.greater_equal(scores["timestamp"], pc.min(judged["timestamp"]))
    assert judged.num_rows == scores.filter(later).num_rows
    assert pc.max(judged["anomaly_score"]).as_py() > 0.3


def test_training_again_finds_the_version_and_a_later_start_makes_another(
    lake: Path, capsys: pytest.CaptureFixture[str]
):
    first = said(capsys, "train", "fleet.yaml", "--end", END)
    again = said(capsys, "train", "fleet.yaml", "--end", END)
    assert (again["version"], again["new"]) == (first["version"], False)
    other = said(capsys, "train", "fleet.yaml", "--end", END, "--valid-from", "2026-03-01T00:00:00Z")
    assert (other["new"], other["valid_from"]) == (True, "2026-03-01T00:00:00Z")
    assert other["sha256"] == first["sha256"]
    named = said(capsys, "train", "fleet.yaml", "--end", END, "--name", "other", "--per", "device", "--trees", "10")
    assert any(each["device_id"] for each in named["forests"])
    assert len(versions(storage.locate(str(lake)), "other")) == 1


def test_labelled_times_are_not_learned_from(lake: Path, capsys: pytest.CaptureFixture[str]):
    device = Lake(str(lake)).readings(columns=["device_id"])["device_id"][0].as_py()
    Path("faults.csv").write_text(f"device_id,start,end\n{device},2026-01-01T00:00:00Z,2026-01-01T03:00:00Z\n")
    whole = said(capsys, "train", "fleet.yaml", "--end", END)
    part = said(capsys, "train", "fleet.yaml", "--end", END, "--labels", "faults.csv", "--without-alerts")
    counts = [sum(each["readings"] for each in found["forests"]) for found in (whole, part)]
    assert counts[1] < counts[0]
    assert part["version"] != whole["version"]


def test_a_wrong_request_is_refused_with_a_hint(lake: Path, capsys: pytest.CaptureFixture[str]):
    assert "--per sensor_type" in refusal(capsys, "train", "fleet.yaml", "--per", "device_type")
    assert "one of sensor_type, device" in refusal(capsys, "train", "fleet.yaml", "--per", "room")
    assert "it has some from" in refusal(capsys, "train", "fleet.yaml", "--start", "2030-01-01T00:00:00Z")
    assert "no sensor type has 256 readings" in refusal(capsys, "train", "fleet.yaml", "--end", "2026-01-01T00:20:00Z")
    assert "is no model's name" in refusal(capsys, "train", "fleet.yaml", "--end", END, "--name", "a/b")
    assert "has no model fleet" in refusal(capsys, "drift", "fleet.yaml")
    asked = ("maintenance", "fleet.yaml", "--threshold", "7", "--sensor-type")
    assert "no windows of 600 s of sound" in refusal(capsys, *asked, "sound")
    assert "--ahead 0s is no time" in refusal(capsys, *asked, "vibration", "--ahead", "0s")
    assert not (lake / "_models").exists()


def test_maintenance_tells_of_each_device_how_long_it_has(lake: Path, capsys: pytest.CaptureFixture[str]):
    asked = ("maintenance", "fleet.yaml", "--sensor-type", "Vibration", "--threshold")
    (found,) = said(capsys, *asked, "1000")["series"]
    windows = Lake(str(lake)).windows(600)
    values = windows.filter(pc.equal(windows["sensor_type"], "vibration"))
    assert found["device_id"] == values["device_id"][0].as_py()
    assert found["last_window_end"] == "2026-01-01T06:00:00Z"
    assert found["current"] == pytest.approx(pc.mean(values["mean"]).as_py(), rel=0.5)
    assert (found["failure_probability"], found["alert"]) == (None, False)
    (beyond,) = said(capsys, *asked, "0.001")["series"]
    assert beyond["hours_to_threshold"] == 0
    Path("failures.csv").write_text(f"device_id,start\n{found['device_id']},2026-01-01T04:00:00Z\n")
    (known,) = said(capsys, *asked, "1000", "--labels", "failures.csv", "--ahead", "1h")["series"]
    assert 0 <= known["failure_probability"] <= 1


def test_tables_are_printed_for_people(lake: Path, capsys: pytest.CaptureFixture[str]):
    main_ok("train", "fleet.yaml", "--valid-from", "2026-01-01T00:00:00Z")
    main_ok("drift", "fleet.yaml")
    main_ok("maintenance", "fleet.yaml", "--sensor-type", "vibration", "--threshold", "9")
    out = capsys.readouterr()
    assert "alert rate" in out.out
    assert "psi" in out.out
    assert "machine" in out.out
    assert "trying them on" in out.err
