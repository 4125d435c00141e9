"""A broker in memory, for tests of streams, ours and yours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from telebeam.io.streams.feed import Partition, Polled, Position
from telebeam.transforms.schema import ENVELOPES


@dataclass
class MemoryBroker:
    """A stream whose records stay, by partition.

    Args:
        stream: Its name.
        partitions: How many.
    """

    stream: str = "memory"
    partitions: int = 1
    records: dict[int, list[tuple[bytes, str | None, int]]] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)

    def append(self, partition: int, payload: bytes, *, key: str | None = None, stamped: int = -1) -> int:
        """Adds a record and gives its offset.

        Args:
            partition: Where to.
            payload: Its bytes.
            key: Its key or topic.
            stamped: When it was made, µs since 1970.
        """
        log = self.records.setdefault(partition, [])
        log.append((payload, key, stamped))
        return len(log) - 1


@dataclass
class MemoryFeed:
    """One reader's share of a :class:`MemoryBroker`.

    Args:
        broker: What is read.
        index: Which of the readers.
        readers: How many there are.
        until_end: Whether the read finishes when all is read.
        most: How many records a poll gives of a partition.
    """

    broker: MemoryBroker
    index: int = 0
    readers: int = 1
    until_end: bool = True
    most: int = 1000
    at: dict[int, int] = field(default_factory=dict)

    def open(self, position: Position) -> None:
        """Begins where the positions say, else at the beginning."""
        for number in self._numbers():
            self.at[number] = position(Partition(self.broker.stream, number)) or 0

    def _numbers(self) -> list[int]:
        return [number for number in range(self.broker.partitions) if number % self.readers == self.index]

    def partitions(self) -> frozenset[Partition]:
        """This reader's."""
        return frozenset(Partition(self.broker.stream, number) for number in self._numbers())

    def poll(self, seconds: float) -> list[Polled]:
        """What there is; it never waits."""
        del seconds
        return [polled for number in self._numbers() if (polled := self._poll(number)) is not None]

    def _poll(self, number: int) -> Polled | None:
        begin = self.at.get(number, 0)
        records = self.broker.records.get(number, [])[begin : begin + self.most]
        if not records:
            return None
        payloads, keys, stamps = zip(*records, strict=True)
        rows = len(records)
        columns = [
            pa.array(payloads, pa.large_binary()),
            pa.array(keys, pa.string()),
            pa.array([self.broker.stream] * rows, pa.string()),
            pa.array(np.full(rows, number, np.int32)),
            pa.array(np.arange(begin, begin + rows)),
        ]
        self.at[number] = begin + rows
        envelopes = pa.RecordBatch.from_arrays(columns, schema=ENVELOPES)
        return Polled(Partition(self.broker.stream, number), envelopes, np.array(stamps, np.int64), begin + rows)

    def behind(self) -> int:
        """Records that were not polled yet."""
        return sum(len(self.broker.records.get(number, [])) - self.at.get(number, 0) for number in self._numbers())

    def drained(self, partition: Partition) -> bool:
        """Whether all of it was polled."""
        return self.at.get(partition.number, 0) >= len(self.broker.records.get(partition.number, []))

    def finished(self) -> bool:
        """Whether all was polled, where that is the end."""
        return self.until_end and self.behind() == 0

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Keeps the positions for the test to look at."""
        self.broker.committed |= {partition.number: offset for partition, offset in positions.items()}

    def close(self) -> None:
        """Nothing to end."""


@dataclass(frozen=True)
class MemoryFeeds:
    """Makes the feeds of a broker's readers.

    Args:
        broker: What is read; the readers have to be in its process.
        until_end: Whether reads finish.
        most: How many records a poll gives of a partition.
    """

    broker: MemoryBroker
    until_end: bool = True
    most: int = 1000

    def __call__(self, index: int, readers: int) -> MemoryFeed:
        """The feed of one of so many readers."""
        return MemoryFeed(self.broker, index, readers, self.until_end, self.most)

    def probe(self) -> None:
        """It is always there."""

    def readers(self) -> int:
        """One does."""
        return 1

    def lag(self, positions: Mapping[Partition, int]) -> int | None:
        """Records beyond these offsets."""
        held = {partition.number: offset for partition, offset in positions.items()}
        return sum(len(log) - held.get(number, 0) for number, log in self.broker.records.items())
