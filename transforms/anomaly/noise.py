"""Of ``auto``: whether a series' own noise explains a reading.

The noise is that of the distance from a level which follows the series with a half-life of 8 readings, centred on its
own mean, so that a steady slope is no departure.  Spread and level learn a departure as at most 3 deviations: an
outlier hardly moves them, a lasting shift widens the spread until it is learned.
"""

from __future__ import annotations

import math

import numpy as np

from telebeam.transforms.anomaly.lanes import Floats, History, Ints, Mask, Slot, clip, half_life

SPIKE = 5.5
"""Deviations: of normal noise one reading in 26 million is further out."""
SUM, SLACK, LARGEST_TERM = 10.0, 2.0, 4.0
"""Page's cumulative sum (Continuous Inspection Schemes, Biometrika 1954): max(0, sum + z − slack) over its threshold;
one reading adds at most 2, so that it takes five to get there."""
REPEATED = 15.0 / math.log(2.0)
"""Bits: a value is stuck where so many repetitions have a chance below e⁻¹⁵."""
TAIL, LIFT = 0.02, 1.5
"""Where more than a fiftieth of a series' own readings is beyond two thirds of a threshold, the threshold rises."""

_LEVEL, _CENTRE, _SPREAD, _LONG, _OTHER, _SAME = (half_life(h) for h in (8, 256, 400, 4000, 150, 1000))
_YOUNG = 30
"""Readings that are learned as they are."""
_CLIP = 3.0
_FLOOR = 0.5
"""The spread counts as at least this share of the long one that outliers are part of."""
_TWO_VALUES = 0.03
"""A series in which fewer readings than this are other than the last two values, as of a contact, has no noise."""
_THRESHOLDS = np.array([[SPIKE], [SUM]])
_STEP = 0.05
_UP, _DOWN = math.exp(_STEP * (1 - TAIL)), math.exp(-_STEP * TAIL)
_LEAST_TAIL, _FIRST_TAIL = 2.0, 3.0
_LARGEST_Z = 1e3
_LONGEST, _FORGET_LONGEST = 1.25, 1 - 1 / 5000

LAYOUT = {
    "level": Slot(1), "centre": Slot(1), "spread": Slot(1), "long": Slot(1), "sums": Slot(2),
    "tails": Slot(2, fill=_FIRST_TAIL), "values": Slot(2, fill=np.nan), "other": Slot(1, fill=1.0), "last": Slot(1),
    "run": Slot(1), "chance": Slot(1, fill=1.0), "longest": Slot(1), "same": Slot(1),
}  # fmt: skip
"""The arrays of a series' history that this part has."""


def look(past: History, value: Floats, readings: Ints, warm: Mask) -> tuple[Floats, Floats, Mask]:
    """What is expected of a reading of each lane, how far beyond the noise it is, and whether it has noise at all.

    Learns the reading.

    Args:
        past: float64[…, lanes]: views of the histories; overwritten.
        value: float64[lanes].
        readings: int64[lanes]: how many came before.
        warm: Which lanes are judged.

    Returns:
        The expected value, the largest of three deviations over its threshold, and whether the series takes more than
        two values.
    """
    share = 1.0 / (readings + 1)
    first = readings == 0
    level, centre = np.where(first, value, past["level"][0]), past["centre"][0].copy()
    several = _takes_several_values(past, value, share)
    judged = warm & several
    departure = value - level
    spread = np.sqrt(np.maximum(past["spread"][0], _FLOOR * _FLOOR * past["long"][0]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = clip((departure - centre) / spread, -_LARGEST_Z, _LARGEST_Z)
    z = np.where(judged & (departure != centre), z, 0.0)
    beyond = np.maximum(_beyond_tail(past, z, judged), np.where(judged, _repeated(past, value, first, share), 0.0))
    _learn(past, departure, level, spread, readings, share)
    return level + centre, beyond, several


def _learn(past: History, departure: Floats, level: Floats, spread: Floats, readings: Ints, share: Floats) -> None:
    centre = past["centre"][0]
    off = departure - centre
    reach = np.where(readings < _YOUNG, np.inf, _CLIP * spread)
    near = clip(off, -reach, reach)
    past["level"][0] = level + np.maximum(_LEVEL, share) * (centre + near)
    past["spread"][0] += np.maximum(_SPREAD, share) * (near * near - past["spread"][0])
    past["long"][0] += np.maximum(_LONG, share) * (off * off - past["long"][0])
    past["centre"][0] = centre + np.maximum(_CENTRE, share) * near


def _beyond_tail(past: History, z: Floats, judged: Mask) -> Floats:
    """The larger of the spike's and the sums' share of their thresholds, which rise with the series' own tail.

    A tail is the quantile of which a share of ``TAIL`` is beyond, followed by stochastic approximation.  A sum that
    has reached its threshold begins anew.
    """
    term = clip(z, -LARGEST_TERM, LARGEST_TERM)
    sums = past["sums"]
    sums[0], sums[1] = np.maximum(0.0, sums[0] + term - SLACK), np.maximum(0.0, sums[1] - term - SLACK)
    size = np.empty((2, len(z)))
    size[0], size[1] = np.abs(z), np.maximum(sums[0], sums[1])
    tails = past["tails"]
    part = size / np.maximum(_THRESHOLDS, LIFT * tails)
    sums *= part[1] <= 1.0
    followed = np.maximum(tails * np.where(size > tails, _UP, _DOWN), _LEAST_TAIL)
    past["tails"][:] = np.where(judged, followed, tails)
    return np.maximum(part[0], part[1])


def _repeated(past: History, value: Floats, first: Mask, share: Floats) -> Floats:
    """How unlikely it is that a value is repeated so often, over the threshold.

    By the share of readings that repeat the one before, and no less than half as often again as it ever was.
    """
    same = (value == past["last"][0]) & ~first
    run, chance, longest, often = (past[name][0] for name in ("run", "chance", "longest", "same"))
    ended = np.maximum(longest * _FORGET_LONGEST, np.minimum(run, _LONGEST * longest + 2.0))
    longest = np.where(same, longest, ended)
    run = np.where(same, run + 1.0, 0.0)
    chance = np.where(same, np.maximum(chance * clip(often, 0.01, 0.9999), 1e-300), 1.0)
    part = np.minimum(_bits(chance) / REPEATED, run / (_LONGEST * longest + 2.0))
    past["same"][0] = np.where(first | (part > 1.0), often, often + np.maximum(_SAME, share) * (same - often))
    past["run"][0], past["chance"][0], past["longest"][0], past["last"][0] = run, chance, longest, value
    return part


def _bits(chance: Floats) -> Floats:
    """−log₂, linear between powers of two, so that no library's logarithm is in the scores."""
    mantissa, exponent = np.frexp(chance)
    return 2.0 - exponent - 2.0 * mantissa


def _takes_several_values(past: History, value: Floats, share: Floats) -> Mask:
    values = past["values"]
    other = (value != values[0]) & (value != values[1])
    values[1] = np.where(other, values[0], values[1])
    values[0] = np.where(other, value, values[0])
    often = past["other"][0] + np.maximum(_OTHER, share) * (other - past["other"][0])
    past["other"][0] = often
    several: Mask = often > _TWO_VALUES
    return several
