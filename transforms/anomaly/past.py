"""What a scorer remembers, written down: Arrow IPC streams one behind the other, and a checksum.

The first stream has a row for each series: its key, the time of its last reading, and a list of numbers for each array
of each detector's history.  For each detector that remembers more, a stream follows.  The version, the fingerprint of
the settings and the scorer's clock are in the first schema's metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.detectors import Member
from telebeam.transforms.anomaly.series import SeriesTable
from telebeam.transforms.anomaly.spec import DetectorSpec
from telebeam.transforms.errors import JobError
from telebeam.transforms.schema import SERIES

VERSION = 1
"""Raised when a detector's history or arithmetic changes: what another version wrote is refused."""
_DIGEST = 32
_HEADER = b"telebeam.anomaly"
_AGAIN = "score the history again from the lake: what is written down is a function of the readings"


def fingerprint(specs: Sequence[DetectorSpec]) -> str:
    """A checksum of the detectors' settings, the same in whatever order they stand."""
    texts = sorted(spec.model_dump_json() for spec in specs)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def write(
    specs: Sequence[DetectorSpec], series: SeriesTable, members: Sequence[Member], latest: int | None
) -> pa.Buffer:
    """What :func:`read` reads."""
    sink = pa.BufferOutputStream()
    header = {"version": VERSION, "specs": fingerprint(specs), "latest": latest, "series": len(series)}
    table = _table(series, members)
    table = table.replace_schema_metadata({_HEADER: json.dumps(header).encode()})
    _append(sink, table)
    for member in members:
        common = member.detector.common()
        if common is not None:
            _append(sink, common)
    content = sink.getvalue()
    return pa.py_buffer(memoryview(content).tobytes() + hashlib.sha256(content).digest())


def read(buffer: pa.Buffer, specs: Sequence[DetectorSpec], members: Sequence[Member]) -> tuple[SeriesTable, int | None]:
    """The series and the clock; the members take their histories.

    Raises:
        JobError: The buffer is damaged, of another version, or of other detectors.
    """
    content = memoryview(buffer)[: max(0, len(buffer) - _DIGEST)]
    digest = memoryview(buffer)[len(content) :]
    if len(digest) < _DIGEST or hashlib.sha256(content).digest() != bytes(digest):
        raise JobError(f"a scorer's history of {len(buffer)} bytes is damaged or none; expected its checksum", _AGAIN)
    stream = pa.BufferReader(pa.py_buffer(content))
    try:
        table = _next(stream)
        header = json.loads((table.schema.metadata or {})[_HEADER])
        _check(header, specs)
        series = _restore(table, members)
        for member in members:
            has_more = member.detector.crosses_series
            member.detector.restore(_next(stream) if has_more else None)
        if series != header["series"]:
            raise ValueError(f"{series} series; expected {header['series']}")
        return SeriesTable.of(table.select(list(SERIES)), np.array(table.column("last").to_numpy())), header["latest"]
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise JobError(f"a scorer's history can't be read: {error}", _AGAIN) from error


def _check(header: dict[str, object], specs: Sequence[DetectorSpec]) -> None:
    if header["version"] != VERSION:
        raise JobError(f"a scorer's history is of version {header['version']}; expected {VERSION}", _AGAIN)
    if header["specs"] != fingerprint(specs):
        raise JobError("a scorer's history is of other detectors, or of the same with other settings", _AGAIN)


def _table(series: SeriesTable, members: Sequence[Member]) -> pa.RecordBatch:
    rows = len(series)
    keys = series.keys()
    columns = {name: keys.column(name) for name in SERIES} | {"last": pa.array(series.last)}
    for place, member in enumerate(members):
        member.store.reserve(rows)
        for name, array in member.store.arrays.items():
            flat = np.ascontiguousarray(array[:, :rows].T).ravel()
            columns[f"{place}.{name}"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), array.shape[0])
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _restore(table: pa.RecordBatch, members: Sequence[Member]) -> int:
    """Gives the members their arrays; the number of series."""
    rows = table.num_rows
    for place, member in enumerate(members):
        for name, slot in member.store.layout.items():
            column = table.column(f"{place}.{name}")
            kind = pa.list_(pa.from_numpy_dtype(slot.kind), slot.width)
            if column.type != kind or column.null_count:
                raise ValueError(f"{name} is {column.type}; expected {kind}")
            numbers = column.flatten().to_numpy(zero_copy_only=False).reshape(rows, slot.width)
            member.store.arrays[name] = np.array(numbers.T, order="C")  # Arrow's memory can't be written to
    return rows


def _append(sink: pa.NativeFile, batch: pa.RecordBatch) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _next(stream: pa.NativeFile) -> pa.RecordBatch:
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    if not table.num_rows:
        empty: pa.RecordBatch = pa.RecordBatch.from_pylist([], schema=table.schema)
        return empty
    return table.combine_chunks().to_batches()[0]
