"""The readings that are remembered of each series, and the new ones behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.aggregation.trailing import Doubles, Integers, Tails
from telebeam.transforms.anomaly.series import SeriesTable
from telebeam.transforms.errors import JobError
from telebeam.transforms.schema import SERIES

VERSION = 1
"""Raised when what is remembered, or the arithmetic, changes: what another version wrote is refused."""
_DIGEST = 32
_HEADER = b"telebeam.last_n"
_AGAIN = "compute them again from the lake: what is written down is a function of the readings"


@dataclass(frozen=True, eq=False)
class Lanes:
    """New readings in pieces: a series each, or a part of one that follows a long silence.

    Attributes:
        start: Where each begins among the new readings.
        count: How many new readings it has.
        row: The series' row.
        past: How many remembered readings stand before it.
        is_last: Whether it is the last one of its series.
    """

    start: Integers
    count: Integers
    row: Integers
    past: Integers
    is_last: npt.NDArray[np.bool_]

    @property
    def sizes(self) -> Integers:
        """Remembered and new readings."""
        return self.past + self.count

    @property
    def ends(self) -> Integers:
        """Where each ends where remembered and new readings stand together."""
        found: Integers = np.cumsum(self.sizes)
        return found

    def new(self) -> Integers:
        """The places of the new readings among the remembered ones."""
        return ranges(self.ends - self.count, self.count)


class Kept(NamedTuple):
    """The last readings of each series, series after series."""

    time: Integers
    value: Doubles
    length: Integers
    """How many readings each series has."""

    @classmethod
    def nothing(cls) -> Kept:
        """Of no series."""
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))

    def with_series(self, series: int) -> Kept:
        """With room for new series behind the others."""
        return self._replace(length=np.append(self.length, np.zeros(series - len(self.length), np.int64)))

    def take(self, rows: Integers) -> Kept:
        """Those of some series, which are numbered anew."""
        at = ranges((np.cumsum(self.length) - self.length)[rows], self.length[rows])
        return Kept(self.time[at], self.value[at], self.length[rows])

    def before(self, time: Integers, value: Doubles, lanes: Lanes) -> Tails:
        """New readings, each lane's behind those that are remembered of it."""
        size = int(lanes.sizes.sum())
        times, values = np.empty(size, np.int64), np.empty(size)
        remembered = ranges((np.cumsum(self.length) - self.length)[lanes.row], lanes.past)
        at = ranges(lanes.ends - lanes.sizes, lanes.past)
        times[at], values[at] = self.time[remembered], self.value[remembered]
        new = lanes.new()
        times[new], values[new] = time, value + 0.0  # of −0.0 and 0.0 neither is the smaller one
        return Tails(values, times, np.arange(size) - np.repeat(lanes.ends - lanes.sizes, lanes.sizes))

    def after(self, tails: Tails, lanes: Lanes, most: int) -> Kept:
        """With the last ones of some lanes in place of what was remembered of their series.

        Args:
            tails: From :meth:`before`.
            lanes: The same.
            most: How many readings of a series are remembered.
        """
        ends, row = lanes.ends[lanes.is_last], lanes.row[lanes.is_last]
        stays = np.ones(len(self.length), bool)
        stays[row] = False
        length = self.length.copy()
        length[row] = np.minimum(lanes.sizes[lanes.is_last], most)
        start = np.cumsum(length) - length
        found = Kept(np.empty(int(length.sum()), np.int64), np.empty(int(length.sum())), length)
        others = np.flatnonzero(stays)
        to, source = ranges(start[others], length[others]), self.take(others)
        found.time[to], found.value[to] = source.time, source.value
        to, at = ranges(start[row], length[row]), ranges(ends - length[row], length[row])
        found.time[to], found.value[to] = tails.time[at], tails.value[at]
        return found


def ranges(starts: Integers, counts: Integers) -> Integers:
    """``starts[i]``, ``starts[i] + 1``, … ``counts[i]`` of them, one range behind the other."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


def write(kept: Kept, series: SeriesTable, numbers: Sequence[int], latest: int | None) -> pa.Buffer:
    """What :func:`read` reads: an Arrow IPC stream and a checksum."""
    offsets = pa.array(np.append(0, np.cumsum(kept.length)))
    keys = series.keys()
    columns = {name: keys.column(name) for name in SERIES}
    columns |= {
        "last": pa.array(series.last),
        "time": pa.LargeListArray.from_arrays(offsets, pa.array(kept.time)),
        "value": pa.LargeListArray.from_arrays(offsets, pa.array(kept.value)),
    }
    table = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    header = {"version": VERSION, "numbers": list(numbers), "latest": latest}
    table = table.replace_schema_metadata({_HEADER: json.dumps(header).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_batch(table)
    content = sink.getvalue()
    return pa.py_buffer(memoryview(content).tobytes() + hashlib.sha256(content).digest())


def read(buffer: pa.Buffer, numbers: Sequence[int]) -> tuple[Kept, SeriesTable, int | None]:
    """What is remembered, whose it is, and the time of the newest reading.

    Raises:
        JobError: The buffer is damaged, of another version, or of other numbers of readings.
    """
    content = memoryview(buffer)[: max(0, len(buffer) - _DIGEST)]
    digest = memoryview(buffer)[len(content) :]
    if len(digest) < _DIGEST or hashlib.sha256(content).digest() != bytes(digest):
        raise JobError(f"last readings of {len(buffer)} bytes are damaged or none; expected their checksum", _AGAIN)
    try:
        with pa.ipc.open_stream(pa.py_buffer(content)) as reader:
            table = reader.read_all().combine_chunks()
        header = json.loads((table.schema.metadata or {})[_HEADER])
        if header["version"] != VERSION or header["numbers"] != list(numbers):
            raise ValueError(f"version {header['version']} of {header['numbers']}; expected {VERSION} of {[*numbers]}")
        (batch,) = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        time, value = batch.column("time"), batch.column("value")
        length = np.diff(time.offsets.to_numpy())
        kept = Kept(time.flatten().to_numpy(), value.flatten().to_numpy(), length)
        series = SeriesTable.of(batch.select(list(SERIES)), batch.column("last").to_numpy())
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise JobError(f"last readings can't be read: {error}", _AGAIN) from error
    return kept, series, header["latest"]
