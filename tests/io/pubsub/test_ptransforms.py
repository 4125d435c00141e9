"""Dataflow's own source as the same columns, and what a graph is translated to."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from telebeam.io.pubsub import ptransforms
from telebeam.io.pubsub.messages import HEADERS
from telebeam.io.pubsub.ptransforms import GatherMessages, WriteToPubSub, dataflow_envelopes
from telebeam.io.pubsub.spec import PubSubSinkSpec, PubSubSourceSpec
from telebeam.transforms.schema import ENVELOPES

SPEC = PubSubSourceSpec(
    subscription="projects/my-fleet/subscriptions/telemetry", timestamp_attribute="made", id_attribute="n"
)


def message(number: int, **parts: Any) -> PubsubMessage:
    return PubsubMessage(b"%d" % number, parts.pop("attributes", None), message_id=str(number), **parts)


def gathered(*messages: tuple[PubsubMessage, float]) -> list[Any]:
    gather = GatherMessages("telemetry")
    gather.start_bundle()
    found = [value for each, at in messages for value in gather.process(each, Timestamp(at))]
    return found + list(gather.finish_bundle())


def test_a_bundles_messages_are_one_batch_at_their_earliest_time():
    (value,) = gathered((message(12), 30.0), (message(7, attributes={"a": "b"}), 10.0), (message(9), 20.0))
    assert value.timestamp == Timestamp(10)
    assert value.value.schema == ENVELOPES.append(HEADERS)
    assert value.value.column("source_offset").to_pylist() == [12, 7, 9]
    assert value.value.column("payload").to_pylist() == [b"12", b"7", b"9"]


def test_a_batch_is_bounded_in_rows_and_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ptransforms, "MOST_ROWS", 4)
    monkeypatch.setattr(ptransforms, "MOST_BYTES", 100)
    values = gathered(*[(message(n), float(n)) for n in range(10)])
    assert [value.value.num_rows for value in values] == [4, 4, 2]
    assert [value.timestamp for value in values] == [Timestamp(0), Timestamp(4), Timestamp(8)]
    large = [(PubsubMessage(b"x" * 60, None, message_id="1"), 0.0)] * 3
    assert [value.value.num_rows for value in gathered(*large)] == [2, 1]


def test_an_empty_bundle_gives_nothing_and_a_failed_one_leaves_nothing():
    gather = GatherMessages("telemetry")
    assert list(gather.finish_bundle()) == []
    list(gather.process(message(1), Timestamp(0)))
    gather.start_bundle()
    assert list(gather.finish_bundle()) == []


def test_messages_without_data_attributes_or_numeric_id_are_rows_with_an_offset():
    (value,) = gathered(
        (PubsubMessage(None, {"a": "b"}, message_id=None), 0.0), (PubsubMessage(b"x", {}, message_id="m1"), 0.0)
    )
    offsets = value.value.column("source_offset").to_pylist()
    assert all(0 <= offset < 2**63 for offset in offsets)
    assert len(set(offsets)) == 2
    assert value.value.column("payload").to_pylist() == [b"", b"x"]


def test_no_message_is_lost_in_a_pipeline():
    def rows(batches: list[Any]) -> None:
        assert sorted(int(each) for batch in batches for each in batch.column("payload").to_pylist()) == list(
            range(500)
        )

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        messages = pipeline | beam.Create([TimestampedValue(message(n), n) for n in range(500)])
        assert_that(messages | beam.ParDo(GatherMessages("telemetry")), rows)


def test_reading_is_translated_to_the_runners_own_source():
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming"]))
    _ = pipeline | "Read" >> dataflow_envelopes(SPEC)
    steps = pipeline.to_runner_api().components.transforms.values()
    (read,) = (step for step in steps if step.spec.urn == "beam:transform:pubsub_read:v1")
    for words in (SPEC.subscription, "made", "n"):
        assert words.encode() in read.spec.payload
    assert {"Read/ReadMessages", "Read/GatherMessages"} <= {step.unique_name for step in steps}


def test_writing_has_stable_labels():
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Create([]) | "Write" >> WriteToPubSub(PubSubSinkSpec(topic="projects/my-fleet/topics/alerts"))
    names = {step.unique_name for step in pipeline.to_runner_api().components.transforms.values()}
    assert "Write/PublishRows" in names
