"""How long a server that can't be written to is left alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from influxdb_client.rest import ApiException
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from telebeam.transforms.errors import TelebeamError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 600.0
"""``Retry-After`` is a date as well, and a server's clock may be years off."""


class Patience:
    """When the next try is due: after one second, two, four … thirty, each with jitter, or when the server asks for it.

    It only keeps count: who uses it waits or goes away.  Not thread-safe.

    >>> now = 0.0
    >>> patience = Patience(clock=lambda: now, jitter=lambda: 0.0)
    >>> for _ in range(3):
    ...     patience.failed(TelebeamError("no answer"))
    >>> patience.left()
    4.0
    >>> now = 4.0
    >>> patience.left(), patience.away_seconds()
    (0.0, 4.0)

    Args:
        clock: Monotonic seconds.
        jitter: Draws from [0, 1): up to half of a pause is added to it.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
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

    def failed(self, error: TelebeamError) -> None:
        """Begins the next pause."""
        now = self._clock()
        if not self._failures:
            self._since = now
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
        pause = min(pause * (1 + self._jitter() / 2), LONGEST_PAUSE_SECONDS)
        self._failures += 1
        self._next = now + max(pause, min(_asked_seconds(error), LONGEST_ASKED_SECONDS))

    def worked(self) -> None:
        """Forgets the failures."""
        self._failures = 0


def _asked_seconds(error: TelebeamError) -> float:
    """What the server's ``Retry-After`` asks for; 0 where it asks for nothing that can be read."""
    cause = error.__cause__
    if not isinstance(cause, ApiException):
        return 0.0
    asked = (cause.headers or {}).get("Retry-After")
    try:
        return float(Retry().parse_retry_after(asked)) if asked else 0.0
    except InvalidHeader:
        return 0.0


def cause_of(error: TelebeamError) -> str:
    """What to say in the log: with the hint where a setting is wrong, without the advice to run a job again."""
    cause = error.__cause__
    refused = isinstance(cause, ApiException) and 300 <= (cause.status or 0) < 429
    return f"{error.message}; {error.hint}" if error.hint and (refused or error.exit_code == 2) else error.message
