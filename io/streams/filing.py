"""A partition's records into the lake, unit by unit, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from telebeam.io import storage
from telebeam.io.lake.layout import partition as hour_folder
from telebeam.io.lake.layout import stream_file
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import by_hour, times_of
from telebeam.io.streams.feed import Partition
from telebeam.io.streams.journal import Counts, Journal, JournalFile, Pending, ids_path
from telebeam.io.streams.notices import FOREVER, NEVER, Owed, PartitionNotice
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt
from telebeam.io.streams.seen import SeenIds
from telebeam.io.streams.touched import settle, touch
from telebeam.transforms.batches import canonical, concat
from telebeam.transforms.schema import DATASETS, conform, in_flight


@dataclass
class Unit:
    """What was read of a partition since its last unit."""

    begin: int
    """Its first record, where the partition was never read before."""
    end: int
    """Behind its last record."""
    newest: int = NEVER
    readings: list[pa.RecordBatch] = field(default_factory=list)
    rejects: list[pa.RecordBatch] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    ticket: int = 0
    """Of its points on their way to InfluxDB."""
    ids: pa.Buffer | None = None
    """What :class:`SeenIds` held when its last record was read; None where the broker's records have no ids."""

    def add(self, readings: pa.RecordBatch, rejects: pa.RecordBatch, end: int) -> None:
        """Takes what the next records gave, up to an offset."""
        self.end = end
        self.readings += [readings] if readings.num_rows else []
        self.rejects += [rejects] if rejects.num_rows else []
        rows = readings.num_rows + rejects.num_rows
        late = readings.column("is_late").true_count
        self.counts = self.counts.plus(Counts(rows, readings.num_rows, rejects.num_rows, 0, late))


Content = dict[str, Callable[[], pa.Buffer]]
"""Path → what makes the file's bytes."""


class PartitionFiles:
    """The files of one partition of a stream.

    Args:
        lake: Where to.
        root: The same, located.
        pipeline: Whose.
        partition: Which.

    Raises:
        SourceError: Its journal is damaged.
        SinkError: What a killed job left can't be taken away.
    """

    def __init__(self, lake: LakeSpec, root: storage.Location, pipeline: str, partition: Partition) -> None:
        self._lake = lake
        self._root = root
        self._pipeline = pipeline
        self.partition = partition
        self._file = JournalFile(root, pipeline, partition)
        self._take_back()
        self.seen = self._ids_filed()
        """The ids of the last records, of a broker that may deliver some again under another offset."""

    @property
    def journal(self) -> Journal | None:
        """What stands in the lake; None where the partition was never read."""
        return self._file.journal

    def _take_back(self) -> None:
        """Takes away the files of a unit that was not finished: its records are read again."""
        journal = self._file.journal
        if journal is None or journal.pending is None:
            return
        for path in journal.pending.paths:
            storage.remove(self._root, path)
        self._file.save(replace(journal, pending=None))

    def _ids_filed(self) -> SeenIds:
        journal = self._file.journal
        content = None if journal is None else storage.read(self._root, self._ids_path(journal.next))
        return SeenIds() if content is None else SeenIds.from_buffer(content)

    def _ids_path(self, offset: int) -> str:
        return ids_path(self._pipeline, self.partition, offset)

    def file(self, unit: Unit, touches: Mapping[int, int], executor: Executor, *, influx: bool) -> None:
        """Publishes a unit; when it returns all of it is durable.  After a SinkError it may be called again.

        Args:
            unit: All records of the partition from the journal's ``next``, or else ``unit.begin``, on to ``unit.end``.
            touches: Window length in seconds → the width of what is said to be touched, in µs.
            executor: Encodes and publishes the files side by side.
            influx: Whether InfluxDB is to have its readings.

        Raises:
            SinkError: The lake does not take it.
            TakenOverError: Another job writes this partition.
        """
        if self._file.journal is None:
            self._file.save(Journal(unit.begin))
        before = self._begun()
        readings = self._content("readings", unit.readings, before.next)
        content = {**readings, **self._content("rejects", unit.rejects, before.next)}
        if content:
            self._file.save(replace(before, pending=Pending(unit.end, tuple(content))))
            self._publish(content, executor)
        if unit.ids is not None:
            # Named by where the journal will go on: a unit that is taken back takes its ids along.
            storage.publish(self._root, self._ids_path(unit.end), unit.ids)
        times = _on_time(unit.readings)
        touched = {
            seconds: tuple(touch(before.touched.get(seconds, ()), times, width, unit.end))
            for seconds, width in touches.items()
        }
        owed = (Owed(unit.end, tuple(readings)),) if influx and readings else ()
        self._file.save(
            Journal(
                next=unit.end,
                newest=max(before.newest, unit.newest),
                touched={seconds: stretches for seconds, stretches in touched.items() if stretches},
                owed=before.owed + owed,
                counts=before.counts.plus(unit.counts),
            )
        )
        if unit.ids is not None and before.next != unit.end:
            storage.remove(self._root, self._ids_path(before.next))

    def _publish(self, content: Content, executor: Executor) -> None:
        """Publishes files side by side; none is still on its way when this ends, well or badly.

        A file that came after the unit was taken back would stand beside the same records read again.
        """
        tasks = [executor.submit(self._publish_one, path, make) for path, make in content.items()]
        wait(tasks)
        for task in tasks:
            task.result()

    def _publish_one(self, path: str, make: Callable[[], pa.Buffer]) -> None:
        storage.publish(self._root, path, make())

    def leave_out(self, windows: dict[int, WindowReceipt], influx: InfluxReceipt, delivered: Iterable[int]) -> None:
        """Drops what is done from the journal; it is saved with the next unit, for to do it once more does no harm.

        Args:
            windows: Window length in seconds → its receipt.
            influx: InfluxDB's.
            delivered: The ends of units that InfluxDB is known to have.
        """
        journal = self._begun()
        name = self.partition.name
        touched = {
            seconds: tuple(settle(stretches, receipt.until, seconds * 1_000_000, receipt.offsets.get(name, -1)))
            for seconds, stretches in journal.touched.items()
            if (receipt := windows.get(seconds)) is not None
        }
        done, gone = influx.readings.get(name, -1), set(delivered)
        owed = tuple(each for each in journal.owed if each.end > done and each.end not in gone)
        self._file.journal = replace(
            journal, touched={seconds: left for seconds, left in touched.items() if left}, owed=owed
        )

    def notice(self, in_hand: Iterable[int] = ()) -> PartitionNotice:
        """What is outstanding.

        Args:
            in_hand: The ends of units whose points are still on their way.  Receipts cover all that is before what was
                delivered, so nothing behind the first of them is given either.
        """
        journal, first = self._begun(), min(in_hand, default=FOREVER)
        return PartitionNotice(
            self.partition.stream,
            self.partition.number,
            journal.next,
            {seconds: tuple((s.first, s.end) for s in left) for seconds, left in journal.touched.items()},
            tuple(each for each in journal.owed if each.end < first),
            {seconds: tuple(s.offset for s in left) for seconds, left in journal.touched.items()},
        )

    def _begun(self) -> Journal:
        journal = self._file.journal
        if journal is None:
            raise ValueError(f"{self.partition} was not begun")
        return journal

    def _content(self, dataset: str, batches: Sequence[pa.RecordBatch], offset: int) -> Content:
        """The files of a dataset that a unit gives."""
        if not batches:
            return {}
        content: Content = {}
        schema = in_flight(DATASETS[dataset])
        for hour, rows in by_hour(concat([conform(batch, schema) for batch in batches]), dataset):
            times = times_of(rows, dataset)
            span = int(times.min()), int(times.max())
            name = stream_file(self._pipeline, *self.partition, offset, hour, *span)
            content[f"{hour_folder(dataset, hour)}/{name}.parquet"] = _encoder(rows, dataset, self._lake)
        return content


def _encoder(rows: pa.RecordBatch, dataset: str, lake: LakeSpec) -> Callable[[], pa.Buffer]:
    return lambda: to_parquet([canonical(rows)], DATASETS[dataset], lake)


def _on_time(readings: Iterable[pa.RecordBatch]) -> np.ndarray:
    """The event times of readings that are not late, µs since 1970."""
    times = [np.empty(0, np.int64)]
    for batch in readings:
        late = batch.column("is_late").to_numpy(zero_copy_only=False)
        times.append(batch.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)[~late])
    return np.concatenate(times)
