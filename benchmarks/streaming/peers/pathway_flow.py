"""The peer: Pathway, Kafka → JSON → range check → windows of a minute → a file of lines; its engine is written in Rust.

Nothing of ours runs once a message, so it is timed as a whole: the benchmark compares two topics of different sizes.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pathway as pw
from windowed import LIMITS, WINDOW_SECONDS, options


class Message(pw.Schema):
    """What is read of one."""

    device_id: str
    timestamp: str
    sensor_type: str
    value: float


def main() -> int:
    """Reads the topic to its present end."""
    wanted = options()
    begun = time.perf_counter()
    settings = {
        "bootstrap.servers": wanted.bootstrap_servers, "group.id": f"pathway-{time.time_ns()}",
        "auto.offset.reset": "earliest", "fetch.queue.backoff.ms": "10", "queued.min.messages": "500000",
    }  # fmt: skip
    read: Any = pw.io.kafka.read(settings, topic=wanted.topic, format="json", schema=Message, mode="static")
    kinds = [
        (read.sensor_type == kind) & (read.value >= low) & (read.value <= high) for kind, (low, high) in LIMITS.items()
    ]
    good = read.filter(kinds[0] | kinds[1] | kinds[2] | kinds[3])
    timed = good.with_columns(time=good.timestamp.dt.strptime("%Y-%m-%dT%H:%M:%S.%fZ", contains_timezone=False))
    windows = timed.windowby(
        timed.time, window=pw.temporal.tumbling(duration=pw.Duration(seconds=WINDOW_SECONDS)),
        instance=(timed.device_id, timed.sensor_type),
    )  # fmt: skip
    found = windows.reduce(
        series=pw.this._pw_instance, window_start=pw.this._pw_window_start, count=pw.reducers.count(),
        mean=pw.reducers.avg(pw.this.value), min=pw.reducers.min(pw.this.value), max=pw.reducers.max(pw.this.value),
    )  # fmt: skip
    pw.io.jsonlines.write(found, str(wanted.output / "windows.jsonl"))
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    print(json.dumps({"seconds": time.perf_counter() - begun}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
