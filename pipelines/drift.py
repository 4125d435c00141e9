"""``telebeam drift``: the lake's readings beside those that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from telebeam.io import storage
from telebeam.io.models.source import LakeModels, check_models
from telebeam.io.models.store import to_text
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.training import lake_of, lake_span, readings_of
from telebeam.transforms.anomaly.drift_meter import HOUR, DriftMeter
from telebeam.transforms.anomaly.spec import TrainedModel


def measure_drift(
    spec: PipelineSpec, name: str | None, start: datetime | None, end: datetime | None, advance: Callable[[int], None]
) -> list[dict[str, Any]]:
    """A row for each sensor type, version and feature, and for each hour; of all hours ``hour`` is None.

    Rows of all hours have ``worst_hour_psi`` besides.

    Args:
        spec: The configuration; its lake is read.
        name: The model's; the pipeline's unless given.
        start: The beginning; the lake's unless given.
        end: The end.
        advance: Is told how many readings were gone through.

    Raises:
        ConfigurationError: There is no lake, no such model, or no reading.
        SourceError: A file of the lake is damaged.
    """
    lake, name = lake_of(spec), name or spec.pipeline
    check_models([TrainedModel(model=name)], lake)
    meter = DriftMeter(LakeModels(lake, (name,)).current(), name)
    root = storage.locate(lake)
    first, last = lake_span(root, start, end)
    for readings in readings_of(root, first, last):
        meter.add(readings)
        advance(readings.num_rows)
    found = [asdict(each) for each in meter.drifts()]
    same = ("tenant", "sensor_type", "version", "feature")
    for row in found:
        if row["hour"] is None:
            hours = [one["psi"] for one in found if one["hour"] is not None and all(one[k] == row[k] for k in same)]
            row["worst_hour_psi"] = max(hours)
        else:
            row["hour"] = to_text(row["hour"] * HOUR)
    return found
