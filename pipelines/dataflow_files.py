"""A stream's readings and rejects on a runner that holds the state and takes each message once, as Dataflow does.

Where telebeam's own readers keep a journal in the lake, here the runner's checkpoint says what was read.  A step that
writes gets only what the runner can't forget or cut differently any more, so that whatever is done twice is the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import Timestamp

from telebeam.io import storage
from telebeam.io.lake.layout import partition, stream_file
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.ptransforms import FileTuple
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import by_hour, times_of
from telebeam.io.streams.notices import NEVER
from telebeam.transforms.batches import canonical, concat
from telebeam.transforms.checking import Checks
from telebeam.transforms.coders import RecordBatchCoder
from telebeam.transforms.lateness import Lateness
from telebeam.transforms.metrics import measured
from telebeam.transforms.schema import DATASETS, ENVELOPES, conform, in_flight

GATHERED_BYTES = 16 * 1024 * 1024
"""Payloads of a file, about: what Dataflow takes of one key in one step ends at 80 MB."""
SLICE_BYTES = 4 * 1024 * 1024
"""Payloads that are moved together, at most, where a message is not larger itself."""

Part = tuple[int, int, pa.RecordBatch]
"""(shard, a number made of the messages that it holds, rows): what becomes a file, or one for each of its hours."""
Window = tuple[int, int]
"""(length in seconds, start in µs since 1970)."""


def sharded(envelopes: pa.RecordBatch, shards: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """A batch in slices that are not too large, each with the shard that it goes to."""
    payload = envelopes.column("payload").nbytes
    rows = max(1, envelopes.num_rows * SLICE_BYTES // max(payload, 1))
    for start in range(0, envelopes.num_rows, rows):
        part = envelopes.slice(start, rows)
        yield hash_of(part) % shards, conform(part, ENVELOPES)


def hash_of(envelopes: pa.RecordBatch) -> int:
    """A number below 10^18 that tells some messages from others, in whatever order they are.

    >>> batch = pa.record_batch({"source_offset": pa.array([2, 1])})
    >>> hash_of(batch) == hash_of(batch.take(pa.array([1, 0])))
    True
    """
    offsets = np.sort(envelopes.column("source_offset").to_numpy(zero_copy_only=False))
    digest = hashlib.blake2b(offsets.astype("<i8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10**18


@dataclass
class CheckInShards(beam.PTransform):
    """Gathers messages for a file, and makes readings and rejects of them.

    In: batches of ``ENVELOPES``, unbounded.  Out: tuples of :data:`Part` with ``READINGS`` in flight, tagged
    ``rejects`` those with ``REJECTS``.  What comes out is as the runner keeps it: written twice, it is written once.

    Late: a reading whose windows had all been closed for good by the clock of its shard, that is, by the newest event
    time of the shard's files before, less ``max_out_of_orderness``.

    Args:
        checks: What makes readings of records.
        lateness: What is too late.
        file_every_seconds: How long messages are gathered, unless there are enough before.
        shards: How many gather side by side.
        clock: Seconds since 1970.
    """

    checks: Checks
    lateness: Lateness
    file_every_seconds: float
    shards: int
    clock: Callable[[], float] = time.time

    def expand(self, envelopes: beam.PCollection) -> dict[str, beam.PCollection]:
        """The two, by name."""
        check = beam.ParDo(_CheckInShards(self.checks, self.lateness, self.file_every_seconds, self.clock))
        checked = (
            envelopes
            | "Shard" >> beam.FlatMap(sharded, self.shards).with_output_types(tuple[int, pa.RecordBatch])
            | "GatherAndCheck" >> check.with_output_types(Part, rejects=Part).with_outputs("rejects", main="readings")
        )
        # Behind a shuffle the runner no longer changes its mind about what was gathered together.
        return {name: checked[name] | f"Keep_{name}" >> beam.Reshuffle() for name in ("readings", "rejects")}


class _CheckInShards(beam.DoFn):
    """Holds the messages of a shard in state until there are enough, or it is time."""

    FULL = TimerSpec("full", TimeDomain.REAL_TIME)
    END = TimerSpec("end", TimeDomain.WATERMARK)
    _HELD = beam.DoFn.StateParam(BagStateSpec("envelopes-1", RecordBatchCoder()))
    _SIZE = beam.DoFn.StateParam(ReadModifyWriteStateSpec("size-1", VarIntCoder()))
    _NEWEST = beam.DoFn.StateParam(ReadModifyWriteStateSpec("newest-1", VarIntCoder()))
    _AT_FULL, _AT_END = beam.DoFn.TimerParam(FULL), beam.DoFn.TimerParam(END)

    def __init__(self, checks: Checks, lateness: Lateness, file_every: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._checks = checks
        self._lateness = lateness
        self._file_every = file_every
        self._clock = clock

    def process(
        self,
        element: tuple[int, pa.RecordBatch],
        window: Any = beam.DoFn.WindowParam,
        held: Any = _HELD,
        size: Any = _SIZE,
        newest: Any = _NEWEST,
        full: Any = _AT_FULL,
        end: Any = _AT_END,
    ) -> Iterator[Any]:
        shard, envelopes = element
        before = size.read() or 0
        after = before + max(1, envelopes.column("payload").nbytes)
        held.add(envelopes)
        size.write(after)
        if not before:
            full.set(Timestamp.of(self._clock() + self._file_every))
            end.set(window.end)  # a job that is drained files what it has
        if after >= GATHERED_BYTES:
            full.clear()
            yield from self._check(shard, held, size, newest)

    @on_timer(FULL)  # type: ignore[untyped-decorator]  # Beam's
    def on_full(
        self,
        shard: Any = beam.DoFn.KeyParam,
        held: Any = _HELD,
        size: Any = _SIZE,
        newest: Any = _NEWEST,
    ) -> Iterator[Any]:
        yield from self._check(shard, held, size, newest)

    @on_timer(END)  # type: ignore[untyped-decorator]  # Beam's
    def on_end(
        self,
        shard: Any = beam.DoFn.KeyParam,
        held: Any = _HELD,
        size: Any = _SIZE,
        newest: Any = _NEWEST,
    ) -> Iterator[Any]:
        yield from self._check(shard, held, size, newest)

    def _check(self, shard: int, held: Any, size: Any, newest: Any) -> Iterator[Any]:
        batches = list(held.read())
        if not batches:
            return
        held.clear()
        size.clear()
        envelopes = concat([conform(batch, ENVELOPES) for batch in batches])
        number, now = hash_of(envelopes), int(self._clock() * 1e6)
        readings, rejects = self._checks(envelopes, now)
        clock = newest.read()
        # Message ids are in no order: all that is gathered counts as one record, which came now.
        last = np.array([np.iinfo(np.int64).max])
        readings, after = self._lateness.mark(readings, last, np.array([now]), NEVER if clock is None else clock)
        newest.write(after)
        if readings.num_rows:
            yield shard, number, readings
        if rejects.num_rows:
            yield beam.pvalue.TaggedOutput("rejects", (shard, number, rejects))


@dataclass
class FileParts(beam.PTransform):
    """Files readings or rejects, and says which windows they came to.

    In: tuples of :data:`Part`.  Out: the tuples of the files as of ``WriteToLake``; tagged ``touched`` each
    :data:`Window` that a reading in time came to, with how many there were, once they stand in the lake.

    Delivery: exactly once for what the runner keeps, since a file's name and content are a function of it.  Names tell
    the seconds that they hold, as a reader's do, so that a window's computation opens the files of its minutes only.

    Metrics: ``rows_in``, ``readings``, ``rejects``, ``late``.

    Args:
        lake: Where to.
        job: The pipeline's name.
        stream: Names the source in file names.
        dataset: readings | rejects.
        lengths: Of the windows, in seconds.
    """

    lake: LakeSpec
    job: str
    stream: str
    dataset: str
    lengths: tuple[int, ...] = ()

    def expand(self, parts: beam.PCollection) -> Any:
        """The two, by name: ``files`` and ``touched``."""
        file = beam.ParDo(_FileParts(self.lake, self.job, self.stream, self.dataset, self.lengths))
        types = file.with_output_types(FileTuple, touched=tuple[Window, int])
        return parts | "FileParts" >> types.with_outputs("touched", main="files")


class _FileParts(beam.DoFn):
    """Holds the filesystem's client."""

    _root: storage.Location

    def __init__(self, lake: LakeSpec, job: str, stream: str, dataset: str, lengths: tuple[int, ...]) -> None:
        super().__init__()
        self._lake = lake
        self._names = job, stream
        self._dataset = dataset
        self._lengths = lengths

    def setup(self) -> None:
        self._root = storage.locate(self._lake.path)

    def process(self, part: Part) -> Iterator[Any]:
        shard, number, batch = part
        schema = DATASETS[self._dataset]
        for hour, rows in by_hour(conform(batch, in_flight(schema)), self._dataset):
            times = times_of(rows, self._dataset)
            first, last = int(times.min()), int(times.max())
            name = stream_file(*self._names, shard, number, hour, first, last)
            path = f"{partition(self._dataset, hour)}/{name}.parquet"
            storage.publish(self._root, path, to_parquet([canonical(rows)], schema, self._lake))
            yield self._dataset, path, rows.num_rows, first, last
        measured("rows_in", batch.num_rows)
        measured(self._dataset, batch.num_rows)
        if self._lengths:
            late = batch.column("is_late").to_numpy(zero_copy_only=False)
            measured("late", int(late.sum()))
            for touched in _touched(times_of(batch, self._dataset)[~late], self._lengths):
                yield beam.pvalue.TaggedOutput("touched", touched)


def _touched(times: np.ndarray, lengths: tuple[int, ...]) -> Iterator[tuple[Window, int]]:
    for seconds in lengths:
        length = seconds * 1_000_000
        starts, counts = np.unique(times - times % length, return_counts=True)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            yield (seconds, start), count
