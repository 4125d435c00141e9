"""What a topic has already: where its partitions end, and which alerts stand in its tail."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from telebeam.io.alerts.messages import Key, Kind
from telebeam.io.kafka.client import consumer_settings, make_client
from telebeam.io.kafka.cluster import Cluster, OffsetSpec, Place
from telebeam.io.kafka.errors import UNKNOWN, ErrorListener, refusal
from telebeam.io.kafka.spec import KafkaSinkSpec
from telebeam.transforms.errors import SinkError, UnreachableError

_LOG = logging.getLogger(__name__)

TAIL_MESSAGES = 200_000
"""Of a partition at most: some seconds of reading."""
SILENCE_SECONDS = 20.0
_MESSAGES = 1_000
_LOOK_SECONDS = 0.2
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Ends(NamedTuple):
    """Where a topic's partitions end.

    Args:
        stream: Names the topic for good: one that is deleted and made again is another; empty where there is none.
        offsets: Partition → the offset that the next message gets.
    """

    stream: str
    offsets: dict[int, int]

    def positions(self) -> dict[str, int]:
        """The same as the log of what was sent keeps it."""
        return {f"{self.stream}/{number}": offset for number, offset in self.offsets.items()}


class UnreadableError(SinkError):
    """A topic that this login may write to, but not read."""


class _Timed(msgspec.Struct):
    timestamp: datetime


def topic_ends(spec: KafkaSinkSpec) -> Ends:
    """Where a topic's partitions end now; of a topic that is not there yet, nothing.

    Raises:
        SinkError: It may not be seen, or the login is refused.
        AwayError: No broker answers.
    """
    cluster = Cluster(spec.bootstrap_servers, spec.config, SinkError)
    topic = cluster.topics(cluster.ask_topics([spec.topic]), may_miss=True).get(spec.topic)
    if topic is None:
        return Ends("", {})
    places = [Place(spec.topic, number) for number in range(topic.partitions)]
    found = cluster.offsets(cluster.ask_offsets(dict.fromkeys(places, OffsetSpec.latest())))
    return Ends(topic.stream, {place.number: offset for place, offset in found.items()})


def read_tail(
    spec: KafkaSinkSpec,
    kind: Kind,
    pipeline: str,
    positions: Mapping[str, int],
    ends: Ends,
    stopping: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> list[Key]:
    """The alerts of a pipeline that stand in a topic from some positions on, up to its end.

    At most :data:`TAIL_MESSAGES` a partition are read, the last ones.

    Args:
        spec: The topic.
        kind: What the messages are.
        pipeline: Messages of others are passed over.
        positions: Where to begin, by ``stream/partition``; a partition without one is read from its beginning.
        ends: Where to end.
        stopping: Whether waiting is to end.
        clock: Monotonic seconds.

    Raises:
        UnreadableError: The topic may be written only.
        SinkError: The login is refused.
        UnreachableError: The broker falls silent, or waiting is to end.
    """
    begin = {number: positions.get(f"{ends.stream}/{number}", 0) for number in ends.offsets}
    open_ = {number: end for number, end in ends.offsets.items() if begin[number] < end}
    if not open_:
        return []
    for number, end in open_.items():
        if end - begin[number] > TAIL_MESSAGES:
            _LOG.warning(
                "topic %s has grown by %d messages since alerts were last sent: the last %d of partition %d are read",
                spec.topic, end - begin[number], TAIL_MESSAGES, number,
            )  # fmt: skip
            begin[number] = end - TAIL_MESSAGES
    where = f"Kafka at {spec.bootstrap_servers}: topic {spec.topic}"
    listener = ErrorListener(where, SinkError)
    settings = {
        **consumer_settings(spec.bootstrap_servers, f"telebeam-{pipeline}-alerts", spec.config),
        "auto.offset.reset": "earliest",
        # Transactions of others that are under way must not hide what stands behind them.
        "isolation.level": "read_uncommitted",
    }
    consumer: Any = make_client(Consumer, settings, error_cb=listener)
    try:
        consumer.assign([TopicPartition(spec.topic, number, begin[number]) for number in open_])
        return _read(consumer, kind, pipeline, open_, where, listener, stopping, clock)
    finally:
        consumer.close()


def _read(
    consumer: Any,
    kind: Kind,
    pipeline: str,
    ends: dict[int, int],
    where: str,
    listener: ErrorListener,
    stopping: Callable[[], bool],
    clock: Callable[[], float],
) -> list[Key]:
    keys: dict[Key, None] = {}
    left, heard = dict(ends), clock()
    while left:
        messages = consumer.consume(_MESSAGES, _LOOK_SECONDS)
        listener.check()
        if messages:
            heard = clock()
        elif stopping() or clock() - heard > SILENCE_SECONDS:
            raise UnreachableError(f"{where} can't be searched: {listener.trouble or 'no answer'}")
        for message in messages:
            if _is_end(message, where) or (message.offset() or 0) + 1 >= left.get(message.partition(), 0):
                left.pop(message.partition(), None)
            key = None if message.error() else _key(message, kind, pipeline)
            if key is not None:
                keys[key] = None
    return list(keys)


def _is_end(message: Message, where: str) -> bool:
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return error is not None
    if error.code() in UNKNOWN:  # for a moment: the topic was there when its ends were asked for
        return False
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise UnreadableError(f"{where} may be written, but not read: {error.str()}")
    raise refusal(error, where, SinkError) or UnreachableError(f"{where} can't be searched: {error.str()}")


def _key(message: Message, kind: Kind, pipeline: str) -> Key | None:
    """What a message is of ours; None where it is another's."""
    pairs: Any = message.headers() or ()
    headers = {name: value for name, value in pairs if isinstance(value, bytes)}
    if headers.get("pipeline") != pipeline.encode() or kind.id not in headers:
        return None
    try:
        at = msgspec.json.decode(message.value() or b"", type=_Timed).timestamp
        identity, state = headers[kind.id].decode(), headers.get("state", b"").decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    segment = timedelta(seconds=kind.segment_seconds)
    return Key(identity, state, (at - _EPOCH) // segment) if at.tzinfo is not None else None
