"""Alerts that need no past, sent as readings come: before they are filed, and before time has passed.

The ordered pass finds the same alerts under the same ids (:mod:`.order`); what was sent is not sent again.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from telebeam.io.alerts.dispatcher import Dispatcher, shared_dispatcher
from telebeam.io.alerts.messages import ALERT
from telebeam.io.streams.job import StreamJob
from telebeam.transforms.batches import rows_of
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.spec import immediate


class Immediate:
    """Looks at a reader's readings and offers what they give to the sinks.

    Args:
        order: Its rules that need no past, and what says in which group a device is.
        dispatcher: Sends.
    """

    def __init__(self, order: OrderSpec, dispatcher: Dispatcher) -> None:
        self._order = replace(order, detectors=(), rules=immediate(order.rules))
        self._book = RuleBook(self._order.rules)
        self._dispatcher = dispatcher

    def look(self, readings: pa.RecordBatch) -> None:
        """Offers the alerts of some readings; waits for nobody.  Late readings raise none."""
        late = readings.column("is_late").to_numpy(zero_copy_only=False)
        timely = readings if not late.any() else rows_of(readings, ~late)
        found = self._book.immediate(self._order.look().with_group(timely))
        if found.alerts.num_rows:
            # What is not taken now is offered again by the ordered pass.
            self._dispatcher.offer(found.alerts)


def immediate_alerts(job: StreamJob, index: int) -> Immediate | None:
    """What a reader does at once; None where there is no rule that allows it, or nobody to tell.

    Args:
        job: The job.
        index: The reader's, from 0.
    """
    if job.order is None or not immediate(job.order.rules) or not job.alerts:
        return None
    dispatcher = shared_dispatcher(job.alerts, job.lake.path, job.pipeline, ALERT, writer=f"reader-{index}")
    return Immediate(job.order, dispatcher)
