"""Labels from a CSV file, and from the alerts of a lake."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from telebeam.transforms.anomaly.labels import Label
from telebeam.transforms.errors import ConfigurationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HINT = "a header device_id,start,end, and times as 2026-01-01T00:00:00Z; end may be left out"


def read_labels(path: Path) -> list[Label]:
    """The labels of a CSV file with the columns ``device_id``, ``start`` and perhaps ``end``; others are left out.

    Without an end a label is an instant: a failure.

    Args:
        path: The file, in UTF-8.

    Raises:
        ConfigurationError: It is not there, or a line is no label; says which.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"device_id", "start"} <= set(rows.fieldnames or ()):
                raise ConfigurationError(f"{path}: the header is {rows.fieldnames}", _HINT)
            return [_label(path, rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} can't be read: {error}", _HINT) from error


def _label(path: Path, line: int, row: dict[str, str | None]) -> Label:
    device = (row["device_id"] or "").strip()
    try:
        start = _micros(row["start"] or "")
        end = _micros(text) if (text := (row.get("end") or "").strip()) else start + 1
    except ValueError as error:
        raise ConfigurationError(f"{path}:{line}: {error}", _HINT) from error
    if not device or end <= start:
        raise ConfigurationError(f"{path}:{line}: no device, or it ends before it starts", _HINT)
    return Label(device, start, end)


def _micros(text: str) -> int:
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def of_alerts(alerts: pa.Table, end: int) -> Iterator[Label]:
    """When each alert of a device fired.

    Args:
        alerts: Rows of the lake's ``alerts``, in any order.
        end: What one that was not resolved lasts to, µs since 1970.
    """
    time = pa.chunked_array(alerts["timestamp"]).cast(pa.int64())
    columns = alerts.select(["alert_id", "device_id", "state"]).append_column("time", time)
    firing: dict[str, tuple[str, int]] = {}
    for row in columns.sort_by([("time", "ascending"), ("state", "ascending")]).to_pylist():
        if row["device_id"] is None:
            continue
        if row["state"] == "firing":
            firing.setdefault(row["alert_id"], (row["device_id"], row["time"]))
        elif row["alert_id"] in firing:
            device, start = firing.pop(row["alert_id"])
            yield Label(device, start, max(row["time"], start + 1))
    for device, start in firing.values():
        if start < end:
            yield Label(device, start, end)
