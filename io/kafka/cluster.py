"""Questions about topics and their offsets."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka import admin as admin_module
from confluent_kafka.admin import AdminClient

from telebeam.io.kafka.client import admin_settings, make_client
from telebeam.io.kafka.errors import UNKNOWN, ErrorListener, refusal
from telebeam.io.kafka.spec import ClientValue
from telebeam.transforms.errors import AwayError, JobError, SourceError

_ADMIN: Any = admin_module  # does not export its names as strict types want it
OffsetSpec: Any = _ADMIN.OffsetSpec
"""``earliest()``, ``latest()``, ``for_timestamp(milliseconds)``."""
NewTopic: Any = _ADMIN.NewTopic

ANSWER_SECONDS = 5.0
"""How long an answer may take before the broker counts as away."""
PROBE_SECONDS = 8.0
"""How long a preflight check may take."""
_BACK_OFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)

_REFERENCES = 3
"""Of a topic's id: the description's, the one of who looks, and that of the call that counts them."""
_DECREF: Any = ctypes.pythonapi.Py_DecRef
_DECREF.argtypes, _DECREF.restype = (ctypes.py_object,), None

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class Topic(NamedTuple):
    """A topic as the brokers describe it."""

    name: str
    id: str
    """Six hexadecimal digits of its id, which a topic of the same name that is made later does not have."""
    partitions: int

    @property
    def stream(self) -> str:
        """What names it for good."""
        return f"{self.name}-{self.id}"


class Place(NamedTuple):
    """A partition of a topic, by the topic's plain name."""

    topic: str
    number: int


class Cluster:
    """A connection for questions.

    Args:
        servers: The brokers to ask first.
        config: The client's settings, with references for secrets.
        kind: What is raised.
    """

    def __init__(self, servers: str, config: Mapping[str, ClientValue], kind: type[JobError] = SourceError) -> None:
        self.where = f"Kafka at {servers}"
        self._kind = kind
        self.listener = ErrorListener(self.where, kind)
        self._servers, self._config = servers, config
        self._admin = self._client()

    def _client(self) -> Any:
        return make_client(AdminClient, admin_settings(self._servers, self._config), error_cb=self.listener)

    def renew(self) -> None:
        """Makes the connection anew; what was asked by the old one is not answered any more.

        A client of librdkafka that has seen its only broker die was seen to wait for a controller for minutes after the
        broker was back, while others talked to it.
        """
        old = [self._admin]
        self._admin = self._client()
        # To end a client takes as long as its open questions do.
        threading.Thread(target=old.clear, name="telebeam-kafka-renew", daemon=True).start()

    def ask_topics(self, names: Iterable[str]) -> Mapping[str, Future[Any]]:
        """A question about topics that is under way; :meth:`topics` takes the answer."""
        return self._admin.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_SECONDS)

    def topics(self, asked: Mapping[str, Future[Any]], *, may_miss: bool = False) -> dict[str, Topic]:
        """The topics by name; waits for the answer.

        Args:
            asked: The question.
            may_miss: Leave out what is unknown.

        Raises:
            JobError: One is unknown, or may not be seen.
            AwayError: No broker answers.
        """
        found = self._answers(asked, may_miss=may_miss)
        topics = {name: Topic(name, _digits(it.topic_id), len(it.partitions)) for name, it in found.items()}
        for description in found.values():
            _let_go(description)
        return topics

    def ask_offsets(self, specs: Mapping[Place, Any]) -> Mapping[TopicPartition, Future[Any]]:
        """A question about offsets that is under way; :meth:`offsets` takes the answer."""
        wanted = {TopicPartition(*place): spec for place, spec in specs.items()}
        return self._admin.list_offsets(wanted, request_timeout=ANSWER_SECONDS)

    def offsets(self, asked: Mapping[TopicPartition, Future[Any]], *, may_miss: bool = False) -> dict[Place, int]:
        """The offsets by partition; -1 where no record is so late.  Waits for the answer.

        Args:
            asked: The question.
            may_miss: Leave out what is unknown.

        Raises:
            JobError: A topic is unknown, or may not be read.
            AwayError: No broker answers.
        """
        found = self._answers(
            {Place(key.topic, key.partition): future for key, future in asked.items()}, may_miss=may_miss
        )
        return {place: answer.offset for place, answer in found.items()}

    def edges(self, places: Iterable[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """Where each partition's log begins and where it ends, transactions that are under way included.

        Raises:
            JobError: As :meth:`offsets`.
        """
        places = list(places)
        if not places:
            return {}, {}
        first = self.ask_offsets(dict.fromkeys(places, OffsetSpec.earliest()))
        last = self.ask_offsets(dict.fromkeys(places, OffsetSpec.latest()))
        return self.offsets(first), self.offsets(last)

    def listen(self, seconds: float = 0.0) -> None:
        """Takes what the client reports beside its answers.

        Raises:
            JobError: What can't be waited for.
        """
        self._admin.poll(seconds)
        self.listener.check()

    def _answers(self, asked: Mapping[_Key, Future[Any]], *, may_miss: bool = False) -> dict[_Key, Any]:
        answers = {}
        for key, future in asked.items():
            while not future.done():
                self.listen(0.02)
            try:
                answers[key] = future.result(0)
            except KafkaException as error:
                self.listen()
                answer = error.args[0]
                if may_miss and answer.code() in UNKNOWN:
                    continue
                what = f"{self.where}: {key}" if isinstance(key, str) else self.where
                raise refusal(answer, what, self._kind) or AwayError(
                    f"{self.where} does not answer: {self.listener.trouble or answer.str()}"
                ) from error
        return answers


def _digits(identity: Any) -> str:
    """Six hexadecimal digits of a topic's id; zeros where the broker has none to tell."""
    if identity is None:
        return "000000"
    bits = (identity.get_most_significant_bits() << 64) | (identity.get_least_significant_bits() & (2**64 - 1))
    return f"{bits & (2**128 - 1):032x}"[:6]


def _let_go(description: Any) -> None:
    """Gives back the reference that confluent-kafka 2.16 keeps of each topic's id, for good.

    A reader asks ten times a second, lest it takes a topic for its namesake: that would be 190 MB a day.
    """
    identity = description.topic_id
    if identity is not None and sys.getrefcount(identity) > _REFERENCES:
        _DECREF(identity)


def patiently(
    question: Callable[[], _Answer],
    complain: Callable[[str], None],
    pause: Callable[[float], bool],
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> _Answer:
    """The answer to a question that is asked again for as long as no broker answers.

    Args:
        question: Raises :class:`AwayError` where there is no answer.
        complain: Gets what is waited for.
        pause: Waits so many seconds; true where waiting is to end.
        seconds: How long it may take, the last answer included; without end where nothing is given.
        clock: Seconds that only grow.

    Raises:
        AwayError: The time is over, or waiting is to end.
    """
    began, tries = clock(), 0
    while True:
        try:
            return question()
        except AwayError as error:
            wait = _BACK_OFF_SECONDS[min(tries, len(_BACK_OFF_SECONDS) - 1)]
            if seconds is not None and clock() - began + wait + ANSWER_SECONDS > seconds:
                raise
            complain(f"{error.message}; waiting for it")
            if pause(wait):
                raise
            tries += 1
