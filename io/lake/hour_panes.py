"""Panes of an hour, filed for windows that are longer, so that whoever computes those reads no reading again.

They stand in the lake's ``_staging/`` while a job runs, and nothing is true by them: where a file is gone, or the hour
has other readings by now than they were made of, they are passed over and the readings are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io import storage
from telebeam.io.lake.compute import Piece, RowGroup, of_devices, within
from telebeam.io.lake.layout import HOUR, Together, hour_of, hour_with_panes
from telebeam.transforms.aggregation.grid import SECOND, Grid
from telebeam.transforms.aggregation.panes import common_pane, select
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.aggregation.transport import from_batch, to_batch
from telebeam.transforms.coders import RecordBatchCoder
from telebeam.transforms.errors import SourceError

_NARROWEST = 60
"""Seconds: narrower panes than these are about as many as readings."""
_LEAST_READINGS = 16
"""Readings of a pane, on average, below which reading them again costs less."""


class HourPanes(NamedTuple):
    """All panes of an hour."""

    hour: int
    """Since the epoch."""
    readings: str
    """Digest of where the readings stand that they were made of."""
    files: tuple[RowGroup, ...]
    """Where the panes stand; ``rows`` counts panes, ``first`` and ``last`` are their first and last start."""

    def plain(self) -> tuple[Any, ...]:
        """As tuples, texts and numbers."""
        return self.hour, self.readings, tuple(tuple(file) for file in self.files)

    @staticmethod
    def of_plain(plain: tuple[Any, ...]) -> HourPanes:
        """What :meth:`plain` gave."""
        hour, readings, files = plain
        return HourPanes(hour, readings, tuple(RowGroup(*file) for file in files))


class KeepPanes:
    """Files the panes of an hour while its windows are computed.

    Args:
        root: Where the lake is.
        hour: Since the epoch.
        longer: The windows that the panes are for; one at least.
    """

    def __init__(self, root: storage.Location, hour: int, longer: Sequence[Grid]) -> None:
        self.span = hour * HOUR, (hour + 1) * HOUR
        self.grid = common_pane(longer, *self.span)
        self._root = root
        self._hour = hour
        self._files: list[RowGroup] = []
        self._readings = ""
        self._is_off = self.grid.every < _NARROWEST * SECOND

    def begin(self, groups: Iterable[RowGroup]) -> None:
        """Hears of the row groups that are about to be read."""
        self._readings = _digest(groups, self._hour)

    def add(self, panes: Partials) -> None:
        """Takes panes of some devices.

        Raises:
            SinkError: They can't be filed.
        """
        if self._is_off:
            return
        if panes.count.sum() < _LEAST_READINGS * len(panes):
            self._is_off = True
            remove_panes(self._root, self._files)
            return
        path = storage.shared_name()
        content = RecordBatchCoder().encode(to_batch(panes))
        storage.publish(self._root, path, pa.py_buffer(content))
        devices = pc.min_max(panes.series.column("device_id").dictionary_decode()).as_py()
        first, last = int(panes.start.min()), int(panes.start.max())
        self._files.append(RowGroup(path, 0, len(panes), devices["min"], devices["max"], first, last))

    def kept(self) -> HourPanes | None:
        """The panes, when the hour's windows have been computed; None where reading the readings again costs less."""
        return HourPanes(self._hour, self._readings, tuple(self._files)) if self._files and not self._is_off else None


def keeping(root: storage.Location, part: Together, longer: Iterable[WindowSpec]) -> KeepPanes | None:
    """Keeps the panes of a part of the windows for longer ones; None where it reads no whole hour, or none are longer.

    Args:
        root: Where the lake is.
        part: Of windows that are computed together.
        longer: Windows of which :func:`~.layout.is_longer` is true.
    """
    grids = [window.windowing for window in longer if isinstance(window.windowing, Grid)]
    hour = hour_with_panes(part)
    return KeepPanes(root, hour, grids) if grids and hour is not None else None


def that_stand(root: storage.Location, panes: Iterable[HourPanes], groups: Sequence[RowGroup]) -> list[HourPanes]:
    """Those that are there and were made of all readings that their hours have.

    Args:
        root: Where the lake is.
        panes: Of some hours.
        groups: All row groups of these hours, as :func:`~.compute.groups_of` gives them now.
    """
    return [
        each
        for each in panes
        if each.readings == _digest(groups, each.hour) and all(storage.exists(root, file.path) for file in each.files)
    ]


def panes_of(root: storage.Location, piece: Piece) -> Iterator[Partials]:
    """The filed panes of a piece.

    Raises:
        SourceError: A file is gone or damaged.
    """
    for file in piece.panes:
        content = storage.read(root, file.path)
        if content is None:
            raise SourceError(
                f"{root.child(file.path)} is gone", "do not clean a lake while a job runs; start it again"
            )
        panes = from_batch(RecordBatchCoder().decode(content))
        yield select(
            panes, within(panes.start, piece.spans) & of_devices(panes.series.column("device_id"), piece.devices)
        )


def remove_panes(root: storage.Location, files: Iterable[RowGroup]) -> None:
    """Removes files of panes.

    Raises:
        SinkError: One can't be removed.
    """
    for file in files:
        storage.remove(root, file.path)


def _digest(groups: Iterable[RowGroup], hour: int) -> str:
    own = sorted(group for group in groups if hour_of(group.path)[0] == hour * HOUR)
    return hashlib.blake2b(repr([tuple(group) for group in own]).encode(), digest_size=16).hexdigest()
