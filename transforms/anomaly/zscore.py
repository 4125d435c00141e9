"""``rolling_zscore`` and ``robust_zscore``: a reading against the last few before it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from telebeam.transforms.anomaly.lanes import Floats, History, Ints, Lanes, PerSeries, Slot, Verdicts, ratio, squash
from telebeam.transforms.anomaly.spec import RobustZScore, RollingZScore
from telebeam.transforms.anomaly.windows import COUNT, Tail, blocks, row_medians, row_sums, seen

_MAD_TO_STD = 0.6745
"""The 0.75 quantile of the normal distribution: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993."""
_MEAN_TO_STD = 1.253314
"""√(π/2): the standard deviation of a normal distribution over its mean absolute deviation."""


class ZScoreDetector(PerSeries):
    """|value − mean| / std over the last readings, each of which was learned no further out than ``threshold`` std.

    What a reading is clipped by is computed from the readings as they came, and what it is scored by from the clipped
    ones.  An outlier so counts as a reading at the threshold, and after a lasting shift the deviation of what came
    widens at once, so that the new level is learned within ``last`` readings.  Neither refers to its own results: the
    scores of a reading are a function of the 2 × ``last`` readings before it.
    """

    def __init__(self, spec: RollingZScore) -> None:
        self._spec = spec

    @property
    def layout(self) -> Mapping[str, Slot]:
        """The last readings as they came and as they were learned."""
        return {"count": COUNT, "raw": Slot(self._spec.last), "learned": Slot(self._spec.last)}

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history, by_readings=True):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        spec = self._spec
        _, at = lanes.places()
        value = lanes.value[at]
        ready = np.flatnonzero(seen(past, lanes) >= spec.last)
        raw = Tail.of(past["raw"], value, lanes.count)
        mean, std = raw.mean_and_std(ready)
        learned = value.copy()
        learned[ready] = np.clip(value[ready], mean - spec.threshold * std, mean + spec.threshold * std)
        smooth = Tail.of(past["learned"], learned, lanes.count)
        mean, std = smooth.mean_and_std(ready)
        give(into, at[ready], value[ready], mean, std, spec)
        past["raw"][:], past["learned"][:] = raw.remembered(), smooth.remembered()
        past["count"][0] += lanes.count


class RobustZScoreDetector(PerSeries):
    """0.6745 × |value − median| / MAD over the last readings; outliers hardly move either, so all are learned.

    Where more than half of the readings are equal the MAD is 0, and |value − median| / (1.253314 × mean absolute
    deviation) takes its place.
    """

    def __init__(self, spec: RobustZScore) -> None:
        self._spec = spec

    @property
    def layout(self) -> Mapping[str, Slot]:
        """The last readings."""
        return {"count": COUNT, "raw": Slot(self._spec.last)}

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history, by_readings=True):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        _, at = lanes.places()
        value = lanes.value[at]
        ready = np.flatnonzero(seen(past, lanes) >= self._spec.last)
        tail = Tail.of(past["raw"], value, lanes.count)
        table = tail.table(ready)
        median = row_medians(table)
        table = np.abs(table - median[:, np.newaxis])
        unit = row_medians(table) / _MAD_TO_STD
        flat = np.flatnonzero(unit == 0.0)
        unit[flat] = _MEAN_TO_STD * (row_sums(table[flat]) / self._spec.last)
        give(into, at[ready], value[ready], median, unit, self._spec)
        past["raw"][:] = tail.remembered()
        past["count"][0] += lanes.count


def give(
    into: Verdicts, at: Ints, value: Floats, expected: Floats, unit: Floats, spec: RollingZScore | RobustZScore
) -> None:
    """Writes down the verdicts of readings at some places: their distance in units, over the threshold."""
    distance = np.abs(value - expected)
    part = ratio(distance, unit) / spec.threshold
    part = np.where(distance <= spec.min_deviation, np.minimum(part, 1.0), part)
    into.expected[at], into.score[at], into.anomaly[at] = expected, squash(part), part > 1.0
