"""``rolling_mean_deviation``: a reading against the mean of the last quarter of an hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np

from telebeam.transforms.anomaly.lanes import History, Lanes, PerSeries, Slot, Verdicts, squash
from telebeam.transforms.anomaly.spec import RollingMeanDeviation
from telebeam.transforms.anomaly.windows import blocks

_PARTS = 30
"""Sums that the window is kept in: its far edge is exact to a thirtieth."""
_NEVER = np.iinfo(np.int64).min // 2


class MeanDeviationDetector(PerSeries):
    """|value − mean| over ``deviation``, the mean being of what was learned within ``window`` before the reading.

    A reading further out is learned as one at mean ± ``deviation``, until half a window has passed in which all were
    out on the same side: then it is the new level, and learned as it is.  Without a reading in the window nothing is
    expected.
    """

    def __init__(self, spec: RollingMeanDeviation) -> None:
        self._deviation = spec.deviation
        self._part = max(1, -(-(spec.window // timedelta(microseconds=1)) // _PARTS))
        self._patience = spec.window // timedelta(microseconds=2)

    @property
    def layout(self) -> Mapping[str, Slot]:
        """Sum, count and number of each part of the window; since when, and to which side, readings have been out."""
        return {
            "sum": Slot(_PARTS), "count": Slot(_PARTS), "part": Slot(_PARTS, np.int64, _NEVER),
            "side": Slot(1), "since": Slot(1, np.int64, 0),
        }  # fmt: skip

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        column = np.arange(len(lanes))
        for m, at in lanes.steps():
            value, time, every = lanes.value[at], lanes.time[at], column[:m]
            now = time // self._part
            inside = past["part"][:, :m] > now - _PARTS
            count = np.where(inside, past["count"][:, :m], 0.0).sum(axis=0)  # whole numbers: exact in any order
            total = _column_sums(np.where(inside, past["sum"][:, :m], 0.0))
            known = count > 0
            mean = np.where(known, total / np.maximum(count, 1.0), value)
            distance = value - mean
            out = np.abs(distance) > self._deviation
            side = np.where(out, np.sign(distance), 0.0)
            since = np.where(side == past["side"][0, :m], past["since"][0, :m], time)
            lasting = out & (time - since >= self._patience)
            near = np.clip(value, mean - self._deviation, mean + self._deviation)
            self._learn(past, every, now, np.where(lasting, value, near))
            past["side"][0, :m], past["since"][0, :m] = side, since
            into.expected[at] = np.where(known, mean, np.nan)
            into.score[at], into.anomaly[at] = squash(np.abs(distance) / self._deviation), out

    def _learn(self, past: History, every: np.ndarray, now: np.ndarray, value: np.ndarray) -> None:
        place = now % _PARTS
        same = past["part"][place, every] == now
        past["sum"][place, every] = np.where(same, past["sum"][place, every], 0.0) + value
        past["count"][place, every] = np.where(same, past["count"][place, every], 0.0) + 1.0
        past["part"][place, every] = now


def _column_sums(table: np.ndarray) -> np.ndarray:
    """The sum of each column, from the first row to the last whatever the number of columns."""
    total = np.zeros(table.shape[1])
    for row in table:
        total += row
    return total
