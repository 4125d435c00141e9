"""Jobs that know their devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from telebeam.pipelines.cli import main
from tests.pipelines.jobs import Job, check_balance, check_windows, job, json_lines, tree
from tests.transforms.records import EUI, things_stack

REGISTRY = f"""
- {{device_id: {EUI}, device_type: climate, tenant: acme, location: roof, group: air}}
- {{device_id: freezer-1, device_type: freezer, tenant: acme, location: hall 1}}
- {{device_id: freezer-1, device_type: freezer, tenant: acme, location: hall 2, valid_from: 2026-01-01T12:00:00Z}}
- {{device_id: freezer-1, sensor_type: temperature, offset: -0.5}}
- {{device_id: old-1, status: decommissioned}}
"""
TYPES = {
    "climate": {"codec": "cayenne_lpp"},
    "freezer": {"schema": "freezer.json", "limits": {"temperature": {"max": -5, "unit": "celsius"}}},
}


def record(device: str, hour: int, **values: float) -> dict[str, Any]:
    return {"device_id": device, "timestamp": f"2026-01-01T{hour:02}:00:00Z", **values}


RECORDS = [
    json.loads(things_stack()),
    json.loads(things_stack("0004a30b001c0999")),
    record("freezer-1", 11, temperature=-18, humidity=30),
    record("freezer-1", 12, temperature=-18, humidity=30),
    record("freezer-1", 13, humidity=30, voltage=4),
    record("freezer-1", 14, temperature=2),
    record("old-1", 11, temperature=-20),
    record("stranger", 11, temperature=-20),
]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    Path("devices.yaml").write_text(REGISTRY, encoding="utf-8")
    Path("freezer.json").write_text('{"required": ["temperature"]}', encoding="utf-8")
    json_lines(tmp_path / "in.jsonl", RECORDS)
    devices = {"registry": "devices.yaml", "unknown": "reject", "types": TYPES}
    return job(tmp_path / "job", "jsonl", tmp_path / "in.jsonl", devices=devices)


def rows(done: Job) -> dict[tuple[str, int, str], tuple[str, float, str | None, list[str]]]:
    found = done.readings().to_pylist()
    return {
        (row["device_id"], row["timestamp"].hour, row["measurement_type"]): (
            row["tenant"], row["value"], row["location"], row["issues"]
        )
        for row in found
    }  # fmt: skip


def test_a_job_decodes_enriches_and_checks_by_device(fleet: Job):
    outcome = fleet.run()
    check_balance(fleet, outcome)
    check_windows(fleet)
    assert (outcome.balance.rows_in, outcome.balance.readings) == (11, 8)
    assert rows(fleet) == {
        (EUI, 12, "temperature_3"): ("acme", 27.2, "roof", []),
        (EUI, 12, "temperature_5"): ("acme", 25.5, "roof", []),
        ("freezer-1", 11, "temperature"): ("acme", -18.5, "hall 1", []),
        ("freezer-1", 11, "humidity"): ("acme", 30.0, "hall 1", []),
        ("freezer-1", 12, "temperature"): ("acme", -18.5, "hall 2", []),
        ("freezer-1", 12, "humidity"): ("acme", 30.0, "hall 2", []),
        ("freezer-1", 14, "temperature"): ("acme", 1.5, "hall 2", ["out_of_range"]),
        ("old-1", 11, "temperature"): ("default", -20.0, None, ["decommissioned_device"]),
    }
    refused = fleet.rejects().to_pylist()
    assert sorted((row["reason"], row["device_id"]) for row in refused if row["device_id"]) == [
        ("schema", "freezer-1"),
        ("unknown_device", "stranger"),
    ]
    assert {row["payload"] for row in refused} == {json.dumps(RECORDS[place]).encode() for place in (1, 4, 7)}


def test_a_second_run_leaves_the_same_bytes(fleet: Job):
    fleet.run()
    before = tree(fleet.lake)
    fleet.run("source.on_bad_file=fail")
    assert tree(fleet.lake) == before


def test_readings_of_a_lake_are_not_calibrated_again(fleet: Job, tmp_path: Path):
    fleet.run()
    devices = {"registry": "devices.yaml", "unknown": "reject", "types": TYPES}
    again = job(tmp_path / "again", "parquet", f"{fleet.lake}/readings/**/*.parquet", devices=devices)
    again.run()
    assert rows(again) == rows(fleet)


def test_what_is_wrong_with_devices_is_said_before_a_job_starts(fleet: Job, capsys: pytest.CaptureFixture[str]):
    Path("devices.yaml").write_text("- {device_id: x}\n- {divice_id: freezer-1}\n", encoding="utf-8")
    for command in ("run", "check"):
        with pytest.raises(SystemExit) as caught:
            main([command, str(fleet.config)])
        assert caught.value.code == 2
        said = "".join(capsys.readouterr())
        assert "devices.yaml:2" in said
        assert "Traceback" not in said
    assert not fleet.lake.exists()


def test_explain_says_what_is_known_of_devices(fleet: Job, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["explain", str(fleet.config)])
    said = capsys.readouterr().out
    assert "[Enrich] by devices.yaml, as of each reading's time; unknown devices are rejected" in said
    assert "climate (codec cayenne_lpp); freezer (schema freezer.json, temperature … to -5)" in said


def test_windows_are_grouped_by_the_groups_of_the_registry(fleet: Job):
    fleet.run("windows=[{every: 1h, group_by: [group]}]")
    found = [row for row in fleet.windows(3600).to_pylist() if row["device_id"] == "*#"]
    # Two measurements of one sensor type are two series.
    assert [(row["location"], row["sensor_type"], row["count"]) for row in found] == [("air", "temperature", 1)] * 2
