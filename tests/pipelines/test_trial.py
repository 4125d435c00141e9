"""Rules tried over a lake's history."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.pipelines.cli import main
from telebeam.transforms.testing import readings

CONFIG = """
pipeline: fleet
source: {jsonl: {path: in.jsonl}}
anomalies: [{detector: rolling_zscore, last: 5, threshold: 2}]
rules:
  - {name: hot, when: {above: 50}}
  - {name: never, when: {above: 5000}}
sinks: {lake: {path: lake}}
"""

Telebeam = Callable[..., tuple[int, str, str]]


@pytest.fixture
def telebeam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Telebeam:
    """The command in a folder with a configuration and a lake of a minute: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("fleet.yaml").write_text(CONFIG)
    rows = [{"value": 60.0 if second in (20, 21, 40) else 20.0 + second % 3} for second in range(60)]
    batch: pa.RecordBatch = readings(rows)
    LakeWriter(LakeSpec(path="lake"), "readings").write(batch)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            main(["rules", "test", "fleet.yaml", *arguments])
        except SystemExit as stop:
            out, err = capfd.readouterr()
            return int(stop.code or 0), out, err
        raise AssertionError("the command did not end")

    return call


def test_it_says_how_often_each_rule_would_have_fired_and_files_nothing(telebeam: Telebeam, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = telebeam("--json")
    found = json.loads(out)
    assert code == 0
    assert (found["readings"], found["devices"]) == (60, 1)
    assert [(rule["rule"], rule["fired"], rule["open"]) for rule in found["rules"]] == [("hot", 2, 0), ("never", 0, 0)]
    assert found["rules"][0]["longest_seconds"] == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_part_of_the_time_is_tried_alone(telebeam: Telebeam):
    _, out, _ = telebeam("--json", "--start", "2026-01-01T00:00:30Z")
    found = json.loads(out)
    assert [rule["fired"] for rule in found["rules"]] == [1, 0]


def test_its_table_names_each_rule(telebeam: Telebeam):
    code, out, _ = telebeam()
    assert code == 0
    assert "60 readings of 1 devices" in out
    assert "hot" in out
    assert "never" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "rules=[]"], "there are no rules to try"),
        (["--set", "sinks.lake.path=elsewhere"], "holds no readings"),
        (["--start", "2027-01-01T00:00:00Z"], "no readings in that time"),
        (["--start", "soon"], "is not a time"),
        (["--set", "rules=[{name: a, when: {anomaly: {detector: nope}}}]"], "unknown detector 'nope'"),
        (["--set", "anomalies=[{detector: rolling_zscor}]"], "hint: did you mean rolling_zscore?"),
        (["--set", "anomalies=[{last: 5}]"], "anomalies[0]: has no detector; expected one of rolling_mean_deviation"),
        (["--set", "anomalies=[{detector: auto, last: 5}]"], "anomalies[0].last: unknown key"),
    ],
)
def test_what_can_not_be_tried_is_said_in_words(telebeam: Telebeam, arguments: list[str], words: str):
    code, _, err = telebeam(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
