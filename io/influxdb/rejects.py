"""Points that InfluxDB did not get, as rows of the rejects."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa

from telebeam.io.influxdb.lines import RefusedPoints
from telebeam.io.influxdb.spec import Dataset
from telebeam.transforms.schema import REJECTS, Reason, conform


def rejected_points(
    batch: pa.RecordBatch,
    points: RefusedPoints,
    *,
    reason: Reason,
    dataset: Dataset,
    rejected_at: datetime,
) -> pa.RecordBatch:
    """One reject for each of the points, in the plain types of ``REJECTS``.

    A reading's reject names the reading's own origin; a window has none, so its source is ``windows``, its partition
    and offset are 0, and its timestamp is the window's start.

    Args:
        batch: Readings or windows.
        points: Those of its points that were refused; a payload is the line without its line feed.
        reason: The code of them all.
        dataset: What the batch holds.
        rejected_at: The time of the refusal.
    """
    count = len(points)
    taken = batch.take(pa.array(points.rows))
    origin: dict[str, Any] = {
        "source": [dataset] * count,
        "source_partition": [0] * count,
        "source_offset": [0] * count,
    }
    if dataset in ("readings", "scores"):
        origin = {name: taken.column(name) for name in origin}
    columns = {
        "reason": pa.array([str(reason)] * count, pa.string()),
        "detail": points.details,
        "payload": pa.array([line.removesuffix(b"\n") for line in points.text.to_pylist()], pa.large_binary()),
        "device_id": taken.column("device_id"),
        "timestamp": taken.column("window_start" if dataset == "windows" else "timestamp"),
        **origin,
        "rejected_at": pa.array([rejected_at] * count, REJECTS.field("rejected_at").type),
    }
    return conform(pa.RecordBatch.from_pydict(columns), REJECTS)
