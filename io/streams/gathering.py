"""Checks what several polls of several partitions gave in one go: a short batch costs much the same as a long one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.streams.feed import Partition, Polled
from telebeam.transforms.batches import concat, with_columns
from telebeam.transforms.checking import Checks
from telebeam.transforms.schema import ENVELOPES, TIMESTAMP

CHECK_ROWS = 50_000
"""Records that are checked together: beyond it a batch costs no less a record."""
CHECK_BYTES = 16 * 1024 * 1024
"""The same of large messages, which hold many readings or one that is refused."""
GATHER_SECONDS = 0.05
"""How long records wait for others: a reading is in InfluxDB within a few of these."""
GATHER_SECONDS_BEHIND = 1.0
"""The same where the broker has more than can be checked together: who is late already gains by fewer batches."""

_NUMBER = "source_partition"
_CONTENT_TYPE = ("content-type", "Content-Type", "contentType", "content_type")


class Waiting:
    """Polls that wait to be checked together."""

    def __init__(self) -> None:
        self._polls: list[Polled] = []
        self._since = 0.0
        self._rows = 0
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._polls)

    def add(self, polled: Polled, now: float) -> None:
        """Takes one more.

        Args:
            polled: What came.
            now: Monotonic seconds.
        """
        if not self._polls:
            self._since = now
        self._polls.append(polled)
        self._rows += polled.envelopes.num_rows
        self._bytes += polled.envelopes.nbytes

    def are_enough(self, now: float, behind: int) -> bool:
        """Whether they are to be checked now: a short batch costs much the same as a long one.

        Args:
            now: Monotonic seconds.
            behind: Records that the broker has more.
        """
        patience = GATHER_SECONDS if behind < CHECK_ROWS else GATHER_SECONDS_BEHIND
        return now - self._since >= patience or self._rows >= CHECK_ROWS or self._bytes >= CHECK_BYTES

    def take(self) -> list[Polled]:
        """All of them; none is left."""
        polls, self._polls = self._polls, []
        self._rows = self._bytes = 0
        return polls


class Gathered(NamedTuple):
    """What some polls of a partition gave."""

    readings: pa.RecordBatch
    rejects: pa.RecordBatch
    offsets: npt.NDArray[np.int64]
    """Of the records, ascending."""
    times: npt.NDArray[np.int64]
    """When they were stamped, µs since 1970; -1 where nobody did."""
    next: int
    """Where the partition goes on."""


def gathered(polls: Sequence[Polled], checks: Checks, now: int) -> dict[Partition, Gathered]:
    """The readings and rejects of some polls, by partition.

    Args:
        polls: Of any partitions; those of one in their order.
        checks: What makes readings of records.
        now: µs since 1970.
    """
    of_partition: dict[Partition, list[Polled]] = {}
    for polled in polls:
        of_partition.setdefault(polled.partition, []).append(polled)
    # While they are together their place among the partitions stands for the number: two streams may have the same.
    records = concat(
        [
            _numbered(_record_columns(polled), place)
            for place, parts in enumerate(of_partition.values())
            for polled in parts
        ]
    )
    checked = checks(records, now)
    numbers = [partition.number for partition in of_partition]
    readings, rejects = _parted(checked.readings, numbers), _parted(checked.rejects, numbers)
    found = {}
    for (partition, parts), good, bad in zip(of_partition.items(), readings, rejects, strict=True):
        offsets = [part.envelopes.column("source_offset").to_numpy(zero_copy_only=False) for part in parts]
        times = np.concatenate([part.times for part in parts])
        found[partition] = Gathered(good, bad, np.concatenate(offsets), times, parts[-1].next)
    return found


def _record_columns(polled: Polled) -> pa.RecordBatch:
    """The envelopes with what else parsing has a use for: what the payload is, and when the broker took it."""
    batch = polled.envelopes
    published = pa.array(polled.times, mask=polled.times < 0).cast(TIMESTAMP)
    kinds = pa.nulls(batch.num_rows, pa.string())
    if "headers" in batch.schema.names:
        kinds = content_types(batch.column("headers"))
    return with_columns(batch.select(ENVELOPES.names), {"content_type": kinds, "published_at": published})


def content_types(headers: pa.MapArray) -> pa.Array:
    """string[n]: the header ``content-type`` of each message, under the names that it has; null where there is none."""
    found = pa.nulls(len(headers), pa.binary())
    for name in _CONTENT_TYPE:
        found = pc.coalesce(found, pc.map_lookup(headers, name, "first"))
    try:
        return found.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([text and text.decode(errors="replace") for text in found.to_pylist()], pa.string())


def _numbered(batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
    return with_columns(batch, {_NUMBER: pa.array(np.full(batch.num_rows, number, np.int32))})


def _parted(rows: pa.RecordBatch, numbers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The rows of each place, in its order, with the number that stands there."""
    places = rows.column(_NUMBER).to_numpy(zero_copy_only=False)
    if len(places) and np.any(np.diff(places) < 0):
        order = np.argsort(places, kind="stable")
        rows, places = rows.take(pa.array(order)), places[order]
    edges = np.searchsorted(places, np.arange(len(numbers) + 1))
    for place, number in enumerate(numbers):
        begin, end = int(edges[place]), int(edges[place + 1])
        part = rows.slice(begin, end - begin)
        yield part if number == place else _numbered(part, number)
