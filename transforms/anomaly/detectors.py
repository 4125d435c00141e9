"""The detectors of a job: each with its settings' name, what it looks at, and its series' histories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from telebeam.transforms.anomaly import spec
from telebeam.transforms.anomaly.auto import AutoDetector
from telebeam.transforms.anomaly.ewma import EwmaDetector
from telebeam.transforms.anomaly.forest import ForestDetector
from telebeam.transforms.anomaly.lanes import Detector, History, Ints, Lanes, Mask, Slot, Verdicts
from telebeam.transforms.anomaly.mean_deviation import MeanDeviationDetector
from telebeam.transforms.anomaly.model import ModelDetector
from telebeam.transforms.anomaly.rate import RateDetector
from telebeam.transforms.anomaly.seasonal import SeasonalDetector
from telebeam.transforms.anomaly.spec import DetectorSpec
from telebeam.transforms.anomaly.stuck import StuckDetector
from telebeam.transforms.anomaly.zscore import RobustZScoreDetector, ZScoreDetector
from telebeam.transforms.errors import ConfigurationError

DETECTORS: dict[type, Callable[[Any], Detector]] = {
    spec.RollingMeanDeviation: MeanDeviationDetector,
    spec.RollingZScore: ZScoreDetector,
    spec.RobustZScore: RobustZScoreDetector,
    spec.Ewma: EwmaDetector,
    spec.Seasonal: SeasonalDetector,
    spec.RateOfChange: RateDetector,
    spec.Stuck: StuckDetector,
    spec.IsolationForest: ForestDetector,
    spec.Auto: AutoDetector,
    spec.TrainedModel: ModelDetector,
}
"""Settings → what scores by them."""

_MICROSECOND = timedelta(microseconds=1)
_FIRST_ROWS = 64


@dataclass
class Store:
    """The histories of all series: arrays that grow by doubling."""

    layout: Mapping[str, Slot]
    arrays: dict[str, npt.NDArray[Any]] = field(init=False)
    """Name → array[width, capacity]."""

    def __post_init__(self) -> None:
        self.arrays = {name: np.empty((slot.width, 0), slot.kind) for name, slot in self.layout.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, with what is kept free in them."""
        return sum(array.nbytes for array in self.arrays.values())

    def reserve(self, series: int) -> None:
        """Makes room for so many series."""
        for name, array in self.arrays.items():
            if array.shape[1] < series:
                slot = self.layout[name]
                more = max(series, 2 * array.shape[1], _FIRST_ROWS) - array.shape[1]
                free = np.full((slot.width, more), slot.fill, slot.kind)
                self.arrays[name] = np.concatenate([array, free], axis=1)

    def take(self, rows: Ints, anew: Mask) -> History:
        """Copies of the histories of some series, new where they begin anew."""
        taken = {name: np.take(array, rows, axis=1) for name, array in self.arrays.items()}
        if anew.any():
            for name, array in taken.items():
                array[:, anew] = self.layout[name].fill
        return taken

    def put(self, rows: Ints, history: History) -> None:
        """Keeps the histories of some series."""
        for name, array in self.arrays.items():
            array[:, rows] = history[name]

    def keep(self, rows: Ints) -> None:
        """Only these series stay; they are numbered anew."""
        self.arrays = {name: np.take(array, rows, axis=1) for name, array in self.arrays.items()}


@dataclass
class Member:
    """A detector of a job."""

    label: str
    detector: Detector
    sensor_types: tuple[str, ...] | None
    """Which readings it looks at; all where there is none."""
    expire_after: int
    """µs."""
    store: Store

    def learn(self, lanes: Lanes, rows: Ints, anew: Mask, series: int, into: Verdicts) -> None:
        """Scores some lanes and remembers them.

        Args:
            lanes: The readings.
            rows: int64[lanes]: the series of each lane.
            anew: Which lanes begin without a past.
            series: How many series there are in all.
            into: Where the verdicts go, at the readings' places.
        """
        self.store.reserve(series)
        verdicts, history = self.detector.score(lanes, self.store.take(rows, anew))
        self.store.put(rows, history)
        _, at = lanes.places()
        into.expected[at], into.score[at] = verdicts.expected[at], verdicts.score[at]
        into.anomaly[at] = verdicts.anomaly[at]


def members(specs: Sequence[DetectorSpec]) -> list[Member]:
    """The detectors of some settings, in the order of their names.

    Raises:
        ConfigurationError: Two have one name, or scikit-learn is missing for one that needs it.
    """
    try:
        spec.check_names(specs)
    except ValueError as error:
        raise ConfigurationError(str(error.args[0]), *error.args[1:]) from error
    found = []
    for each in sorted(specs, key=lambda one: one.label):
        detector = DETECTORS[type(each)](each)
        expire_after = each.expire_after // _MICROSECOND
        found.append(Member(each.label, detector, each.sensor_types, expire_after, Store(detector.layout)))
    return found
