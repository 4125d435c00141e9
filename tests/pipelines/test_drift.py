"""``telebeam drift`` over a lake, night after night, as a scheduler runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from telebeam.io import storage
from telebeam.io.alerts.testing import WebhookServer
from telebeam.io.lake import Lake
from telebeam.pipelines.cli import main
from telebeam.transforms.schema import DRIFT
from tests.io.lake.disks import tree

CONFIG = """pipeline: fleet
source: {parquet: {path: "noise/*.parquet"}}
quality: {max_age_days: null}
windows: []
sinks:
  lake: {path: lake}
  alerts: [{webhook: {url: "URL"}}]
"""
NIGHTS = {
    "same": ("2026-01-01T04:00:00Z", "2026-01-01T06:00:00Z"),
    "moved": ("2026-01-01T06:00:00Z", "2026-01-01T08:00:00Z"),
    "still": ("2026-01-01T08:00:00Z", "2026-01-01T10:00:00Z"),
    "back": ("2026-01-01T10:00:00Z", "2026-01-01T12:00:00Z"),
}
"""Spans of the lake: in the second and third all temperatures are 40 higher."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of twelve hours, and a model of the first four."""
    folder = tmp_path_factory.mktemp("drifting")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_config("https://localhost")
        Path("noise").mkdir()
        pq.write_table(readings(), "noise/a.parquet")
        ok("run", "fleet.yaml", "--json")
        ok("train", "fleet.yaml", "--end", NIGHTS["same"][0], "--valid-from", "2026-01-01T00:00:00Z")
    return folder


def readings() -> pa.Table:
    """Noise of four devices and two sensor types, a reading a 20 s; temperatures are 40 higher for a while."""
    draw = np.random.default_rng(1)
    second = np.arange(0, 12 * 3600, 20)
    moved = (second >= 6 * 3600) & (second < 10 * 3600)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    tables = []
    for device in range(4):
        for sensor_type, unit in (("temperature", "celsius"), ("humidity", "percent")):
            value = draw.normal(20.0 + device, 2.0, len(second)) + 40.0 * moved * (sensor_type == "temperature")
            tables.append(pa.table({
                "device_id": [f"device-{device}"] * len(second), "sensor_type": [sensor_type] * len(second),
                "unit": [unit] * len(second), "value": value,
                "timestamp": pa.array([begin + timedelta(seconds=int(each)) for each in second],
                                      pa.timestamp("us", "UTC")),
            }))  # fmt: skip
    return pa.concat_tables(tables)


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    with WebhookServer() as running:
        yield running


@pytest.fixture
def lake(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: WebhookServer) -> Path:
    """The same lake and model, without drift and alerts."""
    (tmp_path / "lake").mkdir()
    for name in ("readings", "_models"):
        (tmp_path / "lake" / name).symlink_to(made / "lake" / name)
    monkeypatch.chdir(tmp_path)
    write_config(server.url)
    return tmp_path / "lake"


def write_config(url: str) -> None:
    Path("fleet.yaml").write_text(CONFIG.replace("URL", url), encoding="utf-8")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert isinstance(done.value.code, int)
    return done.value.code


def ok(*arguments: str) -> None:
    assert run(*arguments) == 0


def night(capsys: pytest.CaptureFixture[str], name: str, *more: str) -> dict[str, Any]:
    capsys.readouterr()
    start, end = NIGHTS[name]
    ok("drift", "fleet.yaml", "--start", start, "--end", end, "--json", *more)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def results(lake: Path) -> dict[str, bytes]:
    """What stands in the lake beside readings, models and logs."""
    return {name: content for name, content in tree(lake).items() if name.startswith(("drift/", "alerts/"))}


def test_drift_is_filed_fires_once_and_resolves_when_it_is_gone(
    lake: Path, capsys: pytest.CaptureFixture[str], server: WebhookServer
):
    assert night(capsys, "same")["alerts"] == []
    (fired,) = night(capsys, "moved")["alerts"]
    assert night(capsys, "still")["alerts"] == []
    (resolved,) = night(capsys, "back")["alerts"]
    assert (fired["state"], resolved["state"]) == ("firing", "resolved")
    assert fired["alert_id"] == resolved["alert_id"]
    assert (fired["alert_type"], fired["severity"], fired["sensor_type"]) == ("model_drift", "warning", "temperature")
    assert fired["timestamp"].startswith(NIGHTS["moved"][1][:-1])
    assert fired["value"] > fired["expected"] == 0.25
    assert "value (PSI" in fired["message"]
    assert [(row["alert_id"], row["state"]) for row in Lake(str(lake)).alerts().to_pylist()] == [
        (fired["alert_id"], "firing"), (fired["alert_id"], "resolved"),
    ]  # fmt: skip
    assert [(row["alert_id"], row["state"]) for row in server.alerts] == [
        (fired["alert_id"], "firing"), (fired["alert_id"], "resolved"),
    ]  # fmt: skip
    rows = drift_of(lake)
    assert rows.schema.equals(DRIFT)
    assert len(set(rows["window_start"].to_pylist())) == len(NIGHTS)
    drifted = rows.filter(rows["is_drift"])
    assert set(drifted["sensor_type"].to_pylist()) == {"temperature"}
    assert pc.all(pc.greater(drifted["value"], drifted["threshold"])).as_py()
    with Lake(str(lake)).duckdb() as connection:
        assert connection.sql("select count(*) from drift where statistic = 'ks'").fetchall() == [(rows.num_rows // 2,)]


def drift_of(lake: Path) -> pa.Table:
    tables = [pq.read_table(path, partitioning=None) for path in sorted((lake / "drift").rglob("*.parquet"))]
    return pa.concat_tables(tables).cast(DRIFT)


def test_the_same_span_again_changes_no_byte_and_sends_nothing(
    lake: Path, capsys: pytest.CaptureFixture[str], server: WebhookServer
):
    for name in NIGHTS:
        night(capsys, name)
    before, sent = results(lake), len(server.alerts)
    assert len(before) == len(NIGHTS) + 2
    for name in ("moved", "back", "same", "still"):
        assert night(capsys, name)["sent"] == {}
    assert results(lake) == before
    assert len(server.alerts) == sent


def test_the_order_in_which_nights_are_looked_at_does_not_show(lake: Path, capsys: pytest.CaptureFixture[str]):
    for name in NIGHTS:
        night(capsys, name)
    before = results(lake)
    for name in before:
        (lake / name).unlink()
    for name in reversed(NIGHTS):
        night(capsys, name)
    assert results(lake) == before


def test_a_dry_run_says_what_would_be_and_files_and_sends_nothing(
    lake: Path, capsys: pytest.CaptureFixture[str], server: WebhookServer
):
    first = night(capsys, "moved", "--dry-run")
    assert [row["state"] for row in first["alerts"]] == ["firing"]
    assert (results(lake), server.calls) == ({}, [])
    assert night(capsys, "moved", "--no-write")["alerts"] == first["alerts"]
    assert (results(lake), server.calls) == ({}, [])
    assert night(capsys, "moved")["alerts"] == first["alerts"]


def test_a_sink_that_was_away_gets_the_alert_with_the_next_night(
    lake: Path, capsys: pytest.CaptureFixture[str], server: WebhookServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("telebeam.pipelines.drift.SECONDS", 0.5)
    server.answer(301)
    start, end = NIGHTS["moved"]
    assert run("drift", "fleet.yaml", "--start", start, "--end", end) == 1
    assert "it redirects" in capsys.readouterr().err
    assert len(results(lake)) == 2
    server.answer(204)
    assert sum(night(capsys, "still")["sent"].values()) == 1
    assert [row["state"] for row in server.alerts] == ["firing"]


def test_drift_alone_is_no_failure_unless_it_is_asked_for(lake: Path, capsys: pytest.CaptureFixture[str]):
    start, end = NIGHTS["moved"]
    asked = ("drift", "fleet.yaml", "--start", start, "--end", end)
    assert run(*asked) == 0
    assert "True" in capsys.readouterr().out
    assert run(*asked, "--fail-on-drift") == 1
    assert run(*asked, "--fail-on-drift", "--threshold", "1000") == 0
    assert run("drift", "fleet.yaml", "--start", NIGHTS["same"][0], "--end", NIGHTS["same"][1], "--fail-on-drift") == 0


def test_the_last_hours_are_a_span_and_no_other_beginning_may_be_named(lake: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    ok("drift", "fleet.yaml", "--last", "2h", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["start"], found["end"]) == NIGHTS["back"]
    whole = [row for row in found["drift"] if row["hour"] is None]
    assert max(row["psi"] for row in whole) < 0.25
    assert {row["hour"] for row in found["drift"]} > {"2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"}
    assert all(row["worst_hour_psi"] >= 0 for row in whole)
    for arguments, words in (
        (("--last", "2h", "--start", NIGHTS["same"][0]), "give one of them"),
        (("--last", "0s"), "is no time"),
        (("--threshold", "inf"), "is no number"),
        (("--name", "other"), "has no model other"),
    ):
        assert run("drift", "fleet.yaml", *arguments) == 2
        assert words in capsys.readouterr().err


def test_two_models_of_one_lake_keep_to_themselves(lake: Path, capsys: pytest.CaptureFixture[str]):
    (lake / "_models").unlink()
    for name in ("fleet", "b-c"):
        ok("train", "fleet.yaml", "--end", NIGHTS["same"][0], "--valid-from", "2026-01-01T00:00:00Z", "--name", name)
    (first,) = night(capsys, "moved")["alerts"]
    (second,) = night(capsys, "moved", "--name", "b-c")["alerts"]
    assert (first["rule"], second["rule"]) == ("drift:fleet", "drift:b-c")
    assert first["alert_id"] != second["alert_id"]
    assert len(storage.files_below(storage.locate(str(lake)), "alerts")) == 2
    night(capsys, "back", "--name", "b-c")
    assert [row["rule"] for row in Lake(str(lake)).alerts().to_pylist()].count("drift:fleet") == 1
