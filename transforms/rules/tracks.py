"""Tracks: what a condition on readings is true or false of, numbered as they come, and the groups that they are in.

A number says where a track's state stands in arrays and nothing else: it depends on the order of arrival, so no result
may depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from telebeam.transforms.rules.steps import EARLIEST, Integers, Mask

Key = tuple[str | None, ...]


def grown(array: npt.NDArray[Any], size: int, fill: Any) -> npt.NDArray[Any]:
    """The array with room for some entries; new ones hold the filling.  It grows by doubling."""
    if len(array) >= size:
        return array
    larger = np.full(max(size, 2 * len(array), 64), fill, array.dtype)
    larger[: len(array)] = array
    return larger


class Selection:
    """Which tracks a condition looks at.

    Args:
        columns: The columns of a track's key.
        wants: For some of these, a test of the text.
    """

    def __init__(self, columns: Sequence[str], wants: Sequence[tuple[str, Callable[[str | None], bool]]]) -> None:
        self._tests = [(columns.index(column), test) for column, test in wants]
        self._known: dict[Key, bool] = {}
        self.mask: Mask = np.zeros(0, np.bool_)
        """By track."""

    def extend(self, keys: Sequence[Key], first: int) -> None:
        """Takes up new tracks, the first of which has some number."""
        self.mask = grown(self.mask, first + len(keys), False)
        if self._tests:
            self.mask[first : first + len(keys)] = [self._selects(key) for key in keys]
        else:
            self.mask[first : first + len(keys)] = True

    def _selects(self, key: Key) -> bool:
        texts = tuple(key[place] for place, _ in self._tests)
        known = self._known.get(texts)
        if known is None:
            known = all(test(text) for text, (_, test) in zip(texts, self._tests, strict=True))
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[texts] = known
        return known

    def keep(self, tracks: Integers) -> None:
        """Keeps some tracks and numbers them anew."""
        self.mask = self.mask[tracks]


_REMEMBERED = 65_536  # answers of a selection by device id, some 10 MB


class Grouping:
    """The groups of some columns.

    Args:
        track_columns: The columns of a track's key.
        columns: Those of a group's.
    """

    def __init__(self, track_columns: Sequence[str], columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._places = [track_columns.index(column) for column in columns]
        self.keys: list[Key] = []
        self.numbers: dict[Key, int] = {}
        self.of_track: Integers = np.empty(0, np.int64)
        """By track, the number of its group."""

    def __len__(self) -> int:
        return len(self.keys)

    def extend(self, keys: Sequence[Key], first: int) -> None:
        """Takes up new tracks, the first of which has some number."""
        self.of_track = grown(self.of_track, first + len(keys), -1)
        for place, key in enumerate(keys, first):
            self.of_track[place] = self.number(tuple(key[column] for column in self._places))

    def number(self, key: Key) -> int:
        """The group's number; a new one where there is none."""
        number = self.numbers.setdefault(key, len(self.keys))
        if number == len(self.keys):
            self.keys.append(key)
        return number

    def keep(self, tracks: Integers, groups: Integers) -> None:
        """Keeps some tracks and groups and numbers them anew."""
        anew = np.full(len(self.keys) + 1, -1, np.int64)
        anew[groups] = np.arange(len(groups))
        self.of_track = anew[self.of_track[tracks]]
        self.keys = [self.keys[group] for group in groups.tolist()]
        self.numbers = {key: number for number, key in enumerate(self.keys)}


class Tracks:
    """All tracks of a book, each with its last reading.

    Args:
        columns: What tells one from another.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.keys: list[Key] = []
        self._numbers: dict[Key, int] = {}
        self.groupings: dict[tuple[str, ...], Grouping] = {}
        self.selections: list[Selection] = []
        self.time: Integers = np.empty(0, np.int64)
        """By track, the last reading's time; ``EARLIEST`` where there was none yet."""
        self.value: npt.NDArray[np.float64] = np.empty(0, np.float64)
        """By track, the last reading's value."""
        self.since: Integers = np.empty(0, np.int64)
        """By track, since when the value is what it is."""

    def __len__(self) -> int:
        return len(self.keys)

    def grouping(self, columns: Sequence[str]) -> Grouping:
        """The grouping by some columns, one for all that ask for the same."""
        name = tuple(columns)
        return self.groupings.setdefault(name, Grouping(self.columns, name))

    def selection(self, wants: Sequence[tuple[str, Callable[[str | None], bool]]]) -> Selection:
        """A selection that is told of new tracks."""
        self.selections.append(Selection(self.columns, wants))
        return self.selections[-1]

    def numbers(self, keys: Sequence[Key]) -> Integers:
        """The tracks' numbers; those that there are none of yet are taken up."""
        known = list(map(self._numbers.get, keys))
        if None in known:
            self._take_up([key for key, number in zip(keys, known, strict=True) if number is None])
            known = list(map(self._numbers.get, keys))
        return np.array(known, np.int64)

    def _take_up(self, keys: Sequence[Key]) -> None:
        first, size = len(self.keys), len(self.keys) + len(keys)
        self._numbers.update(zip(keys, range(first, size), strict=True))
        self.keys.extend(keys)
        self.time = grown(self.time, size, EARLIEST)
        self.value = grown(self.value, size, 0.0)
        self.since = grown(self.since, size, EARLIEST)
        for grouping in self.groupings.values():
            grouping.extend(keys, first)
        for selection in self.selections:
            selection.extend(keys, first)

    def keep(self, tracks: Integers, groups: dict[tuple[str, ...], Integers]) -> None:
        """Forgets all but some tracks and groups, and numbers those anew."""
        self.keys = [self.keys[track] for track in tracks.tolist()]
        self._numbers = {key: number for number, key in enumerate(self.keys)}
        self.time, self.value, self.since = self.time[tracks], self.value[tracks], self.since[tracks]
        for selection in self.selections:
            selection.keep(tracks)
        for name, grouping in self.groupings.items():
            grouping.keep(tracks, groups[name])
