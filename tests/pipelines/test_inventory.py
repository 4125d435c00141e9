"""``telebeam devices``: what a registry says, and who has been silent for too long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from telebeam.pipelines.cli import main
from tests.pipelines.jobs import Job, job, json_lines

REGISTRY = """
- {device_id: quick-1, device_type: probe}
- {device_id: quick-2, device_type: probe}
- {device_id: quick-3, device_type: probe}
- {device_id: "[red]silent", device_type: probe}
- {device_id: late-1, device_type: probe, valid_from: 2026-01-01T11:50:00Z}
- {device_id: gone-1, device_type: probe, status: decommissioned}
- {device_id: coming-1, device_type: probe, valid_from: 2027-01-01}
- {device_id: calm-1, device_type: door}
- {device_id: untyped-1}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Job:
    (tmp_path / "devices.yaml").write_text(REGISTRY, encoding="utf-8")
    times = {"quick-1": "11:59:30", "quick-2": "11:40:00", "quick-3": "12:30:00"}
    lines = [
        {"device_id": name, "timestamp": f"2026-01-01T{time}Z", "temperature": 20.0} for name, time in times.items()
    ]
    json_lines(tmp_path / "in.jsonl", [*lines, {**lines[2], "timestamp": "2026-01-01T09:00:00Z"}])
    devices = {"registry": str(tmp_path / "devices.yaml"), "types": {"probe": {"interval": "5m"}, "door": {}}}
    done = job(tmp_path / "job", "jsonl", tmp_path / "in.jsonl", devices=devices)
    done.run()
    return done


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["devices", *arguments])
    assert caught.value.code in (0, 2)
    return "".join(capsys.readouterr())


def test_active_devices_are_overdue_when_silent_for_longer_than_their_interval(
    fleet: Job, capsys: pytest.CaptureFixture[str]
):
    found = json.loads(said(capsys, str(fleet.config), "--at", "2026-01-01T12:00:00Z", "--json"))
    assert [(row["device_id"], row["silent_seconds"]) for row in found["overdue"]] == [
        ("[red]silent", None),
        ("late-1", 600.0),
        ("quick-2", 1200.0),
        ("quick-3", 10_800.0),  # what came later than the moment doesn't count
    ]
    counts = {(row["device_type"], row["status"]): row["devices"] for row in found["types"]}
    assert counts == {
        ("probe", "active"): 5, ("probe", "decommissioned"): 1, (None, "not yet"): 1, ("door", "active"): 1,
        (None, "active"): 1,
    }  # fmt: skip


def test_the_lake_is_searched_as_far_back_as_is_asked(fleet: Job, capsys: pytest.CaptureFixture[str]):
    at = ["--at", "2026-01-01T12:00:00Z", "--look-back", "1h", "--json"]
    found = json.loads(said(capsys, str(fleet.config), *at))
    assert {row["device_id"]: row["last_seen"] for row in found["overdue"]}["quick-3"] is None


def test_names_that_would_paint_the_terminal_are_shown_as_they_are(fleet: Job, capsys: pytest.CaptureFixture[str]):
    text = said(capsys, str(fleet.config), "--at", "2026-01-01T12:00:00Z")
    assert "[red]silent" in text


def test_without_a_registry_it_says_what_to_add(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plain = job(tmp_path / "job", "jsonl", tmp_path / "in.jsonl")
    assert "add devices: {registry: devices.yaml}" in said(capsys, str(plain.config))


@pytest.mark.parametrize(("option", "value"), [("--look-back", "0s"), ("--look-back", "soon"), ("--at", "today")])
def test_a_wrong_option_is_named(fleet: Job, capsys: pytest.CaptureFixture[str], option: str, value: str):
    assert option in said(capsys, str(fleet.config), option, value)
