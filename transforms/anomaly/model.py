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
from telebeam.transforms.anomaly.features import LAYOUT, Described, describe
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
    device_type: str | None = None
    """None for the forest of all device types."""

    @property
    def is_own(self) -> bool:
        """Whether it is a part of what its sensor type's forest was grown from."""
        return self.series is not None or self.device_type is not None

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
    """One version of a model: a forest for each tenant and sensor type, and perhaps for single series or device types.

    A series with a forest of its own is scored by that, a reading whose device is then of a type with one by that, and
    others by that of their sensor type; what has none is not scored.
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
        return {part.group.key: place for place, part in enumerate(self.parts) if not part.group.is_own}

    @cached_property
    def _by_type(self) -> dict[tuple[str, str], int]:
        """(tenant and sensor type, device type) → the place of its forest."""
        return {
            (part.group.key, part.group.device_type): place
            for place, part in enumerate(self.parts)
            if part.group.device_type is not None
        }

    @property
    def asks_types(self) -> bool:
        """Whether device types have forests of their own."""
        return bool(self._by_type)

    @cached_property
    def _by_series(self) -> tuple[npt.NDArray[np.uint64], Ints]:
        """The checksums of series with forests, ascending, and the places of these."""
        found = sorted(
            (part.group.series, place) for place, part in enumerate(self.parts) if part.group.series is not None
        )
        return np.array([one for one, _ in found], np.uint64), np.array([place for _, place in found], np.int64)

    def places(self, lanes: Lanes, described: Described) -> Ints:
        """int64[n]: the place in ``parts`` of what scores each described reading; -1 for nothing."""
        found = self.common(lanes)
        series, place = self._by_series
        if len(series):
            near = np.minimum(np.searchsorted(series, lanes.identity), len(series) - 1)
            found = np.where(series[near] == lanes.identity, place[near], found)
        of_type = self.typed(lanes, described)
        return np.where(of_type >= 0, of_type, found[described.lane])

    def common(self, lanes: Lanes) -> Ints:
        """int64[lanes]: the place of the forest of each lane's sensor type; -1 for none."""
        named = np.array([self._by_group.get(name, -1) for name in lanes.groups] or [-1], np.int64)
        found: Ints = named[lanes.group]
        return found

    def typed(self, lanes: Lanes, described: Described) -> Ints:
        """int64[n]: the place of the forest of each described reading's device type; -1 for none."""
        if lanes.types is None or not lanes.types.names or not self.asks_types:
            return np.full(len(described.at), -1)
        names = {name: number for number, name in enumerate(lanes.types.names)}
        groups = {name: number for number, name in enumerate(lanes.groups)}
        table = np.full((len(groups) + 1, len(names) + 1), -1)  # the last column is of readings without a type
        for (group, name), place in self._by_type.items():
            if name in names and group in groups:
                table[groups[group], names[name]] = place
        found: Ints = table[lanes.group[described.lane], lanes.types.place[described.at]]
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
            mine = found.of(np.flatnonzero(newest == number))
            place = versions[number].places(lanes, mine)
            scores = score_by(versions[number], place, mine.features)
            judged = np.flatnonzero(place >= 0)
            at = mine.at[judged]
            verdicts.score[at] = scores[judged]
            verdicts.expected[at] = mine.expected[judged]
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
