"""Pulls messages on a few threads into a queue that does not grow beyond what is allowed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from telebeam.io.pubsub.client import PubSubAwayError
from telebeam.io.pubsub.leases import Pulled
from telebeam.io.pubsub.waiting import Complaints, pause_after
from telebeam.transforms.errors import SourceError

THREADS = 4
"""Pulls at a time: one waits for the network while another's answer is decoded."""
MESSAGES_A_PULL = 1000
"""More are not given, whatever is asked for."""
MESSAGES_A_TAKE = 50_000


class Budget:
    """How many messages and bytes may be outstanding: pulled, and not durable yet.

    Bytes are known only when they are there, so each pull may exceed them by its own.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._messages, self._size = messages, size
        self._changed = threading.Condition()
        self._closed = False

    def reserve(self, most: int) -> int:
        """Waits until there is room; returns for how many messages, 0 when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._messages > 0 and self._size > 0))
            if self._closed:
                return 0
            room = min(most, self._messages)
            self._messages -= room
            return room

    def release(self, messages: int, size: int) -> None:
        """Gives room back; a negative size takes some."""
        with self._changed:
            self._messages += messages
            self._size += size
            self._changed.notify_all()

    def close(self) -> None:
        """Lets nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Puller:
    """Pulls from a subscription until it is told to stop.

    Args:
        pull: Gives up to so many messages; empty where the service has none, None where it did not answer in time.
        answers: Returns if the service is there.
        hold: Takes care of what was pulled, from then on.
        budget: What may be outstanding.
        complaints: Says that the service is away.
        threads: How many pulls are open at a time.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        pull: Callable[[int], list[Any] | None],
        answers: Callable[[], None],
        hold: Callable[[Pulled], None],
        budget: Budget,
        complaints: Complaints,
        *,
        threads: int = THREADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pull, self._answers, self._hold = pull, answers, hold
        self._budget, self._complaints, self._clock = budget, complaints, clock
        self._changed = threading.Condition()
        self._queue: deque[Pulled] = deque()
        self._queued = 0
        self._silent = 0  # answers without a message since the last one with some
        self._arrivals = 0
        self._failure: SourceError | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"telebeam-pubsub-pull-{index}", daemon=True)
            for index in range(threads)
        ]
        self._running = threads

    def start(self) -> None:
        """Begins to pull."""
        for thread in self._threads:
            thread.start()

    def take(self, seconds: float) -> list[Pulled]:
        """What was pulled, in the order of arrival; waits at most so long if there is nothing.

        Raises:
            SourceError: The subscription can't be read any more, and all that was pulled from it was taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or not self._running or self._failure, seconds)
            taken, messages = [], 0
            while self._queue and messages < MESSAGES_A_TAKE:
                taken.append(self._queue.popleft())
                messages += len(taken[-1].received)
            self._queued -= messages
            if not taken and self._failure is not None:
                raise self._failure
            if not taken and not self._running and not self._stop.is_set():
                raise SourceError("pulling from Pub/Sub has ended by a defect", "the log tells where; please report it")
            return taken

    @property
    def queued(self) -> int:
        """Messages that were pulled and not taken."""
        with self._changed:
            return self._queued

    @property
    def drained(self) -> bool:
        """Whether all was taken and the service has said since, once for each thread, that it has nothing more."""
        with self._changed:
            return not self._queue and self._silent >= len(self._threads)

    def stop(self) -> None:
        """Ends pulling; calls that are open end when their connection is closed."""
        self._stop.set()
        self._budget.close()

    def join(self, seconds: float) -> None:
        """Waits, at most so long, until all threads have ended."""
        until = self._clock() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - self._clock()))

    def _run(self) -> None:
        try:
            failures = 0
            while not self._stop.is_set():
                try:
                    self._pull_once()
                    failures = 0
                except PubSubAwayError as error:
                    if self._stop.is_set():
                        return
                    failures += 1
                    with self._changed:
                        self._silent = 0  # what it had said is not known to hold any more
                    self._complaints.say(f"{error.message}; waiting for it")
                    self._stop.wait(pause_after(failures))
        except SourceError as error:
            with self._changed:
                self._failure = self._failure or error
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _pull_once(self) -> None:
        room = self._budget.reserve(MESSAGES_A_PULL)
        if not room:
            return
        received: list[Any] | None = []
        arrivals = self._arrivals
        try:
            received = self._pull(room)
            if received is None:
                self._answers()
        finally:
            self._budget.release(room - len(received or ()), 0)
        if received:
            self._arrived(Pulled(received, sum(each.ByteSize() for each in received), self._clock()))
        else:
            with self._changed:
                # What came meanwhile on another thread may not be the last.
                self._silent = self._silent + 1 if arrivals == self._arrivals else 0

    def _arrived(self, pulled: Pulled) -> None:
        self._budget.release(0, -pulled.size)
        self._hold(pulled)
        with self._changed:
            self._queue.append(pulled)
            self._queued += len(pulled.received)
            self._silent = 0
            self._arrivals += 1
            self._changed.notify_all()
