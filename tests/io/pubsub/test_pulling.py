"""Pulling on threads: nothing is lost or given twice, limits hold, and errors reach whoever takes."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from telebeam.io.pubsub.client import PubSubAwayError
from telebeam.io.pubsub.leases import Pulled
from telebeam.io.pubsub.pulling import MESSAGES_A_PULL, Budget, Puller
from telebeam.io.pubsub.waiting import Complaints
from telebeam.transforms.errors import SourceError


class Message:
    """What a pull gives, of ten bytes."""

    def __init__(self, number: int) -> None:
        self.ack_id = str(number)

    def ByteSize(self) -> int:
        return 10


class Service:
    """Gives so many messages, then says that there is nothing."""

    def __init__(self, total: int, error: SourceError | None = None) -> None:
        self.lock = threading.Lock()
        self.numbers = itertools.count()
        self.total, self.error = total, error
        self.idle = threading.Event()
        self.answered = True

    def pull(self, most: int) -> list[Any] | None:
        assert 1 <= most <= MESSAGES_A_PULL
        with self.lock:
            number = next(self.numbers)
        if number * 10 < self.total:
            return [Message(number * 10 + n) for n in range(min(10, most))]
        if self.error is not None:
            raise self.error
        self.idle.wait(0.01)
        return []

    def puller(self, budget: Budget | None = None, **changes: Any) -> tuple[Puller, list[Pulled]]:
        held: list[Pulled] = []
        said = Complaints(say=lambda _, words: None)
        given = budget or Budget(10**6, 10**9)
        return Puller(self.pull, lambda: None, held.append, given, said, **changes), held


def numbers(taken: list[Pulled]) -> list[int]:
    return [int(each.ack_id) for pulled in taken for each in pulled.received]


def test_all_that_is_pulled_is_held_and_taken_once():
    puller, held = Service(2_000).puller()
    puller.start()
    found: list[int] = []
    while len(found) < 2_000:
        found += numbers(puller.take(5.0))
    assert sorted(found) == list(range(2_000))
    assert sorted(numbers(held)) == sorted(found)
    assert puller.queued == 0
    assert puller.take(0.05) == []
    puller.stop()
    puller.join(5.0)


def test_it_is_drained_when_all_was_taken_and_the_service_has_said_so():
    puller, _ = Service(10).puller()
    assert not puller.drained
    puller.start()
    puller.take(5.0)
    for _ in range(500):
        if puller.drained:
            break
        puller.take(0.01)
    assert puller.drained
    puller.stop()


def test_no_answer_in_time_is_emptiness_only_if_the_service_is_there():
    for there in (True, False):
        asked = threading.Event()

        def answers(there: bool = there, asked: threading.Event = asked) -> None:
            asked.set()
            if not there:
                raise PubSubAwayError("away")

        silent = Complaints(say=lambda _, words: None)
        puller = Puller(lambda most: None, answers, lambda _: None, Budget(10, 10), silent, threads=1)
        puller.start()
        assert asked.wait(5.0)
        for _ in range(200):
            if puller.drained:
                break
            puller.take(0.001)
        assert puller.drained == there
        puller.stop()
        puller.join(5.0)


def test_an_error_is_raised_after_all_that_came_before_it():
    puller, _ = Service(100, SourceError("gone")).puller()
    puller.start()
    found: list[int] = []

    def take_all() -> None:
        while True:
            found.extend(numbers(puller.take(5.0)))

    with pytest.raises(SourceError, match="gone"):
        take_all()
    assert len(found) == 100
    with pytest.raises(SourceError, match="gone"):
        puller.take(0.0)


def test_no_more_is_pulled_than_the_budget_has_room_for():
    budget = Budget(25, 10**6)
    puller, held = Service(10**6).puller(budget, threads=1)
    puller.start()
    for _ in range(100):
        puller.take(0.001)
    assert len(numbers(held)) == 25
    budget.release(5, 50)
    for _ in range(1_000):
        if len(numbers(held)) == 30:
            break
        puller.take(0.001)
    assert len(numbers(held)) == 30
    puller.stop()
    puller.join(5.0)


def test_bytes_are_exceeded_by_a_pull_at_most():
    budget = Budget(10**6, 1)
    puller, held = Service(10**6).puller(budget, threads=1)
    puller.start()
    for _ in range(100):
        puller.take(0.001)
    assert len(numbers(held)) == 10
    puller.stop()
    puller.join(5.0)


def test_stopping_ends_all_threads_whatever_they_wait_for():
    puller, _ = Service(10**6).puller(Budget(5, 5))
    puller.start()
    puller.take(1.0)
    puller.stop()
    puller.join(5.0)
    assert not any(thread.is_alive() for thread in puller._threads)
    assert puller.take(0.0) == []


def test_a_service_that_is_away_is_said_once_and_pulled_from_again():
    tries = itertools.count()
    said: list[str] = []

    def pull(most: int) -> list[Any] | None:
        if next(tries) < 2:
            raise PubSubAwayError("away")
        return [Message(1)]

    complaints = Complaints(lambda: 0.0, lambda _, words: said.append(words))
    puller = Puller(pull, lambda: None, lambda _: None, Budget(1, 10), complaints, threads=1)
    puller.start()
    assert numbers(puller.take(10.0)) == [1]
    assert said == ["away; waiting for it"]
    puller.stop()
    puller.join(5.0)
