"""Messages of the client to columns, with as few steps of Python a message as can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Message

from telebeam.io.kafka.cluster import Place
from telebeam.transforms.batches import binary, constant
from telebeam.transforms.schema import ENVELOPES, in_flight

ENVELOPES_IN_FLIGHT = in_flight(ENVELOPES)
HEADERS = pa.field("headers", pa.map_(pa.string(), pa.binary()))
"""A column that stands only where a message has some; a name may occur several times."""

Ints = npt.NDArray[np.int64]

_MAX_MILLISECONDS = (2**63 - 1) // 1000
_timestamp = itemgetter(1)


class Columns(NamedTuple):
    """Messages of one partition in the order of their offsets, those without a payload included."""

    payload: pa.Array
    """large_binary[n]; null for a tombstone, which deletes a key and holds no record."""
    key: pa.Array
    """binary[n]."""
    headers: list[Any] | None
    offset: Ints
    time: Ints
    """µs since 1970, -1 where there is none."""

    @staticmethod
    def none() -> Columns:
        """No messages."""
        nothing = np.zeros(0, np.int64)
        return Columns(pa.array([], pa.large_binary()), pa.array([], pa.binary()), None, nothing, nothing)

    def take(self, rows: npt.NDArray[Any]) -> Columns:
        """Some of the rows: their places, or a mask."""
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        chosen = pa.array(places)
        headers = None if self.headers is None else [self.headers[place] for place in places.tolist()]
        return Columns(
            self.payload.take(chosen), self.key.take(chosen), headers, self.offset[places], self.time[places]
        )


def by_partition(messages: Sequence[Message], topics: Sequence[str]) -> Iterator[tuple[Place, Columns]]:
    """The messages of each partition as columns.

    Args:
        messages: Of any of the topics, none of them an error.
        topics: All that there may be.
    """
    if not messages:
        return
    count = len(messages)
    owner = np.fromiter(map(Message.partition, messages), np.int64, count)
    if len(topics) > 1:
        codes: dict[str | None, int] = {topic: code << 32 for code, topic in enumerate(topics)}
        owner |= np.fromiter(map(codes.__getitem__, map(Message.topic, messages)), np.int64, count)
    order = np.argsort(owner, kind="stable")
    ordered, owner = list(map(messages.__getitem__, order.tolist())), owner[order]
    edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), count]
    for first, end in pairwise(edges):
        yield _place(int(owner[first]), topics), _columns(ordered[first:end])


def _place(owner: int, topics: Sequence[str]) -> Place:
    return Place(topics[owner >> 32], owner & 0xFFFF_FFFF)


def _columns(messages: Sequence[Message]) -> Columns:
    count = len(messages)
    milliseconds = np.fromiter(map(_timestamp, map(Message.timestamp, messages)), np.int64, count)
    headers = list(map(Message.headers, messages))
    return Columns(
        payload=binary(list(map(Message.value, messages))),
        key=pa.array(list(map(Message.key, messages)), pa.binary()),
        headers=headers if any(headers) else None,
        offset=np.fromiter(map(Message.offset, messages), np.int64, count),
        # A producer may stamp what it likes: what no clock of ours can show is none.
        time=np.where((milliseconds >= 0) & (milliseconds <= _MAX_MILLISECONDS), milliseconds * 1000, -1),
    )


def envelopes(columns: Columns, place: Place) -> tuple[pa.RecordBatch, Ints]:
    """The records, :data:`ENVELOPES_IN_FLIGHT` and perhaps :data:`HEADERS`, and their times; no tombstones."""
    if columns.payload.null_count:
        columns = columns.take(columns.payload.is_valid().to_numpy(zero_copy_only=False))
    rows = len(columns.payload)
    arrays = [
        columns.payload,
        _keys(columns.key, place.topic),
        constant(place.topic, rows),
        pa.array(np.full(rows, place.number, np.int32)),
        pa.array(columns.offset),
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=ENVELOPES_IN_FLIGHT)
    if columns.headers is not None and any(columns.headers):
        batch = batch.append_column(HEADERS, _headers(columns.headers))
    return batch, columns.time


def _keys(keys: pa.Array, topic: str) -> pa.Array:
    """The messages' keys as text; the topic where there is none, or one that is no text."""
    try:
        texts = keys.cast(pa.string())
    except pa.ArrowInvalid:
        texts = pa.array([_text(key) for key in keys.to_pylist()], pa.string())
    return pc.fill_null(texts, topic) if texts.null_count else texts


def _text(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None


def _headers(headers: list[Any]) -> pa.Array:
    """A null where a message has none, and a null for a header without a value."""
    return pa.array([pairs or None for pairs in headers], HEADERS.type)
