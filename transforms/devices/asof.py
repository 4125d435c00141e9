"""Which row was in force at a time: as-of lookups, vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class AsOf:
    """Rows by key and by the time from which they hold; each holds until the next one of its key does.

    Args:
        keys: int64[r], none negative, ascending.
        since: int64[r], ascending within each key; rows of one key have different times.
    """

    def __init__(self, keys: Integers, since: Integers) -> None:
        self._keys, self._since = keys, since
        self._moments = np.unique(since)
        self._width = len(self._moments) + 1
        self._places = keys * self._width + np.searchsorted(self._moments, since) + 1
        size = int(keys[-1]) + 1 if len(keys) else 0
        self._first = np.searchsorted(keys, np.arange(size + 1)).astype(np.int64)
        self._many = bool((np.diff(self._first) > 1).any())

    def find(self, keys: Integers, times: Integers) -> Integers:
        """int64[n]: for each key the row that held at the time; -1 where none did.

        Args:
            keys: int64[n]; negative or beyond the rows' keys is a key without rows.
            times: int64[n].

        >>> rows = AsOf(np.array([0, 0, 2]), np.array([10, 20, 5]))
        >>> rows.find(np.array([0, 0, 0, 1, 2, -1]), np.array([9, 10, 25, 30, 5, 5])).tolist()
        [-1, 0, 1, -1, 2, -1]
        """
        size = len(self._first) - 1
        if not size:
            return np.full(len(keys), -1, np.int64)
        within = (keys >= 0) & (keys < size)
        known = keys if within.all() else np.where(within, keys, 0)
        row = self._first[known]
        last = self._first[known + 1] - 1
        within &= row <= last
        if self._many:
            several = np.flatnonzero(within & (row < last))
            # Ranks of times, not times: key and rank fit into one integer, which is searched for once.
            rank = np.searchsorted(self._moments, times[several], "right")
            place = known[several] * self._width + rank
            row[several] = np.maximum(np.searchsorted(self._places, place, "right") - 1, row[several])
        row = np.where(within, row, 0)
        within &= self._since[row] <= times
        return np.where(within, row, -1)
