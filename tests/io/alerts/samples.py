"""Alerts out of a few words."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from telebeam.io.alerts.messages import ALERT, Key, keys_of
from telebeam.io.alerts.spec import AlertSinkSpec
from telebeam.transforms.schema import ALERTS, COMMANDS

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
VARIABLE, SECRET = "ALERTS_TEST_SECRET", "only-for-tests"
_DEFAULTS = {
    "rule": "overheated", "tenant": "default", "device_id": "boiler-1", "sensor_type": "temperature",
    "measurement_type": "temperature", "location": None, "timestamp": FIRST, "alert_type": "threshold",
    "severity": "critical", "state": "firing", "message": "81.5 celsius", "value": 81.5, "expected": 80.0,
    "score": None,
}  # fmt: skip


def alerts(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"alert_id": f"a{place}", **_DEFAULTS, **row} for place, row in enumerate(rows)], schema=ALERTS
    )


def numbered(count: int, start: int = 0, **changes: Any) -> pa.RecordBatch:
    """One alert a second, of seven devices."""
    return alerts(
        *(
            {
                "alert_id": f"a{n}", "device_id": f"boiler-{n % 7}", "timestamp": FIRST + timedelta(seconds=n),
                **changes,
            }
            for n in range(start, start + count)
        )
    )  # fmt: skip


def commands(*rows: dict[str, Any]) -> pa.RecordBatch:
    base = {"rule": "overheated", "tenant": "default", "device_id": "boiler-1", "timestamp": FIRST, "command": "stop"}
    return pa.RecordBatch.from_pylist(
        [{"command_id": f"c{place}", **base, **row} for place, row in enumerate(rows)], schema=COMMANDS
    )


def keys(rows: pa.RecordBatch) -> list[Key]:
    return keys_of(rows, ALERT)


def hook(url: str, *, sink: dict[str, Any] | None = None, **changes: Any) -> AlertSinkSpec:
    return AlertSinkSpec(webhook={"url": url, "secret": f"env:{VARIABLE}", "timeout": 5, **changes}, **(sink or {}))


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["alert_id"] for each in found]


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
