"""The lake for analysts: Arrow, pandas or DuckDB, without Beam.

>>> # Lake("lake").windows(60).to_pandas()
>>> # Lake("lake").duckdb().sql("select device_id, max(mean) from windows group by 1")
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from telebeam.io.storage import locate
from telebeam.transforms.errors import SourceError
from telebeam.transforms.schema import DATASETS, SERIES

if TYPE_CHECKING:
    import duckdb

_TIME = {"readings": "timestamp", "windows": "window_start", "rejects": "rejected_at", "quality": "last_timestamp"}
_PARTITIONS = pa.schema([("date", pa.string()), ("hour", pa.string())])


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
        return f"Lake({self._path!r})"

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
        """Windows of a length that start in [start, end): of each series and window the highest revision."""
        wanted = list(columns) if columns is not None else DATASETS["windows"].names
        needed = list(dict.fromkeys([*wanted, *SERIES, "window_start", "revision"]))
        table = self._read("windows", start, end, devices, needed, f"windows/window_seconds={seconds}")
        return _latest(table).select(wanted)

    def rejects(self, start: datetime | None = None, end: datetime | None = None) -> pa.Table:
        """Rejects of [start, end) by when they were rejected."""
        return self._read("rejects", start, end, None, None)

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
                glob = f"{self._root.path}/{name}/**/*.parquet".replace("'", "''")
                connection.sql(
                    f"create view {name} as from read_parquet('{glob}', hive_partitioning=true)"  # noqa: S608 - our names
                )
        return connection

    def _fragments(self, folder: str) -> list[str]:
        selector = pafs.FileSelector(self._root.child(folder), recursive=True, allow_not_found=True)
        infos = self._root.filesystem.get_file_info(selector)
        return sorted(info.path for info in infos if info.type == pafs.FileType.File and info.path.endswith(".parquet"))

    def _read(
        self, name: str, start: datetime | None, end: datetime | None, devices: Sequence[str] | None,
        columns: Sequence[str] | None, folder: str | None = None,
    ) -> pa.Table:  # fmt: skip
        schema = DATASETS[name]
        files = self._fragments(folder or name)
        if not files:
            return pa.schema([schema.field(column) for column in columns or schema.names]).empty_table()
        dataset = ds.dataset(
            files,
            schema=pa.schema([*schema, *_PARTITIONS]),
            filesystem=self._root.filesystem,
            format=ds.ParquetFileFormat(
                default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
            ),
            partitioning=ds.partitioning(_PARTITIONS, flavor="hive"),
            partition_base_dir=self._root.child(folder or name),
        )
        try:
            return dataset.to_table(columns=list(columns or schema.names), filter=_filter(name, start, end, devices))
        except OSError as error:
            raise SourceError(f"{self._path}: a file of {name} is damaged: {error}") from error


def _filter(name: str, start: datetime | None, end: datetime | None, devices: Sequence[str] | None) -> Any:
    time = ds.field(_TIME[name])
    conditions = []
    if start is not None:
        conditions += [ds.field("date") >= f"{_utc(start):%Y-%m-%d}", time >= pa.scalar(start, pa.timestamp("us", "UTC"))]
    if end is not None:
        conditions += [ds.field("date") <= f"{_utc(end):%Y-%m-%d}", time < pa.scalar(end, pa.timestamp("us", "UTC"))]
    if devices is not None:
        conditions.append(ds.field("device_id").isin(list(devices)))
    result = None
    for condition in conditions:
        result = condition if result is None else result & condition
    return result


def _utc(moment: datetime) -> datetime:
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError(f"{moment!r} names no zone; expected an aware datetime")
    return moment - offset if offset != timedelta(0) else moment


def _latest(table: pa.Table) -> pa.Table:
    """Of each series and window the row of the highest revision."""
    if table.num_rows == 0 or pc.max(table["revision"]).as_py() == 0:
        return table
    keys = [*SERIES, "window_start"]
    numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    order = numbered.select([*keys, "revision", "row"]).sort_by([*[(k, "ascending") for k in keys], ("revision", "ascending")])
    last = order.group_by(keys, use_threads=False).aggregate([("row", "last")])
    return table.take(last["row_last"].combine_chunks().sort())
