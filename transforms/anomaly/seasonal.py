"""``seasonal``: a reading against the same time of former days or weeks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from telebeam.transforms.anomaly.lanes import Floats, History, Ints, Lanes, PerSeries, Slot, Verdicts, ratio, squash
from telebeam.transforms.anomaly.spec import Seasonal
from telebeam.transforms.anomaly.windows import blocks

_HOUR = 3_600_000_000
_PERIODS = {"day": 24 * _HOUR, "week": 168 * _HOUR}
_MONDAY = 4 * 24 * _HOUR
"""1970-01-05 was a Monday: weeks begin there."""
_BUCKETS = {"day": 24, "week": 84}
_SHARE = 0.2
"""What a new day or week weighs against the profile, once there are five."""
_WARM_UP = 2
"""Former days or weeks that a bucket must have been seen on."""
_NEVER = np.iinfo(np.int64).min // 2


class SeasonalDetector(PerSeries):
    """|value − mean| / std of the reading's bucket of the day or week over the former ones, over ``threshold``.

    While a bucket lasts its readings are gathered, each no further out than ``threshold`` std of the profile; when the
    next begins, their mean and mean square join the profile with a weight of a fifth (1/n for the first ones).
    """

    def __init__(self, spec: Seasonal) -> None:
        self._spec = spec
        self._buckets = spec.buckets or _BUCKETS[spec.period]
        self._width = max(1, _PERIODS[spec.period] // self._buckets)
        self._begin = _MONDAY if spec.period == "week" else 0

    @property
    def layout(self) -> Mapping[str, Slot]:
        """The profile, and what is gathered of the present bucket."""
        return {
            "mean": Slot(self._buckets), "variance": Slot(self._buckets), "times": Slot(self._buckets),
            "bucket": Slot(1, np.int64, _NEVER), "count": Slot(1), "shift": Slot(1), "sum": Slot(1), "square": Slot(1),
        }  # fmt: skip

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        column, spec = np.arange(len(lanes)), self._spec
        for m, at in lanes.steps():
            value, every = lanes.value[at], column[:m]
            now = (lanes.time[at] - self._begin) // self._width
            over = np.flatnonzero(now != past["bucket"][0, :m])
            if len(over):
                self._close(past, over, value[over], now[over])
            place = now % self._buckets
            mean, variance = past["mean"][place, every], past["variance"][place, every]
            known = past["times"][place, every] >= _WARM_UP
            distance, deviation = value - mean, np.sqrt(variance)
            part = ratio(np.abs(distance), deviation) / spec.threshold
            part = np.where(np.abs(distance) <= spec.min_deviation, np.minimum(part, 1.0), part)
            into.expected[at] = np.where(known, mean, np.nan)
            into.score[at], into.anomaly[at] = np.where(known, squash(part), 0.0), known & (part > 1.0)
            reach = np.where(known & (deviation > 0), spec.threshold * deviation, np.inf)
            self._gather(past, m, mean + np.clip(distance, -reach, reach))

    def _gather(self, past: History, m: int, value: Floats) -> None:
        # Sums of distances from the bucket's first reading, so that a far-off level does not swallow the spread.
        near = value - past["shift"][0, :m]
        past["count"][0, :m] += 1.0
        past["sum"][0, :m] += near
        past["square"][0, :m] += near * near

    def _close(self, past: History, over: Ints, value: Floats, now: Ints) -> None:
        """Merges the buckets that are over into their profiles, and begins the next with a first value."""
        full = over[past["count"][0, over] > 0]
        place = past["bucket"][0, full] % self._buckets
        count = past["count"][0, full]
        part = past["sum"][0, full] / count
        mean, spread = past["shift"][0, full] + part, np.maximum(past["square"][0, full] / count - part * part, 0.0)
        times = past["times"][place, full] + 1.0
        weight = np.maximum(_SHARE, 1.0 / times)
        step = mean - past["mean"][place, full]
        before = past["variance"][place, full]
        past["variance"][place, full] = (1.0 - weight) * (before + weight * step * step) + weight * spread
        past["mean"][place, full] += weight * step
        past["times"][place, full] = times
        for name in ("count", "sum", "square"):
            past[name][0, over] = 0.0
        past["bucket"][0, over], past["shift"][0, over] = now, value
