"""``telebeam maintenance``: when devices will be at a threshold, and which may fail soon, from the lake's windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.lake import Lake
from telebeam.io.models.store import to_text
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.training import lake_of
from telebeam.transforms.anomaly import maintenance
from telebeam.transforms.anomaly.labels import Label, Labels
from telebeam.transforms.anomaly.lanes import Floats, Ints
from telebeam.transforms.anomaly.maintenance import Windows
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import SERIES

ALERT_ABOVE = 0.8
"""A higher probability of a failure is an alert."""
_HELD_OUT = 0.3
"""The share of the time, the last, on which the failure model is tried."""


@dataclass(frozen=True)
class Request:
    """What is asked.

    Args:
        sensor_type: Of which readings.
        threshold: In their unit.
        falling: Whether it is a floor.
        last: How many windows the trend is of.
        seconds: The windows' length; the configuration's first unless given.
        start: Windows from this time on; all unless given.
        end: Windows that start before this time.
        failures: That happened; without them no probability is told.
        ahead_hours: Within how many hours a failure is foretold.
    """

    sensor_type: str
    threshold: float
    falling: bool = False
    last: int = 24
    seconds: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    failures: Sequence[Label] = ()
    ahead_hours: float = 24.0


@dataclass(frozen=True)
class Prospect:
    """What is to be expected of a series; hours count from the end of its last window, None is never or not known."""

    tenant: str
    device_id: str
    measurement_type: str
    unit: str
    location: str | None
    last_window_end: str
    current: float
    trend_per_hour: float | None
    hours_to_threshold: float | None
    earliest_hours: float | None
    latest_hours: float | None
    failure_probability: float | None
    alert: bool
    """Whether the probability is above 0.8."""


@dataclass(frozen=True)
class Trial:
    """How a failure model of the first part of the history does on the last: windows, and those called above 0.8."""

    windows: int
    failed: int
    called: int
    called_and_failed: int


@dataclass(frozen=True)
class Prospects:
    """All series, those that need care first, and how far the failure model may be trusted."""

    series: list[Prospect]
    trial: Trial | None
    """None where the history has too few failures for both parts."""

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        return {"series": [asdict(each) for each in self.series], "trial": asdict(self.trial) if self.trial else None}


def prospects(spec: PipelineSpec, request: Request) -> Prospects:
    """Reads the lake's windows and looks ahead.

    Raises:
        ConfigurationError: There is no lake, or it has no such windows.
        SourceError: A file of the lake is damaged.
    """
    windows = _windows(spec, request)
    trends = maintenance.time_to_threshold(windows, request.threshold, request.last, falling=request.falling)
    newest = np.append(windows.start[1:], len(windows.end)) - 1
    probability, trial = _failures(windows, request, newest)
    keys = windows.rows.take(pa.array(newest)).select(list(SERIES)).to_pylist()
    found = []
    for place, key in enumerate(keys):
        del key["sensor_type"]
        numbers = [float(each[place]) for each in trends]
        chance = float(probability[place])
        found.append(
            Prospect(
                **key,
                last_window_end=to_text(int(windows.end[newest[place]])),
                current=numbers[0],
                trend_per_hour=_known(numbers[1]),
                hours_to_threshold=_known(numbers[2]),
                earliest_hours=_known(numbers[3]),
                latest_hours=_known(numbers[4]),
                failure_probability=_known(chance),
                alert=chance > ALERT_ABOVE,
            )
        )
    return Prospects(sorted(found, key=_urgency), trial)


def _urgency(each: Prospect) -> tuple[float, float, str, str]:
    hours = float("inf") if each.hours_to_threshold is None else each.hours_to_threshold
    return -(each.failure_probability or 0.0), hours, each.tenant, each.device_id


def _known(number: float) -> float | None:
    return number if np.isfinite(number) else None


def _windows(spec: PipelineSpec, request: Request) -> Windows:
    seconds = request.seconds or next((window.seconds for window in spec.windows), 60)
    lake = Lake(lake_of(spec))
    table = lake.windows(seconds, request.start, request.end, columns=maintenance.COLUMNS)
    # Groups of devices are rows of windows too; their names are no device's, which has three characters at least.
    is_device = pc.greater_equal(pc.utf8_length(table["device_id"]), 3)
    device = table.filter(pc.and_(pc.equal(table["sensor_type"], request.sensor_type), is_device))
    if not device.num_rows:
        known = ", ".join(sorted(filter(None, pc.unique(table["sensor_type"]).to_pylist())))
        raise ConfigurationError(
            f"{lake} has no windows of {seconds} s of {request.sensor_type} in that time",
            f"it has some of {known}" if known else "name another --window, or run the pipeline first",
        )
    return maintenance.arrange(device.combine_chunks().to_batches()[0])


def _failures(windows: Windows, request: Request, newest: Ints) -> tuple[Floats, Trial | None]:
    """The probability of each series, NaN where it is not known, and how the model does on the last part."""
    unknown = np.full(len(newest), np.nan)
    if not request.failures:
        return unknown, None
    history = maintenance.label(windows, Labels.of(request.failures).by_device, request.ahead_hours)
    features = windows.features[:, history.at]
    model = maintenance.fit_failures(features, history.failed)
    if model is None:
        return unknown, None
    return model.probability(windows.features[:, newest]), _try(windows, history, features)


def _try(windows: Windows, history: maintenance.History, features: Floats) -> Trial | None:
    end = windows.end[history.at]
    early = end < end.min() + (1.0 - _HELD_OUT) * (end.max() - end.min())
    model = maintenance.fit_failures(features[:, early], history.failed[early])
    if model is None or early.all():
        return None
    failed = history.failed[~early]
    called = model.probability(features[:, ~early]) > ALERT_ABOVE
    return Trial(len(failed), int(failed.sum()), int(called.sum()), int((called & failed).sum()))
