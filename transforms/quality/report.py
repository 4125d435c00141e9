"""A run's quality as a value that is added to, merged in any order, and read at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.cleansing.dictionaries import Encoded, combine, encode, in_flight
from telebeam.transforms.issues import count_issues
from telebeam.transforms.quality.summary import CODES, GROUP, GROUPS, SCORE_UNIT, summarize
from telebeam.transforms.schema import TEXT, TIMESTAMP, Reason, cast

_COMPACT_ROWS = 200_000
"""Rows of unmerged partial tables that are kept, at least, before they are merged: some 20 MB."""
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
"""A report of a million devices is some hundred megabytes, mostly zeros, and goes from worker to worker."""
_DEFAULT_TENANT = "default"
_NAMELESS = pa.array([Reason.BAD_DEVICE_ID.value, Reason.MISSING_DEVICE_ID.value], pa.string())
_TIMES = np.iinfo(np.int64)

Tables = tuple[pa.Table, pa.Table]


class QualityReport:
    """Counts per device and per sensor type, and how often each code occurred there.

    A value: ``merge`` and ``add`` give a new report and leave the old one as it was.  Sums are of whole numbers, so
    any order and any split of the batches gives the same rows.  Memory is bounded by the distinct devices.

    >>> QualityReport.create().extract("fleet").column("total").to_pylist()
    [0]
    """

    def __init__(self, groups: list[pa.Table], codes: list[pa.Table], compacted_rows: int = 0) -> None:
        self._groups, self._codes, self._compacted_rows = groups, codes, compacted_rows

    @classmethod
    def create(cls) -> Self:
        """The report of nothing."""
        return cls([], [])

    def add(self, readings: pa.RecordBatch | None = None, rejected: pa.RecordBatch | None = None) -> Self:
        """The report with a batch more of each.

        Args:
            readings: Readings in flight, scored.
            rejected: Refused rows with ``reason``, and where they have them ``device_id``, ``tenant``, ``sensor_type``.
                Without a tenant they are ``default``'s; a device id that is itself the reason names no device.
        """
        parts = [_of_readings(in_flight(readings))] if readings is not None else []
        parts += [_of_rejected(rejected)] if rejected is not None else []
        return self._with([groups for groups, _ in parts], [codes for _, codes in parts])

    def merge(self, other: Self) -> Self:
        """The report of what both have seen."""
        return self._with(other._groups, other._codes)

    def extract(self, pipeline: str) -> pa.RecordBatch:
        """The rows of the ``quality`` dataset: the total, then the sensor types, then the devices, each in order."""
        return summarize(*self._compacted(), pipeline)

    def to_bytes(self) -> bytes:
        """The report as two Arrow streams, each behind its length."""
        streams = [_stream(table) for table in self._compacted()]
        return b"".join(len(stream).to_bytes(8, "big") + stream for stream in streams)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The report that :meth:`to_bytes` wrote."""
        end = 8 + int.from_bytes(data[:8], "big")
        groups, codes = (pa.ipc.open_stream(part).read_all() for part in (data[8:end], data[end + 8 :]))
        return cls([groups], [codes], len(groups) + len(codes))

    @property
    def held_rows(self) -> int:
        """Rows of partial tables that are in memory."""
        return sum(map(len, self._groups)) + sum(map(len, self._codes))

    def _with(self, groups: list[pa.Table], codes: list[pa.Table]) -> Self:
        report = type(self)(self._groups + groups, self._codes + codes, self._compacted_rows)
        if report.held_rows > 2 * report._compacted_rows + _COMPACT_ROWS:
            merged = report._compacted()
            return type(self)([merged[0]], [merged[1]], sum(map(len, merged)))
        return report

    def _compacted(self) -> Tables:
        groups = pa.concat_tables([GROUPS.empty_table(), *self._groups])
        codes = pa.concat_tables([CODES.empty_table(), *self._codes])
        sums = [(name, "sum") for name in ("total", "rejected", "flagged", "score")]
        merged = groups.group_by(list(GROUP)).aggregate([*sums, ("first", "min"), ("last", "max")])
        counted = codes.group_by([*GROUP, "code"]).aggregate([("count", "sum")])
        return _named(merged, GROUPS), _named(counted, CODES)


def _named(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The result of an aggregation under the names of what went in, which stand in the same order."""
    return table.rename_columns(schema.names).cast(schema)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSED) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _of_readings(batch: pa.RecordBatch) -> Tables:
    issues = batch.column("issues")
    lengths = count_issues(issues)
    with_issues = np.flatnonzero(lengths > 0)
    scores = batch.column("quality_score").to_numpy()
    imperfect = np.flatnonzero(scores != 1.0)
    measures = {
        "times": batch.column("timestamp").view(pa.int64()).to_numpy(),
        "with_issues": with_issues,
        "imperfect": imperfect,
        "lacking": SCORE_UNIT - np.rint(scores[imperfect] * SCORE_UNIT),
    }
    rows = pa.array(np.repeat(with_issues, lengths[with_issues]))
    columns = {name: batch.column(name) for name in GROUP}
    coded = {name: column.take(rows) for name, column in columns.items()}
    return _twice(columns, partial(_sums, **measures)), _twice(coded, partial(_counts, codes=issues.flatten()))


def _of_rejected(batch: pa.RecordBatch) -> Tables:
    columns = {name: _texts(batch, name) for name in GROUP}
    reasons = _texts(batch, "reason")
    columns["tenant"] = columns["tenant"].fill_null(_DEFAULT_TENANT)
    columns["device_id"] = pc.if_else(pc.is_in(reasons, _NAMELESS), "", columns["device_id"])
    return _twice(columns, _refused), _twice(columns, partial(_counts, codes=reasons))


def _texts(batch: pa.RecordBatch, name: str) -> pa.StringArray:
    present = name in batch.schema.names
    return cast(batch.column(name), TEXT) if present else pa.nulls(batch.num_rows, TEXT)


def _twice(columns: dict[str, pa.Array], measure: Callable[[dict[str, Encoded]], pa.Table]) -> pa.Table:
    """What is measured by tenant and device, and once more by sensor type."""
    encoded = {name: encode(column) for name, column in columns.items()}
    nothing = Encoded(np.zeros(len(columns["tenant"]), np.int32), pa.array([""], TEXT))
    by_device = measure(encoded | {"sensor_type": nothing})
    by_type = measure({"tenant": nothing, "device_id": nothing, "sensor_type": encoded["sensor_type"]})
    return pa.concat_tables([by_device, by_type.filter(pc.not_equal(by_type.column("sensor_type"), ""))])


def _sums(
    columns: dict[str, Encoded],
    times: npt.NDArray[np.int64],
    with_issues: npt.NDArray[np.int64],
    imperfect: npt.NDArray[np.int64],
    lacking: npt.NDArray[np.float64],
) -> pa.Table:
    """The sums over each group of readings."""
    found = combine(*columns.values())
    first, last = np.full(found.size, _TIMES.max), np.full(found.size, _TIMES.min)
    np.minimum.at(first, found.codes, times)
    np.maximum.at(last, found.codes, times)
    total = np.bincount(found.codes, minlength=found.size)
    # Doubles add whole numbers exactly below 2**53, which is nine million rows of one batch.
    lost = np.bincount(found.codes[imperfect], weights=lacking, minlength=found.size).astype(np.int64)
    measured = {
        "total": total,
        "rejected": np.zeros(found.size, np.int64),
        "flagged": np.bincount(found.codes[with_issues], minlength=found.size),
        "score": total * SCORE_UNIT - lost,
        "first": first,
        "last": last,
    }
    arrays = [pa.array(each[found.where]) for each in measured.values()]
    return pa.table([*found.arrays(), *arrays], names=GROUPS.names).cast(GROUPS)


def _refused(columns: dict[str, Encoded]) -> pa.Table:
    """The counts over each group of refused rows, whose timestamps tell nothing: one may lie in the year 9999."""
    found = combine(*columns.values())
    count = pa.array(np.bincount(found.codes, minlength=found.size)[found.where])
    zeros = pa.array(np.zeros(len(count), np.int64))
    times = pa.nulls(len(count), TIMESTAMP)
    return pa.table([*found.arrays(), count, count, zeros, zeros, times, times], schema=GROUPS)


def _counts(columns: dict[str, Encoded], codes: pa.Array) -> pa.Table:
    """How often each code occurs in each group."""
    found = combine(*columns.values(), encode(codes))
    counts = np.bincount(found.codes, minlength=found.size)[found.where]
    return pa.table([*found.arrays(), pa.array(counts)], schema=CODES)
