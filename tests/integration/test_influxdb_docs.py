"""The example and the Flux queries of docs/influxdb.md, against a real InfluxDB 2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from influxdb_client import InfluxDBClient
from typer.testing import CliRunner

from telebeam.pipelines.cli import app


@pytest.fixture
def client(influxdb: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[InfluxDBClient]:
    """A client of a server that has the example's bucket."""
    monkeypatch.setenv("INFLUX_TOKEN", influxdb.token)
    with InfluxDBClient(influxdb.url, influxdb.token, org=influxdb.org) as client:
        buckets = client.buckets_api()
        there = buckets.find_bucket_by_name("telemetry")
        made = buckets.create_bucket(bucket_name="telemetry", org=influxdb.org) if there is None else None
        yield client
        if made is not None:
            buckets.delete_bucket(made)


def test_the_example_fills_influxdb_and_every_documented_query_finds_something(
    client: InfluxDBClient, influxdb: Any, root: Path, tmp_path: Path
):
    simulated = ["simulate", "--interval", "5m", "--faults", "out_of_range=0.1", "--to", f"jsonl:{tmp_path}/a.jsonl.gz"]
    assert CliRunner().invoke(app, simulated).exit_code == 0
    places = {
        "source.jsonl.path": f"{tmp_path}/*.jsonl.gz",
        "sinks.lake.path": tmp_path / "lake",
        "sinks.influxdb.url": influxdb.url,
        "sinks.influxdb.org": influxdb.org,
    }
    where = [text for key, value in places.items() for text in ("--set", f"{key}={value}")]
    config = str(root / "examples" / "lake-and-influxdb.yaml")
    done = CliRunner().invoke(app, ["run", config, "--json", *where], catch_exceptions=False)
    outcome = json.loads(done.stdout)
    assert outcome["points"] == outcome["balance"]["readings"] + outcome["windows"]
    document = (root / "docs" / "influxdb.md").read_text(encoding="utf-8")
    queries = re.findall(r"^```flux\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)
    assert queries
    for query in queries:
        tables = client.query_api().query(query)
        assert sum(len(table.records) for table in tables), query
