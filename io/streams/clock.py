"""How far a reader's event time has come."""

from __future__ import annotations

from dataclasses import dataclass

from telebeam.io.streams.notices import FOREVER, NEVER


@dataclass
class PartitionClock:
    """What is known of one partition's time."""

    newest: int = NEVER
    """The newest event time, µs since 1970."""
    heard: float = 0.0
    """When it last gave a record, monotonic seconds."""
    drained: bool = False
    """Whether the broker has said that it has nothing more."""
    finished: bool = False
    """Whether a bounded read has come to its end."""


@dataclass
class ReaderClock:
    """The watermark of a reader: it never goes back.

    The slowest partition's newest event time less ``max_out_of_orderness``.  A partition is left out that the broker
    says is drained and that has given nothing for ``idle_after``: a silent one holds up nobody, and one that is
    merely slow to be read does.  Where all are silent, the present less ``max_out_of_orderness``.

    Args:
        max_out_of_orderness: In µs.
        idle_after: In seconds.
    """

    max_out_of_orderness: int
    idle_after: float
    value: int = NEVER

    def advance(self, partitions: list[PartitionClock], monotonic: float, now: int) -> int:
        """The watermark, µs since 1970.

        Args:
            partitions: All that the reader has.
            monotonic: The clock by which ``heard`` was taken, in seconds.
            now: The time of day, µs since 1970.
        """
        self.value = max(self.value, self._of(partitions, monotonic, now))
        return self.value

    def _of(self, partitions: list[PartitionClock], monotonic: float, now: int) -> int:
        unfinished = [each for each in partitions if not each.finished]
        if partitions and not unfinished:
            return FOREVER
        busy = [each for each in unfinished if not self._idle(each, monotonic)]
        newest = min((each.newest for each in busy), default=now)
        return NEVER if newest == NEVER else min(newest, now) - self.max_out_of_orderness

    def _idle(self, partition: PartitionClock, monotonic: float) -> bool:
        return partition.drained and monotonic - partition.heard >= self.idle_after
