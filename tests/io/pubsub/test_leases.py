"""What is held is renewed, what is durable is acknowledged, however often the service is away."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from telebeam.io.pubsub.client import ACKS_A_REQUEST, PubSubAwayError
from telebeam.io.pubsub.leases import REPEATED, Leases, Pulled
from telebeam.io.pubsub.waiting import Complaints
from telebeam.transforms.errors import SourceError


class Service:
    """Remembers what it is told; fails as often as a test wants."""

    def __init__(self) -> None:
        self.now = 0.0
        self.acknowledged: list[str] = []
        self.extended: list[tuple[float, float, list[str]]] = []
        self.failures: list[SourceError] = []
        self.again: set[str] = set()
        self.said: list[str] = []

    def acknowledge(self, ack_ids: Sequence[str]) -> list[str]:
        self._fail()
        assert len(ack_ids) <= ACKS_A_REQUEST
        self.acknowledged += [each for each in ack_ids if each not in self.again]
        return [each for each in ack_ids if each in self.again]

    def extend(self, ack_ids: Sequence[str], seconds: float) -> list[str]:
        self._fail()
        self.extended.append((self.now, seconds, list(ack_ids)))
        return []

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def leases(self, **changes: Any) -> Leases:
        complaints = Complaints(lambda: self.now, lambda _, words: self.said.append(words))
        settings: dict[str, Any] = {"seconds": 60.0, "longest": 3600.0, "first": 10.0, **changes}
        return Leases(self.acknowledge, self.extend, complaints=complaints, clock=lambda: self.now, **settings)


def pulled(leases: Leases, first: int, count: int, at: float = 0.0, repeats: Sequence[int] = ()) -> Pulled:
    numbers = np.arange(first, first + count)
    found = Pulled([SimpleNamespace(ack_id=f"a{number}") for number in numbers], 10 * count, at)
    leases.hold(found)
    numbers[list(repeats)] = REPEATED
    found.number(numbers, numbers + 1000)
    return found


def away() -> PubSubAwayError:
    return PubSubAwayError("away")


def test_what_is_below_the_position_is_acknowledged_and_nothing_else():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 3)
    pulled(leases, 3, 3)
    assert leases.release(0).messages == 0
    released = leases.release(4)
    assert (released.ids.tolist(), released.messages, released.size) == ([1000, 1001, 1002, 1003], 4, 40)
    leases.work()
    assert service.acknowledged == ["a0", "a1", "a2", "a3"]
    assert leases.release(4).messages == 0
    leases.release(6)
    leases.work()
    assert service.acknowledged == ["a0", "a1", "a2", "a3", "a4", "a5"]


def test_what_has_no_number_yet_is_never_acknowledged():
    service = Service()
    leases = service.leases()
    leases.hold(Pulled([SimpleNamespace(ack_id="a")], 1, 0.0))
    assert leases.release(2**61).messages == 0


def test_a_repeat_of_what_is_durable_is_acknowledged_at_the_next_release():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 3, repeats=[1])
    leases.release(0)
    leases.work()
    assert service.acknowledged == ["a1"]


def test_a_lease_is_renewed_before_half_of_it_is_over_for_as_long_as_it_is_held():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 2)
    while service.now < 200:
        service.now += min(leases.work(), 1.0) or 0.01
    times = [time for time, _, _ in service.extended]
    assert times[0] <= 5.0 + 0.02
    assert all(later - earlier <= 30.02 for earlier, later in itertools.pairwise(times))
    assert {seconds for _, seconds, _ in service.extended} == {60.0}
    leases.release(1)
    service.now = times[-1] + 40
    leases.work()
    assert service.extended[-1][2] == ["a1"]


def test_a_message_is_given_up_after_the_longest_time_and_can_still_be_acknowledged():
    service = Service()
    leases = service.leases(longest=100.0)
    pulled(leases, 0, 1)
    for service.now in range(300):
        leases.work()
    assert max(time + seconds for time, seconds, _ in service.extended) <= 101
    assert any("not durable after 100 s" in words for words in service.said)
    leases.release(1)
    leases.work()
    assert service.acknowledged == ["a0"]


def test_many_are_acknowledged_in_requests_that_the_service_takes():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 2 * ACKS_A_REQUEST + 1)
    leases.release(10**6)
    leases.work()
    assert len(set(service.acknowledged)) == 2 * ACKS_A_REQUEST + 1


def test_no_acknowledgement_is_lost_while_the_service_is_away():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 2 * ACKS_A_REQUEST)
    service.failures = [away() for _ in range(6)]
    leases.release(10**6)
    for _ in range(7):
        pause = leases.work()
        if not service.acknowledged:
            service.now += pause
    assert len(set(service.acknowledged)) == 2 * ACKS_A_REQUEST
    assert 0.25 + 0.5 + 1 + 2 + 4 + 8 <= service.now < 16
    assert service.said == ["away"]  # of six failures within eight seconds


def test_what_the_service_could_not_take_for_now_is_sent_again():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 3)
    service.again = {"a1"}
    leases.release(3)
    service.now += leases.work()
    service.again = set()
    leases.work()
    assert sorted(service.acknowledged) == ["a0", "a1", "a2"]


def test_closing_sends_what_waits_and_gives_back_the_rest():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 4)
    leases.start()
    leases.release(2)
    leases.close(5.0)
    leases.close(5.0)
    assert service.acknowledged == ["a0", "a1"]
    assert service.extended == [(0.0, 0, ["a2", "a3"])]


def test_closing_says_what_could_not_be_sent():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 4)
    leases.release(2)
    service.failures = [away()]
    leases.close(5.0)
    assert "delivered again" in service.said[0]


def test_a_subscription_that_is_gone_ends_the_thread_and_not_the_process():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 1)
    leases.release(1)
    service.failures = [SourceError("gone")]
    leases.start()
    leases._thread.join(5.0)
    assert not leases._thread.is_alive()
    assert service.said == ["gone"]


def test_an_error_in_the_middle_loses_no_acknowledgement():
    service = Service()
    leases = service.leases()
    pulled(leases, 0, 2)
    service.failures = [SourceError("gone")]
    leases.release(2)
    with pytest.raises(SourceError, match="gone"):
        leases.work()
    assert leases._durable == ["a0", "a1"]
