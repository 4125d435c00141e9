"""Patience with a service that is away: growing pauses, and a word now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

FIRST_SECONDS = 0.25
LONGEST_SECONDS = 10.0
EVERY_SECONDS = 10.0


def pause_after(failures: int) -> float:
    """Seconds until the next try after so many failed ones.

    >>> [pause_after(failures) for failures in (1, 2, 3, 100)]
    [0.25, 0.5, 1.0, 10.0]
    """
    return float(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(failures - 1, 10)))


class Complaints:
    """Says what is wrong, at most once in ten seconds however many threads meet it.

    Args:
        clock: Seconds that never go back.
        say: Takes a line.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, say: Callable[[str, str], None] = _LOG.warning
    ) -> None:
        self._clock, self._say = clock, say
        self._lock = threading.Lock()
        self._next = float("-inf")

    def say(self, words: str) -> None:
        """Says it, unless something was said a moment ago."""
        with self._lock:
            now = self._clock()
            if now < self._next:
                return
            self._next = now + EVERY_SECONDS
        self._say("%s", words)
