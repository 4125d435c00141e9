"""``auto``: what a newcomer gets; it has no parameters and fits itself to each series."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from telebeam.transforms.anomaly import noise, novelty
from telebeam.transforms.anomaly.lanes import Floats, History, Lanes, PerSeries, Slot, Verdicts
from telebeam.transforms.anomaly.spec import Auto
from telebeam.transforms.anomaly.windows import COUNT, blocks

WARM_UP = 100
"""Readings before one is scored."""
_HALF_NOVEL = 0.02
"""The novelty that scores 0.5: a fiftieth of the range that was seen before."""
_NOVEL = 0.5
"""The novelty that is an anomaly by itself: half of the range."""


class AutoDetector(PerSeries):
    """Two views of a reading: whether the series' noise explains it, and whether anything like it was seen before.

    *Noise* (:mod:`.noise`): a spike, a sum of small departures (a shift, a drift), a value that is repeated for longer
    than chance allows.  ``is_anomaly`` says that one of them is beyond its threshold, or that a reading is far beyond
    what was seen.  *Novelty* (:mod:`.novelty`): how far level, change and departure from the time of day are beyond
    all that the series did, less what was said of it lately.

    ``anomaly_score`` ranks: up to 0.5 what noise explains, 0.5 to 0.6 what it doesn't but has been there before, and
    with novelty, novelty / (novelty + 0.02).
    """

    def __init__(self, spec: Auto) -> None:
        self._spec = spec

    @property
    def layout(self) -> Mapping[str, Slot]:
        """Of both views."""
        return {"readings": COUNT, **noise.LAYOUT, **novelty.LAYOUT}

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        for part, past in blocks(lanes, history):
            self._score(part, past, verdicts)
        return verdicts, history

    def _score(self, lanes: Lanes, past: History, into: Verdicts) -> None:
        now, width = past, len(lanes)
        for m, at in lanes.steps():
            if m < width:
                now, width = {name: array[:, :m] for name, array in past.items()}, m
            value, readings = lanes.value[at], now["readings"][0]
            warm = readings >= WARM_UP
            expected, beyond, several = noise.look(now, value, readings, warm)
            new = novelty.look(now, value, lanes.time[at], readings, WARM_UP)
            anomaly = warm & ((beyond > 1.0) | (several & (new >= _NOVEL)))
            into.expected[at] = np.where(warm, expected, np.nan)
            into.score[at] = np.where(warm, _score(beyond, new), 0.0)
            into.anomaly[at] = anomaly
            readings += 1


def _score(beyond: Floats, new: Floats) -> Floats:
    """0 … 1 of the deviation over its threshold and the novelty."""
    known = np.where(beyond > 1.0, 0.6 - 0.1 / np.maximum(beyond, 1.0), 0.5 * beyond)
    return np.maximum(known, new / (new + _HALF_NOVEL))
