"""Pub/Sub in a pipeline: writing from any runner, and reading by Dataflow's own source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from telebeam.io.pubsub.feed import PubSubFeeds
from telebeam.io.pubsub.messages import Messages, envelopes_of
from telebeam.io.pubsub.sink import RowPublisher
from telebeam.io.pubsub.spec import PubSubSinkSpec, PubSubSourceSpec
from telebeam.io.streams.envelopes import ReadEnvelopes
from telebeam.io.streams.seen import id_numbers
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches

MOST_ROWS = 10_000
MOST_BYTES = 16 * 1024 * 1024
"""Messages a batch, unless their bundle ends before."""


@dataclass
class ReadFromPubSub(beam.PTransform):
    """Reads a subscription as batches of ``ENVELOPES``, unbounded.

    On Dataflow by the runner's own source, elsewhere by pulling within a splittable DoFn, which acknowledges messages
    when the runner has finalized their bundle.  On local runners that is before what follows has happened: ``telebeam
    run`` files what it reads within the bundle.

    Args:
        spec: The subscription.
    """

    spec: PubSubSourceSpec

    def expand(self, root: Any) -> Any:
        """The batches."""
        if type(root.pipeline.runner).__name__ == "DataflowRunner":
            return root | "ReadOnDataflow" >> dataflow_envelopes(self.spec)
        return root | "ReadSubscription" >> ReadEnvelopes(PubSubFeeds(self.spec))


@dataclass
class WriteToPubSub(beam.PTransform):
    """Publishes each row as one message: its JSON object, with the attribute ``device_id`` where it has one.

    In: batches of any columns, bounded or unbounded; out: nothing.  Late rows are published like any others.

    Delivery: at least once.  A bundle ends only when Pub/Sub has all of its rows; if it stays away for a minute or
    refuses them, the bundle fails with a ``SinkError`` and the runner publishes it again.  Rows are in no order.

    Args:
        spec: The topic.
    """

    spec: PubSubSinkSpec

    def expand(self, batches: Any) -> Any:
        """Apply the one step."""
        return batches | "PublishRows" >> beam.ParDo(_PublishRows(self.spec)).with_output_types(pa.RecordBatch)


class _PublishRows(beam.DoFn):
    """Holds the client for the worker's life; :class:`RowPublisher` does the work."""

    _publisher: RowPublisher

    def __init__(self, spec: PubSubSinkSpec) -> None:
        super().__init__()
        self._spec = spec

    def setup(self) -> None:
        self._publisher = RowPublisher(self._spec)

    def start_bundle(self) -> None:
        self._publisher.discard()  # what a bundle that failed left behind: its retry brings it again

    def process(self, batch: pa.RecordBatch) -> None:
        self._publisher.add(batch)

    def finish_bundle(self) -> None:
        self._publisher.flush()

    def teardown(self) -> None:
        if hasattr(self, "_publisher"):  # absent where setup() found no login
            self._publisher.close()


def dataflow_envelopes(spec: PubSubSourceSpec) -> beam.PTransform:
    """Reads a subscription by Dataflow's own source, as the columns that a PubSubFeed gives; for that runner only."""
    return ReadEnvelopesOnDataflow(spec)


@dataclass
class ReadEnvelopesOnDataflow(beam.PTransform):
    """Reads a subscription by the runner's own source into batches of ``ENVELOPES``.

    Unbounded.  A batch holds messages of one bundle, at the earliest of their timestamps: the time of
    ``timestamp_attribute``, else of publication.  ``source_offset`` is the message id, or a hash of one that is no
    number.

    Delivery: the runner acknowledges a message when what became of it is in its checkpoint, and leaves out those that
    come again within ten minutes, by ``id_attribute`` or by message id.

    Args:
        spec: The subscription; limits and leases are the runner's own matter.
    """

    spec: PubSubSourceSpec

    def expand(self, root: Any) -> Any:
        """The batches."""
        read = beam.io.ReadFromPubSub(
            subscription=self.spec.subscription,
            with_attributes=True,
            id_label=self.spec.id_attribute,
            timestamp_attribute=self.spec.timestamp_attribute,
        )
        gather = beam.ParDo(GatherMessages(self.spec.short_name)).with_output_types(pa.RecordBatch)
        return root | "ReadMessages" >> read | "GatherMessages" >> gather


class GatherMessages(beam.DoFn):
    """Gathers the messages of a bundle into batches of ``ENVELOPES``.

    Args:
        source: What ``source`` says.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source
        self._clear()

    def _clear(self) -> None:
        self._messages: list[Any] = []
        self._size = 0
        self._earliest = MAX_TIMESTAMP

    def start_bundle(self) -> None:
        """Leaves out what a bundle that failed has left behind."""
        self._clear()

    def process(self, message: Any, timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[Any]:
        """Takes a message; gives a batch when it is full."""
        self._messages.append(message)
        self._size += len(message.data or b"")
        self._earliest = min(self._earliest, Timestamp.of(timestamp))
        if len(self._messages) >= MOST_ROWS or self._size >= MOST_BYTES:
            yield from self.finish_bundle()

    def finish_bundle(self) -> Iterator[Any]:
        """Gives what is left."""
        if self._messages:
            batch, at = self._batch(), self._earliest
            self._clear()
            yield WindowedValue(batch, at, (GlobalWindow(),))

    def _batch(self) -> pa.RecordBatch:
        messages = Messages(
            [message.data or b"" for message in self._messages],
            [message.attributes for message in self._messages],
            [message.ordering_key for message in self._messages],
            [message.message_id or "" for message in self._messages],
            np.zeros(len(self._messages), np.int64),  # the batch's timestamp says it
        )
        # A hash is below 0: without its sign it is an offset.
        return envelopes_of(messages, self._source, id_numbers(messages.ids) & np.int64(2**63 - 1))
