"""Which topics there are, seen again and again while they are read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition

from telebeam.io.kafka.cluster import Cluster, OffsetSpec, Place, Topic
from telebeam.io.kafka.errors import Complaints
from telebeam.transforms.errors import SourceError

_LOG = logging.getLogger(__name__)


class Change(NamedTuple):
    """A topic that is not what it was."""

    old: Topic
    new: Topic

    @property
    def is_another(self) -> bool:
        """The topic was deleted and one of its name was made; otherwise it has got more partitions."""
        return self.old.id != self.new.id


class Seen(NamedTuple):
    """The answer to a look."""

    changes: list[Change]
    ends: dict[Place, int]
    """Where logs end, of those that were asked for."""


@dataclass
class _Look:
    topics: Mapping[str, Future[Any]]
    ends: Mapping[TopicPartition, Future[Any]]


class TopicWatch:
    """Looks at topics without waiting, and tells what has changed.

    Args:
        cluster: Is asked.
        names: The topics.
        seconds: How often the ends of logs are asked for, and new partitions looked for where nothing comes.
        complaints: Where it is said that a topic is gone.
    """

    def __init__(self, cluster: Cluster, names: Iterable[str], seconds: float, complaints: Complaints) -> None:
        self._cluster, self._names, self._seconds, self._complaints = cluster, tuple(names), seconds, complaints
        self._look: _Look | None = None
        self._due = time.monotonic() + seconds
        self.topics: dict[str, Topic] = {}
        """As last seen, by name; first by :meth:`find`."""
        self.absent: frozenset[str] = frozenset()
        """Those that were there and are not now."""

    def find(self) -> None:
        """Finds all topics.

        Raises:
            SourceError: One is unknown.
            AwayError: No broker answers.
        """
        self.topics = self._cluster.topics(self._cluster.ask_topics(self._names))

    def forget(self) -> None:
        """Gives up the look that is under way."""
        self._look = None

    def hurry(self) -> None:
        """Makes the next look due."""
        self._due = 0.0

    def ask(self, places: Iterable[Place]) -> None:
        """Looks anew, at the ends of these logs too where that is due; an older answer is of no interest."""
        overdue = time.monotonic() >= self._due or (self._look is not None and bool(self._look.ends))
        latest = dict.fromkeys(places, OffsetSpec.latest()) if overdue else {}
        ends = self._cluster.ask_offsets(latest) if latest else {}
        if overdue:
            self._due = time.monotonic() + self._seconds
        self._look = _Look(self._cluster.ask_topics(self._names), ends)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked and nothing is due."""
        return self._look is None and time.monotonic() < self._due

    @property
    def is_asked(self) -> bool:
        """Whether a look is under way."""
        return self._look is not None

    def answer(self, seconds: float) -> Seen | None:
        """What was seen, if the answer is there after at most so long.

        Raises:
            AwayError: No broker answers.
        """
        look = self._look
        if look is None or wait([*look.topics.values(), *look.ends.values()], seconds).not_done:
            return None
        self._look = None
        changes = list(self._compare(self._cluster.topics(look.topics, may_miss=True)))
        return Seen(changes, self._cluster.offsets(look.ends, may_miss=True))

    def look_now(self) -> list[Change]:
        """What has changed, asked and waited for.

        Raises:
            AwayError: No broker answers.
        """
        self._look = None  # it was asked before: its answer would be older
        return list(self._compare(self._cluster.topics(self._cluster.ask_topics(self._names), may_miss=True)))

    def _compare(self, found: Mapping[str, Topic]) -> Iterator[Change]:
        self.absent = frozenset(self._names) - frozenset(found)
        for name in sorted(self.absent):
            self._complaints.say(f"{self._cluster.where} has no topic {name} any more; waiting for it")
        for name, topic in found.items():
            known = self.topics[name]
            # A broker that has just started may not know of all partitions yet.
            if topic.id != known.id or topic.partitions > known.partitions:
                self.topics[name] = topic
                yield Change(known, topic)


def announce(change: Change, *, is_bounded: bool) -> None:
    """Says loudly what has become of a topic.

    Raises:
        SourceError: It was made anew, and it was to be read up to an end.
    """
    old, new = change
    if not change.is_another:
        _LOG.warning("topic %s has %d partitions now, not %d", new.name, new.partitions, old.partitions)
        return
    text = f"topic {new.name} was deleted and made anew: its id begins with {new.id} now, not with {old.id}"
    if is_bounded:
        raise SourceError(f"{text}, while it was read up to an end", "run the job again to read the new one")
    _LOG.warning("%s; reading the new one from its beginning", text)
