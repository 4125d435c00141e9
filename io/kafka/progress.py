"""How far a partition was read, and where reading it begins."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from telebeam.io.kafka.cluster import Cluster, OffsetSpec, Place
from telebeam.io.kafka.envelopes import Columns, envelopes
from telebeam.io.kafka.spec import KafkaSourceSpec, milliseconds
from telebeam.io.streams.feed import Partition, Polled
from telebeam.transforms.errors import SourceError

_LOG = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far one partition was read."""

    place: Place
    partition: Partition
    next: int
    until: int | None = None
    """Where a bounded read of it ends."""
    end: int = -1
    """The largest end of its log that was heard of."""
    heard_at: float = -math.inf
    """When the broker said so, in seconds of a clock that only grows."""
    is_told: bool = False
    """Whether somebody was told where reading begins."""

    def hear(self, end: int, at: float) -> None:
        """Notes where the broker says that the log ends."""
        self.end, self.heard_at = max(self.end, end), at

    @property
    def behind(self) -> int:
        """Records that are known and not yet read."""
        return max((self.end if self.until is None else self.until) - self.next, 0)

    @property
    def is_finished(self) -> bool:
        """Whether a bounded read is at its end."""
        return self.until is not None and self.next >= self.until

    def is_drained(self, since: float) -> bool:
        """Whether the broker has said since then that there is nothing more."""
        return self.next >= self.end and self.heard_at >= since

    def take(self, columns: Columns) -> Polled | None:
        """What of some messages is to be handed out: each offset once, none behind the end."""
        stop = math.inf if self.until is None else self.until
        wanted = (columns.offset >= self.next) & (columns.offset < stop)
        last = int(columns.offset[-1]) + 1
        if not wanted.all():
            columns = columns.take(wanted)
        return self._polled(columns, last)

    def skip_to(self, offset: int) -> Polled | None:
        """Moves over offsets that hold no records: deleted, compacted, or a transaction's marks."""
        return self._polled(None, offset) if offset > self.next else None

    def begin(self) -> Polled:
        """Says where reading begins."""
        self.is_told = True
        return Polled(self.partition, *envelopes(Columns.none(), self.place), self.next)

    def _polled(self, columns: Columns | None, following: int) -> Polled | None:
        end = following if self.until is None else min(following, self.until)
        if end <= self.next:
            return None
        self.next, self.is_told = end, True
        return Polled(self.partition, *envelopes(columns or Columns.none(), self.place), end)


class Beginning(NamedTuple):
    """A partition that is to be read."""

    partition: Partition
    at: int | None
    """From where, where that is known."""
    is_new: bool
    """It was not there when the job started: it is read from its beginning."""


def begin(
    wanted: Mapping[Place, Beginning],
    spec: KafkaSourceSpec,
    cluster: Cluster,
    committed: Callable[[list[Place]], Mapping[Place, int]],
    now: float,
) -> list[Progress]:
    """Where the partitions begin and, of a bounded read, where they end.

    Args:
        wanted: The partitions.
        spec: What ``start``, ``until`` and ``on_gap`` say.
        cluster: Is asked for the offsets.
        committed: Partitions → the offsets that the group has committed, of those that have one.
        now: Seconds since 1970.

    Raises:
        SourceError: Records are gone, or ``until`` lies ahead.
        AwayError: No broker answers.
    """
    low, high = cluster.edges(wanted)
    by_start = [place for place, it in wanted.items() if it.at is None and not it.is_new]
    starts = _starts(by_start, spec.start, cluster, committed, low, high)
    untils = _untils(list(wanted), spec.until, cluster, high, now)
    begun = []
    for place, it in wanted.items():
        at = it.at if it.at is not None else starts.get(place, low[place])
        at = within(at, low[place], high[place], place, spec.on_gap)
        begun.append(Progress(place, it.partition, at, untils.get(place), is_told=it.at == at))
    return begun


def within(at: int, low: int, high: int, place: Place, on_gap: str) -> int:
    """Where to go on in a log that reaches from ``low`` to ``high``.

    Raises:
        SourceError: What is to be read next is gone, and that is not to be skipped.
    """
    name = f"partition {place.number} of topic {place.topic}"
    if at > high:
        raise SourceError(
            f"{name} ends at offset {high:,}, and was read up to {at:,}: its records were lost, or it was made anew",
            "give the job another pipeline name to read the topic from its beginning",
        )
    if at >= low:
        return at
    lost = f"{low - at:,} records of {name} were deleted before they were read (offsets {at:,} to {low - 1:,})"
    if on_gap == "fail":
        raise SourceError(lost, f"source.kafka.on_gap: skip goes on at offset {low:,}; longer retention prevents it")
    _LOG.warning("%s; going on behind them", lost)
    return low


def _starts(
    places: list[Place],
    start: str,
    cluster: Cluster,
    committed: Callable[[list[Place]], Mapping[Place, int]],
    low: Mapping[Place, int],
    high: Mapping[Place, int],
) -> dict[Place, int]:
    if not places or start == "earliest":
        return {}
    if start == "latest":
        return {place: high[place] for place in places}
    if start != "committed":
        return _at(start, places, cluster, high)
    found = dict(committed(places))
    for place in [place for place, offset in found.items() if offset > high[place]]:
        # Kafka forgets a group's offsets when a topic is deleted, but not at once.
        _LOG.warning(
            "the group has committed offset %s of partition %d of topic %s, which ends at %s; reading all of it",
            f"{found.pop(place):,}", place.number, place.topic, f"{high[place]:,}",
        )  # fmt: skip
    return found


def _untils(
    places: list[Place], until: str | None, cluster: Cluster, high: Mapping[Place, int], now: float
) -> dict[Place, int]:
    if until is None:
        return {}
    if until == "end":
        return dict(high)
    if datetime.fromisoformat(until).timestamp() > now:
        raise SourceError(
            f"until: {until} lies ahead, and what will have come by then is not there yet",
            "name a time that has passed, or leave until out",
        )
    return _at(until, places, cluster, high)


def _at(moment: str, places: list[Place], cluster: Cluster, high: Mapping[Place, int]) -> dict[Place, int]:
    """The first records from a time on; a log's end where there is none."""
    spec = OffsetSpec.for_timestamp(milliseconds(moment))
    found = cluster.offsets(cluster.ask_offsets(dict.fromkeys(places, spec)))
    return {place: offset if offset >= 0 else high[place] for place, offset in found.items()}
