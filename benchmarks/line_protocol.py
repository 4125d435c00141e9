"""Line protocol: points a second of one thread, built a column at a time, against the client's own Point.

Both write the same readings of 1,000 devices; no server takes part.

    python benchmarks/line_protocol.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from influxdb_client import Point, WritePrecision

from telebeam.io.influxdb.lines import reading_lines
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform

POINTS = 500_000
PEER_POINTS = 50_000
BATCH_ROWS = 65_536
REPEATS = 5
SPEC = InfluxSpec(url="http://localhost:8086", org="iot", bucket="telemetry", token="env:INFLUX_TOKEN")


def readings(points: int, devices: int = 1000, decimals: int | None = 2, seed: int = 7) -> list[pa.RecordBatch]:
    """Readings of a fleet in order of arrival, in batches as they travel."""
    random = np.random.default_rng(seed)
    device = np.arange(points) % devices
    kinds = ("temperature", "humidity", "pressure", "voltage")
    units = ("celsius", "percent", "hpa", "volts")
    value = random.normal(20, 5, points)
    kind = pa.array(kinds).take(pa.array(device % 4))
    table = pa.table(
        {
            "tenant": pa.array(["default"]).take(pa.array(np.zeros(points, int))),
            "device_id": pa.array([f"device-{n:06d}" for n in range(devices)]).take(pa.array(device)),
            "timestamp": pa.array(1_700_000_000_000_000 + np.arange(points) // devices * 1_000_000 + device * 137),
            "sensor_type": kind,
            "measurement_type": kind,
            "value": value if decimals is None else np.round(value, decimals),
            "unit": pa.array(units).take(pa.array(device % 4)),
            "location": pa.array([f"hall {n}" for n in range(10)]).take(pa.array(device % 10)),
            "quality_score": np.where(random.random(points) < 0.02, 0.8, 1.0),
            "issues": pa.array([[]], pa.list_(pa.string())).take(pa.array(np.zeros(points, int))),
            "is_late": np.zeros(points, bool),
            "source": pa.array(["archive.parquet"]).take(pa.array(np.zeros(points, int))),
            "source_partition": np.zeros(points, np.int32),
            "source_offset": np.arange(points),
        }
    )
    return [conform(batch, READINGS_IN_FLIGHT) for batch in table.to_batches(max_chunksize=BATCH_ROWS)]


def columnar(batches: list[pa.RecordBatch]) -> int:
    """The length of all request bodies; each is dropped as it would be once sent."""
    length = 0
    for batch in batches:
        lines, _ = reading_lines(batch, SPEC)
        for start in range(0, len(lines), SPEC.batch_points):
            length += len(lines.slice(start, start + SPEC.batch_points).body())
    return length


def peer(rows: list[dict[str, Any]]) -> list[str]:
    """The same lines by the client's Point; the rows are Python objects already, which is its best case."""
    return [
        Point("iot_measurements")
        .tag("device_id", row["device_id"])
        .tag("location", row["location"])
        .tag("measurement_type", row["measurement_type"])
        .tag("sensor_type", row["sensor_type"])
        .tag("unit", row["unit"])
        .field("value", row["value"])
        .field("quality_score", row["quality_score"])
        .time(row["timestamp"], WritePrecision.US)
        .to_line_protocol()
        for row in rows
    ]


def rates(works: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Points a second of one core: CPU time, the best of rounds in which each has its turn.

    What other processes take at one moment is so nobody's advantage.
    """
    best = dict.fromkeys(works, float("inf"))
    for _ in range(REPEATS):
        for name, (work, _points) in works.items():
            begun = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - begun)
    return {name: points / best[name] for name, (_work, points) in works.items()}


def measure() -> dict[str, float]:
    """Rates and ratios."""
    pa.set_cpu_count(1)
    batches = readings(POINTS)
    full = readings(POINTS, decimals=None)
    fleet = readings(POINTS, devices=1_000_000)
    rows = pa.Table.from_batches(batches).slice(0, PEER_POINTS).select(SELECTED).to_pylist()
    for row in rows:
        row["timestamp"] = int(row["timestamp"].timestamp() * 1e6 + 0.5)
    figures = rates(
        {
            "point_per_second": (lambda: peer(rows), PEER_POINTS),
            "columnar_per_second": (lambda: columnar(batches), POINTS),
            "columnar_17_digits_per_second": (lambda: columnar(full), POINTS),
            "columnar_each_device_once_per_second": (lambda: columnar(fleet), POINTS),
        }
    )
    point = figures["point_per_second"]
    figures["ratio"] = figures["columnar_per_second"] / point
    figures["ratio_17_digits"] = figures["columnar_17_digits_per_second"] / point
    figures["ratio_each_device_once"] = figures["columnar_each_device_once_per_second"] / point
    return figures


SELECTED = ["device_id", "location", "measurement_type", "sensor_type", "unit", "value", "quality_score", "timestamp"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = measure()
    if arguments.json:
        print(json.dumps({name: round(value, 1) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<40}{value:>14,.1f}")


if __name__ == "__main__":
    main()
