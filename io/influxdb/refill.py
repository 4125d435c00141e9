"""Files of the lake into InfluxDB, however long that takes and however often it is begun."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import NamedTuple, Self, TypeVar

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.influxdb.client import InfluxWriter
from telebeam.io.influxdb.patience import asked_seconds, cause_of
from telebeam.io.influxdb.sink import PointSink
from telebeam.io.influxdb.spec import TAGS, Dataset, InfluxSpec
from telebeam.io.lake.layout import unit_name
from telebeam.io.lake.parquet import open_parquet, row_groups
from telebeam.io.lake.scored import whole_readings
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.io.patience import Patience
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import SourceError, TelebeamError
from telebeam.transforms.schema import AGGREGATES, ALERTS, DATASETS, SCORES, in_flight

_LOG = logging.getLogger(__name__)

PIECE_ROWS: dict[Dataset, int] = {"readings": 20_000, "windows": 2_000, "scores": 20_000, "alerts": 5_000}
"""Rows that are sent, and where the server refuses some, rejected, together: half a second's work at most.

Names of rejects' files hold where a piece begins, so these numbers are not settings.
"""
AT_ONCE = 2
"""Requests; the server parses one while it stores another, and more than two were measured to gain nothing."""
PATIENCE_SECONDS = 20.0
"""How long a server may be away before waiting for it is somebody else's bundle."""
STOP_SECONDS = 2.0
"""How long requests may still take once the job is to end."""
LOG_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_COLUMNS: dict[Dataset, frozenset[str]] = {
    "readings": frozenset(
        {*TAGS["readings"], "timestamp", "value", "quality_score", "source", "source_partition", "source_offset"}
    ),
    "windows": frozenset({*TAGS["windows"], "window_start", "count", *AGGREGATES}),
    "scores": frozenset({*SCORES.names}),
    "alerts": frozenset({*ALERTS.names}),
}

Stop = Callable[[], bool]
"""Whether the job is to end."""
Result = TypeVar("Result")


class _Piece(NamedTuple):
    path: str
    dataset: Dataset
    row: int
    batch: pa.RecordBatch


class _Written(NamedTuple):
    points: int
    rejects: list[pa.RecordBatch]


class Refill:
    """Writes the points of files of the lake; holds a connection only between ``__enter__`` and ``__exit__``.

    A file that was left in the middle goes on there.  Not thread-safe.

    Args:
        lake: The lake.
        pipeline: Names the files of rejects.
        spec: The bucket.
        root: Where the lake is, if not where its path leads.
        patience: When the server is tried again after a failure.
        now: The time that rejects carry.
        clock: Monotonic seconds, for the log.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        lake: LakeSpec,
        pipeline: str,
        spec: InfluxSpec,
        root: storage.Location | None = None,
        *,
        patience: Patience | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pipeline = pipeline
        self._spec = spec.model_copy(update={"max_retries": 0})
        self._root = root or storage.locate(lake.path)
        self._rejects = LakeWriter(lake, "rejects", self._root)
        self.patience = patience or Patience(clock=clock)
        self._now, self._clock, self._sleep = now, clock, sleep
        self._writer: InfluxWriter | None = None
        self._said = 0.0
        self._done: dict[str, int] = {}
        self._entered = clock()
        self.linger_seconds = 0.0
        """How long a stretch of work waits for a server that was away before it began."""
        self.points = 0
        """Points that the server has taken."""
        self.refused = 0
        """Points that became rejects."""

    def __enter__(self) -> Self:
        self._entered = self._clock()
        return self

    def __exit__(self, *_: object) -> None:
        # Each stretch of work resolves the secret anew: one that was mended is seen without a restart.
        self._disconnect()

    def send(self, path: str, dataset: Dataset, stop: Stop, gives_way: Callable[[], bool] = lambda: False) -> bool:
        """Writes a file's points; what the server refuses becomes rejects of the lake.

        Args:
            path: Relative to the lake.  A file that is not there any more is done: whoever took it away has put
                another in its place.
            dataset: What it holds.
            stop: Looked at while waiting.
            gives_way: Asked before each request: whether something else comes first.

        Returns:
            Whether all is stored; if not, the server is away, the job is to end, or something else comes first.

        Raises:
            SourceError: The file can't be read.
            SinkError: The lake does not take the rejects.
        """
        try:
            with closing(self._pieces(path, dataset)) as pieces:
                while side_by_side := list(islice(pieces, AT_ONCE)):
                    if gives_way() or not self._store(side_by_side, stop):
                        return False
                    last = side_by_side[-1]
                    self._done[path] = last.row + last.batch.num_rows
        except SourceError:
            if storage.exists(self._root, path):
                raise
        self._done.pop(path, None)
        return True

    def _pieces(self, path: str, dataset: Dataset) -> Generator[_Piece, None, None]:
        """A file's rows from where it was left, always cut at the same places."""
        fields = [field for field in in_flight(DATASETS[dataset]) if field.name in _COLUMNS[dataset]]
        texts = [field.name for field in fields if pa.types.is_dictionary(field.type)]
        rows, begin = PIECE_ROWS[dataset], self._done.get(path, 0)
        names = [field.name for field in fields]
        with open_parquet(self._root, path, texts) as file:
            if dataset == "scores":
                every = row_groups(file, range(file.metadata.num_row_groups), names, self._root.child(path))
                yield from _score_pieces(path, whole_readings(every, rows), begin)
                return
            end = 0
            for group in range(file.metadata.num_row_groups):
                start, end = end, end + file.metadata.row_group(group).num_rows
                if end <= begin:
                    continue
                for batch in row_groups(file, [group], names, self._root.child(path)):
                    for row in range(0, batch.num_rows, rows):
                        if start + row >= begin:
                            yield _Piece(path, dataset, start + row, batch.slice(row, rows))

    def _store(self, pieces: list[_Piece], stop: Stop) -> bool:
        """Writes pieces side by side, those that fail again and again."""
        while pieces:
            writer = self._connected(stop)
            if writer is None:
                return False
            tasks = [(piece, _begun(partial(self._write, writer, piece))) for piece in pieces]
            if not self._ended([task for _, task in tasks], stop):
                return False
            pieces, failure = [], None
            for piece, task in tasks:
                error = task.exception()
                if error is None:
                    self._count(piece, task.result())
                elif isinstance(error, TelebeamError):
                    failure = error
                    pieces.append(piece)
                else:
                    raise error
            self._note(failure)
        return True

    def _connected(self, stop: Stop) -> InfluxWriter | None:
        """A connection as soon as the server may be tried; None where it is not waited for."""
        while True:
            while (left := self.patience.left()) > 0:
                if stop() or not self._waits():
                    return None
                self._sleep(min(left, _LOOK_SECONDS))
            if self.patience.away:
                self._disconnect()
                if stop():
                    return None
            try:
                self._writer = self._writer or InfluxWriter(self._spec)
            except TelebeamError as error:
                self._note(error)
            else:
                return self._writer

    def _waits(self) -> bool:
        lingers = self._clock() - self._entered < self.linger_seconds
        return lingers or self.patience.away_seconds() < PATIENCE_SECONDS

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _ended(self, tasks: list[Future[_Written]], stop: Stop) -> bool:
        """Waits for requests; a server that hangs must not keep the job from ending."""
        stopped: float | None = None
        while wait(tasks, _LOOK_SECONDS).not_done:
            if stop():
                stopped = self._clock() if stopped is None else stopped
                if self._clock() - stopped >= STOP_SECONDS:
                    return False
        return True

    def _write(self, writer: InfluxWriter, piece: _Piece) -> _Written:
        sink: PointSink[None] = PointSink(writer, self._spec, piece.dataset, self._now())
        rejects = [batch for _, batch in (*sink.add(piece.batch, None), *sink.flush())]
        return _Written(sink.written, rejects)

    def _count(self, piece: _Piece, written: _Written) -> None:
        """Files a piece's rejects, then counts it."""
        refused = sum(batch.num_rows for batch in written.rejects)
        if refused:
            unit = unit_name(self._pipeline, piece.path, f"points-{piece.row}")
            plain = pa.Table.from_batches(written.rejects).combine_chunks().to_batches()[0]
            self._rejects.write(plain.replace_schema_metadata({UNIT: unit.encode()}))
        self.points += written.points
        self.refused += refused

    def _note(self, failure: TelebeamError | None) -> None:
        """Tells the log when the server goes, once a minute while it is away, and when it is back."""
        was_away, now = self.patience.away, self._clock()
        if failure is None:
            self.patience.worked()
            if was_away:
                _LOG.warning("InfluxDB at %s is back: it gets what it has missed", self._spec.url)
            return
        self.patience.failed(asked_seconds(failure))
        if not was_away or now - self._said >= LOG_SECONDS:
            self._said = now
            _LOG.warning("%s; the lake goes on, InfluxDB gets what it misses when it is back", cause_of(failure))


def _begun(function: Callable[[], Result]) -> Future[Result]:
    """Runs a function in a thread that nobody has to wait for when the process ends."""
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except TelebeamError as error:
            future.set_exception(error)
        except BaseException as error:
            future.set_exception(error)
            raise

    threading.Thread(target=work, name="telebeam-influxdb-refill", daemon=True).start()
    return future


def _score_pieces(path: str, batches: Iterable[pa.RecordBatch], begin: int) -> Iterator[_Piece]:
    """The scores of whole readings: a point holds the highest of all detectors."""
    row = 0
    for batch in batches:
        if row >= begin:
            yield _Piece(path, "scores", row, batch)
        row += batch.num_rows
