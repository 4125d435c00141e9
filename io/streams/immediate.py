"""Alerts that need no past, sent as readings come: before they are filed, and before time has passed.

The ordered pass finds the same alerts under the same ids (:mod:`.order`); what was sent is not sent again.
"""

from __future__ import annotations

import pyarrow as pa

from telebeam.io.alerts.dispatcher import Dispatcher, shared_dispatcher
from telebeam.io.alerts.messages import ALERT
from telebeam.io.streams.job import StreamJob
from telebeam.transforms.batches import rows_of
from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.spec import RuleSpec, immediate


class Immediate:
    """Looks at a reader's readings and offers what they give to the sinks.

    Args:
        rules: Those that need no past.
        dispatcher: Sends.
    """

    def __init__(self, rules: tuple[RuleSpec, ...], dispatcher: Dispatcher) -> None:
        self._book = RuleBook(rules)
        self._dispatcher = dispatcher

    def look(self, readings: pa.RecordBatch) -> None:
        """Offers the alerts of some readings; waits for nobody.  Late readings raise none."""
        late = readings.column("is_late").to_numpy(zero_copy_only=False)
        found = self._book.immediate(readings if not late.any() else rows_of(readings, ~late))
        if found.alerts.num_rows:
            # What is not taken now is offered again by the ordered pass.
            self._dispatcher.offer(found.alerts)


def immediate_alerts(job: StreamJob, index: int) -> Immediate | None:
    """What a reader does at once; None where there is no rule that allows it, or nobody to tell.

    Args:
        job: The job.
        index: The reader's, from 0.
    """
    rules = immediate(job.order.rules) if job.order is not None else ()
    if not rules or not job.alerts:
        return None
    return Immediate(rules, shared_dispatcher(job.alerts, job.lake.path, job.pipeline, ALERT, writer=f"reader-{index}"))
