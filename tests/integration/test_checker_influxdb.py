"""The checker's eyes on a real InfluxDB: what is planted there is found."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from influxdb_client import InfluxDBClient

from telebeam.io.influxdb.lines import reading_lines, window_lines
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.layout import partition
from telebeam.transforms.schema import READINGS, WINDOWS
from tests.checker import influx_matches
from tests.checking.lake import connect
from tests.oracle import windows_oracle

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 490_896
SPEC = InfluxSpec(url="http://localhost:8086", org="iot", bucket="any", token="env:ANY")
DEVICES = [f'device {n}, the "${{odd}}" one\\\'s' for n in range(45)]


@dataclass
class Bucket:
    """A bucket of the test's own."""

    url: str
    org: str
    bucket: str
    token: str

    def write(self, batch: pa.RecordBatch) -> None:
        lines, refused = (reading_lines if "value" in batch.schema.names else window_lines)(batch, SPEC)
        assert not len(refused)
        url = f"{self.url}/api/v2/write?org={self.org}&bucket={self.bucket}&precision=us"
        request = urllib.request.Request(url, lines.body(), {"Authorization": f"Token {self.token}"})
        with urllib.request.urlopen(request):
            pass


@pytest.fixture
def bucket(influxdb: Any, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    with InfluxDBClient(influxdb.url, influxdb.token, org=influxdb.org) as client:
        made = client.buckets_api().create_bucket(bucket_name=request.node.name, org=influxdb.org)
        yield Bucket(influxdb.url, influxdb.org, made.name, influxdb.token)
        client.buckets_api().delete_bucket(made)


def row(number: int) -> dict[str, Any]:
    return {
        "tenant": "default", "device_id": DEVICES[number % len(DEVICES)],
        "timestamp": START + timedelta(milliseconds=number * 333), "sensor_type": "temperature",
        "measurement_type": "temperature", "value": 20 + number / 7, "unit": "celsius",
        "location": "hall 2" if number % 2 else None, "quality_score": 1.0, "issues": [], "metadata": None,
        "is_late": False, "source": "t", "source_partition": 0, "source_offset": number,
    }  # fmt: skip


@pytest.fixture
def readings(tmp_path: Path) -> pa.RecordBatch:
    """What the lake at ``tmp_path`` holds, with its windows."""
    batch = pa.RecordBatch.from_pylist([row(number) for number in range(500)], READINGS)
    for dataset, rows, seconds in (("readings", pa.table(batch), None), ("windows", windows_of(batch), 60)):
        folder = tmp_path / partition(dataset, HOUR, seconds)
        folder.mkdir(parents=True)
        pq.write_table(rows, folder / "a.parquet")
    return batch


def windows_of(batch: pa.RecordBatch) -> pa.Table:
    oracle = windows_oracle(connect(), pa.table(batch), 60)
    return pa.Table.from_pylist([{**window, "revision": 0} for window in oracle.to_pylist()], WINDOWS)


def complete(bucket: Bucket, readings: pa.RecordBatch) -> None:
    bucket.write(readings)
    for batch in windows_of(readings).combine_chunks().to_batches():
        bucket.write(batch)


def test_a_complete_bucket_is_all_right(bucket: Bucket, readings: pa.RecordBatch, tmp_path: Path):
    complete(bucket, readings)
    verdict = influx_matches(bucket, tmp_path)
    assert verdict.ok, verdict
    assert verdict.points == 500 + windows_of(readings).num_rows


def test_an_empty_bucket_misses_everything(bucket: Bucket, readings: pa.RecordBatch, tmp_path: Path):
    assert influx_matches(bucket, tmp_path).missing == 500 + windows_of(readings).num_rows


def test_a_missing_a_wrong_and_an_invented_point_are_found(bucket: Bucket, readings: pa.RecordBatch, tmp_path: Path):
    for batch in windows_of(readings).combine_chunks().to_batches():
        bucket.write(batch)
    rows = readings.to_pylist()
    others = [*rows[1:77], rows[77] | {"value": 1.0}, *rows[78:], rows[0] | {"timestamp": START + timedelta(hours=1)}]
    bucket.write(pa.RecordBatch.from_pylist(others, READINGS))
    verdict = influx_matches(bucket, tmp_path)
    assert (verdict.missing, verdict.wrong, verdict.invented) == (1, 1, 1)


def test_a_wrong_window_is_found(bucket: Bucket, readings: pa.RecordBatch, tmp_path: Path):
    complete(bucket, readings)
    window = windows_of(readings).to_pylist()[5]
    bucket.write(pa.RecordBatch.from_pylist([window | {"p95": 0.0}], WINDOWS))
    assert influx_matches(bucket, tmp_path).wrong == 1
    before = window["window_start"]
    assert influx_matches(bucket, tmp_path, closed_before=before).ok


def test_only_the_devices_that_are_asked_for_are_compared(bucket: Bucket, readings: pa.RecordBatch, tmp_path: Path):
    its = [reading for reading in readings.to_pylist() if reading["device_id"] == DEVICES[3]]
    bucket.write(pa.RecordBatch.from_pylist(its, READINGS))
    assert influx_matches(bucket, tmp_path, devices=[DEVICES[3]], lengths=()).ok
    assert influx_matches(bucket, tmp_path, devices=DEVICES[3:5], lengths=()).missing == 12
