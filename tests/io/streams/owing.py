"""Files of a lake that InfluxDB is owed, and what says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.influxdb.refill import Refill
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.patience import Patience
from telebeam.io.streams import receipts
from telebeam.io.streams.deliveries import Deliveries
from telebeam.io.streams.notices import Notice, Owed, PartitionNotice
from telebeam.io.streams.receipts import InfluxReceipt
from telebeam.transforms.schema import AGGREGATES, READINGS, READINGS_IN_FLIGHT, WINDOWS, conform
from tests.io.influxdb.test_client import TAKEN, Answer

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = "date=2024-03-01/hour=12"


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def made(lake: LakeSpec, spec: InfluxSpec, clock: Clock, waiting: Callable[[], int] = lambda: 0) -> Deliveries:
    """Deliveries whose pauses take no time."""
    patience = Patience(clock=clock, jitter=lambda: 0.0)
    refill = Refill(lake, "fleet", spec, patience=patience, now=lambda: NOON, clock=clock, sleep=clock.sleep)
    return Deliveries(lake, "fleet", spec, refill=refill, clock=clock, sleep=clock.sleep, waiting=waiting)


def readings(start: int, count: int) -> pa.RecordBatch:
    rows = [
        {
            "tenant": "default", "device_id": "boiler", "timestamp": NOON + timedelta(microseconds=n), "unit": "bar",
            "sensor_type": "pressure", "measurement_type": "pressure", "value": float(n), "quality_score": 1.0,
            "issues": [], "is_late": False, "source": "a", "source_partition": 2, "source_offset": n,
        }
        for n in range(start, start + count)
    ]  # fmt: skip
    return conform(pa.RecordBatch.from_pylist(rows, schema=READINGS), READINGS_IN_FLIGHT)


def windows(start: int, count: int) -> pa.RecordBatch:
    rows = [
        {
            "tenant": "default", "device_id": f"device-{n}", "sensor_type": "voltage", "measurement_type": "voltage",
            "unit": "volts", "location": None, "window_start": NOON, "window_end": NOON + timedelta(minutes=1),
            "window_seconds": 60, "count": 1, **dict.fromkeys(AGGREGATES, float(n)), "revision": 0,
        }
        for n in range(start, start + count)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=WINDOWS)


def file_readings(lake: LakeSpec, start: int, count: int) -> str:
    path = f"readings/{HOUR}/r{start}-{count}.parquet"
    storage.publish(storage.locate(lake.path), path, to_parquet([readings(start, count)], READINGS, lake))
    return path


def file_windows(lake: LakeSpec, start: int, count: int) -> str:
    path = f"windows/window_seconds=60/{HOUR}/w{start}.parquet"
    storage.publish(storage.locate(lake.path), path, to_parquet([windows(start, count)], WINDOWS, lake))
    return path


def notice(partitions: dict[int, list[Owed]], clock: int = 0) -> Notice:
    parts = tuple(PartitionNotice("topic", number, 10**9, {}, tuple(owed)) for number, owed in partitions.items())
    return Notice(0, 1, clock, parts)


def receipt(lake: LakeSpec) -> InfluxReceipt:
    return receipts.load(storage.locate(lake.path), receipts.influxdb_path("fleet"), InfluxReceipt)


def values(requests: list[list[str]]) -> list[int]:
    return [int(line.split("value=")[1].split(",")[0]) for lines in requests for line in lines]


def answering(*answers: Answer) -> Callable[[list[str]], Answer]:
    left = iter(answers)
    return lambda lines: next(left, TAKEN)


BUSY: Answer = (503, {}, "busy")
