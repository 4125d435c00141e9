"""Readings into InfluxDB as soon as they are checked, where that works at once; where not, they follow from the lake.

Nothing here waits for a server: what it does not take now is dropped and remembered as not stored.
"""

from __future__ import annotations

import atexit
import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from influxdb_client.rest import ApiException

from telebeam.io.influxdb.client import InfluxWriter
from telebeam.io.influxdb.lines import Lines, reading_lines
from telebeam.io.influxdb.patience import asked_seconds, cause_of
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.patience import Patience
from telebeam.transforms.batches import concat
from telebeam.transforms.errors import TelebeamError
from telebeam.transforms.schema import SERIES

_LOG = logging.getLogger(__name__)

MAX_POINTS_WAITING = 200_000
"""Some seconds of what a server takes; 20 MB."""
TIMEOUT = timedelta(seconds=5)
"""Of one request: a server that needs longer gets its points from the lake; one that compacts may stall for two."""
CLOSE_SECONDS = 2.0
MAX_LOST_TICKETS = 10_000
BEHIND_LOG_SECONDS = 60.0
GIVE_WAY_SECONDS = 1.0
"""How long readings wait at most for what is few and was waited for, such as the windows that have just closed."""
GIVE_WAY_EVERY = 10.0
"""Seconds between two times: who has many windows to send takes turns with the readings."""

_NEEDED = [*SERIES, "timestamp", "value", "quality_score"]


class _Offer(NamedTuple):
    batch: pa.RecordBatch
    ticket: int


class _OneTryWriter(InfluxWriter):
    """Takes a refusal of some lines for one of all: they come again from the lake, where time is taken for parting."""

    def _bisect(self, batch: Lines, places: Any, answer: ApiException) -> Iterator[tuple[Any, str]]:
        del batch
        yield places, str(answer.reason)


class LivePoints:
    """Sends readings from a thread of its own, best effort, and knows of which it is sure; safe under threads.

    A ticket is a number that callers give to what they want to ask about as one; tickets ascend and belong to one
    caller each.  After a failure everything is dropped until the pause of :class:`~.patience.Patience` is over, then
    one batch tries.

    Args:
        spec: The bucket; its secret is resolved here.
        max_points_waiting: Points held at most, those being sent included; what comes beyond is dropped.
        clock: Monotonic seconds, of the pauses.
        jitter: Draws from [0, 1), for the pauses.

    Raises:
        ConfigurationError: The token's reference names nothing.
    """

    def __init__(
        self,
        spec: InfluxSpec,
        *,
        max_points_waiting: int = MAX_POINTS_WAITING,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._spec = spec.model_copy(update={"timeout": min(spec.timeout, TIMEOUT), "max_retries": 0})
        self._writer = _OneTryWriter(self._spec)
        self._clock = clock
        self._max_points = max_points_waiting
        self._changed = threading.Condition()
        self._queue: deque[_Offer] = deque()
        self._points = 0  # in the queue and on their way
        self._open: Counter[int] = Counter()
        self._lost: dict[int, None] = {}
        self._forgotten = -1  # the youngest of the lost tickets that nobody asked for in time
        self._patience = Patience(clock=clock, jitter=jitter)
        self._behind = False
        self._behind_said = -BEHIND_LOG_SECONDS
        self._closed = False
        self._held_until = self._gave_way = -GIVE_WAY_EVERY
        self._thread = threading.Thread(target=self._run, name="telebeam-influxdb-live", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"LivePoints({self._spec.url}, bucket={self._spec.bucket!r}, {self._points} points waiting)"

    @property
    def closed(self) -> bool:
        """Whether it drops all that it is offered, for good."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Points that it was offered and that are not stored yet."""
        return self._points

    def offer(self, batch: pa.RecordBatch, ticket: int) -> None:
        """Takes readings to be sent, or drops them; never waits.

        Args:
            batch: Of ``READINGS_IN_FLIGHT``.
            ticket: Which they belong to.
        """
        if not batch.num_rows:
            return
        offer = _Offer(batch.select(_NEEDED).replace_schema_metadata(None), ticket)
        with self._changed:
            if not self._takes(batch.num_rows):
                self._lose(ticket)
            else:
                self._queue.append(offer)
                self._points += batch.num_rows
                self._open[ticket] += 1
            self._changed.notify_all()

    def settled(self, ticket: int, wait_seconds: float) -> bool:
        """Whether all that was offered under a ticket is stored; may be asked again.

        Args:
            ticket: Which.  One that nothing was offered under is stored.
            wait_seconds: How long to wait for what is still on its way.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_lost(ticket) or ticket not in self._open, wait_seconds)
            return ticket not in self._open and not self._is_lost(ticket)

    def lost(self, ticket: int) -> bool:
        """Whether something offered under a ticket was dropped, failed or was refused: it will never be settled."""
        with self._changed:
            return self._is_lost(ticket)

    def give_way(self) -> None:
        """Lets something else have the server to itself, from the next request on, until :meth:`go_on` or a second."""
        now = self._clock()
        with self._changed:
            if now - self._gave_way >= GIVE_WAY_EVERY:
                self._gave_way, self._held_until = now, now + GIVE_WAY_SECONDS

    def go_on(self) -> None:
        """Sends again."""
        with self._changed:
            self._held_until = self._clock()
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the thread, within two seconds; what was not sent is lost.  A second time does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)
        self._writer.close()

    def _takes(self, points: int) -> bool:
        if self._closed or self._patience.left() or (self._patience.away and self._points):
            return False
        if self._points + points > self._max_points:
            self._behind = True
            return False
        return True

    def _is_lost(self, ticket: int) -> bool:
        return ticket in self._lost or ticket <= self._forgotten

    def _lose(self, ticket: int) -> None:
        self._lost[ticket] = None
        if len(self._lost) > MAX_LOST_TICKETS:
            self._forgotten = max(self._forgotten, oldest := next(iter(self._lost)))
            del self._lost[oldest]

    def _run(self) -> None:
        try:
            while offers := self._next():
                self._settle(offers, self._send(offers))
        finally:
            with self._changed:
                self._closed = True
                self._drop_queue()
                for ticket in self._open:  # what was being sent, where sending itself went wrong
                    self._lose(ticket)
                self._open.clear()
                self._changed.notify_all()

    def _next(self) -> list[_Offer]:
        """Waits for something to send; gives as much of it as a request holds, nothing once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            while not self._closed and (left := self._held_until - self._clock()) > 0:
                self._changed.wait(left)
            offers: list[_Offer] = []
            points = 0
            while self._queue and not self._closed:
                points += self._queue[0].batch.num_rows
                if offers and points > self._spec.batch_points:
                    break
                offers.append(self._queue.popleft())
            return offers

    def _send(self, offers: list[_Offer]) -> set[int]:
        """Writes the points of some offers; returns the places of those that are not stored in full."""
        lines, unrepresentable = reading_lines(concat([offer.batch for offer in offers]), self._spec)
        was_away = self._patience.away
        if self._was_behind():
            _LOG.warning(
                "InfluxDB at %s takes fewer points than come: some readings will follow from the lake", self._spec.url
            )
        try:
            refused = self._writer.write(lines)
        except TelebeamError as error:
            with self._changed:
                self._patience.failed(asked_seconds(error))
                self._drop_queue()
            if not was_away:
                _LOG.warning("%s: readings will follow from the lake", cause_of(error))
            return set(range(len(offers)))
        with self._changed:
            self._patience.worked()
        if was_away:
            _LOG.warning("InfluxDB at %s is back", self._spec.url)
        rows = np.concatenate([unrepresentable.rows, lines.rows[[each.index for each in refused]]])
        ends = np.cumsum([offer.batch.num_rows for offer in offers])
        return set(np.searchsorted(ends, rows, side="right").tolist())

    def _settle(self, offers: list[_Offer], unsent: set[int]) -> None:
        with self._changed:
            for place, offer in enumerate(offers):
                if place in unsent:
                    self._lose(offer.ticket)
                self._forget(offer)
            self._changed.notify_all()

    def _drop_queue(self) -> None:
        while self._queue:
            offer = self._queue.popleft()
            self._lose(offer.ticket)
            self._forget(offer)

    def _forget(self, offer: _Offer) -> None:
        self._points -= offer.batch.num_rows
        self._open[offer.ticket] -= 1
        if not self._open[offer.ticket]:
            del self._open[offer.ticket]

    def _was_behind(self) -> bool:
        """Whether something was dropped for want of room, and nobody has been told for a minute."""
        with self._changed:
            behind, self._behind = self._behind, False
        if not behind or self._clock() - self._behind_said < BEHIND_LOG_SECONDS:
            return False
        self._behind_said = self._clock()
        return True


_LOCK = threading.Lock()
_SHARED: dict[str, LivePoints] = {}


@atexit.register
def _close_shared() -> None:
    # The client signs out when it is deleted, which fails with a traceback once the interpreter has taken itself apart.
    while _SHARED:
        _SHARED.popitem()[1].close()


def points_waiting(spec: InfluxSpec) -> int:
    """How many points the sender that all readers of this process share has yet to store."""
    shared = _shared(spec)
    return 0 if shared is None else shared.waiting


@contextmanager
def before_readings(spec: InfluxSpec) -> Iterator[None]:
    """What is sent within it has the server to itself, for a second: this process's readings wait for so long."""
    shared = _shared(spec)
    if shared is None:
        yield
        return
    shared.give_way()
    try:
        yield
    finally:
        shared.go_on()


def _shared(spec: InfluxSpec) -> LivePoints | None:
    with _LOCK:
        shared = _SHARED.get(spec.model_dump_json())
    return None if shared is None or shared.closed else shared


def live_points(spec: InfluxSpec) -> LivePoints:
    """The sender that all readers of this process share, one for each spec.

    Raises:
        ConfigurationError: The token's reference names nothing.
    """
    key = spec.model_dump_json()
    with _LOCK:
        shared = _SHARED.get(key)
        if shared is None or shared.closed:
            shared = _SHARED[key] = LivePoints(spec)
        return shared
