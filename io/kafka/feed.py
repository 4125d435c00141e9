"""A reader's share of some topics, as columns."""

from __future__ import annotations

import gc
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from telebeam.io.kafka.client import consumer_settings, make_client
from telebeam.io.kafka.cluster import ANSWER_SECONDS, Cluster, Place, patiently
from telebeam.io.kafka.envelopes import by_partition
from telebeam.io.kafka.errors import OUT_OF_RANGE, UNKNOWN, Complaints, ErrorListener, refusal
from telebeam.io.kafka.progress import Beginning, Progress, begin, within
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.io.kafka.watch import Change, TopicWatch, announce
from telebeam.io.streams.feed import Partition, Polled, Position
from telebeam.transforms.errors import AwayError, JobError, SourceError

_LOG = logging.getLogger(__name__)

POLL_MESSAGES = 10_000
"""At most so many messages a poll: enough that what is done once a poll vanishes beside them."""
POLL_BYTES = 8 * 1024 * 1024
"""About so much a poll, of large messages: beyond the processor's cache each further step costs more."""
FEWEST_MESSAGES = 10
"""Even the largest messages come so many a poll."""
LINGER_SECONDS = 0.05
"""How long a poll goes on after its first message; it bounds the polls of a slow stream to twenty a second."""
DISCOVERY_SECONDS = 10.0
"""How often new partitions and the ends of idle ones are looked for."""
RENEW_SECONDS = 15.0
"""After how long without an answer the connection for questions is made anew."""
CLOSING_SECONDS = 2.0
"""How long the client is waited for when it closes: with a commit on its way to a broker that is away it takes 60 s."""
_GARBAGE_OBJECTS = 50_000
"""Python looks for cycles each 700 new objects; with 10,000 messages a poll that was measured to cost a third of it."""
_CONFIRM_SECONDS = 0.1
"""How much longer than its time a poll may take to have its topics confirmed."""


class KafkaFeed:
    """One reader of some topics: a :class:`~telebeam.io.streams.feed.Feed`.

    Partitions are assigned, never subscribed to: reader ``index`` of ``readers`` has those whose number leaves this
    remainder.  Each record is delivered once and in the order of its offset.  A message without a payload (a tombstone)
    is no record; only ``next`` moves over it.

    What was received is handed out when the brokers have said *afterwards* that the topic still has the id that it had
    before: otherwise records of a topic that was deleted and made anew would pass for those of its namesake, for the
    client goes on at the same offset.

    Args:
        spec: The topics.
        group_id: Whose offsets are committed.
        index: Which reader this is, from 0.
        readers: How many there are.
        discovery_seconds: How often new partitions are looked for.
        now: Seconds since 1970.
    """

    def __init__(
        self,
        spec: KafkaSourceSpec,
        group_id: str,
        index: int = 0,
        readers: int = 1,
        *,
        discovery_seconds: float = DISCOVERY_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._spec, self._group_id, self._index, self._readers = spec, group_id, index, readers
        self._discovery_seconds, self._now = discovery_seconds, now
        self._where = f"Kafka at {spec.bootstrap_servers}"
        self._complaints = Complaints(_LOG)
        self._listener = ErrorListener(self._where)
        self._closing = threading.Event()
        self._failure: JobError | None = None
        self._progress: dict[Place, Progress] = {}
        self._waiting: dict[Place, Beginning] = {}
        self._broken: set[Place] = set()
        self._held: list[Polled] = []  # received, and not yet confirmed
        self._kept: list[Polled] = []  # of topics that are gone, and may come back
        self._most = POLL_MESSAGES // 10  # of a poll; nothing is known yet of the messages' size
        self._troubles = 0
        self._answered = time.monotonic()
        self._consumer: Any = None
        self._cluster: Any = None
        self._watch: Any = None
        self._position: Position = lambda partition: None

    def open(self, position: Position) -> None:
        """Connects and finds this reader's partitions; see :meth:`Feed.open`."""
        spec = self._spec
        self._position = position
        young, *older = gc.get_threshold()
        if 0 < young < _GARBAGE_OBJECTS:
            gc.set_threshold(_GARBAGE_OBJECTS, *older)
        self._cluster = Cluster(spec.bootstrap_servers, spec.config)
        settings = consumer_settings(spec.bootstrap_servers, self._group_id, spec.config)
        self._consumer = make_client(Consumer, settings, error_cb=self._listener, on_commit=_said_of_commit)
        self._watch = TopicWatch(self._cluster, spec.topics, self._discovery_seconds, self._complaints)
        self._patiently(self._watch.find)
        for topic in self._watch.topics.values():
            self._expect(topic.name, topic.stream, range(topic.partitions), is_new=False)
        self._patiently(self._begin_waiting)

    def partitions(self) -> frozenset[Partition]:
        """This reader's partitions as last seen."""
        return frozenset(progress.partition for progress in self._progress.values())

    def poll(self, seconds: float) -> list[Polled]:
        """What has come, at most one item a partition; see :meth:`Feed.poll`.

        An item may have no rows and move ``next`` alone; the first one of a partition may say where reading begins.
        """
        if self._failure is not None:
            raise self._failure
        deadline = time.monotonic() + seconds
        try:
            self._repair()
            if not self._held:
                self._held = self._receive(seconds)
                if self._held:
                    self._watch.ask(self._progress)
            return self._confirmed(deadline)
        except AwayError as error:
            self._complaints.say(f"{error.message}; waiting for it")
            self._try_anew()
            self._closing.wait(max(0.0, min(deadline - time.monotonic(), 1.0)))
            return []
        except JobError as error:
            self._failure = error  # what was received and not handed out is read again by another feed
            raise

    def _try_anew(self) -> None:
        """Asks by a new connection where the one that asks about topics has had no answer for long."""
        if time.monotonic() - self._answered > RENEW_SECONDS:
            self._answered = time.monotonic()
            self._cluster.renew()
            self._watch.forget()

    def behind(self) -> int:
        """How many records the broker has that were not polled yet, as last known."""
        for place, progress in self._progress.items():
            progress.end = max(progress.end, self._cached_end(place))
        held = sum(polled.envelopes.num_rows for polled in (*self._held, *self._kept))
        return held + sum(progress.behind for progress in self._progress.values())

    def drained(self, partition: Partition) -> bool:
        """Whether the broker has said, and not long ago, that a partition has nothing more for now."""
        progress = self._of(partition)
        if progress is None:
            return False
        if progress.place.topic in self._watch.absent:
            return True
        if any(polled.partition == partition for polled in (*self._held, *self._kept)):
            return False
        progress.end = max(progress.end, self._cached_end(progress.place))
        return progress.is_drained(time.monotonic() - 2.5 * self._discovery_seconds)

    def finished(self) -> bool:
        """Whether a bounded read has delivered everything up to its end; never for an unbounded one."""
        if self._spec.until is None or self._consumer is None or self._held or self._kept or self._waiting:
            return False
        return all(progress.is_finished for progress in self._progress.values())

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Tells the broker that all below these offsets is durable; one that is away is told the next time."""
        found = [(self._of(partition), offset) for partition, offset in positions.items()]
        offsets = [TopicPartition(*progress.place, offset) for progress, offset in found if progress is not None]
        if not offsets or self._consumer is None:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _said_of_commit(error.args[0], [])

    def close(self) -> None:
        """Ends the connection, and a wait for the broker that another thread is in; a second time does nothing."""
        self._closing.set()
        consumer, self._consumer, self._cluster = self._consumer, None, None
        self._held, self._kept = [], []
        if consumer is not None:
            closing = threading.Thread(target=consumer.close, name="telebeam-kafka-close", daemon=True)
            closing.start()
            closing.join(CLOSING_SECONDS)

    def _of(self, partition: Partition) -> Progress | None:
        found = (it for it in self._progress.values() if it.partition == partition)
        return next(found, None)

    def _patiently(self, question: Callable[[], Any]) -> Any:
        try:
            return patiently(question, self._complaints.say, self._closing.wait)
        except AwayError as error:
            raise SourceError(f"reading ended before {self._where} answered: {error.message}") from error

    # What comes

    def _receive(self, seconds: float) -> list[Polled]:
        """What the client has, an item a partition; what it reports beside messages is seen to."""
        messages = self._consumer.consume(1, seconds if self._all_told() else 0.0)
        if messages:
            messages += self._consumer.consume(self._most - 1, LINGER_SECONDS)
        events = []
        if any(error is not None for error in map(Message.error, messages)):
            events = [message for message in messages if message.error() is not None]
            messages = [message for message in messages if message.error() is None]
        polled: dict[Place, Polled] = {}
        size = 0
        for place, columns in by_partition(messages, self._spec.topics):
            size += columns.payload.nbytes
            # What was on its way from a topic that is no more belongs to nobody.
            taken = self._progress[place].take(columns) if place in self._progress else None
            if taken is not None:
                polled[place] = taken
        if messages:
            self._most = min(max(POLL_BYTES * len(messages) // max(size, 1), FEWEST_MESSAGES), POLL_MESSAGES)
        for event in events:
            self._take_event(event, polled)
        for place, progress in self._progress.items():
            if not progress.is_told:
                polled[place] = progress.begin()
        self._listen(bool(messages))
        self._unassign([place for place in polled if self._progress[place].is_finished])
        return list(polled.values())

    def _all_told(self) -> bool:
        return all(progress.is_told for progress in self._progress.values())

    def _take_event(self, message: Message, polled: dict[Place, Polled]) -> None:
        error = message.error()
        place = Place(message.topic() or "", message.partition() or 0)
        progress = self._progress.get(place)
        if error is None or progress is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            end = message.offset() or 0
            progress.hear(end, time.monotonic())
            moved = progress.skip_to(end)
            if moved is not None:
                polled[place] = polled[place]._replace(next=moved.next) if place in polled else moved
        elif error.code() in OUT_OF_RANGE:
            self._broken.add(place)
        elif error.code() in UNKNOWN:
            self._watch.hurry()
        else:
            refused = refusal(error, f"{self._where}: topic {place.topic}")
            if refused is not None:
                raise refused
            self._complaints.say(f"{self._where}: {error.str()}; waiting for it")

    def _listen(self, has_messages: bool) -> None:
        """Sees to what the client reports beside its answers; after trouble no partition counts as drained."""
        self._listener.check()
        self._cluster.listen()
        if self._listener.count > self._troubles:
            self._troubles = self._listener.count
            self._watch.hurry()
            for progress in self._progress.values():
                progress.heard_at = -math.inf
            if not has_messages:
                self._complaints.say(f"{self._where}: {self._listener.trouble}; waiting for it")

    def _cached_end(self, place: Place) -> int:
        if self._consumer is None or place in self._waiting:
            return -1
        try:
            return int(self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)[1])
        except KafkaException:
            return -1

    # What topics there are

    def _confirmed(self, deadline: float) -> list[Polled]:
        """Hands out what is held of topics that are still the same; sees to those that are not."""
        if not self._held and not self._kept and self._watch.is_idle:
            return []
        if not self._watch.is_asked:
            self._watch.ask(self._progress)
        seen = self._watch.answer(max(deadline - time.monotonic(), _CONFIRM_SECONDS) if self._held else 0.0)
        if seen is None:
            return []
        self._answered = time.monotonic()
        for change in seen.changes:
            self._follow(change)
        for place, end in seen.ends.items():
            if place in self._progress:
                self._progress[place].hear(end, time.monotonic())
        absent = {self._watch.topics[name].stream for name in self._watch.absent}
        confirmed: dict[Partition, Polled] = {}
        kept = []
        for polled in (*self._kept, *self._held):
            if polled.partition.stream in absent or polled.partition in confirmed:
                kept.append(polled)
            else:
                confirmed[polled.partition] = polled
        self._held, self._kept = [], kept
        return list(confirmed.values())

    def _follow(self, change: Change) -> None:
        """Reads what has appeared, and forgets what was deleted."""
        is_bounded = self._spec.until is not None
        announce(change, is_bounded=is_bounded)
        old, new = change
        if change.is_another:
            gone = [place for place in self._progress if place.topic == new.name]
            self._unassign(gone)
            self._progress = {place: it for place, it in self._progress.items() if place not in gone}
            self._waiting = {place: it for place, it in self._waiting.items() if place.topic != new.name}
            self._broken.difference_update(gone)
            self._held = [polled for polled in self._held if polled.partition.stream != old.stream]
            self._kept = [polled for polled in self._kept if polled.partition.stream != old.stream]
            self._expect(new.name, new.stream, range(new.partitions), is_new=True)
        elif not is_bounded:
            self._expect(new.name, new.stream, range(old.partitions, new.partitions), is_new=True)

    def _expect(self, topic: str, stream: str, numbers: Iterable[int], *, is_new: bool) -> None:
        for number in numbers:
            if number % self._readers == self._index:
                partition = Partition(stream, number)
                self._waiting[Place(topic, number)] = Beginning(partition, self._position(partition), is_new)

    # Where partitions begin

    def _repair(self) -> None:
        """Begins partitions that have appeared, and goes on in those whose log did not reach over their offset."""
        if self._waiting:
            self._begin_waiting()
        if not self._broken:
            return
        for change in self._watch.look_now():
            self._follow(change)
        low, high = self._cluster.edges(place for place in self._broken if place.topic not in self._watch.absent)
        for place in low:
            progress = self._progress[place]
            at = within(progress.next, low[place], high[place], place, self._spec.on_gap)
            progress.is_told = at == progress.next
            progress.next = at
            self._unassign([place])
            self._assign([progress])
            self._broken.discard(place)

    def _begin_waiting(self) -> None:
        wanted = dict(self._waiting)
        begun = begin(wanted, self._spec, self._cluster, self._committed, self._now()) if wanted else []
        self._progress |= {progress.place: progress for progress in begun}
        self._waiting = {place: it for place, it in self._waiting.items() if place not in wanted}
        self._assign([progress for progress in begun if not progress.is_finished])

    def _committed(self, places: list[Place]) -> dict[Place, int]:
        try:
            found = self._consumer.committed([TopicPartition(*place) for place in places], timeout=ANSWER_SECONDS)
        except KafkaException as error:
            self._listener.check()
            answer = error.args[0]
            what = f"{self._where}: group {self._group_id}"
            raise refusal(answer, what) or AwayError(f"{what} gets no answer: {answer.str()}") from error
        return {Place(it.topic, it.partition): it.offset for it in found if it.offset >= 0}

    def _assign(self, begun: list[Progress]) -> None:
        if begun:
            self._consumer.incremental_assign([TopicPartition(*it.place, it.next) for it in begun])

    def _unassign(self, places: list[Place]) -> None:
        assigned = {Place(it.topic, it.partition) for it in self._consumer.assignment()} if places else set()
        gone = [TopicPartition(*place) for place in places if place in assigned]
        if gone:
            self._consumer.incremental_unassign(gone)


def _said_of_commit(error: KafkaError | None, offsets: list[TopicPartition]) -> None:
    if error is not None:
        _LOG.debug("offsets were not committed, they will be with the next ones: %s", error.str())
