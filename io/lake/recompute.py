"""Windows as a function of the lake: what stands in ``windows`` is what the readings of its hours give.

A batch job computes windows from the readings that it has just written rather than from what flew by: so it needs no
shuffle whose memory grows with the data, a second archive for the same hours completes their windows instead of
replacing them, and a job that was killed half way is mended by running it again.

All readings count, late ones too: so a backfill completes what a live job has closed.  Its file takes the place of the
live job's files of the hour, with a revision above all of theirs: at each instant a reader that takes the highest
revision of each window sees either the former windows or the new ones.

Windows of several kinds that start in the same hours are computed together: their readings are read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io import storage
from telebeam.io.lake.compute import PIECE_ROWS
from telebeam.io.lake.hour_panes import HourPanes, KeepPanes
from telebeam.io.lake.layout import HOUR, partition
from telebeam.io.lake.made import Computed, Wanted, windows_of
from telebeam.io.lake.parquet import DAMAGED, open_parquet, to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY, LakeFile
from telebeam.transforms.aggregation.panes import starts_of
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import canonical, concat, rows_of, with_columns
from telebeam.transforms.errors import SourceError
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.schema import DATASETS, conform

Batches = dict[tuple[int, int], list[pa.RecordBatch]]
"""(``window_seconds``, hour) → windows that start in it."""


def windows_path(seconds: int, hour: int) -> str:
    """The file of all windows of a kind that start in an hour."""
    return f"{partition('windows', hour, seconds)}/windows-{seconds}-{hour}.parquet"


def recompute_windows(
    spec: LakeSpec,
    windows: int | WindowSpec,
    hour: int,
    root: storage.Location | None = None,
    piece_rows: int = PIECE_ROWS,
) -> LakeFile | None:
    """Computes and files the windows of a kind that start in an hour (in hours since the epoch).

    As :func:`recompute_together`, of one kind, or of fixed windows of so many seconds.

    Returns:
        What was written; None where there is no reading.
    """
    kind = windows if isinstance(windows, WindowSpec) else WindowSpec(every=timedelta(seconds=windows))
    return next(recompute_together(spec, {kind: [hour]}, root, piece_rows), None)


def recompute_together(
    spec: LakeSpec,
    hours: Mapping[WindowSpec, Sequence[int]],
    root: storage.Location | None = None,
    piece_rows: int = PIECE_ROWS,
    *,
    given: Iterable[HourPanes] = (),
    keep: KeepPanes | None = None,
) -> Iterator[LakeFile]:
    """Computes and files windows of several kinds that start in some hours, reading the readings once.

    Other files of these windows, such as a live job's, are taken away.

    Args:
        spec: The lake.
        hours: Kind → hours since the epoch.
        root: Where the lake is, if not where the spec's path leads.
        piece_rows: Rows that are aggregated together, about; the windows are the same for any number.
        given: Panes of some hours, in whose place the readings need not be read.
        keep: Takes the panes of an hour, for longer windows.

    Returns:
        What was written, one after the other.

    Raises:
        SourceError: A readings file is damaged.
        SinkError: The lake does not take the windows.
    """
    root = root or storage.locate(spec.path)
    wanted = [
        Wanted(kind, tuple((hour * HOUR, (hour + 1) * HOUR) for hour in sorted(set(each))))
        for kind, each in hours.items()
    ]
    found = _by_hour(windows_of(root, wanted, piece_rows, given=given, keep=keep))
    for kind, each in hours.items():
        for hour in each:
            file = _replace(root, spec, kind.seconds, hour, found.pop((kind.seconds, hour), []))
            if file is not None:
                yield file


def _by_hour(windows: Iterable[Computed]) -> Batches:
    found: Batches = defaultdict(list)
    for made in windows:
        started = starts_of(made.rows) // HOUR
        for hour in np.unique(started).tolist():
            found[made.kind.seconds, hour].append(rows_of(made.rows, started == hour))
    return found


def _replace(
    root: storage.Location, spec: LakeSpec, seconds: int, hour: int, windows: list[pa.RecordBatch]
) -> LakeFile | None:
    """Files the windows of an hour in the place of all that the lake has of them."""
    path = windows_path(seconds, hour)
    former = storage.files_below(root, partition("windows", hour, seconds))
    if windows:
        revision = _revision(root, path, former)
        numbered = [_numbered(batch, revision) for batch in _in_order(windows)]
        storage.publish(root, path, to_parquet(_one_dictionary(numbered), DATASETS["windows"], spec))
    for file in former:
        if file != path or not windows:
            storage.remove(root, file)
    if not windows:
        return None
    starts = [pc.min_max(batch.column("window_start")) for batch in windows]
    return LakeFile(
        "windows",
        path,
        sum(batch.num_rows for batch in windows),
        min(start["min"].value for start in starts),
        max(start["max"].value for start in starts),
    )


def _in_order(windows: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The windows in the order of the lake's files: they come sorted in parts, some devices after the other."""
    rows = concat(windows)
    order = sort_order(rows, SORTED_BY["windows"])
    return [rows if order is None else rows.take(pa.array(order))]


def _revision(root: storage.Location, path: str, former: Sequence[str]) -> int:
    """Above those of all files that are taken away; else what the file has, so that running again changes no byte."""
    above = max((_highest_revision(root, file) + 1 for file in former if file != path), default=0)
    if path not in former:
        return above
    try:
        return max(above, _highest_revision(root, path))
    except SourceError:
        return above  # it is damaged, and about to be replaced


def _highest_revision(root: storage.Location, path: str) -> int:
    with open_parquet(root, path) as file:
        place = file.schema_arrow.get_field_index("revision")
        groups = range(file.metadata.num_row_groups)
        found = [file.metadata.row_group(group).column(place).statistics for group in groups] if place >= 0 else []
        if not found or any(statistics is None or not statistics.has_min_max for statistics in found):
            raise SourceError(f"{root.child(path)} has no statistics of revisions", DAMAGED)
        return max(statistics.max for statistics in found)


def _numbered(windows: pa.RecordBatch, revision: int) -> pa.RecordBatch:
    return with_columns(windows, {"revision": pa.array(np.full(windows.num_rows, revision, np.int32))})


def _one_dictionary(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A Parquet writer takes batches whose dictionaries agree, or plain ones."""
    if len(batches) == 1:
        yield canonical(batches[0])
    else:
        yield from (conform(batch, DATASETS["windows"]) for batch in batches)
