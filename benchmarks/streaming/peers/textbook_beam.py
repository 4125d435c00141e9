"""The peer: the streaming job as a per-element Beam pipeline on Prism, the way that Beam's documentation teaches it.

A splittable DoFn with a restriction of offsets per partition emits one element a message; the rest is Map, Filter,
WindowInto and CombinePerKey.  It is written fairly: the consumer is set as the limit's is and polls thousands of
messages at once, element types are declared, and the aggregate is a CombineFn so that the runner lifts it before the
shuffle.  It does less than the streaming job: nothing but count, mean, minimum and maximum is computed, no readings are
written, and it could not be killed without a loss.

It prints one JSON object: messages, and the seconds between the ends of the first poll and of the last.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import apache_beam as beam
import confluent_kafka  # whole: this file's functions travel by value, and the client's classes can't
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from limit import CONSUMER, MESSAGES_A_POLL, spans
from windowed import NOTHING, WINDOW_SECONDS, Reading, Sums, added, in_range, merged, moment

Part = tuple[int, int, int]
"""A partition's number, its first offset and the one behind its last."""
Series = tuple[str, str]


class Offsets(RestrictionProvider):
    """A partition's offsets, not split."""

    def initial_restriction(self, element: Part) -> OffsetRange:
        return OffsetRange(element[1], element[2])

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element: Part, restriction: OffsetRange) -> int:
        return restriction.size()


BY_OFFSETS = beam.DoFn.RestrictionParam(Offsets())


class ReadMessages(beam.DoFn):
    """Payloads of a partition, one an element."""

    def __init__(self, bootstrap_servers: str, topic: str, times: str) -> None:
        self._settings = {**CONSUMER, "bootstrap.servers": bootstrap_servers, "enable.partition.eof": False}
        self._topic = topic
        self._times = Path(times)

    def process(self, part: Part, tracker: OffsetRestrictionTracker = BY_OFFSETS) -> Iterator[bytes]:
        number, _, end = part
        position = tracker.current_restriction().start
        consumer = confluent_kafka.Consumer(self._settings)
        consumer.assign([confluent_kafka.TopicPartition(self._topic, number, position)])
        polls: list[tuple[float, int]] = []
        while position < end:
            polled = consumer.consume(MESSAGES_A_POLL, 1.0)
            for message in polled:
                position = message.offset()
                if not tracker.try_claim(position):
                    position = end
                    break
                yield message.value()
                position += 1
            if polled:
                polls.append((time.time(), len(polled)))
        consumer.close()
        (self._times / f"{number}-{part[1]}-{time.time_ns()}.json").write_text(json.dumps(polls), encoding="utf-8")


def parsed(payload: bytes) -> Reading:
    reading: Reading = json.loads(payload)
    return reading


def at_its_time(reading: Reading) -> TimestampedValue:
    return TimestampedValue(reading, moment(reading).timestamp())


def by_series(reading: Reading) -> tuple[Series, float]:
    return (reading["device_id"], reading["sensor_type"]), reading["value"]


class Aggregates(beam.CombineFn):
    """Count, mean, minimum and maximum."""

    def create_accumulator(self) -> Sums:
        return NOTHING

    def add_input(self, sums: Sums, value: float) -> Sums:
        return added(sums, value)

    def merge_accumulators(self, several: Iterable[Sums]) -> Sums:
        return reduce(merged, several)

    def extract_output(self, sums: Sums) -> dict[str, float]:
        count, total, low, high = sums
        return {"count": count, "mean": total / count, "min": low, "max": high}


class AsLine(beam.DoFn):
    """A window as a line of JSON."""

    def process(self, element: tuple[Series, dict[str, float]], window: Any = beam.DoFn.WindowParam) -> Iterator[str]:
        (device, sensor), aggregates = element
        start = window.start.to_utc_datetime(has_tz=True).isoformat()
        yield json.dumps({"device_id": device, "sensor_type": sensor, "window_start": start, **aggregates})


def build(pipeline: beam.Pipeline, parts: list[Part], bootstrap_servers: str, topic: str, output: Path) -> None:
    """The flow: read, parse, filter, window, aggregate, write."""
    (
        pipeline
        | "Partitions" >> beam.Create(parts)
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(ReadMessages(bootstrap_servers, topic, str(output))).with_output_types(bytes)
        | "Parse" >> beam.Map(parsed).with_output_types(Reading)
        | "InRange" >> beam.Filter(in_range)
        | "EventTime" >> beam.Map(at_its_time)
        | "Window" >> beam.WindowInto(FixedWindows(WINDOW_SECONDS))
        | "BySeries" >> beam.Map(by_series).with_output_types(tuple[Series, float])
        | "Aggregate" >> beam.CombinePerKey(Aggregates())
        | "AsLine" >> beam.ParDo(AsLine()).with_output_types(str)
        | "Write" >> beam.io.WriteToText(str(output / "windows"))
    )


def main() -> int:
    """Runs the pipeline over what the topic holds now; what it does not know is handed to Beam."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--output", required=True, type=Path)
    options, others = parser.parse_known_args()
    logging.getLogger().setLevel(logging.WARNING)
    options.output.mkdir(parents=True)
    consumer = confluent_kafka.Consumer({**CONSUMER, "bootstrap.servers": options.bootstrap_servers})
    ends = spans(consumer, options.topic)
    consumer.close()
    parts = [(number, low, high) for number, (low, high) in ends.items()]
    beam_options = PipelineOptions(["--runner=PrismRunner", "--environment_type=LOOPBACK", *others])
    with beam.Pipeline(options=beam_options) as pipeline:
        build(pipeline, parts, options.bootstrap_servers, options.topic, options.output)
    polls = sorted(poll for file in options.output.glob("*.json") for poll in json.loads(file.read_text()))
    messages = sum(count for _, count in polls)
    if messages != sum(high - low for _, low, high in parts):
        sys.exit(f"{messages} messages were read, expected {parts}")
    after_first = messages - polls[0][1]
    print(json.dumps({"messages": messages, "after_first": after_first, "seconds": polls[-1][0] - polls[0][0]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
