"""Alerts to a Kafka topic, each once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from telebeam.io.alerts.kafka_tail import UnreadableError, read_tail, topic_ends
from telebeam.io.alerts.messages import Key, Kind, keys_of, payloads, texts
from telebeam.io.alerts.sender import Failed, Sent
from telebeam.io.kafka.client import make_client, producer_settings
from telebeam.io.kafka.errors import ErrorListener, refusal
from telebeam.io.kafka.spec import KafkaSinkSpec
from telebeam.transforms.errors import AwayError, SinkError, TelebeamError, UnreachableError

_LOG = logging.getLogger(__name__)

AT_ONCE = 1_000
MESSAGE_SECONDS = 20.0
"""How long the client itself tries: what it gives up may be in the topic, so that is read before it is sent again."""
LOOK_SECONDS = 30.0
"""So often the topic's ends are asked for, so that little has to be read after a kill."""
NOTED_SECONDS = 6 * 3600.0
BEGUN = "begun"
"""The position that says that positions were noted before anything was sent."""
_POLL_SECONDS = 0.1
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}

Note = Callable[[Mapping[str, int]], None]
"""Makes positions durable."""


class KafkaSender:
    """Writes one message a row: JSON, keyed by device, with id, state and pipeline among its headers.

    A device's messages share a partition, so ``firing`` comes before ``resolved``; a row without a device is keyed by
    its id.  A message counts when all in-sync replicas have it, and the brokers keep one copy of what the client sends
    again.

    What may have been written without anybody knowing — by a process that was killed, by a client that gave up — is
    looked for in the topic before anything is sent, from the positions that were noted before.  A login that may write
    but not read does without, with a warning: then a kill may repeat messages.

    Args:
        spec: The topic; secrets are resolved here.
        kind: What the rows are.
        pipeline: Told apart from others that write to the same topic.
        positions: What was noted last.
        note: Makes positions durable.
        stopping: Whether waiting is to end.
        clock: Monotonic seconds.

    Raises:
        ConfigurationError: A secret is not there, or the client does not take its settings.
    """

    def __init__(
        self,
        spec: KafkaSinkSpec,
        kind: Kind,
        pipeline: str,
        positions: Mapping[str, int],
        note: Note,
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at_once = AT_ONCE
        self._spec, self._kind, self._pipeline = spec, kind, pipeline
        self._positions, self._note = dict(positions), note
        self._stopping, self._clock = stopping, clock
        self._where = f"Kafka at {spec.bootstrap_servers}"
        self._sure, self._looked, self._noted = False, clock(), clock()
        self._connect()

    def __repr__(self) -> str:
        return f"KafkaSender({self._spec.bootstrap_servers}, {self._spec.topic})"

    def __getstate__(self) -> NoReturn:
        raise TypeError("a KafkaSender holds secrets and a connection; send its spec and make one there")

    def close(self) -> None:
        """Drops what was not acknowledged and ends the connection; a second time does nothing."""
        self._producer.purge()
        self._producer.flush(1.0)

    def send(self, rows: pa.RecordBatch) -> Sent:
        """Writes the rows that the topic does not have, and waits until each is acknowledged or given up."""
        found: list[Key] = []
        try:
            if not self._sure:
                found = self._search()
        except TelebeamError as error:
            return Sent(trouble=error)
        there = {(key.id, key.state) for key in found}
        places = [place for place, key in enumerate(keys_of(rows, self._kind)) if (key.id, key.state) not in there]
        if self._clock() - self._noted > NOTED_SECONDS:
            # What a writer noted too long ago counts no more: it is noted anew before there is something to miss.
            self._advance()
            try:
                self._note(self._positions)
            except TelebeamError as error:
                return Sent(tuple(found), trouble=error)
            self._noted = self._clock()
        sent = self._write(rows.take(pa.array(places, pa.int64()))) if places else Sent()
        if sent.trouble is None and self._clock() - self._looked > LOOK_SECONDS:
            self._advance()
        return Sent((*found, *sent.delivered), sent.failed, sent.trouble, 0.0, dict(self._positions))

    def _search(self) -> list[Key]:
        """What this pipeline has in the topic behind the positions that are known."""
        ends = topic_ends(self._spec)
        keys: list[Key] = []
        if BEGUN in self._positions:
            try:
                keys = read_tail(
                    self._spec, self._kind, self._pipeline, self._positions, ends, self._stopping, self._clock
                )
            except UnreadableError as error:
                _LOG.warning("%s; alerts may come twice after a kill", error.message)
        else:
            # Noted before anything is sent: whoever is killed from here on has left nothing before these offsets.
            self._note({**ends.positions(), BEGUN: 1})
        self._positions = {**ends.positions(), BEGUN: 1}
        self._sure, self._looked = True, self._clock()
        return keys

    def _advance(self) -> None:
        """Moves the positions to the topic's ends; right while nothing is under way."""
        self._looked = self._clock()
        try:
            self._positions = {**topic_ends(self._spec).positions(), BEGUN: 1}
        except (AwayError, SinkError) as error:
            _LOG.debug("the ends of %s: %s", self._spec.topic, error.message)

    def _write(self, rows: pa.RecordBatch) -> Sent:
        self._delivered: list[Key] = []
        self._failed: list[Failed] = []
        self._trouble: TelebeamError | None = None
        keys, devices = keys_of(rows, self._kind), texts(rows, "device_id")
        attributes = [(name, texts(rows, name)) for name in self._kind.attributes]
        for row, text in enumerate(payloads(rows, self._kind)):
            headers = [(name, (column[row] or "").encode()) for name, column in attributes]
            headers.append(("pipeline", self._pipeline.encode()))
            self._produce(keys[row], (devices[row] or keys[row].id).encode(), text, headers)
            if self._trouble is not None:
                break
        self._wait()
        if self._failed and self._trouble is None and rows.num_rows > 1:
            # The brokers refuse a whole batch of messages for its size: each that was in it is tried alone.
            return self._one_by_one(rows)
        if self._trouble is not None:
            self._reconnect()
        return Sent(tuple(self._delivered), tuple(self._failed), self._trouble)

    def _one_by_one(self, rows: pa.RecordBatch) -> Sent:
        delivered, refused = self._delivered, {each.key for each in self._failed}
        failed: list[Failed] = []
        for row, key in enumerate(keys_of(rows, self._kind)):
            if key in refused:
                sent = self._write(rows.slice(row, 1))
                delivered += sent.delivered
                failed += sent.failed
                if sent.trouble is not None:
                    return Sent(tuple(delivered), tuple(failed), sent.trouble)
        return Sent(tuple(delivered), tuple(failed))

    def _wait(self) -> None:
        deadline = self._clock() + MESSAGE_SECONDS + 5.0
        while len(self._producer) and self._clock() < deadline and not self._stopping():
            self._producer.poll(_POLL_SECONDS)
        if len(self._producer):
            self._trouble = self._trouble or self._failure(None, self._listener.trouble or "no answer")

    def _produce(self, key: Key, device: bytes, text: bytes, headers: list[tuple[str, bytes]]) -> None:
        report = partial(self._report, key)
        try:
            self._producer.produce(self._spec.topic, text, device, headers=headers, on_delivery=report)
        except KafkaException as error:
            self._report(key, error.args[0], None)
        except BufferError as error:
            self._trouble = self._failure(None, str(error))

    def _report(self, key: Key, error: KafkaError | None, message: Message | None) -> None:
        del message
        if error is None:
            self._delivered.append(key)
        elif error.code() in _TOO_LARGE:
            self._failed.append(Failed(key, f"{self._where} does not take so large a message: {error.str()}"))
        else:
            self._trouble = self._trouble or self._failure(error, error.str())

    def _failure(self, error: KafkaError | None, words: str) -> TelebeamError:
        where = f"{self._where}: topic {self._spec.topic}"
        found = refusal(error, where, SinkError) if error is not None else None
        return found or UnreachableError(f"{where} does not take {self._kind.name}: {words}", "is the broker there?")

    def _connect(self) -> None:
        self._listener = ErrorListener(self._where, SinkError)
        settings = producer_settings(self._spec.bootstrap_servers, self._spec.config)
        settings = {"message.timeout.ms": round(MESSAGE_SECONDS * 1000), **settings, "linger.ms": 5}
        self._producer: Any = make_client(Producer, settings, error_cb=self._listener)

    def _reconnect(self) -> None:
        """Ends a client that gave something up: nobody knows whether the topic has it, until it is searched."""
        self._sure = False
        self._producer.purge()
        self._producer.flush(1.0)
        self._connect()


def probe(spec: KafkaSinkSpec) -> str:
    """Reaches the brokers and finds the topic; says what was found.

    Raises:
        ConfigurationError: A secret is not there, or the client does not take its settings.
        SinkError: No broker answers, the login is refused, or the topic is unknown.
    """
    try:
        ends = topic_ends(spec)
    except AwayError as error:
        raise UnreachableError(error.message, "is this the broker's address?") from error
    if not ends.stream:
        raise SinkError(
            f"Kafka at {spec.bootstrap_servers} has no topic {spec.topic}", "create it, or check the spelling"
        )
    return f"topic {spec.topic} with {len(ends.offsets)} partition(s)"
