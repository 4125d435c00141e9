"""Plain dicts in, one-minute windows out, in a pipeline that is the author's own.

    python examples/beam_author.py

Every transform is a PTransform like Beam's; what is between ToBatches and FromBatches are Arrow RecordBatches, some ten
thousand rows each, which is what makes it fast.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import apache_beam as beam

from telebeam.transforms import (
    AggregateWindows,
    CheckQuality,
    Cleanse,
    FromBatches,
    ParseReadings,
    QualitySpec,
    ToBatches,
    WindowSpec,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = START.timestamp()

# Two devices that report every ten seconds in shapes of their own, one of them in Fahrenheit; and three bad records.
EVENTS: list[Any] = [
    *(
        {"device_id": "boiler-1", "timestamp": START + timedelta(seconds=at), "data": {"temperature": 60 + at / 100}}
        for at in range(0, 120, 10)
    ),
    *(
        {"device_id": "boiler-2", "timestamp": EPOCH + at, "metric": "temperature", "value": 140.0 + at, "unit": "F"}
        for at in range(0, 60, 10)
    ),
    {"device_id": "boiler-1", "timestamp": START, "sensor_type": "temperature", "value": float("nan")},
    {"device_id": "x", "timestamp": START, "sensor_type": "temperature", "value": 1.0},
    '{"device_id": "boiler-1", "timestamp"',
]

# Old data: without an age limit it is not too old.
QUALITY = QualitySpec(max_age_days=None)


def flow(events: beam.PCollection) -> dict[str, beam.PCollection]:
    """Windows and rejects, as dicts."""
    parsed = events | "Batch" >> ToBatches(source="events") | "Parse" >> ParseReadings()
    checked = parsed.readings | "Cleanse" >> Cleanse() | "CheckQuality" >> CheckQuality(QUALITY)
    windows = checked.readings | "Windows" >> AggregateWindows((WindowSpec(every=timedelta(minutes=1)),))
    rejects = (parsed.rejects, checked.rejects) | "AllRejects" >> beam.Flatten()
    return {
        "windows": windows | "WindowRows" >> FromBatches(),
        "rejects": rejects | "RejectRows" >> FromBatches(),
    }


def main() -> None:
    with beam.Pipeline() as pipeline:
        found = flow(pipeline | "Events" >> beam.Create(EVENTS))
        _ = found["windows"] | "PrintWindows" >> beam.Map(
            lambda row: print(
                f"{row['device_id']} {row['window_start']:%H:%M} {row['count']} × {row['mean']:.2f} {row['unit']}"
            )
        )
        _ = found["rejects"] | "PrintRejects" >> beam.Map(
            lambda row: print(f"refused, {row['reason']}: {row['payload'].decode()}")
        )


if __name__ == "__main__":
    main()
