"""``isolation_forest``: how few random cuts set a reading apart from those of its sensor type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.anomaly.lanes import LARGEST, Floats, History, Ints, Lanes, Mask, Slot, Verdicts
from telebeam.transforms.anomaly.spec import IsolationForest
from telebeam.transforms.anomaly.trees import FEATURES, Grove, Sample, check_installed, from_batch, to_batch
from telebeam.transforms.anomaly.windows import COUNT, Tail, row_medians

_LAST = 20
"""Readings of its series that a reading is described by, and before which it is not scored."""
_STEP = 60_000_000
"""µs: forests are fitted at whole minutes of event time only, to all that lies before."""
_LEAST = 20
"""Described readings that a forest needs."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15))


class ForestDetector:
    """The isolation forest of F. T. Liu, K. M. Ting and Z.-H. Zhou (ICDM 2008), one for each tenant and sensor type.

    A reading is described by its value, its distance from the median of the 20 before it, its distance from the one
    before, and the median absolute deviation of the 20, each scaled to mean 0 and deviation 1.  A forest is fitted to a
    bounded sample of what came before a whole minute: the described readings with the lowest hashes of series, time and
    value, which are the same in whatever order they come.  It is fitted first when there are 20, again whenever their
    number has doubled or ``refit_every`` has passed.  scikit-learn scores all readings between two fits at once.

    The forest's score s = 2^(−mean path length / usual path length) is stretched, so that 0.5 is exceeded by the share
    ``contamination`` of the sample and 0.8 by a thousandth, and rises towards 1 with the distance beyond the sample.

    Raises:
        ConfigurationError: scikit-learn is not installed.
    """

    crosses_series = True

    def __init__(self, spec: IsolationForest) -> None:
        check_installed()
        self._spec = spec
        self._refit = -(-(spec.refit_every // timedelta(microseconds=1)) // _STEP)
        self._expire = spec.expire_after // timedelta(microseconds=1)
        self._groves: dict[str, Grove] = {}

    @property
    def layout(self) -> Mapping[str, Slot]:
        """The last readings."""
        return {"count": COUNT, "raw": Slot(_LAST), "last": Slot(1, np.int64, 0)}

    def common(self) -> pa.RecordBatch | None:
        """The samples that forests are, and will be, fitted to; the forests themselves are fitted again."""
        return to_batch(self._groves)

    def restore(self, common: pa.RecordBatch | None) -> None:
        """Takes what :meth:`common` gave.

        Raises:
            ValueError: It is nothing that this detector gave.
        """
        if common is None:
            raise ValueError("no samples for a detector that has some")
        self._groves = from_batch(common, self._spec)

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """See :class:`~telebeam.transforms.anomaly.lanes.Detector`."""
        verdicts = Verdicts.silent(len(lanes.value))
        lane, at = lanes.places()
        ready, features = self._describe(lanes, lane, at, history)
        lane, at = lane[ready], at[ready]
        time, value = lanes.time[at], lanes.value[at]
        order = _hashes(lanes.identity[lane], time, value)
        group = lanes.group[lane]
        for number in np.unique(group).tolist():
            mine = np.flatnonzero(group == number)
            mine = mine[np.argsort(time[mine], kind="stable")]
            grove = self._groves.setdefault(lanes.groups[number], Grove(self._spec))
            scores = self._score(grove, time[mine], Sample(order[mine], features[mine]))
            judged = ~np.isnan(scores)
            places = at[mine[judged]]
            verdicts.score[places] = scores[judged]
            verdicts.anomaly[places] = scores[judged] > self._spec.alert_above
            verdicts.expected[places] = (value - features[:, 1])[mine[judged]]
        return verdicts, history

    def _score(self, grove: Grove, time: Ints, readings: Sample) -> Floats:
        """The scores of one group's readings, in the order of time; NaN before there is a forest."""
        scores = np.full(len(time), np.nan)
        step = time // _STEP
        first = np.flatnonzero(np.concatenate([[True], np.diff(step) > 0]))  # the first reading of each minute
        begin = 0
        while begin < len(time):
            here = int(np.searchsorted(first, begin))
            if here < len(first) and first[here] == begin:
                here += 1
                # Where a call was cut within a minute, that minute has been decided on.
                if step[begin] > grove.step and self._is_due(grove, int(step[begin]), grove.count):
                    grove.fit(int(step[begin]))
            end = self._next_fit(grove, first[here:], step, begin, len(time))
            scores[begin:end] = grove.scores(readings.features[begin:end])
            grove.add(readings.slice(begin, end), int(step[end - 1]))
            begin = end
        return scores

    def _next_fit(self, grove: Grove, first: Ints, step: Ints, begin: int, end: int) -> int:
        """Where the next reading stands before which the forest is fitted; the end where there is none."""
        counts = grove.count + first - begin
        due = self._is_due(grove, step[first], counts)
        places = first[due]
        return int(places[0]) if len(places) else end

    def _is_due(self, grove: Grove, step: Ints | int, count: Ints | int) -> Mask:
        old = np.asarray(step) - grove.fitted_at >= self._refit
        more = np.asarray(count) >= 2 * grove.fitted_count
        due: Mask = (np.asarray(count) >= _LEAST) & (more | old if grove.fitted_count else np.True_)
        return due

    def _describe(self, lanes: Lanes, lane: Ints, at: Ints, history: History) -> tuple[Ints, Floats]:
        """Which readings have enough before them, and their features; learns all."""
        value, time = lanes.value[at], lanes.time[at]
        tail = Tail.of(history["raw"], value, lanes.count)
        seen = self._seen(lanes, lane, time, history)
        ready = np.flatnonzero(seen >= _LAST)
        table = tail.table(ready)
        median = row_medians(table)
        spread = row_medians(np.abs(table - median[:, np.newaxis]))
        now = value[ready]
        features = np.column_stack([now, now - median, now - tail.numbers[tail.at[ready] - 1], spread])
        ends = np.cumsum(lanes.count) - 1
        history["count"][0], history["last"][0] = seen[ends] + 1, time[ends]
        history["raw"][:] = tail.remembered()
        return ready, np.clip(features, -LARGEST, LARGEST).reshape(-1, FEATURES)

    def _seen(self, lanes: Lanes, lane: Ints, time: Ints, history: History) -> Ints:
        """How many readings came before each since its series last began anew."""
        begins = np.cumsum(lanes.count) - lanes.count
        place = np.arange(len(time))
        before = np.concatenate([time[:1], time[:-1]])
        before[begins] = history["last"][0]
        silent = time - before > self._expire
        silent[begins] &= history["count"][0] > 0
        offset = np.where(silent, -place, np.iinfo(np.int64).min)
        offset[begins] = np.where(silent[begins], -begins, history["count"][0] - begins)
        # The nearest beginning at or before each reading decides.
        decided = np.maximum.accumulate(np.where(offset != np.iinfo(np.int64).min, place, 0))
        found: Ints = place + offset[decided]
        return found


def _hashes(identity: npt.NDArray[np.uint64], time: Ints, value: Floats) -> npt.NDArray[np.uint64]:
    """A number for each reading that looks drawn at random, by the finalizer of SplitMix64 (Steele et al., 2014)."""
    number = identity
    for part in (time.view(np.uint64), value.view(np.uint64)):
        number = number ^ (part * _MIX[2])
        number = (number ^ (number >> np.uint64(30))) * _MIX[0]
        number = (number ^ (number >> np.uint64(27))) * _MIX[1]
        number = number ^ (number >> np.uint64(31))
    return number
