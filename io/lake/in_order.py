"""What is made in order into the lake: files named by their seconds, replaced when they are made again."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import Span, overlap
from telebeam.io.lake.layout import HOUR, partition, seconds_of, step_file
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.past import Made, Past, resume
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.steps import PIECE_ROWS, Piece, needed_by, stretches
from telebeam.io.lake.writer import SORTED_BY, LakeFile
from telebeam.transforms.aggregation.partials import times_of
from telebeam.transforms.batches import canonical, rows_of
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.ordering import rank, sort_order
from telebeam.transforms.schema import DATASETS, conform, in_flight

TAGGED = "tagged"
"""The folder of readings that rules hand on, by their tag."""
LAST_N = "last_n"
"""The folder of what the last readings say, by their number."""
_DECISIVE = 4
"""The first columns of a dataset's order, by which few rows are equal."""
_LOOK_BACK = 24 * HOUR
"""How much older than a batch job's first hour a past may be that the job goes on from."""


class OrderedFiles:
    """The files of what one pipeline makes in order.

    Args:
        lake: Where to.
        root: The same, located.
        pipeline: Whose.
    """

    def __init__(self, lake: LakeSpec, root: storage.Location, pipeline: str) -> None:
        self._lake = lake
        self._root = root
        self._pipeline = pipeline
        self._digests: dict[str, bytes] = {}
        """Of what is published, as far as this object knows."""

    def replace(self, dataset: str, within: Span, spans: Sequence[Span], rows: pa.RecordBatch) -> list[LakeFile]:
        """Files a file for each span that has rows, and takes away what else the pipeline has in these spans' hours.

        Args:
            dataset: scores | alerts | commands, ``tagged/tag=NAME`` or ``last_n/n=N``.
            within: Files of other seconds stay.
            spans: Ascending and disjoint, each within an hour.
            rows: All of the spans, in any order.

        Returns:
            Those that are new or say something else than before.

        Raises:
            SinkError: The lake does not take them.
        """
        plain = sorted_by(conform(rows, in_flight(DATASETS[_kind(dataset)])), SORTED_BY[_kind(dataset)])
        times = times_of(plain)
        content = {
            self._path(dataset, span): rows_of(plain, (times >= span[0]) & (times < span[1]))
            for span in _with_rows(spans, times)
        }
        # Before the others: for a moment rows are missing, and never there twice.
        for path in self._others(dataset, within, spans, content):
            storage.remove(self._root, path)
        return [file for path, part in content.items() if (file := self._publish(dataset, path, part)) is not None]

    def _publish(self, dataset: str, path: str, part: pa.RecordBatch) -> LakeFile | None:
        buffer = to_parquet([canonical(part)], DATASETS[_kind(dataset)], self._lake)
        digest = hashlib.blake2b(buffer, digest_size=16).digest()
        if self._digests.get(path) == digest:
            return None
        storage.publish(self._root, path, buffer)
        self._digests[path] = digest
        times = times_of(part)
        return LakeFile(dataset.partition("/")[0], path, part.num_rows, int(times.min()), int(times.max()))

    def forget(self, before: int) -> None:
        """Drops what is remembered of files that end before an instant: they will not be made again."""
        self._digests = {path: digest for path, digest in self._digests.items() if _end(path) > before}

    def _path(self, dataset: str, span: Span) -> str:
        hour = span[0] // HOUR
        return f"{partition(dataset, hour)}/{step_file(self._pipeline, hour, span[0], span[1] - 1)}.parquet"

    def _others(self, dataset: str, within: Span, spans: Sequence[Span], kept: Container[str]) -> list[str]:
        found = []
        for hour in sorted({first // HOUR for first, _ in spans}):
            for path in storage.files_below(self._root, partition(dataset, hour)):
                seconds = seconds_of(path)
                ours = path.rpartition("/")[2].startswith(f"{self._pipeline}-t")
                if ours and path not in kept and seconds is not None and overlap(*seconds, [within]):
                    found.append(path)
        return found


def sorted_by(rows: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """The rows in the order of some columns, from the most to the least significant.

    By the first of them alone, which fit into one number a row, and of rows that are equal in these by all: that was
    measured to take a fifth of the time.
    """
    first = columns[:_DECISIVE]
    order = sort_order(rows, first)
    order = np.arange(rows.num_rows) if order is None else order
    tied = np.ones(max(0, len(order) - 1), bool)
    for name in first:
        tied &= np.diff(rank(rows.column(name))[order]) == 0
    among = np.flatnonzero(np.append(tied, False) | np.append(False, tied)) if tied.any() else np.empty(0, np.int64)
    settled = sort_order(rows.take(pa.array(order[among])), columns)
    if settled is not None:
        order[among] = order[among][settled]
    return rows if (np.diff(order) == 1).all() else rows.take(pa.array(order))


def _kind(dataset: str) -> str:
    """Whose columns a dataset has."""
    kind = dataset.partition("/")[0]
    return "readings" if kind == TAGGED else kind


def _end(path: str) -> int:
    found = seconds_of(path)
    return 0 if found is None else found[1]


def _with_rows(spans: Sequence[Span], times: np.ndarray) -> Iterator[Span]:
    """Those of some ascending spans in which there is an instant."""
    firsts = np.array([first for first, _ in spans], np.int64)
    ends = np.array([end for _, end in spans], np.int64)
    places = np.searchsorted(firsts, times, side="right") - 1
    for place in np.unique(places[(places >= 0) & (times < ends[places])]).tolist():
        yield spans[place]


def file_made(files: OrderedFiles, since: int, until: int, made: Made, spans: Sequence[Span] = ()) -> list[LakeFile]:
    """Files what a stretch of time gave, as one file or as one for each of some spans.

    Args:
        files: Where to.
        since: Its beginning.
        until: Its end; within the same hour, or nothing was read in it.
        made: What it gave.
        spans: Into which it is cut, if it is.

    Raises:
        SinkError: The lake does not take them.
    """
    whole = [(since, until)] if since // HOUR == (until - 1) // HOUR else _hours_of(made, since, until)
    found = []
    folders = {"scores": made.scores, "alerts": made.alerts, "commands": made.commands}
    folders |= {f"{TAGGED}/tag={tag}": rows for tag, rows in made.tagged.items()}
    folders |= {f"{LAST_N}/n={number}": rows for number, rows in made.last.items()}
    for dataset, rows in folders.items():
        found += files.replace(dataset, (since, until), spans or whole, rows)
    return found


def _hours_of(made: Made, since: int, until: int) -> list[Span]:
    """The parts of a long silence, by hours, in which something fell due."""
    times = np.concatenate([times_of(made.alerts), times_of(made.commands)])
    hours = np.unique(times // HOUR).tolist()
    return [(max(since, hour * HOUR), min(until, (hour + 1) * HOUR)) for hour in hours]


def replay(
    lake: LakeSpec, order: OrderSpec, first: int, last: int, root: storage.Location | None = None,
    piece_rows: int = PIECE_ROWS,
) -> Iterator[LakeFile]:  # fmt: skip
    """Scores the lake's readings from one hour to another in order, and files what comes of it; late ones count too.

    It begins with what was remembered at the first hour's beginning, where a run before has written that down within a
    day.  What falls due behind the last reading is left for a later run.

    Args:
        lake: The lake.
        order: What is done.
        first: The first hour, since the epoch.
        last: The last one.
        root: Where the lake is, if not where the spec's path leads.
        piece_rows: Readings that are held at a time, about.

    Raises:
        SourceError: A readings file is damaged.
        SinkError: The lake does not take the files.
    """
    root = root or storage.locate(lake.path)
    files = OrderedFiles(lake, root, order.pipeline)
    past = past_at(root, order, first * HOUR, late=True, piece_rows=piece_rows)
    span = past.edge, (last + 1) * HOUR
    pieces = stretches(root, span, late=True, columns=needed_by(order), piece_rows=piece_rows)
    # Readings are read, and files written, while others are scored: both leave the interpreter to it for the most part.
    with ThreadPoolExecutor(1, "telebeam-pieces") as reader, ThreadPoolExecutor(1, "telebeam-filing") as filer:
        filing: Future[list[LakeFile]] | None = None
        for (since, until), readings in _read_ahead(pieces, reader):
            made = past.pass_time(until) if readings is None else past.advance(readings, until)
            if filing is not None:
                yield from filing.result()
            filing = filer.submit(file_made, files, since, until, made)
        if filing is not None:
            yield from filing.result()
    past.save(root)


def _read_ahead(pieces: Iterator[Piece], executor: ThreadPoolExecutor) -> Iterator[Piece]:
    """The pieces; the next one is read while somebody works on the last."""
    coming = executor.submit(next, pieces, None)
    while (piece := coming.result()) is not None:
        coming = executor.submit(next, pieces, None)
        yield piece


def past_at(root: storage.Location, order: OrderSpec, begin: int, *, late: bool, piece_rows: int = PIECE_ROWS) -> Past:
    """What is remembered at an instant, or behind the last reading before it: nothing, without a past that is near.

    Args:
        root: Where the lake is.
        order: What is done.
        begin: An edge of steps, in µs.
        late: Whether readings that came too late for a live job count.
        piece_rows: Readings that are held at a time, about.

    Raises:
        SourceError: A readings file is damaged.
    """
    past = resume(root, order, begin)
    if past is None or past.edge < begin - _LOOK_BACK:
        return Past(order, begin)
    if past.edge < begin:
        span = past.edge, begin
        for (_, until), readings in stretches(root, span, late=late, columns=needed_by(order), piece_rows=piece_rows):
            _ = past.pass_time(until) if readings is None else past.advance(readings, until)
    return past
