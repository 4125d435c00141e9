"""Streams in a pipeline: the splittable DoFn that files what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Duration, Timestamp

from telebeam.io.streams.job import StreamJob
from telebeam.io.streams.registry import leased, release

Positions = dict[str, int]
"""``stream/number`` → the first offset that was not given."""


class PositionsTracker(RestrictionTracker):
    """Follows one reader through its partitions; a runner may stop it between two bundles, and never split it.

    The restriction is all partitions that a reader has, from these offsets on without end; those that it does not name
    begin where the source's settings say.
    """

    def __init__(self, positions: Positions) -> None:
        self._positions = dict(positions)
        self._stopped = False

    def current_restriction(self) -> Positions:
        """The positions so far."""
        return self._positions

    def try_claim(self, position: Positions) -> bool:
        """Whether all below these offsets may be given."""
        if self._stopped:
            return False
        self._positions = dict(position)
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Positions, Positions] | None:
        """Everything from here on to the remainder; nothing else can be parted."""
        if fraction_of_remainder != 0 or self._stopped:
            return None
        self._stopped = True
        return self._positions, dict(self._positions)

    def check_done(self) -> bool:
        """A reader may end whenever it likes: what it did not give is not claimed."""
        return True

    def current_progress(self) -> RestrictionProgress:
        """Always half way: a stream has no end."""
        return RestrictionProgress(fraction=0.5)

    def is_bounded(self) -> bool:
        """Never, as far as a runner knows: a bounded read ends by itself."""
        return False


class PositionsProvider(RestrictionProvider):
    """Begins with no positions at all."""

    def create_tracker(self, restriction: Positions) -> PositionsTracker:
        """The tracker of a restriction."""
        return PositionsTracker(restriction)

    def initial_restriction(self, element: int) -> Positions:
        """Nothing is known of a reader's partitions before it is connected."""
        del element
        return {}

    def restriction_size(self, element: int, restriction: Positions) -> int:
        """All readers are alike."""
        del element, restriction
        return 1

    def truncate(self, element: int, restriction: Positions) -> None:
        """A runner that drains needs nothing more: what was read is filed."""
        del element, restriction


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
    """

    job: StreamJob

    def expand(self, root: Any) -> Any:
        """The notices."""
        read = beam.ParDo(_FileBundles(self.job))
        return (
            root
            | "Readers" >> beam.Create(list(range(self.job.readers)))
            | "SpreadReaders" >> beam.Reshuffle()
            | "FileBundles" >> read.with_output_types(bytes)
        )


_TRACKER = beam.DoFn.RestrictionParam(PositionsProvider())
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


class _FileBundles(beam.DoFn):
    """One bundle after the other; :class:`~.reader.Reader` does the work."""

    def __init__(self, job: StreamJob) -> None:
        super().__init__()
        self._job = job

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, index: int, tracker: Any = _TRACKER, watermark: Any = _WATERMARK) -> Iterator[Any]:
        with leased(self._job, index) as reader:
            bundle = reader.bundle()
        tracker.try_claim(bundle.positions)
        reached = _timestamp(bundle.notice.clock)
        before = watermark.current_watermark()
        yield beam.window.TimestampedValue(bundle.notice.encode(), max(reached, before or MIN_TIMESTAMP))
        if before is None or reached > before:
            watermark.set_watermark(reached)
        if bundle.ended:
            release(self._job, index)
        else:
            tracker.defer_remainder(Duration(0))


def _timestamp(micros: int) -> Timestamp:
    return max(MIN_TIMESTAMP, min(MAX_TIMESTAMP, Timestamp(micros=micros)))
