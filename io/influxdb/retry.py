"""Retries of one request, bounded in number and in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from influxdb_client.client.write.retry import WritesRetry
from urllib3.exceptions import MaxRetryError, ResponseError

FIRST_PAUSE_SECONDS = 0.5  # jitter makes it 0.5 to 1; each next one is twice as long
LONGEST_PAUSE_SECONDS = 30.0


class BoundedRetry(WritesRetry):
    """The client's retry — exponential with jitter, Retry-After honoured — that never begins a try after a deadline.

    The client's own sleeps for whatever ``Retry-After`` says, an hour too.  A pause that would end after the deadline
    gives up at once: a try before the server's time would be refused again.

    Args:
        deadline: The reading of ``clock`` after which no try begins, in seconds.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
        options: What ``WritesRetry`` takes.
    """

    def __init__(
        self, *, deadline: float, clock: Callable[[], float], sleep: Callable[[float], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._deadline = deadline
        self._clock = clock
        self._sleep_seconds = sleep

    def new(self, **options: Any) -> BoundedRetry:
        """The strategy of the next try; urllib3 calls it."""
        bounds = {"deadline": self._deadline, "clock": self._clock, "sleep": self._sleep_seconds}
        retry: BoundedRetry = super().new(**{**bounds, **options})
        return retry

    def sleep(self, response: Any = None) -> None:
        """Wait before the next try.

        Raises:
            MaxRetryError: The wait would end after the deadline.
        """
        asked = self.get_retry_after(response) if response is not None and self.respect_retry_after_header else None
        pause = asked or self.get_backoff_time()
        if self._clock() + pause > self._deadline:
            pool: Any = None  # only names the host in a message that nobody prints
            raise MaxRetryError(pool, "", self._cause(response, asked))
        self._sleep_seconds(pause)

    def _cause(self, response: Any, asked: float | None) -> Exception:
        if response is not None:
            later = f" and asks to come back in {asked:.0f} s" if asked else ""
            return ResponseError(f"it answers {response.status}{later}")
        error: Exception | None = self.history[-1].error if self.history else None
        return error or ResponseError("there is no time left")
