"""The series that were seen, each with a row of its own in the histories."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.anomaly.lanes import Ints, Mask
from telebeam.transforms.batches import codes, distinct, encode
from telebeam.transforms.schema import SERIES

_GROUP = ("tenant", "sensor_type")
_NEVER = np.iinfo(np.int64).min


@dataclass
class SeriesTable:
    """Numbers series by their six key columns, in the order in which they appear.

    The lookup is one dictionary of Python, asked once for each series of a batch and never for a reading.
    """

    texts: list[dict[str | None, int]] = field(default_factory=lambda: [{} for _ in SERIES])
    """For each key column, text → code."""
    known: dict[tuple[int, ...], int] = field(default_factory=dict)
    """The key's codes → the series' row."""
    last: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """int64[series]: the time of the last reading, µs."""
    group: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """int64[series]: tenant and sensor type, as a place in ``groups``."""
    identity: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """uint64[series]: a checksum of the key."""
    groups: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.known)

    def rows(self, batch: pa.RecordBatch, at: Ints) -> Ints:
        """int64[len(at)]: the rows of the series that stand at some places of a batch; new ones get rows.

        Args:
            batch: Has the columns of a series.
            at: One place for each series, none twice.
        """
        keys = self._keys(batch, at)
        known = self.known
        before = len(known)
        rows = np.fromiter((known.setdefault(key, len(known)) for key in keys), np.int64, len(keys))
        if len(known) > before:
            self._append([key for key, row in zip(keys, rows.tolist(), strict=True) if row >= before])
        return rows

    def _keys(self, batch: pa.RecordBatch, at: Ints) -> list[tuple[int, ...]]:
        columns = []
        for name, texts in zip(SERIES, self.texts, strict=True):
            column = distinct(encode(batch.column(name)))
            local = codes(column)[at]
            used, place = np.unique(local, return_inverse=True)
            names = column.dictionary.take(pa.array(used, mask=used < 0)).to_pylist()
            numbers = np.array([texts.setdefault(text, len(texts)) for text in names], np.int64)
            columns.append(numbers[place].tolist())
        return list(zip(*columns, strict=True))

    def _append(self, keys: list[tuple[int, ...]]) -> None:
        names = [list(texts) for texts in self.texts]
        full = [tuple(names[column][code] for column, code in enumerate(key)) for key in keys]
        group = np.array([self._group(key) for key in full], np.int64)
        identity = np.array([_checksum(key) for key in full], np.uint64)
        self.last = np.append(self.last, np.full(len(keys), _NEVER))
        self.group, self.identity = np.append(self.group, group), np.append(self.identity, identity)

    def _group(self, key: tuple[str | None, ...]) -> int:
        name = "\0".join(str(key[SERIES.index(column)]) for column in _GROUP)
        place = self.places.setdefault(name, len(self.groups))
        if place == len(self.groups):
            self.groups.append(name)
        return place

    def seen(self, rows: Ints) -> Mask:
        """Which of the series had a reading before."""
        found: Mask = self.last[rows] != _NEVER
        return found

    def keys(self) -> pa.RecordBatch:
        """The key columns of all series, in the order of their rows."""
        columns = []
        matrix = np.array(list(self.known), np.int64).reshape(-1, len(SERIES))
        for column, texts in enumerate(self.texts):
            dictionary = pa.array(list(texts), pa.string())
            columns.append(dictionary.take(pa.array(matrix[:, column])))
        return pa.RecordBatch.from_arrays(columns, names=list(SERIES))

    @staticmethod
    def of(keys: pa.RecordBatch, last: Ints) -> SeriesTable:
        """The table whose :meth:`keys` these are, none twice.

        Raises:
            ValueError: A key stands twice.
        """
        table = SeriesTable()
        rows = table.rows(keys, np.arange(keys.num_rows))
        if len(table) != keys.num_rows:
            raise ValueError("a series stands twice")
        table.last[rows] = last
        return table


def _checksum(key: tuple[str | None, ...]) -> int:
    text = "\0".join("\1" if part is None else part for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
