"""``ewma``: a reading against an exponentially weighted mean."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np

from telebeam.transforms.anomaly.lanes import (
    Floats,
    History,
    Lanes,
    PerSeries,
    Slot,
    Verdicts,
    half_life,
    ratio,
    squash,
)
from telebeam.transforms.anomaly.spec import Ewma
from telebeam.transforms.anomaly.windows import COUNT, blocks

_WARM_UP = 10
"""Readings before one is scored: a deviation of fewer is mostly chance."""


class EwmaDetector(PerSeries):
    """|value − mean| / √variance, mean and variance exponentially weighted, over ``threshold``.

    The recursion is Finch's (Incremental calculation of weighted mean and variance, 2009, equations 124 and 143):
    mean += w δ, variance = (1 − w)(variance + w δ²), with δ clipped to ± ``threshold`` deviations.  w is
    1 − 2^(−1/half-life) a reading, or 1 − 2^(−Δt/half-life) where the half-life is a time, and 1/(n + 1) while that is
    more.  A lasting shift widens the deviation at each reading until it is learned.
    """

    def __init__(self, spec: Ewma) -> None:
        self._spec = spec
        span = spec.half_life
        self._weight = half_life(span) if not isinstance(span, timedelta) else 0.0
        self._span = float(span // timedelta(microseconds=1)) if isinstance(span, timedelta) else 0.0

    @property
    def layout(self) -> Mapping[str, Slot]:
        """Mean and variance."""
        return {"count": COUNT, "mean": Slot(1), "variance": Slot(1), "last": Slot(1, np.int64, 0)}

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        spec = self._spec
        for m, at in lanes.steps():
            value, count = lanes.value[at], past["count"][0, :m]
            mean, variance = past["mean"][0, :m], past["variance"][0, :m]
            weight = np.maximum(self._weights(lanes.time[at] - past["last"][0, :m]), 1.0 / (count + 1))
            warm = count >= _WARM_UP
            delta = value - mean
            deviation = np.sqrt(variance)
            part = ratio(np.abs(delta), deviation) / spec.threshold
            part = np.where(np.abs(delta) <= spec.min_deviation, np.minimum(part, 1.0), part)
            into.expected[at] = np.where(warm, mean, np.nan)
            into.score[at], into.anomaly[at] = np.where(warm, squash(part), 0.0), warm & (part > 1.0)
            # A series that never moved has no deviation to clip by: its first step is learned as it is.
            reach = np.where(warm & (deviation > 0), spec.threshold * deviation, np.inf)
            near = np.clip(delta, -reach, reach)
            past["mean"][0, :m] = mean + weight * near
            past["variance"][0, :m] = (1.0 - weight) * (variance + weight * near * near)
            past["count"][0, :m] += 1
            past["last"][0, :m] = lanes.time[at]

    def _weights(self, passed: np.ndarray) -> Floats | float:
        if not self._span:
            return self._weight
        return 1.0 - np.exp2(passed / -self._span)
