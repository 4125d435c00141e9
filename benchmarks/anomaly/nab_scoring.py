"""The score of the Numenta Anomaly Benchmark.

After A. Lavin and S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms — the Numenta Anomaly Benchmark",
ICMLA 2015, https://arxiv.org/abs/1510.03336, sections II B and C.

Each anomaly has a window.  The earliest detection in a window counts, the more the earlier it is; every detection
outside of the windows costs, the more the further it is behind one; a window without a detection costs a whole.  All
three are weighted by a profile.  One threshold serves all files: the one with the best sum.  Sums are normalised so
that no detection at all is 0 and every window at its first reading without a false one is 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PROBATION_SHARE, PROBATION_LIMIT = 0.15, 5000
"""A detector may learn for this share of a file, or of so many readings where it is longer: 750 at most."""
_FAR_BEHIND = 3.0
"""Widths behind a window from which on a false detection costs a whole."""


@dataclass(frozen=True)
class Profile:
    """What an application thinks of the three outcomes."""

    name: str
    true_positive: float
    false_positive: float
    false_negative: float


PROFILES = (
    Profile("standard", 1.0, 0.11, 1.0),
    Profile("reward_low_FP_rate", 1.0, 0.22, 1.0),
    Profile("reward_low_FN_rate", 1.0, 0.11, 2.0),
)


@dataclass(frozen=True)
class Scored:
    """One file: an anomaly score for each reading, and where the windows are."""

    scores: Floats
    """float64[n]."""
    windows: Sequence[tuple[int, int]]
    """Each window's first and last reading, ascending."""


@dataclass(frozen=True)
class Outcome:
    """How a profile values a set of files."""

    score: float
    """0 … 100; below 0 where silence would have been better."""
    threshold: float
    """A reading is a detection from this anomaly score on."""
    found: int
    """Windows with a detection."""
    windows: int
    false_positives: int
    """Readings that are detections outside of windows."""


def sigmoid(position: Floats) -> Floats:
    """What a detection is worth: near 1 at a window's begin (−1), 0 at its end (0), towards −1 behind it."""
    return np.where(position > _FAR_BEHIND, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 10.0))) - 1.0)


def probation(readings: int) -> int:
    """How many of a file's first readings don't count."""
    return int(PROBATION_SHARE * min(readings, PROBATION_LIMIT))


def worths(file: Scored) -> tuple[Floats, Ints]:
    """For each reading what a detection there is worth, unweighted, and its window's number; −1 outside of all."""
    rows = np.arange(len(file.scores))
    worth, window = np.full(len(rows), -1.0), np.full(len(rows), -1)
    for number, (first, last) in enumerate(file.windows):
        width = last - first + 1
        inside = (rows >= first) & (rows <= last)
        worth[inside] = sigmoid(-(last - rows[inside] + 1) / width)
        window[inside] = number
        following = file.windows[number + 1][0] if number + 1 < len(file.windows) else len(rows)
        behind = (rows > last) & (rows < following)
        worth[behind] = sigmoid((rows[behind] - last) / max(width - 1, 1))
    best = sigmoid(np.array([-1.0]))[0]
    return np.where(window >= 0, worth / best, worth), window


def outcome(files: Sequence[Scored], profile: Profile, threshold: float | None = None) -> Outcome:
    """The files' normalised score at a threshold, or at the best one of all."""
    scores, gains, windows = _changes(files, profile)
    thresholds, ends = np.unique(-scores, return_index=True)  # from the highest score on
    ends = np.append(ends[1:], len(scores))
    total = np.cumsum(gains)[ends - 1] if len(scores) else np.zeros(0)
    silent = -profile.false_negative * windows
    # Silence is a choice as well: a threshold that nothing reaches.
    sums, levels = np.append(silent, silent + total), np.append(np.inf, -thresholds)
    chosen = int(np.argmax(sums)) if threshold is None else int(np.flatnonzero(levels >= threshold)[-1])
    perfect = profile.true_positive * windows
    normalised = 100.0 * (sums[chosen] - silent) / (perfect - silent) if windows else 0.0
    return Outcome(float(normalised), float(levels[chosen]), *_count(files, levels[chosen]))


def _changes(files: Sequence[Scored], profile: Profile) -> tuple[Floats, Floats, int]:
    """Each counted reading's score and how the sum changes when it becomes a detection, highest scores first."""
    parts, count = [], 0
    for file in files:
        worth, window = worths(file)
        counted = np.arange(len(worth)) >= probation(len(worth))
        parts.append((file.scores[counted], worth[counted], np.where(window >= 0, window + count, -1)[counted]))
        count += len(file.windows)
    scores, worth, window = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    scores, worth, window = scores[order], worth[order], window[order]
    gains = worth * profile.false_positive
    for number in range(count):
        at = np.flatnonzero(window == number)
        best = np.maximum.accumulate(worth[at] * profile.true_positive)
        before = np.concatenate([[-profile.false_negative], best[:-1]])
        gains[at] = best - before
    return scores, gains, count


def _count(files: Sequence[Scored], threshold: float) -> tuple[int, int, int]:
    found = windows = false = 0
    for file in files:
        _, window = worths(file)
        fired = (file.scores >= threshold) & (np.arange(len(window)) >= probation(len(window)))
        found += len(np.unique(window[fired & (window >= 0)]))
        windows += len(file.windows)
        false += int((fired & (window < 0)).sum())
    return found, windows, false
