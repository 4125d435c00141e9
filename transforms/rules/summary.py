"""How often rules fired: what a dry run over history tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from telebeam.transforms.rules.spec import RuleSpec

_DAY = 86_400_000_000


@dataclass(frozen=True)
class RuleSummary:
    """What a rule would have done within some time.

    Attributes:
        rule: Its name.
        fired: How often it fired; an alert that became critical counts once more.
        critical: How many of these were critical.
        groups: In how many groups it fired.
        per_device_day: How often it fired for each device and day.
        first: When it fired first, µs since 1970.
        last: When it fired last.
        longest_seconds: How long its longest alert was firing; one that has not resolved goes on to the end.
        open: How many have not resolved.
    """

    rule: str
    fired: int
    critical: int
    groups: int
    per_device_day: float
    first: int | None
    last: int | None
    longest_seconds: float
    open: int


def summarise(
    rules: Iterable[RuleSpec], alerts: pa.RecordBatch | pa.Table, devices: int, start: int, end: int
) -> list[RuleSummary]:
    """One summary for each rule, in their order; a rule that never fired has one too.

    Args:
        rules: The rules.
        alerts: ``ALERTS`` of a run over the time, in any order; other rules' are left out.
        devices: How many devices there were.
        start: The beginning of the time, µs since 1970.
        end: Its end.
    """
    columns = (
        "rule",
        "alert_id",
        "state",
        "severity",
        "tenant",
        "device_id",
        "location",
        "sensor_type",
        "measurement_type",
    )
    lists = [alerts.column(name).to_pylist() for name in columns]
    times = alerts.column("timestamp").cast(pa.int64()).to_pylist()
    found: dict[str, list[tuple[int, tuple[str | None, ...]]]] = {rule.name: [] for rule in rules}
    for time, name, *rest in zip(times, *lists, strict=True):
        if name in found:
            found[name].append((time, tuple(rest)))
    device_days = devices * (end - start) / _DAY
    return [_summary(name, rows, device_days, end) for name, rows in found.items()]


def _summary(name: str, rows: list[tuple[int, tuple[str | None, ...]]], device_days: float, end: int) -> RuleSummary:
    fired = {row[0]: (time, row) for time, row in rows if row[1] == "firing"}
    resolved = {row[0]: time for time, row in rows if row[1] == "resolved"}
    times = [time for time, _ in fired.values()]
    longest = max((resolved.get(alert, end) - time for alert, (time, _) in fired.items()), default=0)
    return RuleSummary(
        rule=name,
        fired=len(fired),
        critical=sum(row[2] == "critical" for _, row in fired.values()),
        groups=len({row[3:5] if row[4] is not None else row[3:] for _, row in fired.values()}),
        per_device_day=len(fired) / device_days if device_days > 0 else 0.0,
        first=min(times, default=None),
        last=max(times, default=None),
        longest_seconds=max(longest, 0) / 1e6,
        open=sum(alert not in resolved for alert in fired),
    )
