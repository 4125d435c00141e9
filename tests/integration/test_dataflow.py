"""The steps for Dataflow, by a local runner, into a real InfluxDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline  # pytest would collect a name in Test
from influxdb_client import InfluxDBClient

from telebeam.io.lake import Lake
from telebeam.pipelines.config import load_config
from telebeam.pipelines.dataflow import follow
from telebeam.transforms.schema import ENVELOPES
from tests.pipelines.jobs import NOW

SOURCE = "source={pubsub: {subscription: projects/fleet-prod/subscriptions/telemetry}}"


@pytest.fixture
def bucket(influxdb: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("TOKEN", influxdb.token)
    with InfluxDBClient(influxdb.url, influxdb.token, org=influxdb.org) as client:
        bucket = client.buckets_api().create_bucket(bucket_name="dataflow", org=influxdb.org)
        yield client
        client.buckets_api().delete_bucket(bucket)


def envelopes(value: float) -> pa.RecordBatch:
    readings = [
        {"device_id": f"dev-{n % 3}", "timestamp": f"2026-01-01T00:0{n % 5}:{n:02}Z", "sensor_type": "temperature",
         "value": value + n}
        for n in range(30)
    ]  # fmt: skip
    payloads = [json.dumps(reading).encode() for reading in readings]
    offsets = [int(value) * 1000 + n for n in range(30)]
    return pa.record_batch([payloads, [None] * 30, ["t"] * 30, [0] * 30, offsets], schema=ENVELOPES)


def test_influxdb_has_the_readings_and_the_present_windows_of_the_lake(
    influxdb: Any, bucket: Any, root: Path, tmp_path: Path
):
    server = f"url: '{influxdb.url}', org: {influxdb.org}, bucket: dataflow"
    sink = f"{{{server}, token: 'env:TOKEN', write: [readings, windows]}}"
    overrides = [SOURCE, f"sinks.lake.path={tmp_path}", f"sinks.influxdb={sink}", "quality.max_age_days=null"]
    spec = load_config(root / "tests/fixtures/configs/minimal.yaml", overrides)
    for value in (10, 40):  # the second run revises every window of the first
        with StrictPipeline("FnApiRunner") as pipeline:
            follow(pipeline | beam.Create([envelopes(value)]), spec, NOW, shards=2, clock=NOW.timestamp)
    lake = Lake(str(tmp_path))
    windows = lake.windows(60)
    assert set(windows["revision"].to_pylist()) == {1}
    assert lake.rejects().num_rows == 0
    query = 'from(bucket: "dataflow") |> range(start: 2026-01-01T00:00:00Z, stop: 2026-01-02T00:00:00Z)'
    records = [record for table in bucket.query_api().query(query) for record in table.records]
    points = [r for r in records if r.get_measurement() == "iot_measurements" and r.get_field() == "value"]
    assert len(points) == 30  # of one time and series, the later one
    means = {
        (r["device_id"], r.get_time()): r.get_value()
        for r in records
        if r.get_measurement() == "iot_windows" and r.get_field() == "mean"
    }
    assert means == {(row["device_id"], row["window_start"]): row["mean"] for row in windows.to_pylist()}
