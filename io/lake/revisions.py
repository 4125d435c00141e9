"""Windows of a live job beside those that the lake has: what is new or changed is filed, as the next revision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import Devices, Span, of_devices, overlap, within
from telebeam.io.lake.layout import hour_of, partition, seconds_of
from telebeam.io.lake.parquet import open_parquet, row_groups
from telebeam.transforms.aggregation.kernel import WINDOWS_IN_FLIGHT
from telebeam.transforms.batches import concat, rows_of, with_columns
from telebeam.transforms.ordering import rank, sort_order
from telebeam.transforms.schema import AGGREGATES, DICTIONARY, SERIES, conform

_KEY = (*SERIES, "window_start")
_SAID = ("count", *AGGREGATES)
"""What a window's row says, but for its revision."""
_SCHEMA = pa.schema([WINDOWS_IN_FLIGHT.field(name) for name in (*_KEY, *_SAID, "revision")])
_TEXTS = [field.name for field in _SCHEMA if field.type == DICTIONARY]

Integers = npt.NDArray[np.int64]


class Compared(NamedTuple):
    """Windows beside those of the lake."""

    changed: npt.NDArray[np.bool_]
    """bool[n]: the lake has no such row, or says something else."""
    same_as: Integers
    """int64[n]: the row of the lake that says the same; -1 where it has changed."""


def windows_files(root: storage.Location, seconds: int, hour: int, spans: Sequence[Span]) -> tuple[str, ...]:
    """The files of windows that start in an hour, but for those whose names tell of others than some spans."""
    found = storage.files_below(root, partition("windows", hour, seconds))
    return tuple(path for path in found if overlap(*(seconds_of(path) or hour_of(path)), spans))


class FiledWindows:
    """The windows of some spans of an hour, as files of the lake have them when this is made.

    Args:
        root: Where the lake is.
        seconds: The windows' length.
        hour: In which they start, since the epoch.
        spans: Of the windows, ascending and disjoint.
    """

    def __init__(self, root: storage.Location, seconds: int, hour: int, spans: Sequence[Span]) -> None:
        self._root = root
        self.paths = windows_files(root, seconds, hour, spans)
        starts, revisions = self._revisions(spans)
        self._starts, first = np.unique(starts, return_index=True) if len(starts) else (starts, starts)
        self._highest = np.maximum.reduceat(revisions, first) if len(starts) else revisions

    def _revisions(self, spans: Sequence[Span]) -> tuple[Integers, Integers]:
        """(the starts, the revisions) of all rows, ascending by start."""
        columns = ("window_start", "revision")
        rows = [self._read(path, columns, spans) for path in self.paths]
        starts, revisions = (
            np.concatenate([np.zeros(0, np.int64), *(_integers(batch.column(name)) for batch in rows)])
            for name in columns
        )
        order = np.argsort(starts, kind="stable")
        return starts[order], revisions[order]

    def rows(self, spans: Sequence[Span], devices: Devices) -> tuple[pa.RecordBatch, Integers]:
        """(the rows of some windows and devices, the place of each one's file in ``paths``)."""
        batches = [pa.RecordBatch.from_pylist([], schema=_SCHEMA)]
        files = [np.zeros(0, np.int64)]
        for number, path in enumerate(self.paths):
            if overlap(*(seconds_of(path) or hour_of(path)), spans):
                batch = self._read(path, _SCHEMA.names, spans)
                batch = rows_of(batch, of_devices(batch.column("device_id"), devices))
                batches.append(batch)
                files.append(np.full(batch.num_rows, number))
        return concat(batches), np.concatenate(files)

    def next_revisions(self, starts: Integers) -> Integers:
        """One above the highest that the lake has of each window, whatever the series; 0 where it has none."""
        if not len(self._starts):
            return np.zeros(len(starts), np.int64)
        place = np.minimum(np.searchsorted(self._starts, starts), len(self._starts) - 1)
        return np.where(self._starts[place] == starts, self._highest[place] + 1, 0)

    def numbered(self, windows: pa.RecordBatch) -> pa.RecordBatch:
        """Windows with the revisions that they would be filed with."""
        revisions = self.next_revisions(_integers(windows.column("window_start"))).astype(np.int32)
        return with_columns(windows, {"revision": pa.array(revisions)})

    def _read(self, path: str, columns: Sequence[str], spans: Sequence[Span]) -> pa.RecordBatch:
        schema = pa.schema([_SCHEMA.field(name) for name in columns])
        with open_parquet(self._root, path, [name for name in _TEXTS if name in columns]) as file:
            groups = range(file.metadata.num_row_groups)
            batches = [conform(b, schema) for b in row_groups(file, groups, columns, self._root.child(path))]
        rows = concat([pa.RecordBatch.from_pylist([], schema=schema), *batches])
        return rows_of(rows, within(_integers(rows.column("window_start")), spans))


def latest(filed: pa.RecordBatch) -> pa.RecordBatch:
    """Of each series and window the row of the highest revision, where it has readings.

    Args:
        filed: With the columns of :meth:`FiledWindows.rows`.
    """
    if not filed.num_rows:
        return filed
    order = sort_order(filed, [*_KEY, "revision", "count"])
    rows = filed if order is None else filed.take(pa.array(order))
    same = _as_above(rows, _KEY, np.arange(rows.num_rows))
    is_last = np.append(~same[1:], True)
    return rows_of(rows, is_last & (_integers(rows.column("count")) > 0))


def compare(windows: pa.RecordBatch, filed: pa.RecordBatch) -> Compared:
    """Which windows the lake does not have as they are: bit for bit, nulls being equal.

    A row that the lake has twice with one revision but not with one content has changed: two jobs filed it at once.

    Args:
        windows: As computed, one for each series and start.
        filed: Of the lake, all revisions, with the columns of :meth:`FiledWindows.rows`.
    """
    if not filed.num_rows:
        return Compared(np.ones(windows.num_rows, bool), np.full(windows.num_rows, -1))
    latest = int(_integers(filed.column("revision")).max()) + 1
    computed = conform(with_columns(windows, {"revision": _constant(latest, windows.num_rows)}), _SCHEMA)
    both = concat([filed, computed])  # of equal keys what was computed comes last
    order = sort_order(both, [*_KEY, "revision"])
    order = np.arange(both.num_rows) if order is None else order
    same_key = _as_above(both, _KEY, order)
    same_row = _as_above(both, _SAID, order) & same_key
    is_tie = _as_above(both, ["revision"], order) & same_key & ~same_row
    above = np.concatenate([[-1], order[:-1]])
    computed_places = np.flatnonzero(order >= filed.num_rows)
    in_doubt = same_key & np.concatenate([[False], is_tie[:-1]])
    is_same = (same_row & ~in_doubt)[computed_places]
    rows = order[computed_places] - filed.num_rows
    changed, same_as = np.ones(windows.num_rows, bool), np.full(windows.num_rows, -1)
    changed[rows] = ~is_same
    same_as[rows] = np.where(is_same, above[computed_places], -1)
    return Compared(changed, same_as)


def _as_above(rows: pa.RecordBatch, columns: Sequence[str], order: Integers) -> npt.NDArray[np.bool_]:
    """Whether each row, in an order, says the same in some columns as the one before it; the first one does not."""
    same = np.ones(rows.num_rows, bool)
    same[:1] = False
    for name in columns:
        column = rows.column(name)
        if pa.types.is_floating(column.type):
            known = column.is_valid().to_numpy(zero_copy_only=False)[order]
            bits = column.fill_null(0.0).to_numpy(zero_copy_only=False).view(np.int64)[order]
            same[1:] &= (known[1:] == known[:-1]) & (bits[1:] == bits[:-1])
        else:
            values = rank(column)[order]
            same[1:] &= values[1:] == values[:-1]
    return same


def _integers(column: pa.Array) -> Integers:
    numbers: Integers = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return numbers


def _constant(number: int, rows: int) -> pa.Array:
    return pa.array(np.full(rows, number, np.int32))
