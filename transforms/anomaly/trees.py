"""The forests of ``isolation_forest``, and the bounded samples that they are fitted to."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.anomaly.lanes import Floats
from telebeam.transforms.anomaly.spec import IsolationForest
from telebeam.transforms.errors import ConfigurationError

FEATURES = 4
"""Numbers that describe a reading."""
_RANDOM_STATE = 20260101
_PER_TREE = 256
"""Readings a tree is grown from: the size that the paper found to be enough."""
_BEYOND = 1e4
"""Scaled features beyond this count as this: scikit-learn takes single precision."""
_RARE = 0.999
"""The quantile of the sample that scores 0.8."""
_EDGE, _MARGIN, _HALFWAY = 0.005, 1.0, 3.0
"""A deviation beyond all but this share of the sample on each side, so many deviations more halve what a score lacks to
1: a forest can't tell how far out a reading is, for all beyond its sample fall into the same leaves."""
_NEVER = np.iinfo(np.int64).min // 2


def check_installed() -> None:
    """Refuses to go on without scikit-learn.

    Raises:
        ConfigurationError: It is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigurationError(
            "the detector isolation_forest needs scikit-learn, which is not installed", "pip install 'telebeam[ml]'"
        )


class Sample(NamedTuple):
    """Described readings."""

    order: npt.NDArray[np.uint64]
    """uint64[n]: the readings' hashes."""
    features: Floats
    """float64[n, 4]."""

    @staticmethod
    def none() -> Sample:
        """No reading."""
        return Sample(np.empty(0, np.uint64), np.empty((0, FEATURES)))

    def slice(self, begin: int, end: int) -> Sample:
        """Some of the readings."""
        return Sample(self.order[begin:end], self.features[begin:end])

    def lowest(self, other: Sample, most: int) -> Sample:
        """Of both together those with the lowest hashes, in their order; the same whichever came first."""
        order, features = np.concatenate([self.order, other.order]), np.concatenate([self.features, other.features])
        if len(order) > 4 * most:
            near = np.flatnonzero(order <= np.partition(order, most)[most])
            order, features = order[near], features[near]
        # Equal hashes are of equal readings, whose features may differ.
        kept = np.lexsort((*features.T[::-1], order))[:most]
        return Sample(order[kept], features[kept])


class _Forest:
    """A fitted forest with the scale of its features and scores."""

    def __init__(self, sample: Floats, spec: IsolationForest) -> None:
        # Imported here: scikit-learn is an extra, and takes a second to load.
        from sklearn.ensemble import IsolationForest as Model  # type: ignore[import-untyped]

        self._mean, std = sample.mean(axis=0), sample.std(axis=0)
        self._std = np.where(std > 0, std, 1.0)
        self._model: Any = Model(
            n_estimators=spec.trees, max_samples=min(_PER_TREE, len(sample)), random_state=_RANDOM_STATE
        ).fit(self._scaled(sample))
        self._low, self._high = np.quantile(self._scaled(sample), [_EDGE, 1.0 - _EDGE], axis=0)
        usual = self._isolation(sample)
        self._half, self._rare = np.quantile(usual, [1.0 - spec.contamination, _RARE]).tolist()

    def scores(self, features: Floats) -> Floats:
        """0 … 1: 0.5 for the share of ``contamination`` of the sample, 0.8 for a thousandth, and more far out."""
        found = self._isolation(features)
        low = 0.5 * found / self._half
        middle = 0.5 + 0.3 * (found - self._half) / max(self._rare - self._half, 1e-9)
        high = 0.8 + 0.2 * (found - self._rare) / (1.0 - self._rare)
        stretched = np.where(found <= self._half, low, np.where(found <= self._rare, middle, np.minimum(high, 1.0)))
        scaled = self._scaled(features).astype(np.float64)
        beyond = np.maximum(np.maximum(scaled - self._high, self._low - scaled).max(axis=1) - _MARGIN, 0.0)
        return 1.0 - (1.0 - stretched) / (1.0 + beyond / _HALFWAY)

    def _scaled(self, features: Floats) -> npt.NDArray[np.float32]:
        return np.clip((features - self._mean) / self._std, -_BEYOND, _BEYOND).astype(np.float32)

    def _isolation(self, features: Floats) -> Floats:
        found: Floats = -self._model.score_samples(self._scaled(features))
        return found


@dataclass
class Grove:
    """The forest of one tenant and sensor type, and the sample for the next."""

    spec: IsolationForest
    count: int = 0
    """Described readings so far."""
    sample: Sample = field(default_factory=Sample.none)
    """Those of them with the lowest hashes."""
    step: int = _NEVER
    """The minute of the last of them."""
    fitted_count: int = 0
    """How many there were at the last fit; 0 before the first."""
    fitted_at: int = _NEVER
    """The minute of the last fit."""
    fitted_to: Sample = field(default_factory=Sample.none)
    """The sample of the last fit."""
    _forest: _Forest | None = None

    def add(self, readings: Sample, step: int) -> None:
        """Learns readings, the last of which is of some minute."""
        self.sample = self.sample.lowest(readings, self.spec.sample)
        self.count += len(readings.order)
        self.step = step

    def fit(self, step: int) -> None:
        """Fits a forest to the sample, at the beginning of some minute."""
        self.fitted_to, self.fitted_count, self.fitted_at = self.sample, self.count, step
        self._forest = _Forest(self.fitted_to.features, self.spec)

    def scores(self, features: Floats) -> Floats:
        """Each reading's score; NaN while there is no forest."""
        if self._forest is None and self.fitted_count:
            self._forest = _Forest(self.fitted_to.features, self.spec)
        if self._forest is None or not len(features):
            return np.full(len(features), np.nan)
        return self._forest.scores(features)


_COUNTERS = ("count", "step", "fitted_count", "fitted_at")
_SAMPLES = ("sample", "fitted_to")


def to_batch(groves: dict[str, Grove]) -> pa.RecordBatch:
    """A row for each tenant and sensor type: counters and samples."""
    columns: dict[str, pa.Array] = {"group": pa.array(list(groves), pa.string())}
    for name in _COUNTERS:
        columns[name] = pa.array([getattr(grove, name) for grove in groves.values()], pa.int64())
    for name in _SAMPLES:
        samples = [getattr(grove, name) for grove in groves.values()]
        columns[f"{name}_order"] = pa.array([one.order for one in samples], pa.large_list(pa.uint64()))
        columns[f"{name}_features"] = pa.array([one.features.ravel() for one in samples], pa.large_list(pa.float64()))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def from_batch(batch: pa.RecordBatch, spec: IsolationForest) -> dict[str, Grove]:
    """What :func:`to_batch` was given; the forests are fitted again when they are first asked.

    Raises:
        ValueError: The batch has other columns.
    """
    if batch.schema != to_batch({}).schema:
        raise ValueError("the samples of the forests have other columns")
    groves = {}
    for row in range(batch.num_rows):
        grove = Grove(spec, **{name: batch.column(name)[row].as_py() for name in _COUNTERS})
        for name in _SAMPLES:
            order, features = (batch.column(f"{name}_{part}")[row].values for part in ("order", "features"))
            table = features.to_numpy(zero_copy_only=False).reshape(-1, FEATURES)
            setattr(grove, name, Sample(order.to_numpy(zero_copy_only=False), table))
        groves[batch.column("group")[row].as_py()] = grove
    return groves
