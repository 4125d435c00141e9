"""The stage that keeps the windows of a streaming job: notices in, what InfluxDB is to be sent out."""

from __future__ import annotations

import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
import pyarrow as pa
from apache_beam.coders import BytesCoder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from msgspec.structs import replace

from telebeam.io import storage
from telebeam.io.lake.live_panes import LivePanes, live_panes
from telebeam.io.lake.live_windows import LiveWindows, Settled
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.notices import Heard, Notice, WindowsOwed
from telebeam.io.streams.shared import Shared, told, with_notice
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.metrics import measured

_PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds between tries while the lake does not take the windows: longer, and notices would pile up behind."""
_SECONDS_BETWEEN_WARNINGS = 60.0
_REST = 4.0
"""How many times as long as they took early windows are left alone: each time they are read from their beginning."""

_logger = logging.getLogger(__name__)


@dataclass
class KeepWindows(beam.PTransform):
    """Files the windows of a streaming job when they have closed, and again where readings came to them since.

    In: encoded :class:`.notices.Notice`, unbounded or not, in any order and any number of times.  Out: an encoded
    :class:`.notices.WindowsOwed` for each notice and length of which InfluxDB lacks files.  One worker at a time works
    on a length; its state holds what was heard and may be lost, for what is true stands in the lake.

    Late data: readings flagged as late are in no window.  Those that come to a closed window in time make its next
    revision.  A lake that is away or full is waited for: what was not filed is filed after a later notice.

    Delivery: each closed window equals what the readings of the lake that were not late give, exactly once a revision,
    whatever is killed.

    Metrics: ``windows``.

    Args:
        lake: Where the readings are and the windows go.
        pipeline_name: Whose.
        windows: Their lengths.
        influx: Whether InfluxDB is to have them.
        run: The run, whose readers in this process are heard sooner than by the runner.
        early: Takes batches of the windows that are still open, for those with ``early`` set.  It writes them in the
            same bundle: shuffled, they might overtake the closed windows that come after them.
    """

    lake: LakeSpec
    pipeline_name: str  # Beam has a use of its own for `pipeline`
    windows: tuple[WindowSpec, ...]
    influx: bool
    early: beam.PTransform | None = None
    run: str = ""

    def expand(self, notices: beam.PCollection) -> beam.PCollection:
        """What is owed to InfluxDB."""
        keep = _Keep(
            self.lake, self.pipeline_name, self.windows, self.run, influx=self.influx, early=self.early is not None
        )
        kept = (
            notices
            | "ByLength" >> beam.FlatMap(_by_length, self.windows).with_output_types(tuple[int, bytes])
            | "Keep" >> beam.ParDo(keep).with_outputs(_EARLY, main=_OWED)
        )
        if self.early is not None:
            _ = _typed(kept[_EARLY], pa.RecordBatch) | "Early" >> self.early
        return _typed(kept[_OWED], bytes)


_OWED, _EARLY = "owed", "early"
_HEARD = beam.DoFn.StateParam(ReadModifyWriteStateSpec("heard-1", BytesCoder()))


def _typed(collection: beam.PCollection, kind: Any) -> beam.PCollection:
    collection.element_type = kind
    return collection


def _by_length(data: bytes, windows: tuple[WindowSpec, ...]) -> Iterator[tuple[int, bytes]]:
    """A notice for each length, with what concerns it alone."""
    notice = Notice.decode(data)
    for seconds in (window.seconds for window in windows):
        yield seconds, _of_length(notice, seconds).encode()


def _of_length(notice: Notice, seconds: int) -> Notice:
    parts = tuple(
        replace(part, touched=_only(part.touched, seconds), offsets=_only(part.offsets, seconds), owed=())
        for part in notice.partitions
    )
    return replace(notice, partitions=parts)


def _only(found: dict[int, Any], seconds: int) -> dict[int, Any]:
    return {seconds: found[seconds]} if seconds in found else {}


class _Keep(beam.DoFn):
    """Holds what was heard of each reader."""

    def __init__(
        self, lake: LakeSpec, pipeline: str, windows: tuple[WindowSpec, ...], run: str, *, influx: bool, early: bool
    ) -> None:
        super().__init__()
        self._lake = lake
        self._pipeline = pipeline
        self._run = run
        self._windows = {window.seconds: window for window in windows}
        self._influx = influx
        self._early = early
        self._stage = uuid.uuid4().hex  # travels along: all instances of this stage have it, those of other runs do not

    def setup(self) -> None:
        self._keepers: dict[int, Keeper] = {}

    def process(self, element: tuple[int, bytes], state: Any = _HEARD) -> Iterator[Any]:
        seconds, data = element
        keeper = self._keeper(seconds)
        with _shared(self._stage, seconds) as shared:
            others = (_of_length(notice, seconds) for notice in told(self._run))
            heard = shared.with_all(with_notice(state.read(), data), others)
            state.write(msgspec.json.encode(list(heard.notices.values())))
            early = keeper.peek(heard) if self._early else []
            settled = keeper.settle(heard)
        yield from (beam.pvalue.TaggedOutput(_EARLY, batch) for batch in early)
        if settled is not None:
            measured("windows", settled.rows)
            if settled.owed:
                yield WindowsOwed(seconds, settled.owed).encode()

    def _keeper(self, seconds: int) -> Keeper:
        if seconds not in self._keepers:
            panes = _panes_of(self._stage, self._lake, self._windows.values())
            live = LiveWindows(self._lake, self._pipeline, self._windows[seconds], panes=panes)
            self._keepers[seconds] = Keeper(live, influx=self._influx, what=f"windows of {seconds} s")
        return self._keepers[seconds]


_GUARD = threading.Lock()
_SHARED: dict[tuple[str, int], Shared] = {}


def _shared(stage: str, seconds: int) -> Shared:
    with _GUARD:
        return _SHARED.setdefault((stage, seconds), Shared())


_PANES: weakref.WeakValueDictionary[str, LivePanes] = weakref.WeakValueDictionary()


def _panes_of(stage: str, lake: LakeSpec, windows: Iterable[WindowSpec]) -> LivePanes:
    """The panes of a stage, for all lengths that are kept in this process."""
    with _GUARD:
        return _PANES.setdefault(stage, live_panes(storage.locate(lake.path), windows))


class Keeper:
    """Windows that are settled with patience: a lake that is away for a while ends no job.

    Args:
        live: The windows of a length.
        influx: Whether InfluxDB is to have them.
        what: Names them in warnings.
        clock: Seconds; does not jump.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        live: LiveWindows,
        *,
        influx: bool,
        what: str = "windows",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._live = live
        self._influx = influx
        self._what = what
        self._clock = clock
        self._sleep = sleep
        self._is_away = False
        self._warned = float("-inf")
        self._peek_from = float("-inf")

    def settle(self, heard: Heard) -> Settled | None:
        """As :meth:`.LiveWindows.settle`; None where the lake fails for some seconds: a later notice tries again."""
        # A lake that was away the last time is tried once: each notice would wait behind the one before.
        for pause in (None,) if self._is_away else (*_PAUSES, None):
            try:
                settled = self._live.settle(heard, self._influx)
            except (SinkError, SourceError) as error:
                self._warn(error)
                if pause is not None:
                    self._sleep(pause)
            else:
                if self._is_away:
                    _logger.warning("the %s are filed again", self._what)
                self._is_away = False
                return settled
        self._is_away = True
        return None

    def peek(self, heard: Heard) -> list[pa.RecordBatch]:
        """As :meth:`.LiveWindows.peek`; nothing where the lake fails, or soon after it has taken long."""
        begin = self._clock()
        if begin < self._peek_from:
            return []
        try:
            return list(self._live.peek(heard, begin))
        except (SinkError, SourceError) as error:
            self._warn(error)
            return []
        finally:
            self._peek_from = self._clock() + _REST * (self._clock() - begin)

    def _warn(self, error: Exception) -> None:
        if self._clock() - self._warned >= _SECONDS_BETWEEN_WARNINGS:
            self._warned = self._clock()
            _logger.warning("the %s wait for the lake: %s", self._what, error)
