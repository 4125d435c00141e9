"""``rate_of_change``: how fast a series moves between two readings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from telebeam.transforms.anomaly.lanes import (
    LARGEST,
    History,
    Lanes,
    PerSeries,
    Slot,
    Verdicts,
    half_life,
    ratio,
    squash,
)
from telebeam.transforms.anomaly.spec import RateOfChange
from telebeam.transforms.anomaly.windows import COUNT, blocks

_WARM_UP = 20
"""Rates before one is scored by what is usual."""
_WEIGHT = half_life(100)
_SECOND = 1e6


class RateDetector(PerSeries):
    """|Δvalue / Δt| over the limit; with ``auto`` over ``threshold`` × the usual size of the rate.

    The usual size is the root of the exponentially weighted mean of the squared rate, each learned as at most
    ``threshold`` times what was usual.  What is expected is the value before.  A second reading of the same time has no
    rate: it is not scored and becomes the value before.
    """

    def __init__(self, spec: RateOfChange) -> None:
        self._threshold = spec.threshold
        self._limit = None if spec.per_second == "auto" else float(spec.per_second)

    @property
    def layout(self) -> Mapping[str, Slot]:
        """The reading before, and the usual squared rate."""
        return {"count": COUNT, "value": Slot(1), "time": Slot(1, np.int64, 0), "rates": COUNT, "square": Slot(1)}

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        for m, at in lanes.steps():
            value, time, before = lanes.value[at], lanes.time[at], past["value"][0, :m].copy()
            passed = (time - past["time"][0, :m]) / _SECOND
            moved = (past["count"][0, :m] > 0) & (passed > 0)
            rate = np.where(moved, np.minimum(np.abs(value - before) / np.where(moved, passed, 1.0), LARGEST), 0.0)
            known, part = self._part(past, m, rate, moved)
            into.expected[at] = np.where(known, before, np.nan)
            into.score[at], into.anomaly[at] = np.where(known, squash(part), 0.0), known & (part > 1.0)
            past["value"][0, :m], past["time"][0, :m] = value, time
            past["count"][0, :m] += 1

    def _part(self, past: History, m: int, rate: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which rates can be judged, and each over its limit; learns what is usual."""
        if self._limit is not None:
            return moved, rate / self._limit
        rates, square = past["rates"][0, :m], past["square"][0, :m]
        usual = np.sqrt(square)
        warm = moved & (rates >= _WARM_UP)
        part = ratio(rate, usual) / self._threshold
        reach = np.where(warm & (usual > 0), self._threshold * usual, np.inf)
        near = np.minimum(rate, reach)
        weight = np.maximum(_WEIGHT, 1.0 / (rates + 1))
        past["square"][0, :m] = np.where(moved, square + weight * (near * near - square), square)
        past["rates"][0, :m] = rates + moved
        return warm, part
