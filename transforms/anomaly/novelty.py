"""Of ``auto``: how far a reading is beyond all that its series did before.

Three things are followed: the value, its short-term change (the difference of two exponentially weighted means), and
its departure from the usual value of that time of day.  Each has an envelope, its highest and lowest so far, which
draws in towards the middle over ten thousand readings.  Novelty is how far beyond their envelopes they are, in widths
of the envelope.
"""

from __future__ import annotations

import numpy as np

from telebeam.transforms.anomaly.lanes import Floats, History, Ints, Mask, Slot, clip, half_life, ratio

_SHORT, _LONG = half_life(2), half_life(32)
_KEEP = 0.5 ** (1 / 10_000)
_GROWTH = 0.2
"""An envelope widens by at most this share of its width a reading: an outlier is not at once within it."""
LARGEST = 10.0
"""Envelope widths that count as the farthest."""
_TINY = 1e-12

_HOUR = 3_600_000_000
_HOURS = 24
_NEW_DAY = 0.3
"""What an hour's mean weighs against that of the former days, once there are some."""
_NEVER = np.iinfo(np.int64).min // 2

_QUIET_SHARE, _QUIET_LEAST, _QUIET_MOST = 0.04, 50.0, 2000.0
"""Readings for which what was said fades: a share of the series' age, at least and at most."""

LAYOUT = {
    "means": Slot(2), "high": Slot(3), "low": Slot(3), "middle": Slot(3), "seen": Slot(3),
    "hours": Slot(_HOURS), "days": Slot(_HOURS), "hour": Slot(1, np.int64, _NEVER), "hour_sum": Slot(1),
    "hour_count": Slot(1), "said": Slot(1), "said_at": Slot(1),
}  # fmt: skip
"""The arrays of a series' history that this part has."""


def look(past: History, value: Floats, time: Ints, readings: Ints, warm_up: int) -> Floats:
    """float64[lanes]: the novelty of a reading of each lane, less what was said of the series lately; learns it.

    Args:
        past: float64[…, lanes]: views of the histories; overwritten.
        value: float64[lanes].
        time: int64[lanes]: µs since the epoch.
        readings: int64[lanes]: how many came before.
        warm_up: How often something must have been seen to be judged.
    """
    usual, known = _usual(past, value, time)
    means = np.where(readings == 0, value, past["means"])
    means += np.maximum(np.array([[_SHORT], [_LONG]]), 1.0 / (readings + 1)) * (value - means)
    past["means"][:] = means
    followed: Floats = np.empty((3, len(value)))
    there: Mask = np.ones((3, len(value)), np.bool_)
    followed[0], followed[1], followed[2], there[2] = value, means[0] - means[1], value - usual, known
    beyond = _beyond(past, followed, there, warm_up)
    return _news(past, np.minimum(beyond[0] + beyond[1] + beyond[2], LARGEST), readings)


def _beyond(past: History, followed: Floats, known: Mask, warm_up: int) -> Floats:
    """float64[3, lanes]: how far each is beyond its envelope, in widths; the envelopes then widen."""
    seen = past["seen"]
    begins = known & (seen == 0)
    high, low, middle = (np.where(begins, followed, past[name]) for name in ("high", "low", "middle"))
    width = high - low
    out = np.maximum(np.maximum(followed - high, low - followed), 0.0)
    judged = known & (seen >= warm_up)
    beyond = np.where(judged, np.minimum(ratio(out, width + _TINY * np.abs(followed)), LARGEST), 0.0)
    high, low = middle + (high - middle) * _KEEP, middle + (low - middle) * _KEEP
    reach = np.where(judged & (width > 0), _GROWTH * width, np.inf)
    high += clip(followed - high, 0.0, reach)
    low -= clip(low - followed, 0.0, reach)
    seen = seen + known
    within = clip(followed, low, high)
    middle += np.maximum(1.0 - _KEEP, 1.0 / np.maximum(seen, 1.0)) * (within - middle)
    for name, array in (("high", high), ("low", low), ("middle", middle)):
        past[name][:] = np.where(known, array, past[name])
    past["seen"][:] = seen
    return beyond


def _news(past: History, novelty: Floats, readings: Ints) -> Floats:
    """The novelty less what was said before, which fades in a straight line."""
    said, said_at = past["said"][0], past["said_at"][0]
    quiet = clip(_QUIET_SHARE * readings.astype(np.float64), _QUIET_LEAST, _QUIET_MOST)
    muffled = said * np.maximum(0.0, 1.0 - (readings - said_at) / quiet)
    news = np.maximum(novelty - muffled, 0.0)
    says = news > 0
    past["said"][0], past["said_at"][0] = np.where(says, novelty, said), np.where(says, readings, said_at)
    return news


def _usual(past: History, value: Floats, time: Ints) -> tuple[Floats, Mask]:
    """The usual value of the time of day, between the means of the nearest hours, and where there is one."""
    lanes = np.arange(len(value))
    now = (time + _HOUR // 2) // _HOUR  # hours are centred on the full hour
    over = np.flatnonzero(now != past["hour"][0])
    if len(over):
        _close(past, over, now[over])
    past["hour_sum"][0] += value
    past["hour_count"][0] += 1.0
    position = time % (_HOURS * _HOUR) / _HOUR
    before = position.astype(np.int64)
    after, here = (before + 1) % _HOURS, now % _HOURS
    hours, days = past["hours"], past["days"]
    part = position - before
    between = hours[before, lanes] * (1.0 - part) + hours[after, lanes] * part
    both = (days[before, lanes] > 0) & (days[after, lanes] > 0)
    return np.where(both, between, hours[here, lanes]), days[here, lanes] > 0


def _close(past: History, over: Ints, now: Ints) -> None:
    """Merges the hours that are over into the day, and begins the next."""
    full = over[past["hour_count"][0, over] > 0]
    place = past["hour"][0, full] % _HOURS
    mean = past["hour_sum"][0, full] / past["hour_count"][0, full]
    days = past["days"][place, full] + 1.0
    past["days"][place, full] = days
    past["hours"][place, full] += np.maximum(_NEW_DAY, 1.0 / days) * (mean - past["hours"][place, full])
    past["hour_sum"][0, over] = past["hour_count"][0, over] = 0.0
    past["hour"][0, over] = now
