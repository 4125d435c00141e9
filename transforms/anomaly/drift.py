"""How far the features of readings have moved from those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telebeam.transforms.anomaly.lanes import Floats

BINS = 50
"""Bins of a histogram, each with as many training readings as the next where their values differ."""
_PSI_BINS = 10
_LEAST_SHARE = 1e-4
"""What an empty bin counts as in the PSI, which has logarithms of shares."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of features between fixed edges; counts of the same edges add up.

    Raises:
        ValueError: The arrays are none of a histogram.
    """

    edges: Floats
    """float64[features, 49]: a number at an edge belongs below it."""
    counts: Floats
    """float64[features, 50]."""

    def __post_init__(self) -> None:
        features = len(self.edges)
        if self.edges.shape != (features, BINS - 1) or self.counts.shape != (features, BINS):
            raise ValueError(f"a histogram of {self.edges.shape} edges and {self.counts.shape} counts")
        if not (np.isfinite(self.edges).all() and np.isfinite(self.counts).all()):
            raise ValueError("a number of a histogram is not finite")
        if (np.diff(self.edges) < 0).any() or (self.counts < 0).any():
            raise ValueError("a histogram's edges descend, or a count is below 0")

    @staticmethod
    def of(features: Floats) -> Histogram:
        """The histogram of some readings between their own quantiles.

        Args:
            features: float64[features, n], of one reading at least.
        """
        edges = np.quantile(features, np.arange(1, BINS) / BINS, axis=1, method="lower").T.copy()
        return Histogram(edges, _counts(features, edges))

    def count(self, features: Floats) -> Histogram:
        """The histogram of other readings between the same edges.

        Args:
            features: float64[features, n].
        """
        return Histogram(self.edges, _counts(features, self.edges))

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.edges, self.counts + other.counts)

    def psi(self, other: Histogram) -> Floats:
        """float64[features]: the population stability index over ten bins; below 0.1 usual, above 0.25 another world.

        Σ (p − q) · ln(p / q) over shares p and q, as credit scoring has it (Siddiqi, Credit Risk Scorecards, 2006).
        """
        p, q = (np.maximum(_shares(_tens(one.counts)), _LEAST_SHARE) for one in (self, other))
        found: Floats = ((p - q) * np.log(p / q)).sum(axis=1)
        return found

    def ks(self, other: Histogram) -> Floats:
        """float64[features]: 0 … 1, the largest distance of the cumulative shares at the edges (Kolmogorov-Smirnov)."""
        mine, others = (np.cumsum(_shares(one.counts), axis=1)[:, :-1] for one in (self, other))
        found: Floats = np.abs(mine - others).max(axis=1)
        return found


def _counts(features: Floats, edges: Floats) -> Floats:
    bins = [np.searchsorted(own, row, side="left") for own, row in zip(edges, features, strict=True)]
    return np.array([np.bincount(each, minlength=BINS) for each in bins], np.float64).reshape(len(edges), BINS)


def _tens(counts: Floats) -> Floats:
    found: Floats = counts.reshape(len(counts), _PSI_BINS, -1).sum(axis=2)
    return found


def _shares(counts: Floats) -> Floats:
    found: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return found
