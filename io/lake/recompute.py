"""Windows as a function of the lake: what stands in ``windows`` is what the readings of its hours give.

A batch job computes windows from the readings that it has just written rather than from what flew by: so it needs no
shuffle whose memory grows with the data, a second archive for the same hours completes their windows instead of
replacing them, and a job that was killed half way is mended by running it again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, partition
from telebeam.io.lake.parquet import open_parquet, row_groups, to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeFile
from telebeam.transforms.aggregation.kernel import WINDOWS_IN_FLIGHT, aggregate, extract, merge
from telebeam.transforms.batches import rows_of
from telebeam.transforms.schema import DATASETS, DICTIONARY, READINGS, READINGS_IN_FLIGHT, SERIES, conform

NEEDED = (*SERIES, "timestamp", "value", "quality_score", "source", "source_partition", "source_offset")
_SCHEMA = pa.schema([READINGS_IN_FLIGHT.field(name) for name in NEEDED])
_TEXTS = [field.name for field in _SCHEMA if field.type == DICTIONARY]

PIECE_ROWS = 1_000_000
"""Rows that are aggregated together: what is held at a time does not grow with the readings of an hour."""


def windows_path(seconds: int, hour: int) -> str:
    """The file of all windows of a length that start in an hour."""
    return f"{partition('windows', hour, seconds)}/windows-{seconds}-{hour}.parquet"


def recompute_windows(spec: LakeSpec, seconds: int, hour: int) -> LakeFile | None:
    """Computes and files the windows of a length that start in an hour (in hours since the epoch).

    Returns:
        What was written; None where there is no reading.

    Raises:
        SourceError: A readings file is damaged.
        SinkError: The lake does not take the windows.
    """
    root = storage.locate(spec.path)
    path = windows_path(seconds, hour)
    windows = [batch for batch in _windows_of(root, seconds, hour) if batch.num_rows]
    if not windows:
        storage.remove(root, path)
        return None
    storage.publish(root, path, to_parquet(_one_dictionary(windows), DATASETS["windows"], spec))
    starts = [pc.min_max(batch.column("window_start")) for batch in windows]
    return LakeFile(
        "windows",
        path,
        sum(batch.num_rows for batch in windows),
        min(start["min"].value for start in starts),
        max(start["max"].value for start in starts),
    )


def _one_dictionary(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A Parquet writer takes batches whose dictionaries agree, or plain ones."""
    if len(batches) == 1:
        yield batches[0]
    else:
        yield from (conform(batch, DATASETS["windows"]) for batch in batches)


def _windows_of(root: storage.Location, seconds: int, hour: int) -> Iterator[pa.RecordBatch]:
    length = seconds * 1_000_000
    first = -(-hour * HOUR // length) * length
    last = ((hour + 1) * HOUR - 1) // length * length
    if first > last:
        return
    end = last + length
    files = [
        open_parquet(root, path, _TEXTS)
        for part in range(first // HOUR, (end - 1) // HOUR + 1)
        for path in storage.files_below(root, partition("readings", part))
    ]
    for low, high in _device_ranges(files):
        yield _piece(files, (first, end), (low, high), seconds)


def _device_ranges(files: list[pq.ParquetFile]) -> list[tuple[str | None, str | None]]:
    """Ranges of devices, [low, high), with some :data:`PIECE_ROWS` readings each; files are sorted by device."""
    groups = []
    for file in files:
        column = file.schema_arrow.get_field_index("device_id")
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            groups.append((group.column(column).statistics.min, group.num_rows))
    cuts: list[str] = []
    rows, begin = 0, None
    for low, count in sorted(groups):
        if rows >= PIECE_ROWS and low != begin:
            cuts.append(low)
            rows = 0
        begin = low if rows == 0 else begin
        rows += count
    bounds = [None, *cuts, None]
    return list(zip(bounds, bounds[1:], strict=False))


def _piece(
    files: list[pq.ParquetFile], span: tuple[int, int], devices: tuple[str | None, str | None], seconds: int
) -> pa.RecordBatch:
    partials = []
    for file in files:
        wanted = [n for n in range(file.metadata.num_row_groups) if _overlaps(file, n, span, devices)]
        for batch in row_groups(file, wanted, NEEDED):
            rows = _inside(conform(batch, _SCHEMA), span, devices)
            if rows.num_rows:
                partials.append(aggregate(rows, seconds))
    if not partials:
        return pa.RecordBatch.from_pylist([], schema=WINDOWS_IN_FLIGHT)
    return extract(merge(partials), seconds)


def _overlaps(
    file: pq.ParquetFile, number: int, span: tuple[int, int], devices: tuple[str | None, str | None]
) -> bool:
    group = file.metadata.row_group(number)
    names = file.schema_arrow.names
    device = group.column(names.index("device_id")).statistics
    low, high = devices
    if (low is not None and device.max < low) or (high is not None and device.min >= high):
        return False
    time = group.column(names.index("timestamp")).statistics
    first, last = (pa.scalar(edge, READINGS.field("timestamp").type).value for edge in (time.min, time.max))
    return bool(last >= span[0] and first < span[1])


def _inside(
    rows: pa.RecordBatch, span: tuple[int, int], devices: tuple[str | None, str | None]
) -> pa.RecordBatch:
    time = rows.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
    mask = (time >= span[0]) & (time < span[1])
    column = rows.column("device_id")
    for bound, compare in zip(devices, (pc.greater_equal, pc.less), strict=True):
        if bound is not None:
            fits = np.asarray(compare(column.dictionary, bound))
            mask &= fits[column.indices.to_numpy(zero_copy_only=False)]
    return rows_of(rows, mask)
