"""Streams in a pipeline: the splittable DoFn that files what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration

from telebeam.io import storage
from telebeam.io.streams.job import StreamJob, tell_ended
from telebeam.io.streams.keys import reader_keys, reader_of
from telebeam.io.streams.positions import TRACKER, WATERMARK, timestamp
from telebeam.io.streams.registry import leased, release
from telebeam.io.streams.shared import tell


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
        apart: Whether each reader is a stage of its own.  Prism 2.77 puts all that a stage has to go on with into one
            bundle: readers that end theirs in the same moment, as they do when a window closes, would wait for each
            other from then on, five seconds each time.
    """

    job: StreamJob
    apart: bool = False

    def expand(self, root: Any) -> Any:
        """The notices."""
        keys = reader_keys(self.job.readers)
        if not self.apart:
            return root | "Readers" >> _Readers(self.job, keys)
        return [root | f"Reader{key}" >> _Readers(self.job, [key]) for key in keys] | beam.Flatten()


@dataclass
class _Readers(beam.PTransform):
    """Some of a job's readers, one bundle of each after the other."""

    job: StreamJob
    keys: list[str]

    def expand(self, root: Any) -> Any:
        read = beam.ParDo(_FileBundles(self.job))
        return (
            root
            | "Keys" >> beam.Create(self.keys)
            | "Spread" >> beam.Reshuffle()
            | "FileBundles" >> read.with_output_types(bytes)
        )


@dataclass
class EndStage(beam.PTransform):
    """Takes what nobody else takes, in a stage of its own, so that the stage before has an output.

    In: bytes, bounded or unbounded.  Out: nothing.  Prism 2.77 keeps a core busy for as long as a bundle runs whose
    stage has no output: its loop waits for data that has ended with the bundle's beginning.
    """

    def expand(self, left: Any) -> Any:
        """Nothing."""
        return left | "Leave" >> beam.Reshuffle() | "Drop" >> beam.FlatMap(_nothing).with_output_types(bytes)


def _nothing(element: bytes) -> tuple[()]:
    del element
    return ()


class _FileBundles(beam.DoFn):
    """One bundle after the other; :class:`~.reader.Reader` does the work."""

    def __init__(self, job: StreamJob) -> None:
        super().__init__()
        self._job = job

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, key: str, tracker: Any = TRACKER, watermark: Any = WATERMARK) -> Iterator[Any]:
        index = reader_of(key)
        with leased(self._job, index) as reader:
            bundle = reader.bundle()
        tell(self._job.run, bundle.notice)
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
