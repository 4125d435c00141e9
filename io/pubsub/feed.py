"""A subscription as a stream: messages are numbered as they come, and acknowledged when they are durable."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.io.pubsub.client import PubSubAwayError, Subscription
from telebeam.io.pubsub.leases import REPEATED, Leases
from telebeam.io.pubsub.messages import envelopes_of, ids_of, messages_of, times_of
from telebeam.io.pubsub.pulling import Budget, Puller
from telebeam.io.pubsub.spec import PubSubSourceSpec
from telebeam.io.pubsub.waiting import Complaints, pause_after
from telebeam.io.streams.feed import Partition, Polled, Position
from telebeam.io.streams.seen import SeenIds, id_numbers
from telebeam.transforms.errors import ConfigurationError, SourceError

SHORTEST_DEADLINE = 10
"""Seconds: the shortest lease that a subscription grants, for one that does not tell."""
CLOSING_SECONDS = 5.0

Integers = npt.NDArray[np.int64]


@dataclass
class _Connection:
    """What an open feed has; pulls have a connection of their own, which ends them when it is closed."""

    pulls: Subscription
    control: Subscription
    budget: Budget
    leases: Leases
    puller: Puller

    def close(self) -> None:
        self.puller.stop()
        self.pulls.close()
        self.puller.join(CLOSING_SECONDS)
        self.leases.close(CLOSING_SECONDS)
        self.control.close()


class PubSubFeed:
    """Implements :class:`telebeam.io.streams.feed.Feed` for one subscription, which is one partition.

    Pub/Sub has no offsets: messages get running numbers in the order in which they are polled, on from the position.  A
    message that is delivered again while the feed is open is given once; after a restart ``Polled.ids`` tells.

    Args:
        spec: The subscription.
        clock: Seconds that never go back.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        spec: PubSubSourceSpec,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._spec = spec
        self._clock, self._sleep = clock, sleep
        self._partition = Partition(spec.stream, 0)
        self._complaints = Complaints(clock)
        self._connection: _Connection | None = None
        self._next = 0
        self._durable = 0
        self._given: dict[int, int] = {}  # id → number, until it is durable
        self._done = SeenIds()

    def open(self, position: Position) -> None:
        """Connects; see :meth:`Feed.open`.

        Raises:
            SourceError: No login, no such subscription, no permission to pull from it.
        """
        control = Subscription(self._spec.subscription, self._spec.endpoint)
        try:
            deadline = self._reached(control)
            pulls = Subscription(self._spec.subscription, self._spec.endpoint)
        except SourceError:
            control.close()
            raise
        self._next = self._durable = position(self._partition) or 0
        budget = Budget(self._spec.max_outstanding_messages, self._spec.max_outstanding_bytes)
        leases = Leases(
            control.acknowledge,
            control.extend,
            seconds=self._spec.lease.total_seconds(),
            longest=self._spec.max_lease.total_seconds(),
            first=deadline or SHORTEST_DEADLINE,
            complaints=self._complaints,
            clock=self._clock,
        )
        puller = Puller(pulls.pull, pulls.answers, leases.hold, budget, self._complaints, clock=self._clock)
        self._connection = _Connection(pulls, control, budget, leases, puller)
        leases.start()
        puller.start()

    def _reached(self, subscription: Subscription) -> int | None:
        failures = 0
        while True:
            try:
                return subscription.check()
            except PubSubAwayError as error:
                failures += 1
                self._complaints.say(f"{error.message}; waiting for it")
                self._sleep(pause_after(failures))

    def partitions(self) -> frozenset[Partition]:
        """The one partition."""
        return frozenset([self._partition])

    def poll(self, seconds: float) -> list[Polled]:
        """What has come; see :meth:`Feed.poll`.

        Raises:
            SourceError: The subscription is gone, or may not be read any more.
        """
        connection = self._opened()
        pulled = connection.puller.take(seconds)
        messages = messages_of([each.message for pull in pulled for each in pull.received])
        ids = id_numbers(ids_of(messages, self._spec.id_attribute))
        numbers, fresh = self._numbered(ids)
        start = 0
        for pull in pulled:
            end = start + len(pull.received)
            pull.number(numbers[start:end], ids[start:end])
            pull.received = []
            start = end
        if not fresh.all():
            self._release(self._durable)
            messages, ids, numbers = messages.rows(fresh), ids[fresh], numbers[fresh]
        if not len(messages):
            return []
        envelopes = envelopes_of(messages, self._spec.short_name, numbers)
        times = times_of(messages, self._spec.timestamp_attribute)
        return [Polled(self._partition, envelopes, times, self._next, pa.array(ids))]

    def _numbered(self, ids: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """The number of each message, and whether it was not given before."""
        plain = ids.tolist()
        fresh = ~self._done.known(ids)
        if fresh.all() and len(set(plain)) == len(plain) and self._given.keys().isdisjoint(plain):
            numbers = np.arange(self._next, self._next + len(ids))
            self._given.update(zip(plain, numbers.tolist(), strict=True))
            self._next += len(ids)
            return numbers, fresh
        numbers = np.full(len(ids), REPEATED)
        for row in np.flatnonzero(fresh):
            fresh[row] = plain[row] not in self._given
            numbers[row] = self._given.setdefault(plain[row], self._next)
            self._next += int(fresh[row])
        return numbers, fresh

    def behind(self) -> int:
        """Messages that were pulled and not polled: Pub/Sub does not tell readers how many more it has."""
        return self._connection.puller.queued if self._connection else 0

    def drained(self, partition: Partition) -> bool:
        """Whether Pub/Sub has said that it has nothing more for now."""
        return partition == self._partition and self._connection is not None and self._connection.puller.drained

    def finished(self) -> bool:
        """Never: a subscription has no end."""
        return False

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Acknowledges all messages below a number, soon and as often as it takes."""
        position = positions.get(self._partition, self._durable)
        if position > self._durable:
            self._durable = position
            self._release(position)

    def _release(self, below: int) -> None:
        connection = self._opened()
        released = connection.leases.release(below)
        connection.budget.release(released.messages, released.size)
        for number in released.ids.tolist():
            self._given.pop(number, None)
        self._done.add(released.ids, self._clock())

    def close(self) -> None:
        """Sends what is to be acknowledged, gives back the rest at once, and ends the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> _Connection:
        if self._connection is None:
            raise SourceError(
                f"{self._spec.subscription} is not open", "call open() first; close() ends a feed for good"
            )
        return self._connection


@dataclass(frozen=True)
class PubSubFeeds:
    """Makes the feed of a subscription's only reader, wherever that works."""

    spec: PubSubSourceSpec

    def __call__(self, index: int, readers: int) -> PubSubFeed:
        """The feed.

        Raises:
            ConfigurationError: There is more than one reader: each would number messages for itself.
        """
        if (index, readers) != (0, 1):
            raise ConfigurationError(f"reader {index + 1} of {readers} of a Pub/Sub subscription; expected 1 reader")
        return PubSubFeed(self.spec)

    def partition_count(self) -> int:
        """Always 1."""
        return 1

    def probe(self) -> None:
        """Finds out within ten seconds that the subscription can be read.

        Raises:
            SourceError: It can't, or Pub/Sub does not answer.
        """
        subscription = Subscription(self.spec.subscription, self.spec.endpoint)
        try:
            subscription.check()
        except PubSubAwayError as error:
            hint = f"see that this machine reaches Pub/Sub{' at ' + self.spec.endpoint if self.spec.endpoint else ''}"
            raise SourceError(error.message, error.hint or hint) from error
        finally:
            subscription.close()
