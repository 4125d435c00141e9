"""``stuck``: a series that repeats one value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np

from telebeam.transforms.anomaly.lanes import History, Lanes, PerSeries, Slot, Verdicts, squash
from telebeam.transforms.anomaly.spec import Stuck
from telebeam.transforms.anomaly.windows import COUNT, blocks


class StuckDetector(PerSeries):
    """How long, and how many readings, a value has been within ``tolerance`` of the first of them, over the limits.

    The score is that of the smaller of the two shares; both must be reached.  Nothing is expected: a sensor that is
    stuck says nothing of what it should say.
    """

    def __init__(self, spec: Stuck) -> None:
        self._spec = spec
        self._span = spec.for_ // timedelta(microseconds=1)

    @property
    def layout(self) -> Mapping[str, Slot]:
        """The first of the equal readings and how many there are."""
        return {"held": Slot(1), "since": Slot(1, np.int64, 0), "count": COUNT}

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        for m, at in lanes.steps():
            value, time = lanes.value[at], lanes.time[at]
            held, since, count = past["held"][0, :m], past["since"][0, :m], past["count"][0, :m]
            same = (count > 0) & (np.abs(value - held) <= self._spec.tolerance)
            held, since = np.where(same, held, value), np.where(same, since, time)
            count = np.where(same, count, 0) + 1
            share = (count / self._spec.readings).astype(np.float64)
            if self._span:
                share = np.minimum(share, (time - since) / self._span)
            into.score[at], into.anomaly[at] = np.where(count > 1, squash(share), 0.0), share >= 1.0
            past["held"][0, :m], past["since"][0, :m], past["count"][0, :m] = held, since, count
