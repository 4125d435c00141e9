"""A real InfluxDB that is away, hangs and refuses: every reading of the lake is in it in the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from influxdb_client import InfluxDBClient

from telebeam.io import storage
from telebeam.io.influxdb.client import InfluxWriter
from telebeam.io.influxdb.lines import Lines
from telebeam.io.influxdb.live import LivePoints
from telebeam.io.influxdb.refill import Refill
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams import receipts
from telebeam.io.streams.deliveries import Deliveries
from telebeam.io.streams.notices import Notice, Owed, OwedWindows, PartitionNotice, WindowsOwed
from telebeam.io.streams.receipts import InfluxReceipt
from telebeam.transforms.schema import AGGREGATES, READINGS, READINGS_IN_FLIGHT, WINDOWS, conform

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
BATCH, BATCHES = 500, 4


@pytest.fixture
def spec(own_influxdb: Any, monkeypatch: pytest.MonkeyPatch) -> InfluxSpec:
    monkeypatch.setenv("INFLUX_TEST_TOKEN", own_influxdb.token)
    return InfluxSpec(
        url=own_influxdb.url,
        org=own_influxdb.org,
        bucket=own_influxdb.bucket,
        token="env:INFLUX_TEST_TOKEN",
        timeout="3s",
    )


@pytest.fixture
def lake(tmp_path: Path) -> LakeSpec:
    return LakeSpec(path=str(tmp_path / "lake"))


def readings(start: int, count: int) -> pa.RecordBatch:
    places = np.arange(start, start + count)
    columns = {
        "tenant": ["default"] * count, "device_id": [f"device-{n % 50}" for n in places],
        "timestamp": pa.array(int(NOON.timestamp() * 1e6) + places * 1000).cast(READINGS.field("timestamp").type),
        "sensor_type": ["voltage"] * count, "measurement_type": ["voltage"] * count, "value": places.astype(float),
        "unit": ["volts"] * count, "location": ["hall 1"] * count, "quality_score": np.ones(count),
        "issues": [[]] * count, "is_late": [False] * count, "source": ["topic"] * count,
        "source_partition": [0] * count, "source_offset": places,
    }  # fmt: skip
    return conform(pa.RecordBatch.from_pydict(columns), READINGS_IN_FLIGHT)


class Reader:
    """What a stream's reader does with InfluxDB: offers, files, asks, and owes what was not settled."""

    def __init__(self, lake: LakeSpec, live: LivePoints) -> None:
        self._lake, self._live = lake, live
        self._units: list[tuple[int, Owed]] = []

    def unit(self) -> None:
        start = len(self._units) * BATCH * BATCHES
        ticket = len(self._units) + 1
        batches = [readings(start + n * BATCH, BATCH) for n in range(BATCHES)]
        for batch in batches:
            self._live.offer(batch, ticket)
        path = f"readings/date=2024-03-01/hour=12/{start:012}.parquet"
        content = to_parquet([conform(batch, READINGS) for batch in batches], READINGS, self._lake)
        storage.publish(storage.locate(self._lake.path), path, content)
        self._units.append((ticket, Owed(start + BATCH * BATCHES, (path,))))

    def notice(self, wait_seconds: float = 5.0) -> Notice:
        owed = tuple(owed for ticket, owed in self._units if not self._live.settled(ticket, wait_seconds))
        return Notice(0, 1, 0, (PartitionNotice("topic", 0, 10**9, {}, owed),))


def values_there(spec: InfluxSpec, token: str, measurement: str = "iot_measurements", field: str = "value") -> Any:
    query = (
        f'from(bucket: "{spec.bucket}") |> range(start: 2024-01-01T00:00:00Z, stop: 2100-01-01T00:00:00Z)'
        f' |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{field}")'
    )
    with InfluxDBClient(spec.url, token, org=spec.org) as client:
        tables = client.query_api().query(query)
        return sorted(record.get_value() for table in tables for record in table.records)


def in_the_lake(lake: LakeSpec) -> list[float]:
    files = Path(lake.path).glob("readings/**/*.parquet")
    return sorted(value for path in files for value in pq.read_table(path, columns=["value"])["value"].to_pylist())


def deliver_all(sink: Deliveries, told: Callable[[], Notice], seconds: float = 40.0) -> int:
    """Hears a notice twice a second, as from two readers, until nothing is owed."""
    points, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        points += sink.deliver(told()).points
        if not sink._due():
            return points
        time.sleep(0.5)
    pytest.fail(f"still owed after {seconds} s")


def kill(server: Any) -> None:
    server.process.kill()
    server.process.wait()


def freeze(server: Any) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)


def thaw(server: Any) -> None:
    os.kill(server.process.pid, signal.SIGCONT)


FAULTS: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "killed": (kill, lambda server: server.start()),
    "hung": (freeze, thaw),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_reading_of_the_lake_is_there_after_an_outage(
    own_influxdb: Any, spec: InfluxSpec, lake: LakeSpec, fault: str
) -> None:
    away, back = FAULTS[fault]
    sink = Deliveries(lake, "fleet", spec)
    with closing(LivePoints(spec)) as live:
        reader = Reader(lake, live)
        reader.unit()
        assert reader.notice().partitions[0].owed == ()
        away(own_influxdb)
        for _ in range(3):
            reader.unit()
        assert len(reader.notice().partitions[0].owed) == 3
        back(own_influxdb)
        reader.unit()
        assert deliver_all(sink, reader.notice) >= 3 * BATCH * BATCHES
    assert values_there(spec, own_influxdb.token) == in_the_lake(lake)
    assert len(in_the_lake(lake)) == 5 * BATCH * BATCHES


def test_a_server_that_goes_in_the_middle_of_a_delivery_gets_everything_once_it_is_back(
    own_influxdb: Any, spec: InfluxSpec, lake: LakeSpec
) -> None:
    with closing(LivePoints(spec.model_copy(update={"url": "http://127.0.0.1:9"}))) as live:
        reader = Reader(lake, live)
        for _ in range(6):
            reader.unit()
        told = reader.notice()
    refill = Refill(lake, "fleet", spec)
    sink, killed = Deliveries(lake, "fleet", spec, refill=refill), False

    def stop() -> bool:
        nonlocal killed
        if refill.points and not killed:
            kill(own_influxdb)
            killed = True
        return killed

    assert 0 < sink.deliver(told, stop).points < 6 * BATCH * BATCHES
    own_influxdb.start()
    deliver_all(sink, lambda: told)
    assert values_there(spec, own_influxdb.token) == in_the_lake(lake)


def test_what_the_server_refuses_is_rejected_and_the_rest_is_there(
    own_influxdb: Any, spec: InfluxSpec, lake: LakeSpec
) -> None:
    begun = int(NOON.timestamp() * 1e6)
    tags = "device_id=device-7,location=hall\\ 1,measurement_type=voltage,sensor_type=voltage,unit=volts"
    with InfluxWriter(spec) as writer:
        # One device whose field is text there: its readings are in conflict, all others are not.
        text = f'iot_measurements,{tags} value="text" {begun}\n'.encode()
        assert writer.write(Lines(pa.array([text], pa.large_binary()), np.zeros(1, int), np.zeros(1, int))) == []
    with closing(LivePoints(spec)) as live:
        reader = Reader(lake, live)
        reader.unit()
        told = reader.notice()
        assert len(told.partitions[0].owed) == 1
        deliver_all(Deliveries(lake, "fleet", spec), lambda: told)
    rejects = [row for path in Path(lake.path).glob("rejects/**/*.parquet") for row in pq.read_table(path).to_pylist()]
    refused = {row["source_offset"] for row in rejects}
    there = {value for value in values_there(spec, own_influxdb.token) if value != "text"}
    assert refused
    assert {row["reason"] for row in rejects} == {"refused_by_sink"}
    assert there == set(range(BATCH * BATCHES)) - refused
    assert sorted(in_the_lake(lake)) == sorted(range(BATCH * BATCHES))


def windows(count: int, minute: int) -> pa.RecordBatch:
    start = NOON + timedelta(minutes=minute)
    texts = {"tenant": "default", "sensor_type": "voltage", "measurement_type": "voltage", "unit": "volts"}
    numbers = np.random.default_rng(minute).normal(20, 3, (len(AGGREGATES), count))
    columns: dict[str, Any] = {name: [text] * count for name, text in texts.items()}
    columns |= {"device_id": [f"device-{n:05}" for n in range(count)], "location": ["hall 1"] * count}
    columns |= {"window_start": [start] * count, "window_end": [start + timedelta(minutes=1)] * count}
    columns |= {"window_seconds": [60] * count, "count": range(count), "revision": [0] * count}
    columns |= dict(zip(AGGREGATES, numbers, strict=True))
    return pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in WINDOWS], schema=WINDOWS)


def test_windows_are_there_with_every_aggregate(own_influxdb: Any, spec: InfluxSpec, lake: LakeSpec) -> None:
    root, count = storage.locate(lake.path), 6000
    sink = Deliveries(lake, "fleet", spec.model_copy(update={"timeout": timedelta(seconds=30)}))
    storage.publish(root, "windows/a.parquet", to_parquet([windows(count, 1)], WINDOWS, lake))
    assert sink.deliver(WindowsOwed(60, (OwedWindows(1, "windows/a.parquet"),))).points == count
    assert values_there(spec, own_influxdb.token, "iot_windows", "count") == list(range(count))
    wanted = sorted(windows(count, 1).column("p95").to_pylist())
    assert values_there(spec, own_influxdb.token, "iot_windows", "p95") == wanted
    receipt = receipts.load(root, receipts.influxdb_path("fleet"), InfluxReceipt)
    assert receipt == InfluxReceipt(windows={60: 1})
