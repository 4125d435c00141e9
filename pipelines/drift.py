"""``telebeam drift``: the lake's readings beside those that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.alerts.messages import KEPT_DAYS
from telebeam.io.alerts.once import SECONDS, send_once
from telebeam.io.json_rows import json_rows
from telebeam.io.lake.drift import DriftFiles
from telebeam.io.models.source import LakeModels, check_models
from telebeam.io.models.store import to_text
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.training import lake_of, lake_span, look_at_types, readings_of
from telebeam.transforms.anomaly.drift_meter import HOUR, Drift, DriftMeter
from telebeam.transforms.anomaly.drift_rows import LEAST_JUDGED, THRESHOLD, Judged, rows_of_span
from telebeam.transforms.anomaly.spec import TrainedModel
from telebeam.transforms.batches import rows_of
from telebeam.transforms.errors import ConfigurationError

_WRITER = "drift"
_KEPT = KEPT_DAYS * 24 * HOUR
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Request:
    """What is to be looked at.

    Args:
        name: The model's; the pipeline's unless given.
        start: The beginning; the lake's unless given.
        end: The end; the lake's unless given.
        last: How long before the end it begins, in place of ``start``.
        threshold: The PSI above which a feature has drifted.
        dry_run: File nothing, and send nothing.
    """

    name: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    last: timedelta | None = None
    threshold: float = THRESHOLD
    dry_run: bool = False


@dataclass(frozen=True)
class Found:
    """What a run found and did."""

    drifts: list[dict[str, Any]]
    """As :func:`measure_drift` gives them."""
    judged: Judged
    alerts: list[dict[str, Any]]
    """The changes of ``alerts`` at the end of this span, as they are sent."""
    sent: dict[str, int] = field(default_factory=dict)
    """Sink → the changes that it took, of this span and of spans before."""

    @property
    def drifted(self) -> list[dict[str, Any]]:
        """The features above the threshold over all the time."""
        return [row for row in self.drifts if row["is_drift"]]

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        span = {"start": to_text(self.judged.start), "end": to_text(self.judged.end)}
        bound = {"model": self.judged.model, **span, "threshold": self.judged.threshold}
        return {**bound, "drift": self.drifts, "alerts": self.alerts, "sent": self.sent}


def watch_drift(spec: PipelineSpec, request: Request, advance: Callable[[int], None]) -> Found:
    """Measures, files ``drift`` and what follows of it in ``alerts``, and sends the changes that sinks have not had.

    The same readings over the same span give the same files, however often it is run.

    Args:
        spec: The configuration; its lake is read and written.
        request: What is wanted.
        advance: Is told how many readings were gone through.

    Raises:
        ConfigurationError: There is no lake, no such model, or no reading.
        SourceError: A file of the lake is damaged.
        SinkError: The lake does not take the files, or a sink does not take its alerts; all is filed then.
    """
    root = storage.locate(lake_of(spec))
    first, last = _span(root, request)
    judged = Judged(spec.pipeline, request.name or spec.pipeline, first, last, request.threshold)
    drifts = measure_drift(spec, judged, advance)
    files = DriftFiles(spec.stream_lake, root, judged.pipeline, judged.model)
    rows = rows_of_span(drifts, judged)
    changes = files.with_span(rows, judged) if request.dry_run else files.file(rows, judged)
    time = changes.column("timestamp").cast(pa.int64()).to_numpy()
    now = [msgspec.json.decode(text) for text in json_rows(rows_of(changes, time == last))]
    found = Found(_described(drifts, judged), judged, now)
    if request.dry_run:
        return found
    # What a sink that was away has missed goes out with tonight's, as far as its log can tell.
    owed = rows_of(changes, (time <= last) & (time > last - _KEPT))
    sent = send_once(spec.sinks.alerts, root, spec.pipeline, owed, _WRITER, SECONDS) if spec.sinks.alerts else {}
    return Found(found.drifts, judged, now, sent)


def _span(root: storage.Location, request: Request) -> tuple[int, int]:
    if request.last is None:
        return lake_span(root, request.start, request.end)
    if request.start is not None:
        raise ConfigurationError("--last and --start both say where to begin", "give one of them")
    _, end = lake_span(root, None, request.end)
    return lake_span(root, _EPOCH + timedelta(microseconds=end) - request.last, request.end)


def measure_drift(spec: PipelineSpec, judged: Judged, advance: Callable[[int], None]) -> list[Drift]:
    """How far each feature is, for each sensor type and version, over the span and in each of its hours.

    Args:
        spec: The configuration; its lake is read.
        judged: The model and the span.
        advance: Is told how many readings were gone through.

    Raises:
        ConfigurationError: There is no lake, no such model, or no registry for a model by device type.
        SourceError: A file of the lake is damaged.
    """
    lake = lake_of(spec)
    check_models([TrainedModel(model=judged.model)], lake, has_devices=spec.devices is not None)
    models = LakeModels(lake, (judged.model,)).current()
    look = look_at_types(spec) if any(each.asks_types for each in models.of(judged.model)) else None
    meter = DriftMeter(models, judged.model)
    for readings in readings_of(storage.locate(lake), judged.start, judged.end, look):
        meter.add(readings)
        advance(readings.num_rows)
    return meter.drifts()


def _described(drifts: list[Drift], judged: Judged) -> list[dict[str, Any]]:
    """A row for each; ``hour`` is None over all the time, and such rows say whether they drift and their worst hour."""
    found = [asdict(each) for each in drifts]
    same = ("tenant", "sensor_type", "device_type", "version", "feature")
    hours: dict[tuple[Any, ...], float] = {}
    for row in found:
        if row["hour"] is not None:
            key = tuple(row[name] for name in same)
            hours[key] = max(row["psi"], hours.get(key, 0.0))
    for row in found:
        row["valid_from"] = to_text(row["valid_from"])
        row["is_drift"] = False
        if row["hour"] is None:
            row["worst_hour_psi"] = hours[tuple(row[name] for name in same)]
            row["is_drift"] = row["readings"] >= LEAST_JUDGED and row["psi"] > judged.threshold
        else:
            row["hour"] = to_text(row["hour"] * HOUR)
    return found
