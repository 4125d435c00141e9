"""Isolation forests as plain arrays: grown by scikit-learn, checked when read, evaluated by NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from telebeam.transforms.anomaly.lanes import Floats, Ints, Mask

MOST_DEPTH = 8
"""Levels of cuts in a tree: log2 of the readings that it is grown from (Liu et al., section 4)."""
_PER_TREE = 2**MOST_DEPTH
_RANDOM_STATE = 20260101
_BEYOND = 1e4
"""Scaled features beyond this count as this: scikit-learn takes single precision."""
_CONSTANT = 1e-12
"""A deviation below this share of the largest number is what rounding left of a constant feature."""
_USUAL, _RARE = 0.1, 0.0001
"""The shares of the training readings that score above 0.5 and 0.8."""
_APART = 1e-9
_BLOCK = 8192
"""Readings that are worked on at a time: their features stay in the second-level cache."""
_TOP = 3
"""Levels whose few cuts are all looked at, which is quicker than to look up which one applies."""
_EULER = 0.5772156649015329


@dataclass(frozen=True, eq=False)
class Isolation:
    """The isolation forest of F. T. Liu, K. M. Ting and Z.-H. Zhou (ICDM 2008).

    Trees are complete: node i goes on to 2i + 1, or to 2i + 2 where the scaled feature is greater than its threshold;
    below a leaf that lies higher, thresholds are infinite.

    Raises:
        ValueError: The arrays are none of a forest.
    """

    mean: Floats
    """float64[features]."""
    scale: Floats
    """float64[features]: a feature less its mean is divided by this."""
    feature: npt.NDArray[np.uint8]
    """uint8[trees, 2**depth - 1]: which feature each node looks at."""
    threshold: npt.NDArray[np.float32]
    """float32[trees, 2**depth - 1]."""
    path: Floats
    """float64[trees, 2**depth]: the path length of each leaf, with what is expected of its readings below it."""
    anchors: Floats
    """float64[4]: the mean path lengths that score 0, 0.5, 0.8 and 1, descending."""

    def __post_init__(self) -> None:
        features, (trees, leaves) = len(self.mean), self.path.shape
        depth = leaves.bit_length() - 1
        nodes = (trees, leaves - 1)
        shapes = [self.scale.shape, self.feature.shape, self.threshold.shape, self.anchors.shape]
        if leaves != 2**depth or not 1 <= depth <= MOST_DEPTH or not trees:
            raise ValueError(f"{trees} trees of {leaves} leaves; expected some, of a power of two up to {_PER_TREE}")
        if shapes != [(features,), nodes, nodes, (4,)]:
            raise ValueError(f"arrays of shapes {shapes}; expected those of {trees} trees of {leaves} leaves")
        kinds = [array.dtype for array in (self.feature, self.threshold, self.path)]
        if kinds != [np.uint8, np.float32, np.float64]:
            raise ValueError(f"arrays of {kinds}; expected bytes, singles and doubles")
        if self.feature.max() >= features:
            raise ValueError(f"a node looks at feature {self.feature.max()}; expected below {features}")
        finite = all(np.isfinite(array).all() for array in (self.mean, self.scale, self.path, self.anchors))
        if not finite or np.isnan(self.threshold).any() or not (self.scale > 0).all() or not (self.path >= 0).all():
            raise ValueError("a number of the forest is not finite, or has the wrong sign")
        if not (np.diff(self.anchors) < 0).all():
            raise ValueError(f"the scores' path lengths are {self.anchors.tolist()}; expected them descending")

    def scores(self, features: Floats) -> Floats:
        """float64[n]: 0 … 1, above 0.5 for a tenth and above 0.8 for a ten-thousandth of the training readings.

        Between the anchors the score is linear in the mean path length: products and sums alone, whose bits are the
        same on every machine, which powers of two are not.

        Args:
            features: float64[features, n].
        """
        length = self.path_lengths(features)
        longest, usual, rare, shortest = self.anchors.tolist()
        low = 0.5 * (longest - length) / (longest - usual)
        middle = 0.5 + 0.3 * (usual - length) / (usual - rare)
        high = 0.8 + 0.2 * (rare - length) / (rare - shortest)
        found: Floats = np.where(length >= usual, low, np.where(length >= rare, middle, high))
        return np.clip(found, 0.0, 1.0)

    def path_lengths(self, features: Floats) -> Floats:
        """float64[n]: the mean over the trees of each reading's path length.

        Liu's score is 2 ** (-length / :func:`usual_length` of the readings that a tree was grown from).
        """
        readings = features.shape[1]
        total = np.zeros(readings)
        for begin in range(0, readings, _BLOCK):
            part = slice(begin, min(begin + _BLOCK, readings))
            total[part] = _walk(self, self._scaled(features[:, part]))
        return total / len(self.path)

    def _scaled(self, features: Floats) -> npt.NDArray[np.float32]:
        return scaled(features, self.mean, self.scale)


def scaled(features: Floats, mean: Floats, scale: Floats) -> npt.NDArray[np.float32]:
    """float32[features, n]: each feature less its mean, over its scale, within ±10,000."""
    with np.errstate(over="ignore"):
        found = (features - mean[:, np.newaxis]) / scale[:, np.newaxis]
    return np.clip(found, -_BEYOND, _BEYOND).astype(np.float32, order="C")


def _walk(forest: Isolation, rows: npt.NDArray[np.float32]) -> Floats:
    """float64[n]: the sum of the path lengths of some readings, tree after tree in their order."""
    readings = rows.shape[1]
    flat, here = rows.ravel(), np.arange(readings)
    offset = forest.feature.astype(np.int64) * readings
    total, length = np.zeros(readings), np.empty(readings)
    node, place = np.empty(readings, np.int64), np.empty(readings, np.int64)
    cut, number, right = np.empty(readings, np.float32), np.empty(readings, np.float32), np.empty(readings, np.bool_)
    leaves = forest.path.shape[1]
    depth = leaves.bit_length() - 1
    top = min(_TOP, depth)
    for tree in range(len(forest.path)):
        node[:] = _top(rows, forest.feature[tree], forest.threshold[tree], top)
        for _ in range(top, depth):
            # What is looked up is within the arrays; "clip" only spares NumPy a copy.
            offset[tree].take(node, out=place, mode="clip")
            place += here
            flat.take(place, out=number, mode="clip")
            forest.threshold[tree].take(node, out=cut, mode="clip")
            np.greater(number, cut, out=right)
            node += node
            node += right
            node += 1
        node -= leaves - 1
        forest.path[tree].take(node, out=length, mode="clip")
        total += length
    return total


def _top(rows: npt.NDArray[np.float32], feature: npt.NDArray[np.uint8], threshold: Any, levels: int) -> Ints:
    """int64[n]: the node in which each reading is after some levels."""
    bits = [rows[feature[node]] > threshold[node] for node in range(2**levels - 1)]
    taken: list[Mask] = []
    for level in range(levels):
        row = bits[2**level - 1 : 2 ** (level + 1) - 1]
        for turn in reversed(taken):
            row = [left ^ (turn & (left ^ right)) for left, right in zip(row[::2], row[1::2], strict=True)]
        taken.append(row[0])
    node = np.zeros(rows.shape[1], np.uint8)
    for turn in taken:
        node += node
        node += turn
    return node.astype(np.int64) + (2**levels - 1)


def usual_length(readings: int) -> float:
    """c(n): the mean path length of a search for what a binary search tree of n readings lacks (Liu et al., eq. 1)."""
    if readings < 3:
        return float(max(readings - 1, 0))
    return 2.0 * (math.log(readings - 1.0) + _EULER) - 2.0 * (readings - 1.0) / readings


def grow(sample: Floats, trees: int) -> Isolation:
    """The forest of some readings, by scikit-learn; the same readings in the same order give the same arrays.

    Args:
        sample: float64[features, n], of two readings at least.
        trees: How many trees.
    """
    # Imported here: scikit-learn is an extra, and takes a second to load.
    from sklearn.ensemble import IsolationForest  # type: ignore[import-untyped]

    mean, scale = sample.mean(axis=1), sample.std(axis=1)
    scale = np.where(scale > _CONSTANT * np.abs(sample).max(axis=1), scale, 1.0)
    rows = scaled(sample, mean, scale)
    per_tree = min(_PER_TREE, sample.shape[1])
    model = IsolationForest(n_estimators=trees, max_samples=per_tree, random_state=_RANDOM_STATE)
    model.fit(np.ascontiguousarray(rows.T))
    depth = max(1, math.ceil(math.log2(per_tree)))
    parts = [_complete(each.tree_, depth) for each in model.estimators_]
    feature, threshold, path = (np.stack(part) for part in zip(*parts, strict=True))
    ends = np.array([path.max(axis=1).mean(), 0.0, 0.0, path.min(axis=1).mean()])
    raw = Isolation(mean, scale, feature, threshold, path, np.array([4.0, 3.0, 2.0, 1.0]))
    lengths = raw.path_lengths(sample)
    return Isolation(mean, scale, feature, threshold, path, _anchors(lengths, *ends[[0, 3]].tolist()))


def _anchors(lengths: Floats, longest: float, shortest: float) -> Floats:
    usual, rare = np.quantile(lengths, [_USUAL, _RARE]).tolist()
    rare = min(rare, usual - _APART)
    return np.array([max(longest, usual + _APART), usual, rare, min(shortest, rare - _APART)])


def _complete(tree: Any, depth: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], Floats]:
    """One of scikit-learn's trees as a complete one."""
    nodes = 2**depth - 1
    feature, threshold = np.zeros(nodes, np.uint8), np.full(nodes, np.inf, np.float32)
    path = np.zeros(nodes + 1)
    for node, place, level in _nodes(tree):
        if tree.children_left[node] < 0:
            # The leftmost leaf below: that is where infinite thresholds lead to.
            leaf = (place + 1) * 2 ** (depth - level) - 1 - nodes
            path[leaf : leaf + 2 ** (depth - level)] = level + usual_length(int(tree.n_node_samples[node]))
        else:
            feature[place], threshold[place] = tree.feature[node], _below(float(tree.threshold[node]))
    return feature, threshold, path


def _nodes(tree: Any) -> Iterator[tuple[int, int, int]]:
    """(node, its place in a complete tree, its level) of all nodes."""
    waiting = [(0, 0, 0)]
    while waiting:
        node, place, level = waiting.pop()
        yield node, place, level
        if tree.children_left[node] >= 0:
            waiting.append((int(tree.children_left[node]), 2 * place + 1, level + 1))
            waiting.append((int(tree.children_right[node]), 2 * place + 2, level + 1))


def _below(threshold: float) -> np.float32:
    """The largest single at or below a double: a single is greater than the one exactly if it is than the other."""
    single = np.float32(threshold)
    return np.nextafter(single, np.float32(-np.inf)) if float(single) > threshold else single
