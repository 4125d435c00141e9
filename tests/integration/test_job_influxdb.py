"""The whole job with a real InfluxDB 2 behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from influxdb_client import InfluxDBClient

from telebeam.io.lake import Lake
from telebeam.pipelines.cli import main
from telebeam.transforms.schema import AGGREGATES
from tests.pipelines.jobs import Job, check_balance, check_windows, job, json_lines, simulated, tree

Point = tuple[str, tuple[tuple[str, str], ...], str, Any]


@pytest.fixture
def settings(influxdb: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The sink's settings, for a bucket of the test's own."""
    yield from _bucket(influxdb, monkeypatch, request.node.name[:60])


def _bucket(server: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("INFLUX_JOB_TOKEN", server.token)
    with InfluxDBClient(server.url, server.token, org=server.org) as client:
        bucket = client.buckets_api().create_bucket(bucket_name=name, org=server.org)
        yield {
            "url": server.url, "org": server.org, "bucket": name, "token": "env:INFLUX_JOB_TOKEN",
            "write": ["readings", "windows"], "max_retries": 1, "timeout": "10s", "max_retry_time": "5s",
        }  # fmt: skip
        client.buckets_api().delete_bucket(bucket)


def stored(settings: dict[str, Any], token: str) -> dict[Point, Any]:
    """Every value of the bucket."""
    query = f'from(bucket: "{settings["bucket"]}") |> range(start: 2025-01-01T00:00:00Z, stop: 2100-01-01T00:00:00Z)'
    values = {}
    with InfluxDBClient(settings["url"], token, org=settings["org"]) as client:
        for table in client.query_api().query(query):
            for record in table.records:
                tags = {
                    k: v for k, v in record.values.items() if not k.startswith("_") and k not in ("result", "table")
                }
                place = (record.get_measurement(), tuple(sorted(tags.items())), record.get_field(), record.get_time())
                values[place] = record.get_value()
    return values


def points(rows: list[dict[str, Any]], measurement: str, fields: tuple[str, ...], time: str) -> dict[Point, Any]:
    """The values that the lake's rows are in InfluxDB."""
    names = ("device_id", "sensor_type", "measurement_type", "unit", "location", "window_seconds")
    values = {}
    for row in rows:
        tags = tuple(sorted((name, str(row[name])) for name in names if row.get(name) is not None))
        for field in fields:
            if row[field] is not None:
                values[measurement, tags, field, row[time]] = row[field]
    return values


def expected(made: Job) -> dict[Point, Any]:
    readings = made.readings().to_pylist()
    # Of two readings of one series and time the last one written stays: only equal ones are in these archives.
    return points(readings, "iot_measurements", ("value", "quality_score"), "timestamp") | points(
        made.windows().to_pylist(), "iot_windows", ("count", *AGGREGATES), "window_start"
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    simulated(f"parquet:{tmp_path / 'in'}", profile="home", duration="30m", faults="malformed=0.02,future=0.01")
    return tmp_path / "in"


def sinks(tmp_path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return {"lake": {"path": str(tmp_path / "lake")}, "influxdb": settings}


def test_what_reads_back_is_the_lake(archive: Path, tmp_path: Path, settings: dict[str, Any], influxdb: Any):
    made = job(tmp_path, "parquet", archive, sinks=sinks(tmp_path, settings))
    outcome = made.run()
    check_balance(made, outcome)
    check_windows(made)
    assert outcome.points == made.readings().num_rows + made.windows().num_rows
    assert outcome.refused_points == 0
    assert stored(settings, influxdb.token) == expected(made)


def test_scores_stand_in_the_points_of_their_readings_and_alerts_in_their_own(
    tmp_path: Path, settings: dict[str, Any], influxdb: Any
):
    records = [
        {
            "device_id": f"device-{n % 3}", "timestamp": 1_767_225_600 + n, "sensor_type": "voltage",
            "value": 90 if n == 80 else n % 7,
        }
        for n in range(120)
    ]  # fmt: skip
    made = job(
        tmp_path, "jsonl", json_lines(tmp_path / "in.jsonl", records),
        sinks=sinks(tmp_path, {**settings, "write": ["readings", "scores", "alerts"]}),
        anomalies=[{"detector": "rolling_zscore", "last": 5}, {"detector": "ewma"}],
        rules=[{"name": "high", "when": {"above": 50}}],
    )  # fmt: skip
    outcome = made.run()
    assert outcome.made == {"scores": 240, "alerts": 2}
    assert outcome.refused_points == 0
    found = stored(settings, influxdb.token)
    lake = Lake(str(made.lake))
    highest: dict[Any, float] = {}
    for row in lake.scores().to_pylist():
        key = row["device_id"], row["timestamp"]
        highest[key] = max(highest.get(key, 0.0), row["anomaly_score"])
    scores = {
        (dict(tags)["device_id"], time): value
        for (measurement, tags, field, time), value in found.items()
        if (measurement, field) == ("iot_measurements", "anomaly_score")
    }
    assert scores == highest
    assert max(scores.values()) > 0.8
    states = sorted(
        dict(tags)["state"] for measurement, tags, field, _ in found if (measurement, field) == ("iot_alerts", "value")
    )
    assert states == sorted(row["state"] for row in lake.alerts().to_pylist())


def test_a_job_without_a_lake_writes_the_same_points(
    archive: Path, tmp_path: Path, settings: dict[str, Any], influxdb: Any
):
    with_lake = job(tmp_path / "lake-only", "parquet", archive)
    with_lake.run()
    made = job(tmp_path, "parquet", archive, sinks={"influxdb": settings})
    outcome = made.run()
    assert outcome.balance.readings == with_lake.readings().num_rows
    assert stored(settings, influxdb.token) == expected(with_lake)


def test_a_refused_point_is_a_reject_beside_the_balance_and_its_reading_stays(
    tmp_path: Path, settings: dict[str, Any], influxdb: Any
):
    records = [
        {"device_id": f"device-{n}", "timestamp": 1_767_225_600 + n, "sensor_type": "voltage", "value": n,
         "location": "shelf\\" if n == 4 else "shelf"}
        for n in range(9)
    ]  # fmt: skip
    source = json_lines(tmp_path / "in.jsonl", records)
    made = job(tmp_path, "jsonl", source, sinks=sinks(tmp_path, settings))
    outcome = made.run()
    assert (outcome.balance.rows_in, outcome.balance.readings, outcome.balance.rejects) == (9, 9, 0)
    assert outcome.refused_points == 2  # the reading's and its window's
    assert made.readings().num_rows == 9
    assert made.rejects()["reason"].to_pylist() == ["unrepresentable"] * 2
    assert made.rejects()["device_id"].to_pylist() == ["device-4"] * 2
    devices = {dict(tags)["device_id"] for _, tags, _, _ in stored(settings, influxdb.token)}
    assert devices == {f"device-{n}" for n in range(9) if n != 4}
    before = tree(made.lake)
    made.run()
    assert tree(made.lake) == before


def test_without_influxdb_the_lake_is_complete_and_a_run_with_it_mends(
    archive: Path, tmp_path: Path, settings: dict[str, Any], influxdb: Any, capfd: pytest.CaptureFixture[str]
):
    away = {**settings, "url": "http://127.0.0.1:1", "max_retries": 0}
    made = job(tmp_path, "parquet", archive, sinks=sinks(tmp_path, away))
    assert command("run", made) == 1
    said = capfd.readouterr()
    assert "InfluxDB at http://127.0.0.1:1 can't be written to" in said.err
    assert "Traceback" not in said.err
    lake_only = job(tmp_path / "lake-only", "parquet", archive)
    lake_only.run()
    assert data(made) == data(lake_only)

    assert command("check", made) == 1
    capfd.readouterr()
    assert command("run", made, "--json", "--set", f"sinks.influxdb.url={influxdb.url}") == 0
    assert json.loads(capfd.readouterr().out)["points"] == made.readings().num_rows + made.windows().num_rows
    assert stored(settings, influxdb.token) == expected(made)
    assert data(made) == data(lake_only)


def data(made: Job) -> dict[str, str]:
    kept = ("readings/", "windows/", "quality/")
    return {name: digest for name, digest in tree(made.lake).items() if name.startswith(kept)}


def test_check_tries_token_and_bucket(
    archive: Path, tmp_path: Path, settings: dict[str, Any], capfd: pytest.CaptureFixture[str]
):
    made = job(tmp_path, "parquet", archive, sinks=sinks(tmp_path, settings))
    assert command("check", made) == 0
    assert "takes points" in capfd.readouterr().out
    assert command("check", made, "--set", "sinks.influxdb.bucket=nowhere") == 1
    assert "nowhere" in capfd.readouterr().out


def command(name: str, made: Job, *arguments: str) -> int:
    try:
        main([name, str(made.config), *arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
