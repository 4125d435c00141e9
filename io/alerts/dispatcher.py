"""Alerts, commands and tagged readings to every sink, none of which delays another or the caller."""

from __future__ import annotations

import atexit
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.alerts.messages import ALERT, Kind
from telebeam.io.alerts.outlet import CLOSE_SECONDS, MAX_WAITING, Counts, Outlet
from telebeam.io.alerts.sender import Failed
from telebeam.io.alerts.senders import make_sender
from telebeam.io.alerts.sentlog import SentLog
from telebeam.io.alerts.spec import SinkSpec, check_sinks
from telebeam.transforms.errors import ConfigurationError


class Dispatcher:
    """Sends alerts, commands or tagged readings: to each of some sinks what its log does not have; safe under threads.

    The same rows may be offered any number of times.  They are sent in the order in which they are first offered, by a
    thread for each sink.  What does not fit into memory stays owed: the caller offers it again, oldest first, from
    where it has it.

    Delivery: each ``(alert_id, state)`` once to each sink, over any number of restarts; after a kill between a call and
    its entry in the log, a webhook or Pub/Sub may get the last few a second time, Kafka does not.

    Args:
        sinks: The sinks; each target once.
        root: The lake, whose ``_commits/alerts/`` holds the logs.
        pipeline: The pipeline's name.
        kind: What is offered.
        writer: Tells those apart who send for one pipeline at the same time: one at a time of each name.
        max_waiting: Rows that wait for one sink at most.
        clock: Monotonic seconds.
        jitter: Draws from [0, 1), for pauses.
        now: Seconds since 1970.

    Raises:
        ConfigurationError: Two sinks have one target.
    """

    def __init__(
        self,
        sinks: Sequence[SinkSpec],
        root: storage.Location,
        pipeline: str,
        kind: Kind = ALERT,
        *,
        writer: str = "alerts",
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        try:
            check_sinks(sinks)
        except ValueError as error:
            raise ConfigurationError(*error.args) from error
        self.outlets: list[Outlet] = []
        """One a sink, in the order of the sinks."""
        for spec in sinks:
            log = SentLog(
                root, pipeline, spec.name, kind.name, segment_seconds=kind.segment_seconds, kept=kind.kept, now=now
            )
            make = partial(make_sender, spec, kind, pipeline, log, writer)
            note = partial(log.note, writer)
            self.outlets.append(
                Outlet(spec, kind, log, make, note, max_waiting=max_waiting, clock=clock, jitter=jitter)
            )

    def __repr__(self) -> str:
        return f"Dispatcher({', '.join(outlet.name for outlet in self.outlets)})"

    def offer(self, rows: pa.RecordBatch) -> bool:
        """Takes what is to be sent, as far as there is room; never waits for a sink.

        Returns:
            Whether all sinks have taken all of it; if not, offer it again later.

        Raises:
            pyarrow.ArrowInvalid: The rows are not of the kind.
        """
        taken = [outlet.offer(rows) for outlet in self.outlets]
        return all(taken)

    def settled(self, rows: pa.RecordBatch) -> bool:
        """Whether every sink has had its part of these rows, durably: they need not be offered again, ever."""
        return all(outlet.settled(rows) for outlet in self.outlets)

    def owed(self) -> dict[str, int]:
        """Sink → how many rows wait for it; what :meth:`offer` did not take is not among them."""
        return {outlet.name: outlet.counts().waiting for outlet in self.outlets}

    def counts(self) -> Mapping[str, Counts]:
        """Sink → what it has done so far."""
        return {outlet.name: outlet.counts() for outlet in self.outlets}

    def failures(self) -> dict[str, list[Failed]]:
        """Sink → the last rows that it refused for good, with its reasons."""
        return {outlet.name: list(outlet.failures) for outlet in self.outlets}

    def flush(self, seconds: float) -> bool:
        """Waits until nothing waits for any sink, at most so many seconds; returns whether that is so."""
        until = time.monotonic() + seconds
        done = [outlet.flush(max(0.0, until - time.monotonic())) for outlet in self.outlets]
        return all(done)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Ends all threads within so many seconds; what waits stays owed.  A second time does nothing."""
        for outlet in self.outlets:
            outlet.stop()
        until = time.monotonic() + seconds
        for outlet in self.outlets:
            outlet.close(max(0.0, until - time.monotonic()))


_LOCK = threading.Lock()
_SHARED: dict[tuple[str, ...], Dispatcher] = {}


@atexit.register
def _close_shared() -> None:
    while _SHARED:
        _SHARED.popitem()[1].close()


def shared_dispatcher(
    sinks: Sequence[SinkSpec], lake: str, pipeline: str, kind: Kind = ALERT, *, writer: str = "alerts"
) -> Dispatcher:
    """The dispatcher that all stages of this process share, so that none sends what another is just sending.

    It lives as long as the process.

    Args:
        sinks: The sinks; each target once.
        lake: The lake's path.
        pipeline: The pipeline's name.
        kind: What is offered.
        writer: As of :class:`Dispatcher`; the first caller's holds.

    Raises:
        ConfigurationError: Two sinks have one target.
    """
    key = (lake, pipeline, kind.name, *(spec.model_dump_json() for spec in sinks))
    with _LOCK:
        if key not in _SHARED:
            _SHARED[key] = Dispatcher(sinks, storage.locate(lake), pipeline, kind, writer=writer)
        return _SHARED[key]
