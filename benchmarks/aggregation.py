"""What order-free aggregates cost: nanoseconds a reading of one thread, with the part of the exact sums.

Windows of a minute over readings that are sorted by device and time, as a readings file is.

    python -m benchmarks.aggregation
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from telebeam.transforms.aggregation import exact
from telebeam.transforms.aggregation.kernel import aggregate, extract
from telebeam.transforms.aggregation.partials import moments
from telebeam.transforms.batches import READING_BATCH_ROWS
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import readings

ROWS = 262_144
REPEATS = 7
MINUTE = 60_000_000
START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def fleet(per_window: int) -> pa.RecordBatch:
    """An hour of each device, a reading every 60 / per_window seconds."""
    row = np.arange(ROWS)
    per_device = per_window * 60
    one = readings([{"value": 0.0}])
    columns = {name: one.column(name).take(pa.array(np.zeros(ROWS, np.int64))) for name in one.schema.names}
    names = pa.array([f"device-{number:06d}" for number in range(ROWS // per_device + 1)])
    columns["device_id"] = pa.DictionaryArray.from_arrays(pa.array((row // per_device).astype(np.int32)), names)
    times = START + row % per_device * (MINUTE // per_window)
    columns["timestamp"] = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    columns["value"] = pa.array(np.round(np.random.default_rng(1).normal(20, 5, ROWS), 2))
    columns["source_offset"] = pa.array(row)
    return conform(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), READINGS_IN_FLIGHT)


def best(work: Callable[[], object]) -> float:
    """The fewest ns a reading of several runs, of this thread's own time."""
    found = []
    for _ in range(REPEATS):
        begun = time.thread_time()
        work()
        found.append(time.thread_time() - begun)
    return min(found) / ROWS * 1e9


def exact_sums(batch: pa.RecordBatch, per_window: int) -> None:
    """The exact sums of a batch alone, in the slices in which aggregation makes them."""
    value = batch.column("value").to_numpy()
    since = (batch.column("timestamp").cast(pa.int64()).to_numpy() % MINUTE).astype(np.float64)
    quality = batch.column("quality_score").to_numpy()
    for first in range(0, ROWS, READING_BATCH_ROWS):
        rows = slice(first, first + READING_BATCH_ROWS)
        sums, _ = moments(value[rows], since[rows], quality[rows])
        starts = np.arange(0, len(value[rows]), per_window)
        for limbs in sums.values():
            exact.add_groups(limbs, starts, len(value[rows]))


def main() -> None:
    """Prints a line for each number of readings a window."""
    print("readings a window   aggregate   of it exact sums   extract   (ns a reading)")
    for per_window in (6, 60):
        batch = fleet(per_window)
        partials = aggregate(batch, 60)
        sums = best(lambda batch=batch, per_window=per_window: exact_sums(batch, per_window))
        whole = best(lambda batch=batch: aggregate(batch, 60))
        rows = best(lambda partials=partials: extract(partials, 60))
        print(f"{per_window:17d} {whole:11.0f} {sums:18.0f} {rows:9.0f}")


if __name__ == "__main__":
    main()
