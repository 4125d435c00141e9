"""Growing a model's forests from readings in the order of event time, and trying them on what came later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.anomaly.drift import Histogram
from telebeam.transforms.anomaly.features import FEATURES, LAYOUT, Described, describe, draw_order
from telebeam.transforms.anomaly.isolation import grow
from telebeam.transforms.anomaly.lanes import LARGEST, DeviceTypes, Floats, History, Ints, Lanes
from telebeam.transforms.anomaly.model import Group, Part
from telebeam.transforms.anomaly.ordering import in_order
from telebeam.transforms.anomaly.series import SeriesTable
from telebeam.transforms.anomaly.trees import Sample, check_installed
from telebeam.transforms.errors import ConfigurationError

Per = Literal["sensor_type", "device", "device_type"]
SAMPLE = 65_536
"""Readings that a forest is grown from: those whose keys hash lowest, whatever their order."""
LEAST = 256
"""Described readings that a forest needs: as many as a tree is grown from."""
MOST_OWN = 500
"""Series, or device types, that may have forests of their own: each takes some 300 KB in memory."""
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
_OWN = {"sensor_type": "", "device": "series", "device_type": "device types, by sensor type,"}
_FINE = 10_000
"""Bins of the histogram of scores: quantiles are right to a ten-thousandth."""


class Describer:
    """Describes the readings of all series, as detectors do in a job.

    It is given time in ascending pieces; how it is cut does not show.
    """

    def __init__(self) -> None:
        self.series = SeriesTable()
        self._history: History = {name: np.empty((slot.width, 0), slot.kind) for name, slot in LAYOUT.items()}

    def describe(self, readings: pa.RecordBatch) -> tuple[Lanes, Ints, Described]:
        """The readings as lanes, the series' rows of these, and what describes the readings with enough before them.

        Args:
            readings: Columns of ``READINGS``, not empty, none earlier than one of a call before.
        """
        ordered = in_order(readings)
        rows = self.series.rows(ordered.batch, ordered.start)
        self._reserve(len(self.series))
        count = np.diff(np.append(ordered.start, len(ordered.time)))
        order = np.argsort(-count, kind="stable")
        rows, value = rows[order], np.clip(ordered.value + 0.0, -LARGEST, LARGEST)
        lanes = Lanes(
            value, ordered.time, ordered.start[order], count[order],
            self.series.group[rows], self.series.groups, self.series.identity[rows], DeviceTypes.of(ordered.batch),
        )  # fmt: skip
        history = {name: np.take(array, rows, axis=1) for name, array in self._history.items()}
        described = describe(lanes, history)
        for name, array in self._history.items():
            array[:, rows] = history[name]
        return lanes, rows, described

    def _reserve(self, series: int) -> None:
        for name, array in self._history.items():
            if array.shape[1] < series:
                slot = LAYOUT[name]
                free = np.full((slot.width, max(series, 2 * array.shape[1]) - array.shape[1]), slot.fill, slot.kind)
                self._history[name] = np.concatenate([array, free], axis=1)


@dataclass
class HoldOut:
    """What a forest says of readings that it was not grown from."""

    readings: int = 0
    anomalies: int = 0
    """Those that score above the threshold."""
    _bins: Ints = field(default_factory=lambda: np.zeros(_FINE + 1, np.int64))

    def add(self, scores: Floats, threshold: float) -> None:
        """Takes the scores of some readings."""
        self.readings += len(scores)
        self.anomalies += int((scores > threshold).sum())
        self._bins += np.bincount(np.ceil(scores * _FINE).astype(np.int64), minlength=_FINE + 1)

    @property
    def alert_rate(self) -> float | None:
        """The share of the readings above the threshold; None without a reading."""
        return self.anomalies / self.readings if self.readings else None

    def quantiles(self) -> dict[str, float]:
        """Quantile → score, rounded up to a ten-thousandth; empty without a reading."""
        if not self.readings:
            return {}
        below = np.cumsum(self._bins)
        places = [int(np.searchsorted(below, np.ceil(q * self.readings))) for q in QUANTILES]
        return {f"{q:g}": min(place, _FINE) / _FINE for q, place in zip(QUANTILES, places, strict=True)}


@dataclass
class _Growing:
    readings: int = 0
    sample: Sample = field(default_factory=lambda: Sample(np.empty(0, np.uint64), np.empty((0, len(FEATURES)))))


class Trained(NamedTuple):
    """A forest, what it was grown from, and how it did on what came later."""

    part: Part
    readings: int
    """Described readings in the training part."""
    mean: dict[str, float]
    """Feature → mean of the sample."""
    std: dict[str, float]
    hold_out: HoldOut


class Trainer:
    """Grows forests for each tenant and sensor type, and perhaps for each series, or each device type, besides.

    First :meth:`learn` is called with the readings in ascending pieces of time, then :meth:`fit`, then
    :meth:`hold_out` with later ones.  The same readings give the same forests, however they are cut.

    Args:
        per: ``sensor_type``; or ``device`` for a forest of each series with enough readings besides; or ``device_type``
            for one of each device type, for which readings have the column of that name.
        trees: How many trees a forest has.
        threshold: The score above which a held-out reading counts as an anomaly.

    Raises:
        ConfigurationError: scikit-learn is not installed.
    """

    def __init__(self, per: Per = "sensor_type", trees: int = 64, threshold: float = 0.8) -> None:
        check_installed()
        self._per = per
        self._trees = trees
        self._threshold = threshold
        self._describer = Describer()
        self._growing: dict[Group, _Growing] = {}
        self._trained: dict[Group, Trained] = {}

    def learn(self, readings: pa.RecordBatch, usable: npt.NDArray[np.bool_] | None = None) -> None:
        """Takes readings to grow from.

        Args:
            readings: In the training part.
            usable: bool[n]: which of them are; others describe later ones and no more.  All unless given.
        """
        for group, order, features in self._pieces(readings, usable):
            growing = self._growing.setdefault(group, _Growing())
            growing.readings += len(order)
            growing.sample = growing.sample.lowest(Sample(order, features.T), SAMPLE)

    def fit(self) -> list[Trained]:
        """Grows the forests of all groups with enough readings, in the order of their names.

        Raises:
            ConfigurationError: No group has enough, or too many series have.
        """
        enough = {group: one for group, one in self._growing.items() if one.readings >= LEAST}
        if not enough:
            most = max((one.readings for one in self._growing.values()), default=0)
            raise ConfigurationError(
                f"no sensor type has {LEAST} readings to train on; the most is {most}",
                "train on more time; the first 20 readings of each series only describe later ones",
            )
        own = sum(group.is_own for group in enough)
        if own > MOST_OWN:
            raise ConfigurationError(
                f"{own} {_OWN[self._per]} would have forests of their own; expected {MOST_OWN} at the most",
                "train --per sensor_type, or a model for a part of the devices",
            )
        for group, one in sorted(enough.items(), key=lambda each: _place(each[0])):
            features = one.sample.features.T
            part = Part(group, grow(features, self._trees), Histogram.of(features))
            mean, std = (dict(zip(FEATURES, of, strict=True)) for of in _moments(features))
            self._trained[group] = Trained(part, one.readings, mean, std, HoldOut())
        self._growing.clear()
        return list(self._trained.values())

    def hold_out(self, readings: pa.RecordBatch) -> None:
        """Scores readings later than those that were learned, by each forest all of its group."""
        for group, _, features in self._pieces(readings, None):
            trained = self._trained.get(group)
            if trained is not None:
                trained.hold_out.add(trained.part.forest.scores(features), self._threshold)

    def _pieces(
        self, readings: pa.RecordBatch, usable: npt.NDArray[np.bool_] | None
    ) -> Iterator[tuple[Group, npt.NDArray[np.uint64], Floats]]:
        """(group, draw order, features) of each group's described readings."""
        if usable is not None:
            readings = readings.append_column("usable", pa.array(usable))
        lanes, rows, found = self._describer.describe(readings)
        order = draw_order(lanes.identity[found.lane], lanes.time[found.at], lanes.value[found.at])
        kept = np.ones(len(order), np.bool_)
        if usable is not None:
            kept = in_order(readings).batch.column("usable").to_numpy(zero_copy_only=False)[found.at]
        for number, group_of in self._numbered(lanes, rows, found):
            for each in np.unique(number[kept & (number >= 0)]).tolist():
                mine = np.flatnonzero((number == each) & kept)
                yield group_of(each), order[mine], found.features[:, mine]

    def _numbered(self, lanes: Lanes, rows: Ints, found: Described) -> Iterator[tuple[Ints, Callable[[int], Group]]]:
        """For each kind of groups the number of each described reading's, -1 for none, and which group a number is."""
        group = lanes.group[found.lane]
        yield group, lambda number: _common(lanes, number)
        if self._per == "device":
            yield rows[found.lane], self._of_series
        elif self._per == "device_type" and lanes.types is not None:
            place, names = lanes.types.place[found.at], lanes.types.names
            number = np.where(place >= 0, group * len(names) + place, -1)
            yield number, lambda each: replace(_common(lanes, each // len(names)), device_type=names[each % len(names)])

    def _of_series(self, number: int) -> Group:
        series = self._describer.series
        (keys,) = series.keys().slice(number, 1).select(["tenant", "sensor_type", "device_id"]).to_pylist()
        return Group(keys["tenant"], keys["sensor_type"], keys["device_id"], int(series.identity[number]))


def _common(lanes: Lanes, number: int) -> Group:
    tenant, _, sensor_type = lanes.groups[number].partition("\0")
    return Group(tenant, sensor_type)


def _place(group: Group) -> tuple[str, str, str, str, int]:
    return group.tenant, group.sensor_type, group.device_type or "", group.device_id or "", group.series or 0


def _moments(features: Floats) -> tuple[list[float], list[float]]:
    return features.mean(axis=1).tolist(), features.std(axis=1).tolist()
