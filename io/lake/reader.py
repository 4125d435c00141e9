"""The lake for analysts: Arrow, pandas or DuckDB, without Beam.

>>> # Lake("lake").windows(60).to_pandas()
>>> # Lake("lake").duckdb().sql("select device_id, max(mean) from windows group by 1")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from telebeam.io.lake.layout import hour_of
from telebeam.io.lake.parquet import DAMAGED, UNREADABLE
from telebeam.io.lake.writer import TIME_OF, held_columns
from telebeam.io.storage import files_below, locate, shown
from telebeam.transforms.errors import ConfigurationError, SourceError
from telebeam.transforms.ordering import rank, sort_order
from telebeam.transforms.schema import ADDED, DATASETS, SERIES

if TYPE_CHECKING:
    import duckdb

_MOMENT = pa.timestamp("us", "UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WINDOW = (*SERIES, "window_start")
"""What names a window of a series."""
_RANK = ("revision", "count")
"""Of two rows for it the one that is higher here is read."""


class Lake:
    """A lake of readings, windows, rejects and quality reports.

    Reading verifies page checksums; what a query does not ask for is not read: columns by projection, hours by folder,
    devices by the files' statistics.

    Args:
        path: The lake's path or URI, as in ``sinks.lake.path``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._root = locate(path)

    def __repr__(self) -> str:
        return f"Lake({shown(self._path)!r})"

    def readings(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        devices: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Readings of [start, end) by event time, aware datetimes; all columns and devices unless told."""
        return self._read("readings", start, end, devices, columns)

    def windows(
        self,
        seconds: int,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        devices: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Windows of a length that start in [start, end): of each series and window the highest revision.

        Args:
            seconds: As in ``window_seconds``: the length, or for sessions the gap below zero.
            start: Aware; without it, from the first on.
            end: Aware; without it, to the last.
            devices: All unless told; groups of devices are devices here, such as ``*``.
            columns: All unless told.
        """
        wanted = list(columns) if columns is not None else DATASETS["windows"].names
        needed = list(dict.fromkeys([*wanted, *_WINDOW, *_RANK]))
        files = self._files(f"windows/window_seconds={seconds}", start, end)
        table = self._read("windows", start, end, devices, needed, files)
        has_revisions = len({path.rpartition("/")[0] for path in files}) < len(files)
        table = _latest(table) if has_revisions else table
        if seconds < 0:  # a session that has become a part of another one has a last row without readings
            table = table.filter(pc.greater(table["count"], 0))
        return table.select(wanted)

    def rejects(self, start: datetime | None = None, end: datetime | None = None) -> pa.Table:
        """Rejects of [start, end) by when they were rejected."""
        return self._read("rejects", start, end, None, None)

    def replayed(self, start: datetime | None = None, end: datetime | None = None) -> pa.Table:
        """Rejects of [start, end), by when they were rejected, whose readings are in the lake since a replay."""
        return self._read("replayed", start, end, None, None)

    def scores(
        self, start: datetime | None = None, end: datetime | None = None, *, devices: Sequence[str] | None = None
    ) -> pa.Table:
        """What detectors say of the readings of [start, end)."""
        return self._read("scores", start, end, devices, None)

    def last_n(
        self,
        n: int,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        devices: Sequence[str] | None = None,
    ) -> pa.Table:
        """What the last ``n`` readings say at each of the readings of [start, end), itself included."""
        return self._read("last_n", start, end, devices, None, self._files(f"last_n/n={n}", start, end))

    def alerts(self, start: datetime | None = None, end: datetime | None = None) -> pa.Table:
        """Changes of alerts in [start, end)."""
        return self._read("alerts", start, end, None, None)

    def commands(self, start: datetime | None = None, end: datetime | None = None) -> pa.Table:
        """Commands that rules gave in [start, end)."""
        return self._read("commands", start, end, None, None)

    def drift(self, start: datetime | None = None, end: datetime | None = None) -> pa.Table:
        """How far readings moved from those of a model, of spans that begin in [start, end)."""
        return self._read("drift", start, end, None, None)

    def quality(self, pipeline: str | None = None) -> pa.Table:
        """Quality reports, of one pipeline or of all."""
        table = self._read("quality", None, None, None, None)
        return table if pipeline is None else table.filter(pc.equal(table["pipeline"], pipeline))

    def duckdb(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with a view for each dataset that the local lake holds; needs the extra ``analyst``.

        Raises:
            SourceError: The lake is in an object store; DuckDB has its own access to those.
        """
        import duckdb

        if not self._root.is_local:
            raise SourceError(f"{self._path} is not local", "in DuckDB: read_parquet('s3://…', hive_partitioning=true)")
        connection = duckdb.connect()
        for name in DATASETS:
            if self._fragments(name):
                connection.execute(f"create view {name} as {_view(self._root.path, name)}")
        return connection

    def _fragments(self, folder: str) -> list[str]:
        return [self._root.child(path) for path in files_below(self._root, folder)]

    def _files(self, folder: str, start: datetime | None, end: datetime | None) -> list[str]:
        return [path for path in self._fragments(folder) if _may_hold(path, start, end)]

    def _read(
        self, name: str, start: datetime | None, end: datetime | None, devices: Sequence[str] | None,
        columns: Sequence[str] | None, files: list[str] | None = None,
    ) -> pa.Table:  # fmt: skip
        schema = DATASETS[name]
        unknown = sorted({*(columns or ())} - {*schema.names})
        if unknown:
            hint = f"its columns are {', '.join(schema.names)}"
            raise ConfigurationError(f"{name} has no {', '.join(unknown)}", hint)
        files = self._files(name, start, end) if files is None else files
        if not files:
            return pa.schema([schema.field(column) for column in columns or schema.names]).empty_table()
        dataset = ds.dataset(
            files,
            schema=schema,
            filesystem=self._root.filesystem,
            format=ds.ParquetFileFormat(
                default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
            ),
        )
        try:
            for fragment in dataset.get_fragments():
                found = fragment.physical_schema
                _check_columns(found, [schema.field(column) for column in held_columns(name, found)], fragment.path)
            return dataset.to_table(columns=list(columns or schema.names), filter=_filter(name, start, end, devices))
        except UNREADABLE as error:
            raise SourceError(f"{_damaged(dataset, shown(self._path))} is damaged: {error}", DAMAGED) from error


def _damaged(dataset: ds.Dataset, otherwise: str) -> str:
    """The file that can't be read, for a scan of many does not say which."""
    for fragment in dataset.get_fragments():
        try:
            fragment.to_table()
        except UNREADABLE:
            return str(fragment.path)
    return otherwise


def _check_columns(found: pa.Schema, expected: Iterable[pa.Field], path: str) -> None:
    """Raises a SourceError where a file's columns are others: Arrow would read what is absent as null."""
    for field in expected:
        # Parquet knows one kind of bytes.
        kind = pa.binary() if pa.types.is_large_binary(field.type) else field.type
        if found.get_field_index(field.name) < 0 or found.field(field.name).type != kind:
            raise SourceError(f"{path} is damaged or not of this lake: it has no {field.name} of {kind}", DAMAGED)


def _may_hold(path: str, start: datetime | None, end: datetime | None) -> bool:
    """Whether a file's hour has an instant of [start, end)."""
    first, last = hour_of(path)
    return (start is None or _micros(start) <= last) and (end is None or _micros(end) > first)


def _filter(name: str, start: datetime | None, end: datetime | None, devices: Sequence[str] | None) -> Any:
    time = ds.field(TIME_OF[name])
    conditions = []
    if start is not None:
        conditions.append(time >= pa.scalar(_micros(start), _MOMENT))
    if end is not None:
        conditions.append(time < pa.scalar(_micros(end), _MOMENT))
    if devices is not None:
        conditions.append(ds.field("device_id").isin(pa.array(list(devices), pa.string())))
    result = None
    for condition in conditions:
        result = condition if result is None else result & condition
    return result


def _micros(moment: datetime) -> int:
    if moment.utcoffset() is None:
        raise ConfigurationError(f"{moment!r} names no zone; expected an aware datetime", "datetime(…, tzinfo=UTC)")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _view(root: str, name: str) -> str:
    """The query of a dataset's files; of windows, the highest revision of each."""
    # A wildcard in the lake's own path stands for itself, in brackets.
    escaped = re.sub(r"([*?\[])", r"[\1]", root).replace("'", "''")
    # Files of one dataset may lack columns that later ones have.
    union = ", union_by_name = true" if name in ADDED else ""
    files = f"read_parquet('{escaped}/{name}/**/*.parquet', hive_partitioning = true{union})"
    if name != "windows":
        return f"from {files}"
    keys = ("window_seconds", *SERIES, "window_start")
    same = " and ".join(f"w.{key} is not distinct from n.{key}" for key in keys)
    # Most lakes have no revisions: then the inner query reads statistics alone.
    newest = f"select {', '.join(keys)}, max(revision) as revision from {files} where revision > 0 group by all"  # noqa: S608 - our names
    latest = f"select w.* from {files} as w anti join ({newest}) as n on {same} and w.revision < n.revision"  # noqa: S608
    return f"{latest} where w.count > 0"  # a session that has become a part of another one has no readings


def _latest(table: pa.Table) -> pa.Table:
    """Of each series and window the row of the highest revision, of equal ones that of more readings."""
    if table.num_rows < 2:
        return table
    keys = pa.RecordBatch.from_arrays([_combined(table[name]) for name in (*_WINDOW, *_RANK)], [*_WINDOW, *_RANK])
    order = sort_order(keys, keys.schema.names)
    order = np.arange(table.num_rows) if order is None else order
    last = np.ones(table.num_rows, bool)
    last[:-1] = False
    for name in _WINDOW:
        last[:-1] |= np.diff(rank(keys.column(name))[order]) != 0
    return table.take(pa.array(np.sort(order[last])))


def _combined(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array: texts by their dictionary, for they may be more than an array holds."""
    text = pa.types.is_string(column.type)
    return (column.dictionary_encode().unify_dictionaries() if text else column).combine_chunks()
