"""The one place that makes metrics: Beam's counters, and the same counts for a progress line of this process.

========================  =========================================================================
``rows_in``               readings and refused records that parsing found
``readings``              readings that reached the sinks
``rejects``               records and values refused, by any stage
``late``                  readings, among the others, that came after their windows had closed for good
``windows``               windows computed
``scores``                scores filed, one for each reading and detector
``alerts``                changes of alerts: firing or resolved
``commands``              commands that rules gave
``last_n``                rows of last readings filed, one for each reading and number
``points``                points that InfluxDB took
``refused_points``        points that InfluxDB refused or that can't be written as one
========================  =========================================================================
"""

from __future__ import annotations

import threading
from collections import Counter

from apache_beam.metrics import Metrics
from apache_beam.metrics.metricbase import MetricName
from apache_beam.runners.runner import PipelineResult

NAMESPACE = "telebeam"
NAMES = (
    "rows_in", "readings", "rejects", "late", "windows", "scores", "alerts", "commands", "last_n", "points",
    "refused_points",
)  # fmt: skip


class _Tally:
    """Counts of this process, for a runner that works in it: its own metrics come at the end only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int) -> None:
        with self._lock:
            self._counts[name] += count

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()


LOCAL = _Tally()
"""What this process has counted since it was reset."""


def measured(name: str, count: int) -> None:
    """Adds to a metric, one of :data:`NAMES`."""
    if count:
        Metrics.counter(NAMESPACE, name).inc(count)
        LOCAL.add(name, count)


def counts_of(result: PipelineResult) -> dict[str, int]:
    """All metrics of a run; those that nothing was added to are 0."""
    found = dict.fromkeys(NAMES, 0)
    for counter in result.metrics().query()["counters"]:
        name: MetricName = counter.key.metric
        if name.namespace == NAMESPACE and name.name in found:
            found[name.name] += counter.committed if counter.committed is not None else counter.attempted
    return found
