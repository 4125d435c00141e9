"""Windows of a stream on a runner that holds its state, as Dataflow does: timers say when, the lake says what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import Timestamp

from telebeam.io import storage
from telebeam.io.lake.live_panes import live_panes
from telebeam.io.lake.live_windows import LiveWindows
from telebeam.io.lake.ptransforms import FileTuple
from telebeam.io.lake.reader import Lake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.notices import FOREVER, Heard, Interval, Notice, PartitionNotice
from telebeam.pipelines.dataflow_files import Window
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.metrics import measured

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class CloseWindows(beam.PTransform):
    """Computes a window from the lake's readings when it has ended, and again whenever a reading in time came to it.

    In: what :class:`FileParts` says of windows, unbounded.  Out: each :data:`Window` that was computed, with the number
    of rows that were filed for it, which is 0 where the lake had them.

    Event time is the runner's: a window is computed when the watermark is ``max_out_of_orderness`` beyond its end, and
    at once for what comes later.  Nothing is dropped as late here, for :class:`CheckInShards` has decided that.

    Delivery: the lake's rows are compared with what the readings give, and only new or changed ones are filed, as the
    next revision: to do it twice, or for nothing, changes nothing.

    Metrics: ``windows``.

    Args:
        lake: Whose readings they are of, and where they are filed.
        job: The pipeline's name.
        windows: Their lengths.
        wait_seconds: ``max_out_of_orderness``.
    """

    lake: LakeSpec
    job: str
    windows: tuple[WindowSpec, ...]
    wait_seconds: float

    def expand(self, touched: beam.PCollection) -> beam.PCollection:
        """The windows."""
        close = _CloseWindows(self.lake, self.job, self.windows, self.wait_seconds)
        return touched | "WaitAndCompute" >> beam.ParDo(close).with_output_types(tuple[Window, int])


class _CloseWindows(beam.DoFn):
    """A timer for each window and no state at all: so a window that nothing comes to any more costs nothing."""

    CLOSED = TimerSpec("closed", TimeDomain.WATERMARK)
    _AT_CLOSED = beam.DoFn.TimerParam(CLOSED)
    _windows: dict[int, LiveWindows]

    def __init__(self, lake: LakeSpec, job: str, windows: tuple[WindowSpec, ...], wait_seconds: float) -> None:
        super().__init__()
        self._lake = lake
        self._job = job
        self._specs = windows
        self._wait = round(wait_seconds * 1e6)

    def setup(self) -> None:
        # The runner knows what is to be done, and workers would write their receipts over each other's.
        panes = live_panes(storage.locate(self._lake.path), self._specs)
        self._windows = {
            spec.seconds: LiveWindows(self._lake, self._job, spec, panes=panes, keeps_receipt=False)
            for spec in self._specs
        }

    def process(self, element: tuple[Window, int], closed: Any = _AT_CLOSED) -> Iterator[tuple[Window, int]]:
        (seconds, start), _ = element
        closed.set(Timestamp(micros=start + seconds * 1_000_000 + self._wait))
        yield from ()

    @on_timer(CLOSED)  # type: ignore[untyped-decorator]  # Beam's
    def on_closed(self, window: Any = beam.DoFn.KeyParam) -> Iterator[tuple[Window, int]]:
        seconds, start = window
        rows = _compute(self._windows[seconds], seconds, start)
        measured("windows", rows)
        yield (seconds, start), rows


def _compute(windows: LiveWindows, seconds: int, start: int) -> int:
    """Files the window that starts at an instant where it is new or changed; gives the number of rows."""
    touched: dict[int, tuple[Interval, ...]] = {seconds: ((start, start + seconds * 1_000_000),)}
    heard = Heard()
    heard.hear(Notice(0, 1, FOREVER, (PartitionNotice("runner", 0, 0, touched),)))
    rows: int = windows.settle(heard, influx=False).rows
    return rows


@dataclass
class ReadWindows(beam.PTransform):
    """Reads windows as they stand in the lake now, one of each at a time.

    In: what :class:`CloseWindows` gives, and it may give it again.  Out: batches of ``WINDOWS``, the highest revision
    of each row.  Since it is the present state that is read, and by one worker for a window, what is sent from it last
    is what stands in the lake, in whatever order revisions get here.

    Args:
        lake: The lake.
    """

    lake: LakeSpec

    def expand(self, windows: beam.PCollection) -> beam.PCollection:
        """The batches."""
        return windows | "ReadWindow" >> beam.ParDo(_ReadWindow(self.lake)).with_output_types(pa.RecordBatch)


class _ReadWindow(beam.DoFn):
    # Never written: a runner calls a DoFn that has state for one element of a key at a time.
    _ALONE = beam.DoFn.StateParam(ReadModifyWriteStateSpec("alone-1", VarIntCoder()))

    def __init__(self, lake: LakeSpec) -> None:
        super().__init__()
        self._lake = lake

    def process(self, element: tuple[Window, int], alone: Any = _ALONE) -> Iterator[Any]:
        (seconds, start), _ = element
        moment = _EPOCH + timedelta(microseconds=start)
        yield from Lake(self._lake.path).windows(seconds, moment, moment + timedelta(seconds=seconds)).to_batches()


def is_there(file: FileTuple, lake: LakeSpec) -> bool:
    """Whether a file of the lake has not been taken away since."""
    return storage.exists(storage.locate(lake.path), file[1])
