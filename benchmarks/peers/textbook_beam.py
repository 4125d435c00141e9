"""The peer: the batch job as a per-element Beam pipeline, the way that Beam's documentation teaches it.

One element is one reading, a dict.  It is written fairly: element types are declared, the aggregate is a
:class:`~apache_beam.CombineFn` so that the runner lifts it before the shuffle, and it
does less than the batch job: units
are taken as canonical, and the Parquet files are neither sorted nor laid out by date and hour.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from telebeam.transforms.schema import READINGS, REJECTS, WINDOWS

WINDOW_SECONDS = 60
MAX_FUTURE_SECONDS = 300
LIMITS = {"temperature": (-50, 100), "humidity": (0, 100), "pressure": (800, 1200), "voltage": (0, 50)}
COLUMNS = ["device_id", "timestamp", "sensor_type", "measurement_type", "value", "unit", "location", "metadata"]

Reading = dict[str, Any]
Series = tuple[str, str, str, str, str, str | None]
Element = tuple[int, int, float, float]
Accumulator = list[Element]


def from_json(line: str) -> Reading:
    """A line as a dict with a datetime in it."""
    reading: Reading = json.loads(line)
    reading["timestamp"] = datetime.fromisoformat(reading["timestamp"])
    reading["metadata"] = json.dumps(reading["metadata"]) if reading.get("metadata") is not None else None
    return reading


def reason_of(reading: Reading, now: datetime) -> str | None:
    """Why a reading is refused, or None."""
    if reading["device_id"] is None:
        return "missing_device_id"
    if not 3 <= len(reading["device_id"]) <= 256:
        return "bad_device_id"
    if reading["value"] is None:
        return "missing_value"
    if not math.isfinite(reading["value"]):
        return "bad_value"
    if (reading["timestamp"] - now).total_seconds() > MAX_FUTURE_SECONDS:
        return "future"
    return None


class CheckReading(beam.DoFn):
    """A reading with its quality, or a reject on the output of that name."""

    def __init__(self, source: str) -> None:
        self._source = source

    def setup(self) -> None:
        self._now = datetime.now(UTC)
        self._offset = 0

    def process(self, reading: Reading) -> Iterable[Any]:
        origin = {"source": self._source, "source_partition": 0, "source_offset": self._offset}
        self._offset += 1
        reason = reason_of(reading, self._now)
        if reason is not None:
            reject = {"reason": reason, "detail": "", "payload": json.dumps(reading, default=str).encode(), **origin}
            reject |= {"device_id": reading["device_id"], "timestamp": reading["timestamp"], "rejected_at": self._now}
            yield beam.pvalue.TaggedOutput("rejects", reject)
            return
        low, high = LIMITS.get(reading["sensor_type"], (-math.inf, math.inf))
        issues = [] if low <= reading["value"] <= high else ["out_of_range"]
        yield {
            "tenant": "default",
            **{name: reading[name] for name in COLUMNS},
            "quality_score": max(0.1, 1 - 0.2 * len(issues)),
            "issues": issues,
            "is_late": False,
            **origin,
        }


def series_of(reading: Reading) -> tuple[Series, Element]:
    """What a reading is grouped by, and what of it the aggregate needs."""
    series = (
        reading["tenant"],
        reading["device_id"],
        reading["sensor_type"],
        reading["measurement_type"],
        reading["unit"],
        reading["location"],
    )
    # Whole microseconds: a datetime in the accumulator would be pickled at the shuffle, a fifth of the job's time.
    microseconds = round(reading["timestamp"].timestamp() * 1e6)
    return series, (microseconds, reading["source_offset"], reading["value"], reading["quality_score"])


def quantile(ordered: list[float], share: float) -> float:
    """The quantile between its two neighbouring values, by linear interpolation."""
    position = (len(ordered) - 1) * share
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


class WindowAggregates(beam.CombineFn):
    """Every aggregate of a window; exact quantiles need its values, so the accumulator is their list."""

    def create_accumulator(self) -> Accumulator:
        return []

    def add_input(self, accumulator: Accumulator, element: Element) -> Accumulator:
        accumulator.append(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        return [element for accumulator in accumulators for element in accumulator]

    def extract_output(self, accumulator: Accumulator) -> dict[str, Any]:
        accumulator.sort()
        values = [value for _, _, value, _ in accumulator]
        ordered = sorted(values)
        count, total = len(values), math.fsum(values)
        mean = total / count
        start = accumulator[0][0]
        seconds = [(timestamp - start) / 1e6 for timestamp, _, _, _ in accumulator]
        centre = math.fsum(seconds) / count
        spread = math.fsum((second - centre) ** 2 for second in seconds)
        shared = math.fsum((second - centre) * (value - mean) for second, value in zip(seconds, values, strict=True))
        return {
            "count": count,
            "mean": mean,
            "std": math.sqrt(math.fsum((value - mean) ** 2 for value in values) / count),
            "min": ordered[0],
            "max": ordered[-1],
            "sum": total,
            "first": values[0],
            "last": values[-1],
            "p50": quantile(ordered, 0.50),
            "p95": quantile(ordered, 0.95),
            "p99": quantile(ordered, 0.99),
            "trend_per_second": shared / spread if seconds[-1] > 0 else None,
            "quality_mean": math.fsum(quality for _, _, _, quality in accumulator) / count,
        }


class NameWindow(beam.DoFn):
    """A series and its aggregates as a row of the windows."""

    def process(
        self, element: tuple[Series, dict[str, Any]], window: Any = beam.DoFn.WindowParam
    ) -> Iterable[dict[str, Any]]:
        series, aggregates = element
        yield {
            **dict(
                zip(("tenant", "device_id", "sensor_type", "measurement_type", "unit", "location"), series, strict=True)
            ),
            "window_start": window.start.to_utc_datetime(has_tz=True),
            "window_end": window.end.to_utc_datetime(has_tz=True),
            "window_seconds": WINDOW_SECONDS,
            **aggregates,
            "revision": 0,
        }


def build(pipeline: beam.Pipeline, glob: str, kind: str, output: str) -> None:
    """The flow: read, check, write the readings and the rejects, aggregate, write the windows."""
    if kind == "parquet":
        records = pipeline | "Read" >> beam.io.ReadFromParquet(glob, columns=COLUMNS)
    else:
        lines = pipeline | "Read" >> beam.io.ReadFromText(glob)
        records = lines | "Parse" >> beam.Map(from_json).with_output_types(Reading)
    checked = records | "Check" >> beam.ParDo(CheckReading(glob)).with_outputs("rejects", main="readings")
    checked.readings | "WriteReadings" >> _to_parquet(f"{output}/readings/part", READINGS)
    checked.rejects | "WriteRejects" >> _to_parquet(f"{output}/rejects/part", REJECTS)
    (
        checked.readings
        | "EventTime" >> beam.Map(lambda reading: TimestampedValue(reading, reading["timestamp"].timestamp()))
        | "Window" >> beam.WindowInto(FixedWindows(WINDOW_SECONDS))
        | "BySeries" >> beam.Map(series_of).with_output_types(tuple[Series, Element])
        | "Aggregate" >> beam.CombinePerKey(WindowAggregates())
        | "NameWindow" >> beam.ParDo(NameWindow())
        | "WriteWindows" >> _to_parquet(f"{output}/windows/part", WINDOWS)
    )


def _to_parquet(prefix: str, schema: pa.Schema) -> beam.io.WriteToParquet:
    return beam.io.WriteToParquet(prefix, schema, codec="zstd", file_name_suffix=".parquet")


def main(arguments: list[str] | None = None) -> int:
    """Runs the pipeline; what it does not know is handed to Beam, such as ``--direct_num_workers``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--input", required=True, metavar="GLOB")
    parser.add_argument("--format", choices=("parquet", "jsonl"), default="parquet")
    parser.add_argument("--output", required=True, metavar="DIR")
    options, others = parser.parse_known_args(arguments)
    logging.getLogger().setLevel(logging.WARNING)
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner", *others])) as pipeline:
        build(pipeline, options.input, options.format, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
