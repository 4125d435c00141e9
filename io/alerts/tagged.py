"""Tagged readings as messages: a topic is told of each reading that a rule tags."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.alerts.messages import Kind
from telebeam.transforms.schema import READINGS, TEXT, conform

TAGGED_ROWS = pa.schema([*READINGS, pa.field("tag", TEXT, nullable=False), pa.field("tagged_id", TEXT, nullable=False)])
"""One row is one reading under one tag; ``tagged_id`` is a hash of the tag, the reading and where it came from."""

SEGMENT_SECONDS = 600
"""Shorter than of alerts: readings may be thousands a second, and some 80 bytes of each known one are in memory."""
TAGGED = Kind(
    "tagged", TAGGED_ROWS, "tagged_id", ("tagged_id", "tag"), ("tagged_id",), SEGMENT_SECONDS, 2 * 86_400 // 600
)

_SAID = (
    "tenant", "device_id", "timestamp", "sensor_type", "measurement_type", "unit", "location",
    "source", "source_partition", "source_offset",
)  # fmt: skip
_LARGE = pa.large_string()


def kept_for(seconds: float) -> int:
    """Segments of the log that are enough where readings come at most so many seconds of event time out of order."""
    return int(-(-seconds // SEGMENT_SECONDS)) + 2


def tagged_rows(readings: pa.RecordBatch, tag: str) -> pa.RecordBatch:
    """:data:`TAGGED_ROWS` of the readings of one tag.

    Of readings that are alike in all columns, of one record, each has an id of its own.

    Args:
        readings: ``READINGS``, in flight or not: all of an instant, for these ids.
        tag: The tag.
    """
    plain = conform(readings, READINGS)
    bits = plain.column("value").view(pa.int64())  # they tell -0.0 from 0.0, and no digits are rounded
    parts = [_text(plain.column(name)) for name in _SAID]
    said = pc.binary_join_element_wise(pa.scalar(tag, _LARGE), *parts, bits.cast(_LARGE), pa.scalar("\0", _LARGE))
    seen: Counter[bytes] = Counter()
    ids = []
    for text in said.cast(pa.large_binary()).to_pylist():
        ids.append(blake2b(b"%b\0%d" % (text, seen[text]), digest_size=16).hexdigest())
        seen[text] += 1
    columns = [*plain.columns, pa.repeat(pa.scalar(tag, TEXT), plain.num_rows), pa.array(ids, TEXT)]
    return pa.RecordBatch.from_arrays(columns, schema=TAGGED_ROWS)


def _text(column: pa.Array) -> pa.LargeStringArray:
    """A column's texts; what is null is told from what is empty."""
    kind = pa.int64() if pa.types.is_timestamp(column.type) else column.type
    return pc.fill_null(pc.binary_join_element_wise(pa.scalar("=", _LARGE), column.cast(kind).cast(_LARGE),
                                                    pa.scalar("", _LARGE)), pa.scalar("", _LARGE))  # fmt: skip
