"""Drift as rows: what was measured over a span, and the alerts that follow from all spans so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa

from telebeam.transforms.anomaly.drift_meter import Drift
from telebeam.transforms.rules.alerts import identity
from telebeam.transforms.schema import ALERTS, DRIFT

THRESHOLD = 0.25
"""A PSI above it is another world, as credit scoring has it (Siddiqi, Credit Risk Scorecards, 2006)."""
LEAST_JUDGED = 500
"""Readings of a group that is judged: of the same distribution as the model's, so many have a PSI of 0.02 by chance."""
ALERT_TYPE = "model_drift"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Judged:
    """What a span is held against.

    Args:
        pipeline: Whose readings they are.
        model: The model's name.
        start: The span's first instant, µs since 1970.
        end: The instant behind its last one.
        threshold: The PSI above which a feature has drifted.
    """

    pipeline: str
    model: str
    start: int
    end: int
    threshold: float = THRESHOLD


def rows_of_span(drifts: Iterable[Drift], judged: Judged) -> pa.RecordBatch:
    """``DRIFT``: two rows, PSI and KS, for each feature over the whole span, in a fixed order.

    Args:
        drifts: Of :meth:`~.drift_meter.DriftMeter.drifts`; those of single hours are left out.
        judged: The span.
    """
    rows = [row for drift in drifts if drift.hour is None for row in _rows(drift, judged)]
    return _batch(sorted(rows, key=_order), DRIFT)


def _rows(drift: Drift, judged: Judged) -> list[dict[str, Any]]:
    bound = judged.threshold if drift.readings >= LEAST_JUDGED else None
    same = {
        "pipeline": judged.pipeline, "model": judged.model, "version": drift.version, "valid_from": drift.valid_from,
        "tenant": drift.tenant, "sensor_type": drift.sensor_type, "device_type": drift.device_type,
        "feature": drift.feature, "readings": drift.readings,
        "window_start": judged.start, "window_end": judged.end,
    }  # fmt: skip
    psi = {"statistic": "psi", "value": drift.psi, "threshold": bound}
    ks = {"statistic": "ks", "value": drift.ks, "threshold": None}
    return [
        {**same, **psi, "is_drift": bound is not None and drift.psi > bound},
        {**same, **ks, "is_drift": False},
    ]


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    group = (row["tenant"], row["sensor_type"], row["device_type"] or "")
    return (*group, row["valid_from"], row["version"], row["feature"], row["statistic"])


class _Group(NamedTuple):
    """Whose readings moved."""

    tenant: str
    sensor_type: str
    device_type: str | None


class _Verdict(NamedTuple):
    """What a span says of a group, by the version that is in use at its end."""

    end: int
    start: int
    rows: tuple[dict[str, Any], ...]
    """One a feature, the farthest first."""

    @property
    def is_drift(self) -> bool:
        return any(row["is_drift"] for row in self.rows)


def drift_alerts(rows: pa.Table) -> pa.RecordBatch:
    """``ALERTS``: what fires at the end of a group's first span with drift, and resolves at that of the next without.

    What a span changes follows from it and from those that end before it.  Of spans with one end the one that begins
    last counts.  A group of too few readings stays as it was.

    Args:
        rows: ``DRIFT`` of one pipeline and model, of any number of spans, in any order.
    """
    found: list[dict[str, Any]] = []
    for group, verdicts in sorted(_verdicts(rows).items(), key=lambda each: _sortable(each[0])):
        since: int | None = None
        for verdict in verdicts:
            if verdict.is_drift and since is None:
                since = verdict.end
                found.append(_alert(group, verdict, since, "firing"))
            elif not verdict.is_drift and since is not None:
                found.append(_alert(group, verdict, since, "resolved"))
                since = None
    return _batch(sorted(found, key=lambda row: (row["timestamp"], row["rule"], row["alert_id"])), ALERTS)


def _verdicts(rows: pa.Table) -> dict[_Group, list[_Verdict]]:
    """The judged spans of each group, by their ends."""
    spans: dict[tuple[_Group, int], dict[int, list[dict[str, Any]]]] = {}
    for row in _plain(rows).to_pylist():
        if row["statistic"] == "psi" and row["threshold"] is not None:
            group = _Group(row["tenant"], row["sensor_type"], row["device_type"])
            spans.setdefault((group, row["window_end"]), {}).setdefault(row["window_start"], []).append(row)
    found: dict[_Group, list[_Verdict]] = {}
    for (group, end), by_start in sorted(spans.items(), key=lambda each: each[0][1]):
        start, judged = max(by_start.items())
        found.setdefault(group, []).append(_Verdict(end, start, _newest(judged)))
    return found


def _newest(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    newest = max((row["valid_from"], row["version"]) for row in rows)
    mine = [row for row in rows if (row["valid_from"], row["version"]) == newest]
    return tuple(sorted(mine, key=lambda row: (-row["value"], row["feature"])))


def _alert(group: _Group, verdict: _Verdict, since: int, state: str) -> dict[str, Any]:
    worst = verdict.rows[0]
    rule = f"drift:{worst['model']}"
    return {
        "alert_id": identity(rule, worst["pipeline"], *group, since),
        "rule": rule,
        "tenant": group.tenant,
        "sensor_type": group.sensor_type,
        "timestamp": verdict.end,
        "alert_type": ALERT_TYPE,
        "severity": "warning",
        "state": state,
        "message": _message(group, verdict, state),
        "value": worst["value"],
        "expected": worst["threshold"],
    }


def _message(group: _Group, verdict: _Verdict, state: str) -> str:
    worst = verdict.rows[0]
    of = f" of {group.device_type}" if group.device_type is not None else ""
    who = f"{group.sensor_type}{of}, tenant {group.tenant}"
    span = f"{_text(verdict.start)} to {_text(verdict.end)}"
    model = f"model {worst['model']} {worst['version']}"
    if state == "resolved":
        return f"resolved: {who}: readings are as {model} knows them, {span} (PSI {worst['value']:.2f} at most)"
    moved = ", ".join(f"{row['feature']} (PSI {row['value']:.2f})" for row in verdict.rows if row["is_drift"])
    return f"{who}: readings have moved from those of {model} by {moved}, {span}"


def _sortable(group: _Group) -> tuple[str, str, str]:
    return group.tenant, group.sensor_type, group.device_type or ""


def _text(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def _plain(rows: pa.Table) -> pa.Table:
    """The rows with times as µs."""
    times = {"valid_from", "window_start", "window_end"}
    kinds = [field.with_type(pa.int64()) if field.name in times else field for field in rows.schema]
    return rows.cast(pa.schema(kinds))


def _batch(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
