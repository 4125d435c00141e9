"""Messages as envelopes: plain columns out of what Pub/Sub's clients hand over one by one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import binary
from telebeam.transforms.parsing.assemble import DEVICE_IN_KEY
from telebeam.transforms.parsing.timestamps import parse_timestamps
from telebeam.transforms.schema import ENVELOPES

HEADERS = pa.field("headers", pa.map_(pa.string(), pa.binary()))
"""The attributes; a batch has the column where a message of it has some."""

_KEY_ATTRIBUTES = ("key", "topic", "mqtt_topic")
_ID_ATTRIBUTES = ("device_id", "deviceId")
_NAMES_DEVICE = re.compile(DEVICE_IN_KEY)
_MILLISECONDS = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # ms: the years 1 to 9999

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Messages:
    """The parts of some messages, each a list in the order of the messages."""

    data: Sequence[bytes]
    attributes: Sequence[Mapping[str, str] | None]
    """None or empty where a message has none."""
    ordering_keys: Sequence[str | None]
    ids: Sequence[str]
    """Pub/Sub's message ids."""
    published: Integers
    """µs since 1970."""

    def __len__(self) -> int:
        return len(self.data)

    def rows(self, mask: npt.NDArray[np.bool_]) -> Messages:
        """Those where the mask is true."""
        return Messages(
            list(itertools.compress(self.data, mask)),
            list(itertools.compress(self.attributes, mask)),
            list(itertools.compress(self.ordering_keys, mask)),
            list(itertools.compress(self.ids, mask)),
            self.published[mask],
        )


def messages_of(received: Sequence[Any]) -> Messages:
    """The parts of protocol buffers of ``PubsubMessage``."""
    stamps = [message.publish_time for message in received]
    seconds = np.fromiter((stamp.seconds for stamp in stamps), np.int64, len(stamps))
    nanoseconds = np.fromiter((stamp.nanos for stamp in stamps), np.int64, len(stamps))
    return Messages(
        [message.data for message in received],
        [message.attributes for message in received],
        [message.ordering_key for message in received],
        [message.message_id for message in received],
        seconds * 1_000_000 + nanoseconds // 1000,
    )


def envelopes_of(messages: Messages, source: str, offsets: Integers) -> pa.RecordBatch:
    """The messages as ``ENVELOPES``, with the column ``headers`` where a message has attributes.

    ``key`` is the ordering key.  Where that names no device (``devices/{id}/telemetry``) and an attribute does, it is
    that attribute: ``key``, ``topic`` or ``mqtt_topic`` as they are, or one made of ``device_id`` or ``deviceId``.
    """
    rows = len(messages)
    columns = [
        binary(messages.data),
        pa.array(list(map(_key, messages.ordering_keys, messages.attributes)), pa.string()),
        pa.repeat(pa.scalar(source, pa.string()), rows),
        pa.array(np.zeros(rows, np.int32)),
        pa.array(offsets),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=ENVELOPES)
    return batch.append_column(HEADERS, _headers(messages.attributes)) if any(messages.attributes) else batch


def _key(ordering_key: str | None, attributes: Mapping[str, str] | None) -> str | None:
    if not attributes or (ordering_key and _NAMES_DEVICE.search(ordering_key)):
        return ordering_key or None
    for name in _KEY_ATTRIBUTES:
        value = attributes.get(name)
        if value is not None and _NAMES_DEVICE.search(value):
            return value
    for name in _ID_ATTRIBUTES:
        value = attributes.get(name)
        if value and "/" not in value:  # a slash would end the id in a key
            return f"devices/{value}/telemetry"
    return ordering_key or None


def _headers(attributes: Sequence[Mapping[str, str] | None]) -> pa.MapArray:
    # A mapping of a protocol buffer is in no order: sorted, equal messages give equal bytes.
    pairs = [sorted(each.items()) if each else [] for each in attributes]
    flat = list(itertools.chain.from_iterable(pairs))
    sizes = np.fromiter(map(len, pairs), np.int64, len(pairs))
    ends = np.append(0, np.cumsum(sizes))
    names = pa.array([name for name, _ in flat], pa.string())
    values = pa.array([value for _, value in flat], pa.string()).cast(pa.binary())
    # An offset that is null makes its row null.
    offsets = pa.array(ends, pa.int32(), mask=np.append(sizes == 0, False))
    return pa.MapArray.from_arrays(offsets, names, values)


def times_of(messages: Messages, attribute: str | None) -> Integers:
    """µs since 1970: the attribute's time where it has one that can be read, else when the message was published."""
    if attribute is None or not any(messages.attributes):
        return messages.published
    texts = [each.get(attribute) if each else None for each in messages.attributes]
    numbers = [int(text) if text is not None and _MILLISECONDS.fullmatch(text) else None for text in texts]
    is_number = np.array([number is not None and _FIRST <= number <= _LAST for number in numbers], bool)
    moments = parse_timestamps(pa.array(texts, pa.string()))
    milliseconds = np.array([number or 0 for number in numbers], np.int64)
    return np.where(is_number, milliseconds * 1000, np.where(moments.bad, messages.published, moments.microseconds))


def ids_of(messages: Messages, attribute: str | None) -> Sequence[str]:
    """What tells the messages apart: the attribute where a message has it, else Pub/Sub's message id."""
    if attribute is None or not any(messages.attributes):
        return messages.ids
    pairs = zip(messages.ids, messages.attributes, strict=True)
    # An attribute's text may be another message's id: it is set apart from those.
    return [f"{attribute}={each[attribute]}" if each and attribute in each else own for own, each in pairs]
