"""How long a target that can't be reached is left alone, and how often that is said."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from logging import Logger

LONGEST_ASKED_SECONDS = 600.0
"""``Retry-After`` is a date as well, and a server's clock may be years off."""
WARNING_SECONDS = 60.0


class Patience:
    """When the next try is due: after one pause, two, four … with jitter, or when the target asks for it.

    It only keeps count: who uses it waits or goes away.  Not thread-safe.

    >>> now = 0.0
    >>> patience = Patience(1.0, 30.0, clock=lambda: now, jitter=lambda: 0.0)
    >>> patience.failed(), patience.failed(), patience.failed(asked_seconds=7.0)
    (1.0, 2.0, 7.0)
    >>> now = 3.0
    >>> patience.left()
    4.0
    >>> patience.away_seconds()
    3.0

    Args:
        first_seconds: The first pause.
        longest_seconds: The longest, unless the target asks for more.
        clock: Monotonic seconds.
        jitter: Draws from [0, 1): up to half of a pause is added to it.
    """

    def __init__(
        self,
        first_seconds: float = 1.0,
        longest_seconds: float = 30.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._longest = first_seconds, longest_seconds
        self._clock, self._jitter = clock, jitter
        self._failures = 0
        self._since = 0.0
        self._next = 0.0

    @property
    def away(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def away_seconds(self) -> float:
        """Since the first of the failures; 0 where the last try did not fail."""
        return self._clock() - self._since if self._failures else 0.0

    def left(self) -> float:
        """Seconds until a try is due; 0 if it is."""
        return max(0.0, self._next - self._clock()) if self._failures else 0.0

    def failed(self, asked_seconds: float = 0.0) -> float:
        """Begins the next pause; returns how long it is, in seconds."""
        pause = min(self._first * 2.0 ** min(self._failures, 20), self._longest)
        pause = min(pause * (1 + self._jitter() / 2), self._longest)
        pause = max(pause, min(asked_seconds, LONGEST_ASKED_SECONDS))
        now = self._clock()
        self._since = self._since if self._failures else now
        self._failures += 1
        self._next = now + pause
        return pause

    def worked(self) -> None:
        """Forgets the failures."""
        self._failures = 0


class Warnings:
    """Says things to the log, each kind at most once a minute.

    Args:
        log: Where they are said.
        clock: Monotonic seconds.
    """

    def __init__(self, log: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._next: dict[str, float] = {}

    def say(self, kind: str, text: str) -> None:
        """Says it, unless one of the kind was said within the last minute."""
        now = self._clock()
        if now >= self._next.get(kind, now):
            self._next[kind] = now + WARNING_SECONDS
            self._log.warning("%s", text)
