"""Streams in a pipeline: the splittable DoFn that files what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration

from telebeam.io import storage
from telebeam.io.streams.job import StreamJob, tell_ended
from telebeam.io.streams.positions import TRACKER, WATERMARK, timestamp
from telebeam.io.streams.registry import leased, release
from telebeam.io.streams.timed import FileTimedBundles, HoldReaders, reader_keys


@dataclass
class FileStream(beam.PTransform):
    """Reads a stream without end and files it; gives a notice a bundle, encoded, of what stands in the lake.

    In: the pipeline's root.  Out: bytes of :class:`~.notices.Notice`, unbounded, some hundred bytes each.  A bundle
    lasts :attr:`TimeSpec.file_every <.spec.TimeSpec>` at most and ends when all that it read is durable; the watermark
    is that of the readings that were filed.

    Late readings are filed, flagged and counted; bad records are rejects.  Delivery: each record is in the lake once,
    whatever is killed and whatever a runner remembers (:mod:`.journal`).

    Metrics: ``rows_in``, ``readings``, ``rejects``, ``late``, ``points``.

    Args:
        job: What to read and how.
        by_timer: Whether timers call the readers again, as on Flink, and not resumes of a splittable DoFn; the
            watermark stays at its beginning then, for which nothing behind asks.
    """

    job: StreamJob
    by_timer: bool = False

    def expand(self, root: Any) -> Any:
        """The notices."""
        if self.by_timer:
            return self._by_timer(root)
        read = beam.ParDo(_FileBundles(self.job))
        return (
            root
            | "Readers" >> beam.Create(list(range(self.job.readers)))
            | "SpreadReaders" >> beam.Reshuffle()
            | "FileBundles" >> read.with_output_types(bytes)
        )

    def _by_timer(self, root: Any) -> Any:
        return (
            root
            | "Readers" >> beam.Create(reader_keys(self.job.readers))
            | "HoldReaders" >> beam.ParDo(HoldReaders()).with_output_types(tuple[str, bytes])
            | "FileTimedBundles" >> beam.ParDo(FileTimedBundles(self.job)).with_output_types(bytes)
        )


class _FileBundles(beam.DoFn):
    """One bundle after the other; :class:`~.reader.Reader` does the work."""

    def __init__(self, job: StreamJob) -> None:
        super().__init__()
        self._job = job

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, index: int, tracker: Any = TRACKER, watermark: Any = WATERMARK) -> Iterator[Any]:
        with leased(self._job, index) as reader:
            bundle = reader.bundle()
        tracker.try_claim(bundle.positions)
        reached = timestamp(bundle.notice.clock)
        before = watermark.current_watermark()
        yield beam.window.TimestampedValue(bundle.notice.encode(), max(reached, before or MIN_TIMESTAMP))
        if before is None or reached > before:
            watermark.set_watermark(reached)
        if bundle.ended:
            release(self._job, index)
            tell_ended(storage.locate(self._job.lake.path), self._job.pipeline, self._job.run, index)
        else:
            tracker.defer_remainder(Duration(0))
