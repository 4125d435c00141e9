"""Alerts of a command that ends: sent to each sink that has not had them, and waited for."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.alerts.dispatcher import Dispatcher
from telebeam.io.alerts.messages import ALERT, keys_of, wanted
from telebeam.io.alerts.sentlog import SentLog
from telebeam.io.alerts.spec import AlertSinkSpec
from telebeam.transforms.errors import SinkError
from telebeam.transforms.schema import conform

SECONDS = 30.0
"""How long sinks that are slow or away are waited for."""


def send_once(
    sinks: Sequence[AlertSinkSpec], root: storage.Location, pipeline: str, alerts: pa.RecordBatch, writer: str,
    seconds: float = SECONDS,
) -> dict[str, int]:  # fmt: skip
    """Sends alerts to the sinks whose logs do not have them; a sink that has them all is left alone.

    Args:
        sinks: The sinks; each target once.
        root: The lake, which holds the logs.
        pipeline: The pipeline's name.
        alerts: ``ALERTS``.
        writer: Tells those apart who send for one pipeline at the same time.
        seconds: How long is waited at most.

    Returns:
        Sink → how many it took now; those that had all are not named.

    Raises:
        SinkError: A sink does not take its alerts in that time; others have theirs.
        SourceError: A log can't be read.
        ConfigurationError: Two sinks have one target.
    """
    owing = [sink for sink in sinks if _owes(sink, root, pipeline, alerts)]
    if not owing:
        return {}
    dispatcher = Dispatcher(owing, root, pipeline, writer=writer)
    try:
        dispatcher.offer(alerts)
        dispatcher.flush(seconds)
        counts = dispatcher.counts()
    finally:
        dispatcher.close()
    late = {name: each for name, each in counts.items() if each.waiting}
    if late:
        words = "; ".join(f"{name}: {each.trouble or 'no answer'}" for name, each in late.items())
        hint = "they are in the lake; run the command again when the sinks are back"
        raise SinkError(f"{sum(each.waiting for each in late.values())} alert(s) were not taken: {words}", hint)
    return {name: each.delivered for name, each in counts.items()}


def _owes(sink: AlertSinkSpec, root: storage.Location, pipeline: str, alerts: pa.RecordBatch) -> bool:
    log = SentLog(root, pipeline, sink.name, ALERT.name)
    log.refresh()
    return any(key not in log for key in keys_of(wanted(sink, conform(alerts, ALERT.schema)), ALERT))
