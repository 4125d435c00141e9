"""Kafka in a pipeline of one's own: reading topics as batches of records, writing batches as messages."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.io.json_rows import json_rows
from telebeam.io.kafka.feeds import KafkaFeeds
from telebeam.io.kafka.producer import KafkaWriter
from telebeam.io.kafka.spec import KafkaSinkSpec, KafkaSourceSpec
from telebeam.io.streams.envelopes import ReadEnvelopes
from telebeam.io.streams.spec import TimeSpec
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches

PROCESSED_TOPIC = "iot-processed-data"
"""Where readings go unless another topic is named."""
ALERTS_TOPIC = "iot-alerts"
"""Where alerts go unless another topic is named."""


@dataclass
class ReadFromKafka(beam.PTransform):
    """Reads topics as batches of ``ENVELOPES``; see :class:`~telebeam.io.streams.envelopes.ReadEnvelopes`.

    Unbounded, or with ``until`` a read that finishes.  No Java: a splittable DoFn polls some thousand messages at a
    time into one batch, with key, topic and, where messages have them, headers.  Partitions that are added are found.

    Delivery: at least once, from the runner's checkpoint on; offsets are committed for the group when the runner has
    finalized a bundle.

    Args:
        spec: The topics.
        group_id: Whose offsets are committed, where the spec names no group.
        readers: How many share the partitions.
        time: How far records may be out of order, and when a silent partition is left out of the watermark.
    """

    spec: KafkaSourceSpec
    group_id: str
    _: KW_ONLY
    readers: int = 1
    time: TimeSpec = field(default_factory=TimeSpec)

    def expand(self, root: Any) -> Any:
        """The batches."""
        return root | "ReadTopics" >> ReadEnvelopes(KafkaFeeds(self.spec, self.group_id), self.readers, self.time)


@dataclass
class WriteToKafka(beam.PTransform):
    """Write each row as one message: a JSON object, keyed by ``device_id`` where the rows have one.

    In: batches of any columns, bounded or unbounded; out: an empty PCollection of batches, so that what follows can
    wait for it.  Timestamps are written as RFC 3339; what is null, NaN or infinite is left
    out.

    Late data is written like any other.

    Delivery: at least once.  A bundle ends when all of its messages are acknowledged by all in-sync replicas; one that
    is not fails the bundle with a ``SinkError``, and the runner's retry writes the bundle's messages again.  What the
    client itself sends again the brokers keep once.

    Args:
        spec: The topic; its secrets are resolved on the worker.
    """

    spec: KafkaSinkSpec

    def expand(self, batches: Any) -> Any:
        """Apply the one step."""
        return batches | "WriteMessages" >> beam.ParDo(_WriteMessages(self.spec)).with_output_types(pa.RecordBatch)


def device_keys(batch: pa.RecordBatch) -> list[bytes | None]:
    """The device id of each row as a message's key; nothing where the rows have none."""
    if "device_id" not in batch.schema.names:
        return [None] * batch.num_rows
    column: pa.Array = batch.column("device_id")
    if pa.types.is_dictionary(column.type):
        distinct = column.dictionary.cast(pa.binary()).to_pylist()
        return [None if code is None else distinct[code] for code in column.indices.to_pylist()]
    keys: list[bytes | None] = column.cast(pa.binary()).to_pylist()
    return keys


class _WriteMessages(beam.DoFn):
    """Holds the client for the worker's life; :class:`KafkaWriter` does the work."""

    _writer: KafkaWriter

    def __init__(self, spec: KafkaSinkSpec) -> None:
        super().__init__()
        self._spec = spec

    def setup(self) -> None:
        self._writer = KafkaWriter(self._spec.bootstrap_servers, self._spec.config)

    def process(self, batch: pa.RecordBatch) -> None:
        self._writer.write(self._spec.topic, json_rows(batch), device_keys(batch))

    def finish_bundle(self) -> None:
        self._writer.flush()

    def teardown(self) -> None:
        if hasattr(self, "_writer"):  # absent where setup() found no secret
            self._writer.close()
