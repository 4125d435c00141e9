"""One transform on Arrow batches that come from elsewhere: only CheckQuality, in a pipeline that knows no other.

    python examples/one_transform.py

Batches need the four columns that nobody can guess; CompleteReadings fills in the others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import apache_beam as beam
import pyarrow as pa

from telebeam.transforms import CheckQuality, CompleteReadings, FromBatches, Limit, QualitySpec

START = datetime(2026, 1, 1, tzinfo=UTC)

# Ovens are hotter than the default limits of a temperature.
OVENS = QualitySpec(max_age_days=None, limits={"temperature": Limit(min=0, max=400, unit="celsius")})


def measured(values: list[float | None]) -> pa.RecordBatch:
    """A batch as somebody else's step makes it."""
    rows = len(values)
    return pa.RecordBatch.from_pydict(
        {
            "device_id": ["oven-1"] * rows,
            "timestamp": pa.array([START + timedelta(minutes=n) for n in range(rows)], pa.timestamp("ns", "UTC")),
            "sensor_type": ["temperature"] * rows,
            "value": pa.array(values, pa.float32()),
        }
    )


def check(batches: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
    """Readings with their score and issues, and rejects, as dicts."""
    checked = batches | "Complete" >> CompleteReadings(source="ovens") | "CheckQuality" >> CheckQuality(OVENS)
    return checked.readings | "Readings" >> FromBatches(), checked.rejects | "Rejects" >> FromBatches()


def main() -> None:
    with beam.Pipeline() as pipeline:
        batches = pipeline | beam.Create([measured([180.0, 185.5, 2000.0]), measured([None, 181.0])])
        readings, rejects = check(batches)
        _ = readings | "PrintReadings" >> beam.Map(
            lambda row: print(f"{row['value']:g} scores {row['quality_score']} {row['issues']}")
        )
        _ = rejects | "PrintRejects" >> beam.Map(lambda row: print(f"refused, {row['reason']}: {row['detail']}"))


if __name__ == "__main__":
    main()
