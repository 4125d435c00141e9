"""Drift of a stream of readings: each hour's features beside those that each reading's version was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.drift import Histogram
from telebeam.transforms.anomaly.features import FEATURES
from telebeam.transforms.anomaly.model import Model, Models
from telebeam.transforms.anomaly.training import Describer

HOUR = 3_600_000_000
_TIMELESS = tuple(name for name in FEATURES if not name.startswith("day_"))
"""An hour has one time of the day alone: that is no drift."""


@dataclass(frozen=True)
class Drift:
    """How far a feature of a sensor type moved in an hour, or in all of them."""

    tenant: str
    sensor_type: str
    version: str
    """Of the model that the hour is held against."""
    hour: int | None
    """Since 1970; None for all hours together."""
    feature: str
    readings: int
    psi: float
    """Population stability index."""
    ks: float
    """Kolmogorov-Smirnov distance, 0 … 1."""
    valid_from: int = 0
    """From which event time on the version scores, µs since 1970."""
    device_type: str | None = None
    """Of models that have forests by device type: which; else None."""


class DriftMeter:
    """Counts features by hour; given time in ascending pieces, however cut.

    Args:
        models: The versions.
        name: Of the model.
    """

    def __init__(self, models: Models, name: str) -> None:
        self._versions = models.of(name)
        self._since = np.array([each.valid_from for each in self._versions], np.int64)
        self._describer = Describer()
        self._counts: dict[tuple[int, int, int], Histogram] = {}
        """(version, part, hour) → counts."""

    def add(self, readings: pa.RecordBatch) -> None:
        """Takes readings; those before the first version, or of no forest, are left out.

        Args:
            readings: Not empty, none earlier than one of a call before; with ``device_type`` where models ask for it.
        """
        lanes, _, found = self._describer.describe(readings)
        time = lanes.time[found.at]
        version = np.searchsorted(self._since, time, side="right") - 1
        hour = time // HOUR
        for number in np.unique(version[version >= 0]).tolist():
            model = self._versions[number]
            # A sensor type's forest was grown from the readings of all device types.
            for place in (model.common(lanes)[found.lane], model.typed(lanes, found)):
                for part in np.unique(place[place >= 0]).tolist():
                    mine = (version == number) & (place == part)
                    for each in np.unique(hour[mine]).tolist():
                        self._count((number, part, each), found.features[:, mine & (hour == each)])

    def _count(self, key: tuple[int, int, int], features: np.ndarray) -> None:
        counted = self._versions[key[0]].parts[key[1]].histogram.count(features)
        self._counts[key] = self._counts[key] + counted if key in self._counts else counted

    def drifts(self) -> list[Drift]:
        """A row for each forest but those of series, and feature, over all hours, and one for each hour."""
        found = []
        for number, part in sorted({key[:2] for key in self._counts}):
            hours = {key[2]: counts for key, counts in sorted(self._counts.items()) if key[:2] == (number, part)}
            whole = None
            for counts in hours.values():
                whole = counts if whole is None else whole + counts
            if whole is not None:
                for hour, counts in [(None, whole), *hours.items()]:
                    found += _rows(self._versions[number], part, hour, counts)
        return found


def _rows(model: Model, place: int, hour: int | None, counts: Histogram) -> list[Drift]:
    part = model.parts[place]
    psi, ks = part.histogram.psi(counts), part.histogram.ks(counts)
    readings = int(counts.counts[0].sum())
    return [
        Drift(
            part.group.tenant, part.group.sensor_type, model.version, hour, name, readings,
            float(psi[FEATURES.index(name)]), float(ks[FEATURES.index(name)]), model.valid_from,
            part.group.device_type,
        )
        for name in _TIMELESS
    ]  # fmt: skip
