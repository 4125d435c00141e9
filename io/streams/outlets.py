"""Alerts and commands of a streaming job to where they are sent."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pyarrow as pa

from telebeam.io.alerts.dispatcher import Dispatcher, shared_dispatcher
from telebeam.io.alerts.messages import ALERT, COMMAND
from telebeam.io.streams.job import StreamJob

_LOG = logging.getLogger(__name__)

FLUSH_SECONDS = 30.0
"""How long the end of a bounded read waits for sinks that are slow or away."""


class Outlets:
    """Offers what was made to the sinks until they have it.

    Args:
        job: Whose.
    """

    def __init__(self, job: StreamJob) -> None:
        lake, pipeline = job.lake.path, job.pipeline
        self._alerts = shared_dispatcher(job.alerts, lake, pipeline, ALERT) if job.alerts else None
        self._commands = shared_dispatcher(job.commands, lake, pipeline, COMMAND) if job.commands else None
        self._open: list[tuple[Dispatcher, pa.RecordBatch]] = []
        """What was made and is not known to be with every sink."""

    def offer(self, alerts: Iterable[pa.RecordBatch], commands: Iterable[pa.RecordBatch]) -> None:
        """Takes what was made; waits for nobody."""
        for dispatcher, batches in ((self._alerts, alerts), (self._commands, commands)):
            if dispatcher is not None:
                self._open += [(dispatcher, rows) for rows in batches]
        left = []
        for dispatcher, rows in self._open:
            dispatcher.offer(rows)  # what it has or has sent already it does not take again
            if not dispatcher.settled(rows):
                left.append((dispatcher, rows))
        self._open = left

    @property
    def all_sent(self) -> bool:
        """Whether every sink had all that was made so far, when something was offered last."""
        return not self._open

    def flush(self) -> None:
        """Waits some time until all is sent; warns of what is not."""
        for dispatcher in (self._alerts, self._commands):
            if dispatcher is not None:
                dispatcher.flush(FLUSH_SECONDS)
        self.offer((), ())
        if not self.all_sent:
            waiting = sum(rows.num_rows for _, rows in self._open)
            _LOG.warning("%d alerts or commands were not taken by their sinks; they are in the lake", waiting)
