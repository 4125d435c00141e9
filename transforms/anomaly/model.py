"""``model``: readings scored by forests that were trained before, each by the version of its time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from telebeam.transforms.anomaly.drift import Histogram
from telebeam.transforms.anomaly.features import LAYOUT, describe
from telebeam.transforms.anomaly.isolation import Isolation
from telebeam.transforms.anomaly.lanes import Floats, History, Ints, Lanes, PerSeries, Slot, Verdicts
from telebeam.transforms.anomaly.spec import TrainedModel
from telebeam.transforms.errors import ConfigurationError


@dataclass(frozen=True)
class Group:
    """Whose readings a forest was grown from."""

    tenant: str
    sensor_type: str
    device_id: str | None = None
    """None for the sensor type's forest."""
    series: int | None = None
    """The checksum of the device's series."""

    @property
    def key(self) -> str:
        """What the lanes call it."""
        return f"{self.tenant}\0{self.sensor_type}"


@dataclass(frozen=True, eq=False)
class Part:
    """One forest of a model."""

    group: Group
    forest: Isolation
    histogram: Histogram
    """Of the features of what it was grown from."""


@dataclass(frozen=True, eq=False)
class Model:
    """One version of a model: a forest for each tenant and sensor type, and perhaps for single series.

    A series with a forest of its own is scored by that, others by that of their sensor type; what has none is not
    scored.
    """

    name: str
    version: str
    valid_from: int
    """From which event time on it is the newest, µs since 1970."""
    created_at: int
    """When it was published, µs; decides between two versions of one ``valid_from``."""
    parts: tuple[Part, ...]
    fingerprint: str
    """A checksum of all that it is."""

    @cached_property
    def _by_group(self) -> dict[str, int]:
        return {part.group.key: place for place, part in enumerate(self.parts) if part.group.series is None}

    @cached_property
    def _by_series(self) -> tuple[npt.NDArray[np.uint64], Ints]:
        """The checksums of series with forests, ascending, and the places of these."""
        found = sorted(
            (part.group.series, place) for place, part in enumerate(self.parts) if part.group.series is not None
        )
        return np.array([one for one, _ in found], np.uint64), np.array([place for _, place in found], np.int64)

    def places(self, lanes: Lanes) -> Ints:
        """int64[lanes]: the place in ``parts`` of what scores each lane; -1 for nothing."""
        named = np.array([self._by_group.get(name, -1) for name in lanes.groups] or [-1], np.int64)
        found: Ints = named[lanes.group]
        series, place = self._by_series
        if len(series):
            near = np.minimum(np.searchsorted(series, lanes.identity), len(series) - 1)
            found = np.where(series[near] == lanes.identity, place[near], found)
        return found


@dataclass(frozen=True)
class Models:
    """All versions of some models: a value, and the plainest :class:`ModelSource`."""

    versions: tuple[Model, ...] = ()
    _by_name: dict[str, tuple[Model, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for each in sorted(self.versions, key=lambda one: (one.valid_from, one.created_at, one.version)):
            self._by_name[each.name] = (*self._by_name.get(each.name, ()), each)

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits: a checksum of all versions."""
        said = sorted(f"{each.name}\0{each.version}\0{each.fingerprint}" for each in self.versions)
        return hashlib.blake2b("\n".join(said).encode(), digest_size=6).hexdigest()

    def of(self, name: str, version: str | None = None) -> tuple[Model, ...]:
        """The versions of a model, ascending by what they are valid from; or one of them alone."""
        found = self._by_name.get(name, ())
        return found if version is None else tuple(each for each in found if each.version == version)

    def current(self) -> Models:
        """Itself."""
        return self


class ModelSource(Protocol):
    """Where a detector asks for its models before each piece of time; what has changed counts from that piece on."""

    def current(self) -> Models:
        """The models that there are now."""
        ...


class ModelDetector(PerSeries):
    """Scores readings by trained forests; learns of a series what describes its readings, and nothing else.

    A reading is scored by the version with the latest ``valid_from`` at or before its time: live, again after a kill,
    and in a backfill by the same one.  Before the first, and until its series has 20 readings, it scores 0.

    Raises:
        ConfigurationError: The settings have no models with them.
    """

    def __init__(self, spec: TrainedModel) -> None:
        if spec.models is None:
            raise ConfigurationError(
                f"the detector {spec.label} has no models to score by",
                "hand them over: TrainedModel(model=…).scored_by(LakeModels(lake))",
            )
        self._spec = spec
        self._source: ModelSource = spec.models

    @property
    def layout(self) -> Mapping[str, Slot]:
        """What describes the next reading: no number of a model, so that versions come and go without a new start."""
        return LAYOUT

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        found = describe(lanes, history)
        versions = self._source.current().of(self._spec.model, self._spec.version)
        newest = self._newest(versions, lanes.time[found.at])
        for number in np.unique(newest[newest >= 0]).tolist():
            mine = np.flatnonzero(newest == number)
            place = versions[number].places(lanes)[found.lane[mine]]
            scores = score_by(versions[number], place, found.features[:, mine])
            judged = np.flatnonzero(place >= 0)
            at = found.at[mine[judged]]
            verdicts.score[at] = scores[judged]
            verdicts.expected[at] = found.expected[mine[judged]]
            verdicts.anomaly[at] = not self._spec.shadow
            verdicts.anomaly[at] &= scores[judged] > self._spec.threshold
        return verdicts, history

    def _newest(self, versions: Sequence[Model], time: Ints) -> Ints:
        """int64[n]: which version scores a reading of each time; -1 for none."""
        if self._spec.version is not None:
            return np.full(len(time), len(versions) - 1)
        since = np.array([each.valid_from for each in versions], np.int64)
        found: Ints = np.searchsorted(since, time, side="right").astype(np.int64) - 1
        return found


def score_by(model: Model, place: Ints, features: Floats) -> Floats:
    """float64[n]: the scores of readings by one version; 0 where nothing scores them.

    Args:
        model: The version.
        place: int64[n]: the place of each reading's forest, -1 for none.
        features: float64[features, n].
    """
    scores = np.zeros(len(place))
    for number in np.unique(place[place >= 0]).tolist():
        mine = np.flatnonzero(place == number)
        scores[mine] = model.parts[number].forest.scores(features[:, mine])
    return scores
