"""What a reader tells the stages behind it: a few hundred bytes at the end of each bundle, and never a reading.

A notice is *level-triggered*: it holds all that is outstanding and not what is new, so that one that is lost, repeated
or overtaken does no harm.  What a stage has done it says in a receipt, a file of the lake (:mod:`.receipts`); readers
look there and leave out what is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from telebeam.io.streams.feed import Partition

Interval = tuple[int, int]
"""[first, end) of event time, µs since 1970, at the edges of windows."""

FOREVER = 2**62
"""A clock beyond all event times (the year 148106): a bounded read that has finished."""
NEVER = -(2**62)
"""A clock before all event times."""


class Owed(msgspec.Struct, frozen=True, array_like=True):
    """Files of readings that InfluxDB does not have yet, as far as their reader knows."""

    end: int
    """The offset behind their last record; ascends within a partition."""
    paths: tuple[str, ...]
    """Relative to the lake."""


class PartitionNotice(msgspec.Struct, frozen=True):
    """What is outstanding of one partition."""

    stream: str
    number: int
    next: int
    """All records below this offset are filed."""
    touched: dict[int, tuple[Interval, ...]] = {}
    """Window length in seconds → where windows wait to be computed or computed again."""
    owed: tuple[Owed, ...] = ()
    offsets: dict[int, tuple[int, ...]] = {}
    """A key of ``touched`` → of each of its intervals, the offset below which the records are that touched it.  Where
    there are none, any record may have."""

    @property
    def partition(self) -> Partition:
        """Which one."""
        return Partition(self.stream, self.number)

    @property
    def name(self) -> str:
        """As :attr:`Partition.name`."""
        return self.partition.name


class Notice(msgspec.Struct, frozen=True):
    """What one reader says at the end of a bundle."""

    reader: int
    readers: int
    """How many there are; a stage acts when it has heard all of them."""
    clock: int
    """The reader's watermark, µs since 1970: what comes with an earlier event time was not expected any more."""
    partitions: tuple[PartitionNotice, ...]

    def encode(self) -> bytes:
        """As JSON.

        >>> Notice.decode(Notice(0, 1, 5, ()).encode())
        Notice(reader=0, readers=1, clock=5, partitions=())
        """
        return msgspec.json.encode(self)

    @staticmethod
    def decode(data: bytes) -> Notice:
        """The notice that :meth:`encode` wrote.

        Raises:
            msgspec.ValidationError: It is none.
        """
        return msgspec.json.decode(data, type=Notice)


IN_ORDER = 0
"""In place of a windows' length: what is made in order, scores, alerts and commands."""


class OwedWindows(msgspec.Struct, frozen=True, array_like=True):
    """A file of windows that InfluxDB does not have yet."""

    sequence: int
    """Ascends within a window length, over all runs."""
    path: str
    """Relative to the lake."""


class WindowsOwed(msgspec.Struct, frozen=True):
    """What the stage that keeps the windows of a length says: all files that InfluxDB does not have yet."""

    seconds: int
    """The windows' length, or :data:`IN_ORDER`."""
    owed: tuple[OwedWindows, ...]
    """In the order in which they are to be delivered."""

    def encode(self) -> bytes:
        """As JSON.

        >>> WindowsOwed.decode(WindowsOwed(60, (OwedWindows(1, "windows/a.parquet"),)).encode())
        WindowsOwed(seconds=60, owed=(OwedWindows(sequence=1, path='windows/a.parquet'),))
        """
        return msgspec.json.encode(self)

    @staticmethod
    def decode(data: bytes) -> WindowsOwed:
        """What :meth:`encode` wrote.

        Raises:
            msgspec.ValidationError: It is something else.
        """
        return msgspec.json.decode(data, type=WindowsOwed)


@dataclass
class Heard:
    """The last notice of each reader."""

    notices: dict[int, Notice] = field(default_factory=dict)

    def hear(self, notice: Notice) -> None:
        """Takes a notice in the place of the reader's former one."""
        if self.notices and notice.readers != next(iter(self.notices.values())).readers:
            self.notices.clear()  # another run, with other readers
        self.notices[notice.reader] = notice

    @property
    def clock(self) -> int:
        """The slowest reader's; NEVER until all were heard."""
        readers = next(iter(self.notices.values())).readers if self.notices else 1
        return min(notice.clock for notice in self.notices.values()) if len(self.notices) == readers else NEVER

    def partitions(self) -> list[PartitionNotice]:
        """Those of all readers."""
        return [partition for notice in self.notices.values() for partition in notice.partitions]
