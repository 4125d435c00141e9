"""When a device will need care: the time to a threshold from the trend, and the probability of a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.lanes import LARGEST, Floats, Ints, Mask
from telebeam.transforms.ordering import rank
from telebeam.transforms.schema import SERIES

HOUR = 3_600_000_000.0
FEATURES = ("mean", "std", "max", "p95", "change")
"""What describes a window to the failure model; ``change`` is the mean less that of twelve windows before."""
COLUMNS = (*SERIES, "window_start", "window_end", "mean", "std", "max", "p95")
"""What is needed of ``windows``."""
_BACK = 12
_RIDGE = 1.0
_ITERATIONS = 50
_SETTLED = 1e-10
_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


class Windows(NamedTuple):
    """Windows sorted by series and time."""

    rows: pa.RecordBatch
    start: Ints
    """int64[series]: where each series begins."""
    end: Ints
    """int64[n]: when each window ends, µs."""
    features: Floats
    """float64[5, n]: in the order of :data:`FEATURES`, finite."""


class Trends(NamedTuple):
    """What the last windows of each series say: arrays of a number a series."""

    current: Floats
    """The fitted line at the end of the last window, in the unit of the values."""
    per_hour: Floats
    """Its slope; NaN where there is no line."""
    hours: Floats
    """From the end of the last window until the line is at the threshold; 0 beyond it, infinite if never."""
    earliest: Floats
    """The lower end of a 95 % interval of that."""
    latest: Floats
    """The upper end; infinite where no crossing is within the interval."""


def arrange(windows: pa.RecordBatch) -> Windows:
    """Windows in the order of series and time, described.

    Args:
        windows: :data:`COLUMNS`, at most one row for each series and window, in any order.
    """
    keys = [rank(windows.column(name)) for name in SERIES]
    end = rank(windows.column("window_end")).astype(np.int64)
    order = np.lexsort((end, *reversed(keys)))
    rows = windows.take(pa.array(order))
    begins = np.zeros(len(order), np.bool_)
    begins[:1] = True
    for key in keys:
        begins[1:] |= np.diff(key[order]) != 0
    start = np.flatnonzero(begins)
    return Windows(rows, start, end[order], _describe(rows, start))


def _describe(rows: pa.RecordBatch, start: Ints) -> Floats:
    features = np.zeros((len(FEATURES), rows.num_rows))
    for place, name in enumerate(FEATURES[:-1]):
        column = rows.column(name).fill_null(0.0).to_numpy(zero_copy_only=False)
        features[place] = np.clip(column, -LARGEST, LARGEST)
    at = np.arange(rows.num_rows)
    first = np.repeat(start, np.diff(np.append(start, rows.num_rows)))
    features[-1] = features[0] - features[0][np.maximum(at - _BACK, first)]
    return features


def time_to_threshold(windows: Windows, threshold: float, last: int, *, falling: bool = False) -> Trends:
    """When the means of each series will be at a threshold, by least squares over its last windows.

    The interval takes the ends of the 95 % intervals of slope and mean level together (Student's t with n - 2 degrees
    of freedom; Draper and Smith, Applied Regression Analysis, section 1.4), so it is wider than 95 % rather than
    narrower.  A series with fewer than three windows has no line.

    Args:
        windows: Of all series.
        threshold: In the unit of the values.
        last: Over how many windows of each series.
        falling: Whether the threshold is a floor.
    """
    count = np.diff(np.append(windows.start, len(windows.end)))
    taken = np.minimum(count, last)
    ends = windows.start + count
    first = np.cumsum(taken) - taken
    at = np.arange(int(taken.sum())) + np.repeat(ends - taken - first, taken)
    sign = -1.0 if falling else 1.0
    level = sign * windows.features[0][at]
    hours = (windows.end[at] - np.repeat(windows.end[ends - 1], taken)) / HOUR
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _lines(hours, level, first, taken, sign * threshold, sign)


def _lines(hours: Floats, level: Floats, first: Ints, taken: Ints, threshold: float, sign: float) -> Trends:
    if not len(first):
        none = np.empty(0)
        return Trends(none, none, none, none, none)
    mid_hours, mid_level = (np.add.reduceat(each, first) / taken for each in (hours, level))
    from_mid, from_level = hours - np.repeat(mid_hours, taken), level - np.repeat(mid_level, taken)
    spread = np.add.reduceat(from_mid**2, first)
    slope = np.add.reduceat(from_mid * from_level, first) / spread
    rest = from_level - np.repeat(slope, taken) * from_mid
    error = np.sqrt(np.add.reduceat(rest**2, first) / (taken - 2))
    t = _student(taken - 2)
    ok = (taken >= 3) & (spread > 0)
    slope = np.where(ok, slope, np.nan)
    current = np.where(ok, mid_level - slope * mid_hours, level[first + taken - 1])
    by_slope, by_level = t * error / np.sqrt(spread), t * error / np.sqrt(taken)

    def crossing(level_then: Floats, slope_then: Floats) -> Floats:
        found = np.where(slope_then > 0, mid_hours + (threshold - level_then) / slope_then, np.inf)
        return np.where(current >= threshold, 0.0, np.maximum(np.where(ok, found, np.inf), 0.0))

    return Trends(
        sign * current,
        sign * slope,
        crossing(mid_level, slope),
        crossing(mid_level + by_level, slope + by_slope),
        crossing(mid_level - by_level, slope - by_slope),
    )


def _student(degrees: Ints) -> Floats:
    """The 97.5 % quantile of Student's t, to 2 % from 3 degrees of freedom on (Abramowitz and Stegun, 26.7.5)."""
    v = np.maximum(degrees, 1).astype(np.float64)
    found = _Z + (_Z**3 + _Z) / (4 * v) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * v**2)
    found += (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / (384 * v**3)
    exact: Floats = np.where(v == 1, 12.706204736, np.where(v == 2, 4.302652730, found))
    return exact


class History(NamedTuple):
    """Windows whose future is known."""

    at: Ints
    """Their places."""
    failed: Mask
    """bool[len(at)]: whether the device failed within the time ahead."""


def label(windows: Windows, failures: Mapping[str, Sequence[tuple[int, int]]], ahead_hours: float) -> History:
    """Which windows were followed by a failure of their device within some hours.

    Windows that touch a failure are left out, and so are those whose time ahead reaches beyond the last window, unless
    the failure is known.

    Args:
        windows: Of all series.
        failures: Device → [start, end) of its failures, ascending, µs.
        ahead_hours: How far ahead.
    """
    ahead = round(ahead_hours * HOUR)
    began = rank(windows.rows.column("window_start")).astype(np.int64)
    failed, down = np.zeros(len(began), np.bool_), np.zeros(len(began), np.bool_)
    names = np.array(windows.rows.column("device_id").to_pylist(), object)
    for device, spans in failures.items():
        mine = np.flatnonzero(names == device)
        starts, ends = np.array(spans, np.int64).T
        following = np.append(starts, np.iinfo(np.int64).max)[np.searchsorted(starts, windows.end[mine])]
        failed[mine] = following - windows.end[mine] <= ahead
        before = np.searchsorted(starts, windows.end[mine]) - 1
        down[mine] = (before >= 0) & (began[mine] < ends[np.maximum(before, 0)])
    known = failed | (windows.end + ahead <= windows.end.max(initial=0))
    at = np.flatnonzero(known & ~down)
    return History(at, failed[at])


@dataclass(frozen=True, eq=False)
class FailureModel:
    """A logistic regression on windows: the probability that the device fails within the time ahead."""

    mean: Floats
    scale: Floats
    weights: Floats
    """float64[5], of the scaled features in the order of :data:`FEATURES`."""
    bias: float

    def probability(self, features: Floats) -> Floats:
        """float64[n]: 0 … 1.

        Args:
            features: float64[5, n], of windows.
        """
        return _sigmoid(self.weights @ _scale(features, self.mean, self.scale) + self.bias)


def fit_failures(features: Floats, failed: Mask) -> FailureModel | None:
    """The logistic regression with a ridge of 1 on scaled features, by Newton's method; None without both outcomes.

    Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 4.4.1.

    Args:
        features: float64[5, n].
        failed: bool[n].
    """
    if not failed.any() or failed.all():
        return None
    mean, scale = features.mean(axis=1), features.std(axis=1)
    scale = np.where(scale > 0, scale, 1.0)
    rows = np.vstack([_scale(features, mean, scale), np.ones(len(failed))])
    ridge = np.diag([_RIDGE] * len(features) + [1e-6])
    weights = np.zeros(len(rows))
    for _ in range(_ITERATIONS):
        p = _sigmoid(weights @ rows)
        slope = rows @ (failed - p) - ridge @ weights
        step = np.linalg.solve((rows * (p * (1 - p))) @ rows.T + ridge, slope)
        weights = weights + step
        if np.abs(step).max() < _SETTLED:
            break
    return FailureModel(mean, scale, weights[:-1], float(weights[-1]))


def _scale(features: Floats, mean: Floats, scale: Floats) -> Floats:
    found: Floats = np.clip((features - mean[:, np.newaxis]) / scale[:, np.newaxis], -50.0, 50.0)
    return found


def _sigmoid(number: Floats) -> Floats:
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * number))
    return found
