"""Alerts, commands and tagged readings of a streaming job to where they are sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from telebeam.io.alerts.dispatcher import Dispatcher, shared_dispatcher
from telebeam.io.alerts.messages import ALERT, COMMAND
from telebeam.io.alerts.spec import TaggedSinkSpec
from telebeam.io.streams.job import StreamJob
from telebeam.io.streams.tagged import TaggedOutlets

_LOG = logging.getLogger(__name__)

FLUSH_SECONDS = 30.0
"""How long the end of a bounded read waits for sinks that are slow or away."""


class Outlets:
    """Offers what was made to the sinks until they have it.

    Args:
        job: Whose.
        tagged: Where readings go that rules tag.
    """

    def __init__(self, job: StreamJob, tagged: Sequence[TaggedSinkSpec] = ()) -> None:
        lake, pipeline = job.lake.path, job.pipeline
        self._alerts = shared_dispatcher(job.alerts, lake, pipeline, ALERT) if job.alerts else None
        self._commands = shared_dispatcher(job.commands, lake, pipeline, COMMAND) if job.commands else None
        self._tagged = TaggedOutlets(job, tagged)
        self._open: list[tuple[Dispatcher, pa.RecordBatch]] = []
        """What was made and is not known to be with every sink."""

    def offer(
        self,
        alerts: Iterable[pa.RecordBatch],
        commands: Iterable[pa.RecordBatch],
        tagged: Iterable[Mapping[str, pa.RecordBatch]] = (),
    ) -> None:
        """Takes what was made and filed; waits for nobody.

        Args:
            alerts: ``ALERTS``.
            commands: ``COMMANDS``.
            tagged: Tag → ``READINGS``.

        Raises:
            SourceError: A file of tagged readings, which were left in the lake, can't be read.
        """
        for dispatcher, batches in ((self._alerts, alerts), (self._commands, commands)):
            if dispatcher is not None:
                self._open += [(dispatcher, rows) for rows in batches]
        left = []
        for dispatcher, rows in self._open:
            dispatcher.offer(rows)  # what it has or has sent already it does not take again
            if not dispatcher.settled(rows):
                left.append((dispatcher, rows))
        self._open = left
        self._tagged.offer(tagged)

    @property
    def all_sent(self) -> bool:
        """Whether every sink had all that was made so far, when something was offered last."""
        return not self._open and self._tagged.all_sent

    def flush(self) -> None:
        """Waits some time until all is sent; warns of what is not."""
        until = time.monotonic() + FLUSH_SECONDS
        # The others are being sent meanwhile; of tagged readings there may be more than a sink holds at a time.
        self._tagged.flush(until)
        for dispatcher in (self._alerts, self._commands):
            if dispatcher is not None:
                dispatcher.flush(max(0.0, until - time.monotonic()))
        self.offer((), ())
        if self._open:
            waiting = sum(rows.num_rows for _, rows in self._open)
            _LOG.warning("%d alerts or commands were not taken by their sinks; they are in the lake", waiting)
        if not self._tagged.all_sent:
            _LOG.warning("tagged readings of %d steps were not taken; they are in the lake", self._tagged.waiting)
