"""What InfluxDB has missed, from the lake: files that readers and windows' stages say it does not have yet.

Notices are level-triggered, and what was delivered stands in a receipt.  So a stage behind this module may lose, repeat
or overtake elements, and may give up at any time: the next notice says again what is outstanding.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import apache_beam as beam
import msgspec
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from telebeam.io import storage
from telebeam.io.influxdb.live import before_readings, points_waiting
from telebeam.io.influxdb.refill import STOP_SECONDS, Refill, Stop
from telebeam.io.influxdb.spec import Dataset, InfluxSpec
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.secrets import resolve_secret
from telebeam.io.streams import receipts
from telebeam.io.streams.job import is_draining
from telebeam.io.streams.notices import FOREVER, Heard, Notice, OwedWindows, WindowsOwed
from telebeam.io.streams.receipts import InfluxReceipt
from telebeam.transforms.errors import JobError
from telebeam.transforms.metrics import measured

_LOG = logging.getLogger(__name__)

STRETCH_SECONDS = 20.0
"""How long one element may be worked on: what is left then is the next one's."""
SAVE_SECONDS = 1.0
"""How much work is done once more after a kill."""
LOG_SECONDS = 60.0
LIVE_WAITING = 20_000
"""Points on their way by the direct path, from which on what was missed waits: somebody looks at what is new."""
LIVE_FIRST_SECONDS = 1.0
"""How long it waits at most before each request, so that it gets through where the server is never at leisure."""
_LOOK_SECONDS = 0.2
_LEISURE_SECONDS = 0.05
_MANY: frozenset[Dataset] = frozenset({"readings", "scores"})
"""What comes by the thousand each second."""
_NOTHING = -1


class Delivered(NamedTuple):
    """What a stretch of work did."""

    points: int = 0
    refused: int = 0


class _Due(NamedTuple):
    dataset: Dataset
    queue: str | int
    """The partition's name, or the windows' length."""
    end: int
    """What the receipt says when it is delivered."""
    paths: tuple[str, ...]


def _never() -> bool:
    return False


class Deliveries:
    """Delivers what is owed to InfluxDB, in order within each partition and each length of windows.

    Windows and alerts come first, for they are few.  What there is much of, readings and scores, takes turns, a file
    each, and lets the readings pass that are on their way by the direct path.  Safe under threads: one works, the
    others' files are its next.

    Args:
        lake: The lake.
        pipeline: Whose receipt.
        spec: The bucket; only what it is to have (``write``) is delivered.
        root: Where the lake is, if not where its path leads.
        refill: Writes the files, if not one that is made here.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
        waiting: How many points are on their way by the direct path, if not those of this process's readers.
    """

    def __init__(
        self,
        lake: LakeSpec,
        pipeline: str,
        spec: InfluxSpec,
        root: storage.Location | None = None,
        *,
        refill: Refill | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        waiting: Callable[[], int] | None = None,
    ) -> None:
        self._root = root or storage.locate(lake.path)
        self._path = receipts.influxdb_path(pipeline)
        self._spec = spec
        self._refill = refill or Refill(lake, pipeline, spec, self._root)
        self._clock = clock
        self._sleep = sleep
        self._waiting = waiting or partial(points_waiting, spec)
        self._heard = Heard()
        self._windows: dict[int, tuple[OwedWindows, ...]] = {}
        self._receipt = InfluxReceipt()
        self._unsaved = False
        self._saved_at = 0.0
        self._last: Dataset = "readings"
        self._served: Counter[str | int] = Counter()
        self._said: dict[str, float] = {}
        self._turn = threading.Condition()
        self._busy = False

    def deliver(self, told: Notice | WindowsOwed, stop: Stop = _never) -> Delivered:
        """Hears what is owed and delivers it and all else that is outstanding, for some twenty seconds at most.

        A server that can't be written to is waited for, for the first twenty seconds that it is away; after that each
        call tries it once if a try is due.  A lake that can't be read or written leaves its files outstanding as well.

        Args:
            told: What a reader or a windows' stage says.
            stop: Whether the job is to end: then nothing is waited for, and work goes on for two seconds at most.
        """
        with self._turn:
            self._hear(told)
            while self._busy:
                if not self._due_of(told) or stop():
                    return Delivered()
                self._turn.wait(_LOOK_SECONDS)
            if self._next(frozenset()) is None and not self._unsaved:
                return Delivered()
            self._busy = True
        try:
            return self._work(stop)
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def _hear(self, told: Notice | WindowsOwed) -> None:
        if isinstance(told, WindowsOwed):
            self._windows[told.seconds] = told.owed
            return
        self._heard.hear(told)
        # Nobody tells again where all readers have finished: the run ends here.
        finished = all(notice.clock >= FOREVER for notice in self._heard.notices.values())
        self._refill.linger_seconds = self._spec.max_retry_time.total_seconds() if finished else 0.0

    def _work(self, stop: Stop) -> Delivered:
        before = self._refill.points, self._refill.refused
        begun = self._clock()
        self._load()
        blocked: set[str | int] = set()
        with self._refill:
            while self._clock() - begun < (STOP_SECONDS if stop() else STRETCH_SECONDS):
                with self._turn:
                    due = self._next(blocked)
                if due is None:
                    break
                gives_way = partial(self._gives_way, due, blocked, stop)
                try:
                    with nullcontext() if due.dataset in _MANY else before_readings(self._spec):
                        done = all(self._refill.send(path, due.dataset, stop, gives_way) for path in due.paths)
                    if not done:
                        if self._is_second(due, blocked):
                            continue
                        break
                except JobError as error:
                    self._say(str(due.queue), error)
                    blocked.add(due.queue)
                    continue
                self._receive(due)
        self._save()
        return Delivered(self._refill.points - before[0], self._refill.refused - before[1])

    def _next(self, blocked: set[str | int] | frozenset[str | int]) -> _Due | None:
        """What to deliver now: of the dataset whose turn it is, the queue that was served least."""
        due = [each for each in self._due() if each.queue not in blocked]
        return min(due, key=self._place, default=None)

    def _place(self, due: _Due) -> tuple[bool, bool, int]:
        return due.dataset in _MANY, due.dataset == self._last, self._served[due.queue]

    def _gives_way(self, due: _Due, blocked: set[str | int], stop: Stop) -> bool:
        """Lets the direct path pass, and says whether something else is to be delivered before this."""
        until = self._clock() + LIVE_FIRST_SECONDS
        while due.dataset in _MANY and self._waiting() > LIVE_WAITING and self._clock() < until and not stop():
            if self._is_second(due, blocked):
                return True
            self._sleep(_LEISURE_SECONDS)
        return self._is_second(due, blocked)

    def _is_second(self, due: _Due, blocked: set[str | int]) -> bool:
        with self._turn:
            others = (each for each in self._due() if each.queue not in blocked)
            return due.dataset in _MANY and any(each.dataset not in _MANY for each in others)

    def _due(self) -> list[_Due]:
        """The first file that is outstanding of each queue."""
        told: list[Notice | WindowsOwed] = list(self._heard.notices.values())
        told += [WindowsOwed(seconds, owed) for seconds, owed in self._windows.items()]
        return [due for each in told for due in self._due_of(each)]

    def _due_of(self, told: Notice | WindowsOwed) -> list[_Due]:
        due: list[_Due] = []
        if isinstance(told, WindowsOwed):
            done = self._receipt.windows.get(told.seconds, _NOTHING)
            place = bisect_right(told.owed, done, key=attrgetter("sequence"))
            for file in told.owed[place : place + 1]:
                dataset: Any = file.path.partition("/")[0]  # scores and alerts come by the same way as windows
                if dataset in self._spec.write:
                    due.append(_Due(dataset, told.seconds, file.sequence, (file.path,)))
            return due
        for part in told.partitions if "readings" in self._spec.write else ():
            done = self._receipt.readings.get(part.name, _NOTHING)
            place = bisect_right(part.owed, done, key=attrgetter("end"))
            if place < len(part.owed):
                due.append(_Due("readings", part.name, part.owed[place].end, part.owed[place].paths))
        return due

    def _receive(self, due: _Due) -> None:
        now = InfluxReceipt(readings={str(due.queue): due.end})
        if due.dataset != "readings":
            now = InfluxReceipt(windows={int(due.queue): due.end})
        with self._turn:
            self._receipt = _merged(self._receipt, now)
            self._last = due.dataset
            self._served[due.queue] += 1
            self._unsaved = True
            self._turn.notify_all()
        if self._clock() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _load(self) -> None:
        """Takes over what another worker has delivered."""
        try:
            found = receipts.load(self._root, self._path, InfluxReceipt)
        except JobError as error:
            # What it says is done once more; saving mends it.
            self._say("receipt", error)
            return
        with self._turn:
            self._receipt = _merged(self._receipt, found)

    def _save(self) -> None:
        self._saved_at = self._clock()
        if not self._unsaved:
            return
        try:
            receipts.save(self._root, self._path, self._receipt)
        except JobError as error:
            self._say("receipt", error)
        else:
            self._unsaved = False

    def _say(self, about: str, error: JobError) -> None:
        """Warns, at most once a minute about the same."""
        now = self._clock()
        if now - self._said.get(about, -LOG_SECONDS) >= LOG_SECONDS:
            self._said[about] = now
            hint = f"; {error.hint}" if error.hint else ""
            _LOG.warning("InfluxDB misses something for now: %s%s", error.message, hint)


def _merged(one: InfluxReceipt, other: InfluxReceipt) -> InfluxReceipt:
    """What either of them says is delivered."""
    return InfluxReceipt(_later(one.readings, other.readings), _later(one.windows, other.windows))


def _later(one: dict[Any, int], other: dict[Any, int]) -> dict[Any, int]:
    return {key: max(one.get(key, _NOTHING), other.get(key, _NOTHING)) for key in {**one, **other}}


_LOCK = threading.Lock()
_SHARED: dict[tuple[str, str, str], Deliveries] = {}


def deliveries(lake: LakeSpec, pipeline: str, spec: InfluxSpec) -> Deliveries:
    """The one that all stages of this process share; it holds no connection while it has nothing to do."""
    key = (lake.model_dump_json(), pipeline, spec.model_dump_json())
    with _LOCK:
        if key not in _SHARED:
            _SHARED[key] = Deliveries(lake, pipeline, spec)
        return _SHARED[key]


@dataclass
class DeliverToInfluxDB(beam.PTransform):
    """Writes to InfluxDB the files of the lake that it is said to miss.

    In: ``readings``, bytes of :class:`~.notices.Notice`, and ``windows``, bytes of :class:`~.receipts.WindowsOwed`,
    bounded or unbounded; either may be absent.  Out: nothing, under the same names.

    Delivery: at least once, and a point written twice is one point.  A server that is away, slow or refuses the login
    is waited for without end, though a bundle lasts some twenty seconds at most; points that it refuses become rejects
    of the lake.  The stage keeps no state that matters: what is done stands in the lake.

    Metrics: ``points``, ``refused_points``.

    Args:
        lake: The lake.
        job: The pipeline's name.
        spec: The bucket; its secret is resolved on the worker.
        run: The run whose end is looked for while waiting; none where it is empty.
    """

    lake: LakeSpec
    job: str  # a transform's attribute ``pipeline`` is Beam's
    spec: InfluxSpec
    run: str = ""

    def expand(self, told: dict[str, Any]) -> dict[str, Any]:
        """Two stages, for a file of readings must not keep windows waiting; in one process they take turns."""
        return {name: self._stage(name, elements) for name, elements in told.items()}

    def _stage(self, name: str, elements: Any) -> Any:
        deliver = beam.ParDo(_Deliver(self, Notice if name == "readings" else WindowsOwed))
        return (
            elements
            | f"Key_{name}" >> beam.Map(_keyed).with_output_types(tuple[str, bytes])
            | f"Deliver_{name}" >> deliver.with_output_types(bytes)
        )


def _keyed(element: bytes) -> tuple[str, bytes]:
    return "", element


# Never read: a runner gives a key that has state to one worker at a time.
_SERIAL = beam.DoFn.StateParam(ReadModifyWriteStateSpec("serial_1", beam.coders.BytesCoder()))


class _Deliver(beam.DoFn):
    """Hands elements to :class:`Deliveries`."""

    _deliveries: Deliveries

    def __init__(self, sink: DeliverToInfluxDB, kind: type[Notice | WindowsOwed]) -> None:
        super().__init__()
        self._lake, self._pipeline, self._spec, self._run = sink.lake, sink.job, sink.spec, sink.run
        self._kind = kind

    def setup(self) -> None:
        resolve_secret(self._spec.token)  # a reference that names nothing fails the job at its start
        self._deliveries = deliveries(self._lake, self._pipeline, self._spec)
        self._stop: Stop = _never
        if self._run:
            self._stop = partial(is_draining, storage.locate(self._lake.path), self._pipeline, self._run)

    def process(self, element: tuple[str, bytes], serial: Any = _SERIAL) -> None:
        del serial
        done = self._deliveries.deliver(msgspec.json.decode(element[1], type=self._kind), self._stop)
        measured("points", done.points)
        measured("refused_points", done.refused)
