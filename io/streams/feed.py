"""What a stream looks like to its reader, whatever broker it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Partition(NamedTuple):
    """A part of a stream whose records have an order: a topic's partition, a subscription."""

    stream: str
    """Names files and journals, so it is unique for good: of a Kafka topic ``<name>-<six digits of its id>``."""
    number: int

    @property
    def name(self) -> str:
        """``stream/number``: the key in notices, receipts and restrictions."""
        return f"{self.stream}/{self.number}"

    @staticmethod
    def named(name: str) -> Partition:
        """The partition of a :attr:`name`.

        >>> Partition.named("iot-4f2a91/3")
        Partition(stream='iot-4f2a91', number=3)
        """
        stream, _, number = name.rpartition("/")
        return Partition(stream, int(number))


class Polled(NamedTuple):
    """Some records of a partition, in the order of their offsets, each once."""

    partition: Partition
    envelopes: pa.RecordBatch
    """``ENVELOPES``: ``source`` is the topic's or subscription's plain name, ``source_offset`` ascends."""
    times: npt.NDArray[np.int64]
    """When the broker or the producer stamped each record, µs since 1970; -1 where nobody did."""
    next: int
    """Where the partition goes on: behind the last record and behind gaps that hold none (compaction, transactions)."""
    ids: pa.Int64Array | None = None
    """Of each record, where its broker may deliver it again under another offset: equal ids are one record."""


Position = Callable[[Partition], int | None]
"""The offset to go on from, where it is known."""


class Feed(Protocol):
    """A live connection of one reader to its share of a stream's partitions.  Not thread-safe."""

    def open(self, position: Position) -> None:
        """Connects and finds this reader's partitions.

        Waits as long as the broker can't be reached, saying so in the log.

        Args:
            position: Asked once for each partition, also for those that appear later.  None: the source's ``start``
                decides for partitions that are there when the job starts; later ones are read from their beginning.

        Raises:
            SourceError: Refused login, unknown topic, records that are gone (see ``on_gap``).
        """

    def partitions(self) -> frozenset[Partition]:
        """This reader's partitions as last seen."""

    def poll(self, seconds: float) -> list[Polled]:
        """What has come, at most one item a partition; waits at most so long if nothing has.

        A broker that is away for a while is waited for: it gives nothing.

        Raises:
            SourceError: As :meth:`open`.
        """

    def behind(self) -> int:
        """How many records the broker has that were not polled yet, as last known."""

    def drained(self, partition: Partition) -> bool:
        """Whether the broker has said that a partition has nothing more for now."""

    def finished(self) -> bool:
        """Whether a bounded read has delivered everything up to its end; never for an unbounded one."""

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Tells the broker that all below these offsets is durable; a broker that is away is told the next time."""

    def close(self) -> None:
        """Ends the connection; a second time does nothing."""
