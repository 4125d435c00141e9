"""Rules by the registry's groups and models by its device types, as a user has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.internal import pickler

from telebeam.io.lake import Lake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.pipelines.cli import main
from telebeam.pipelines.config import load_config
from telebeam.pipelines.stream import stream_job
from telebeam.transforms.rules.alerts import identity
from telebeam.transforms.testing import readings

CONFIG = """
pipeline: fleet
source: {jsonl: {path: in.jsonl}}
quality: {max_age_days: null}
windows: []
devices: {registry: devices.yaml}
rules:
  - {name: hot, when: {sensor_type: temperature, above: 50}, group_by: group, message: "{group} at {value:.0f}"}
  - {name: here, when: {sensor_type: temperature, above: 50}, only: {groups: [north]}}
  - {name: all, when: {above: 50}}
sinks: {lake: {path: lake}}
"""
REGISTRY = """
- {device_id: boiler-1, group: north, device_type: boiler}
- {device_id: boiler-1, group: south, device_type: furnace, valid_from: 2026-01-01T00:30:00Z}
- {device_id: boiler-2, device_type: boiler}
"""
SECOND = 1_000_000
MIDNIGHT = 1_767_225_600_000_000

Telebeam = Callable[..., tuple[int, str, str]]


@pytest.fixture
def telebeam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Telebeam:
    """The command in a folder with a configuration and a registry: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("fleet.yaml").write_text(CONFIG)
    Path("devices.yaml").write_text(REGISTRY)
    minutes = {0: 20, 10: 60, 20: 20, 40: 70, 50: 20}
    lines = [
        json.dumps(
            {"device_id": f"boiler-{number}", "timestamp": f"2026-01-01T00:{minute:02}:00Z", "temperature": value}
        )
        for minute, value in minutes.items()
        for number in (1, 2)
    ]
    Path("in.jsonl").write_text("\n".join(lines) + "\n")

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def test_a_job_gives_each_group_its_alerts(telebeam: Telebeam):
    code, _, err = telebeam("run", "fleet.yaml")
    assert code == 0, err
    rows = Lake("lake").alerts().sort_by([("rule", "ascending"), ("timestamp", "ascending")]).to_pylist()
    found = [(row["rule"], row["device_id"], row["location"], row["state"], row["message"]) for row in rows]
    hot = [
        (None, "north", "firing", "north at 60"), (None, "north", "resolved", "resolved: north at 20"),
        (None, "south", "firing", "south at 70"), (None, "south", "resolved", "resolved: south at 20"),
    ]  # fmt: skip
    assert [row[1:] for row in found if row[0] == "hot"] == hot
    assert [row[1:4] for row in found if row[0] == "here"] == [
        ("boiler-1", None, state) for state in ("firing", "resolved")
    ]
    assert len([row for row in found if row[0] == "all"]) == 8
    assert {row["alert_id"] for row in rows if row["location"] == "south"} == {
        identity("hot", "default", "south", MIDNIGHT + 40 * 60 * SECOND)
    }


def test_a_dry_run_over_history_knows_the_groups(telebeam: Telebeam):
    assert telebeam("run", "fleet.yaml")[0] == 0
    code, out, err = telebeam("rules", "test", "fleet.yaml", "--json")
    assert code == 0, err
    assert {rule["rule"]: rule["fired"] for rule in json.loads(out)["rules"]} == {"hot": 2, "here": 1, "all": 4}


def test_a_record_is_explained_with_the_groups_of_its_devices(telebeam: Telebeam):
    record = '{"device_id": "boiler-1", "timestamp": "2026-01-01T00:10:00Z", "temperature": 60}'
    Path("record.json").write_text(record)
    code, out, err = telebeam("explain-record", "fleet.yaml", "record.json", "--json")
    assert code == 0, err
    rules = json.loads(out)["rules"]
    assert [alert["rule"] for alert in rules["alerts"]] == ["all", "here"]
    assert rules["past"] == ["hot"]


@pytest.mark.parametrize("rule", ["{name: a, when: {above: 1}, only: {groups: [north]}}",
                                  "{name: a, when: {above: 1}, group_by: [device, group]}"])  # fmt: skip
def test_rules_that_name_groups_are_refused_without_devices(telebeam: Telebeam, rule: str):
    Path("fleet.yaml").write_text(CONFIG.replace("devices: {registry: devices.yaml}\n", "").replace(
        CONFIG[CONFIG.index("rules:"):CONFIG.index("sinks:")], f"rules:\n  - {rule}\n"
    ))  # fmt: skip
    for command in ("run", "check", "explain"):
        code, out, err = telebeam(command, "fleet.yaml")
        assert code == 2
        assert "fleet.yaml:6: rules: rule a names groups, which need devices" in out + err
        assert "add devices: {registry: devices.yaml}" in out + err


def test_a_condition_that_names_a_group_is_told_where_groups_stand(telebeam: Telebeam):
    code, _, err = telebeam("run", "fleet.yaml", "--set", "rules=[{name: a, when: {group: north, above: 1}}]")
    assert code == 2
    assert "only: {groups: [north]}" in err


def test_a_streams_workers_get_the_registry(telebeam: Telebeam):
    spec = load_config(Path("fleet.yaml"), ("source={kafka: {bootstrap_servers: 'localhost:9', topics: [t]}}",))
    order = pickler.loads(pickler.dumps(stream_job(spec, readers=1))).order
    rows = readings([{"device_id": "boiler-1"}, {"device_id": "boiler-2"}])
    assert order.look().with_group(rows).column("group").to_pylist() == ["north", None]


def history() -> pa.RecordBatch:
    """A reading every ten seconds of three devices over five hours; boilers are calm and furnaces are not."""
    draw, rows = np.random.default_rng(1), []
    for second in range(0, 5 * 3600, 10):
        furnace = second >= 1800
        rows += [
            {"device_id": name, "timestamp": MIDNIGHT + second * SECOND, "value": round(float(value), 2)}
            for name, value in (
                ("boiler-1", draw.normal(500, 50) if furnace else draw.normal(50, 1)),
                ("boiler-2", draw.normal(50, 1)), ("other-1", draw.normal(50, 1)),
            )
        ]  # fmt: skip
    batch: pa.RecordBatch = readings(rows)
    return batch


def train(telebeam: Telebeam, *arguments: str) -> dict[str, Any]:
    LakeWriter(LakeSpec(path="lake"), "readings").write(history())
    code, out, err = telebeam("train", "fleet.yaml", "--per", "device_type", "--trees", "10", "--json", *arguments)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_model_by_device_type_is_trained_on_the_registry_of_the_time(telebeam: Telebeam):
    found = train(telebeam)
    assert found["per"] == "device_type"
    forests = {each.get("device_type"): each for each in found["forests"]}
    assert set(forests) == {None, "boiler", "furnace"}
    assert forests["boiler"]["features"]["value"]["mean"] == pytest.approx(50, abs=0.5)
    assert forests["furnace"]["features"]["value"]["mean"] == pytest.approx(500, abs=5)
    assert forests[None]["held_out"] > forests["furnace"]["held_out"] > 0
    _, out, _ = telebeam("train", "fleet.yaml", "--per", "device_type", "--trees", "10")
    assert "furnace" in out


def test_drift_is_told_by_device_type(telebeam: Telebeam):
    train(telebeam, "--valid-from", "2026-01-01T00:00:00Z")
    code, out, err = telebeam("drift", "fleet.yaml", "--dry-run", "--json")
    assert code == 0, err
    assert {row["device_type"] for row in json.loads(out)["drift"]} == {None, "boiler", "furnace"}
    _, out, _ = telebeam("drift", "fleet.yaml", "--dry-run")
    assert "furnace" in out


MODEL = "anomalies=[{detector: model, model: fleet}]"


def test_a_model_by_device_type_needs_devices(telebeam: Telebeam):
    train(telebeam)
    without = ("--set", "devices=null", "--set", "rules=[]")
    for command in (
        ("run", "fleet.yaml", "--set", MODEL),
        ("check", "fleet.yaml", "--set", MODEL),
        ("drift", "fleet.yaml"),
    ):
        code, out, err = telebeam(*command, *without)
        assert code == 2, command
        assert "which need devices" in out + err
        assert "train --per sensor_type" in out + err
    code, _, err = telebeam("train", "fleet.yaml", "--per", "device_type", *without)
    assert code == 2
    assert "there are no devices" in err
    assert "add devices: {registry: devices.yaml}" in err
