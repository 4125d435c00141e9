"""Messages that were pulled and are not durable yet: kept from other readers until they are, then acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from telebeam.io.pubsub.client import ACKS_A_REQUEST, PubSubAwayError
from telebeam.io.pubsub.waiting import Complaints, pause_after
from telebeam.transforms.errors import SourceError

Integers = npt.NDArray[np.int64]
Call = Callable[[Sequence[str]], list[str]]

REPEATED = -1
"""The number of a message that was delivered again after it had become durable."""
_LATER = 2**62  # no number yet
_LONG = 60.0


@dataclass
class Pulled:
    """The messages of one pull."""

    received: list[Any] = field(repr=False)
    """Protocol buffers of ``ReceivedMessage``; empty once they were taken."""
    size: int
    """In bytes."""
    pulled_at: float

    def __post_init__(self) -> None:
        self.ack_ids = np.array([each.ack_id for each in self.received], object)
        self.numbers: Integers = np.full(len(self.received), _LATER)
        self.ids: Integers = np.zeros(len(self.received), np.int64)
        self.mean_size = self.size / max(1, len(self.received))

    def number(self, numbers: Integers, ids: Integers) -> None:
        """Gives each message the number under which it becomes durable."""
        self.numbers, self.ids = numbers, ids

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Leaves some messages in it."""
        self.ack_ids, self.numbers, self.ids = self.ack_ids[mask], self.numbers[mask], self.ids[mask]


@dataclass(frozen=True)
class Released:
    """What became durable: no longer held."""

    ids: Integers
    messages: int
    size: int


class Leases:
    """Holds pulls, renews their leases, and acknowledges what is durable, on a thread of its own.

    Args:
        acknowledge: Acknowledges ack ids; returns those to try again.
        extend: Renews leases of ack ids by so many seconds; returns as ``acknowledge``.
        seconds: For how long a lease is renewed.
        longest: How long a message is held in all.
        first: How long the first lease lasts, which the subscription grants by itself.
        complaints: Says what goes wrong.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        acknowledge: Call,
        extend: Callable[[Sequence[str], float], list[str]],
        *,
        seconds: float,
        longest: float,
        first: float,
        complaints: Complaints,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._acknowledge, self._extend = acknowledge, extend
        self._seconds, self._longest, self._first = seconds, longest, first
        self._complaints, self._clock = complaints, clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._held: dict[int, tuple[Pulled, float]] = {}  # in the order of the pulls, with the time to renew
        self._durable: list[str] = []  # ack ids to acknowledge
        self._failures = 0
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="telebeam-pubsub-leases", daemon=True)

    def start(self) -> None:
        """Begins to renew and to acknowledge."""
        self._thread.start()

    def hold(self, pulled: Pulled) -> None:
        """Takes a pull into its care."""
        with self._lock:
            self._held[id(pulled)] = (pulled, pulled.pulled_at + self._first / 2)
        self._wake.set()

    def release(self, below: int) -> Released:
        """Acknowledges, soon, what has a number below this one."""
        ids, messages, size = [np.empty(0, np.int64)], 0, 0.0
        with self._lock:
            for key, (pulled, _) in list(self._held.items()):
                done = pulled.numbers < below
                if not done.any():
                    continue
                ids.append(pulled.ids[done])
                messages += int(done.sum())
                size += pulled.mean_size * int(done.sum())
                self._durable += pulled.ack_ids[done].tolist()
                pulled.keep(~done)
                if not len(pulled.numbers):
                    del self._held[key]
        if messages:
            self._wake.set()
        return Released(np.concatenate(ids), messages, round(size))

    def work(self) -> float:
        """Sends what is due; returns after how many seconds something will be due.

        Raises:
            SourceError: The subscription is gone, or may not be read any more.
        """
        now = self._clock()
        if now < self._not_before:
            return self._not_before - now
        try:
            self._renew(now)
            while self._send_some():
                self._renew(self._clock())  # what is slow to acknowledge must not cost the others their leases
        except PubSubAwayError as error:
            self._failures += 1
            self._not_before = now + pause_after(self._failures)
            self._complaints.say(error.message)
        else:
            self._failures = 0
        with self._lock:
            due = min([at for _, at in self._held.values()], default=now + _LONG)
            next_at = now if self._durable else min(due, now + _LONG)
        return max(0.0, max(next_at, self._not_before) - self._clock())

    def _send_some(self) -> bool:
        """Sends one request; returns whether there is more to send."""
        with self._lock:
            waiting, self._durable = self._durable[:ACKS_A_REQUEST], self._durable[ACKS_A_REQUEST:]
        again = waiting
        try:
            again = self._acknowledge(waiting) if waiting else []
        finally:
            with self._lock:
                self._durable = again + self._durable
                more = bool(self._durable)
        if again:
            raise PubSubAwayError(f"Pub/Sub could not acknowledge {len(again)} messages for now")
        return more

    def _renew(self, now: float) -> None:
        with self._lock:
            due = [(key, pulled, pulled.ack_ids.tolist()) for key, (pulled, at) in self._held.items() if at <= now]
        for key, pulled, ack_ids in due:
            left = pulled.pulled_at + self._longest - now
            if left > 0:
                for start in range(0, len(ack_ids), ACKS_A_REQUEST):
                    self._extend(ack_ids[start : start + ACKS_A_REQUEST], min(self._seconds, max(left, 1.0)))
                again_at = now + self._seconds / 2
            else:
                self._complaints.say(f"{len(ack_ids)} messages are not durable after {self._longest:g} s: given back")
                again_at = float("inf")
            with self._lock:
                if key in self._held:
                    self._held[key] = (pulled, again_at)

    def _run(self) -> None:
        while not self._stopping:
            try:
                pause = self.work()
            except SourceError as error:
                # Whoever pulls is told the same, and says so to the job.
                self._complaints.say(error.message)
                return
            self._wake.wait(pause)
            self._wake.clear()

    def close(self, seconds: float) -> None:
        """Sends what is to be acknowledged and gives back what is held, as far as that takes no longer than so."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        until = self._clock() + seconds
        try:
            while self._send_some() and self._clock() < until:
                pass
            for pulled, _ in self._held.values():
                if self._clock() < until:
                    self._extend(pulled.ack_ids.tolist(), 0)
        except SourceError as error:
            self._complaints.say(f"{error.message}; what was not acknowledged is delivered again")
        self._held.clear()
