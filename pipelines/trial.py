"""``telebeam rules test``: how often each rule would have fired over the lake's history.  Nothing is filed or sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, hour_of
from telebeam.io.lake.past import Past
from telebeam.io.lake.steps import needed_by, step_of, stretches
from telebeam.io.models.source import check_models
from telebeam.pipelines.sources import fleet_of, order_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.rules.summary import RuleSummary, summarise
from telebeam.transforms.schema import ALERTS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Trial:
    """What the rules would have done.

    Attributes:
        readings: How many readings there were.
        devices: Of how many devices.
        start: The beginning, µs since 1970.
        end: The end.
        rules: One for each rule, in their order.
    """

    readings: int
    devices: int
    start: int
    end: int
    rules: list[RuleSummary]

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` has it: times as text."""
        rules = [{**asdict(rule), "first": _text(rule.first), "last": _text(rule.last)} for rule in self.rules]
        return {
            "readings": self.readings, "devices": self.devices, "start": _text(self.start), "end": _text(self.end),
            "rules": rules,
        }  # fmt: skip


def try_rules(
    spec: PipelineSpec, start: datetime | None, end: datetime | None, advance: Callable[[int], None]
) -> Trial:
    """Runs detectors and rules over the lake's readings of [start, end).

    Args:
        spec: The configuration; its lake is read.
        start: The beginning; detectors know nothing of what was before.  The lake's first hour unless given.
        end: The end; the end of the lake's last hour unless given.
        advance: Is told how many readings were gone through.

    Raises:
        ConfigurationError: A model is not there, there are no rules, no lake, or no readings in that time.
        SourceError: A file of the lake is damaged.
    """
    order = order_of(spec, fleet_of(spec))
    if not spec.rules or spec.sinks.lake is None or order is None:
        raise ConfigurationError("there are no rules to try", "add rules: [...]; see docs/rules.md")
    check_models(spec.anomalies, spec.sinks.lake.path, has_devices=spec.devices is not None)
    root = storage.locate(spec.sinks.lake.path)
    span = _span(root, start, end)
    past = Past(order, step_of(span[0]))
    alerts, devices, rows = [], set[tuple[str, str]](), 0
    for (_, until), readings in stretches(root, (step_of(span[0]), span[1]), late=True, columns=needed_by(order)):
        made = past.pass_time(until) if readings is None else past.advance(readings, until)
        alerts.append(made.alerts)
        if readings is not None:
            rows += readings.num_rows
            devices |= _devices(readings)
            advance(readings.num_rows)
    found = pa.Table.from_batches(alerts, schema=ALERTS)
    summaries = summarise(spec.rules, found, len(devices), *span)
    return Trial(rows, len(devices), *span, summaries)


def _span(root: storage.Location, start: datetime | None, end: datetime | None) -> tuple[int, int]:
    hours = [hour_of(path) for path in storage.files_below(root, "readings")]
    if not hours:
        raise ConfigurationError(f"{root.path} holds no readings", "run the pipeline first, or check sinks.lake.path")
    first, last = min(hours)[0], max(hours)[1] + 1
    first = first if start is None else max(first, _micros(start))
    last = last if end is None else min(last, _micros(end))
    if first >= last:
        whole = f"{_text(min(hours)[0])} to {_text(max(hours)[0] + HOUR)}"
        raise ConfigurationError("the lake has no readings in that time", f"it has some from {whole}")
    return first, last


def _devices(readings: pa.RecordBatch) -> set[tuple[str, str]]:
    pairs = pa.table({name: readings.column(name).dictionary_decode() for name in ("tenant", "device_id")})
    distinct = pairs.group_by(["tenant", "device_id"]).aggregate([])
    return set(zip(*(distinct.column(name).to_pylist() for name in ("tenant", "device_id")), strict=True))


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _text(micros: int | None) -> str | None:
    return None if micros is None else (_EPOCH + timedelta(microseconds=micros)).isoformat()
