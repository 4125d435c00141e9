"""One sink on its way: what waits for it, the thread that sends it, and the log of what was sent."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from telebeam.io.alerts.messages import Key, Kind, keys_of, wanted
from telebeam.io.alerts.sender import Failed, Sender, Sent
from telebeam.io.alerts.sentlog import SentLog
from telebeam.io.alerts.spec import SinkSpec
from telebeam.io.patience import Patience, Warnings
from telebeam.transforms.errors import SinkError, TelebeamError, UnreachableError
from telebeam.transforms.schema import conform

_LOG = logging.getLogger(__name__)

MAX_WAITING = 20_000
"""Messages of one sink that wait in memory: some 20 MB."""
NOTE_SECONDS = 10.0
"""So often positions in a topic are made durable."""
CLOSE_SECONDS = 2.0
"""How long what is on its way may still take once the job is to end."""
_KEPT_FAILURES = 1_000

MakeSender = Callable[[threading.Event], Sender]
"""Makes a sender whose pauses end when the event is set."""
Pair = tuple[str, str]
"""Id and state."""


class Counts(NamedTuple):
    """What one sink has done since it began."""

    waiting: int
    """Messages in memory that are neither delivered nor given up."""
    delivered: int
    """Messages that the target has."""
    failed: int
    """Messages that it refused for good."""
    too_old: int
    """Messages that were not sent, because the log does not go back so far."""
    trouble: str
    """Why nothing is delivered at this moment; empty where all is well."""


@dataclass
class _Waiting:
    rows: pa.RecordBatch
    keys: list[Key]


class Outlet:
    """Sends what is offered to one sink from a thread of its own, in the order in which it was offered.

    What the log has is not sent again.  What the target does not take now waits, and after a pause it is tried again:
    one second, two, four … thirty, with jitter, or what the target asks for.

    Args:
        spec: The sink.
        kind: What is offered.
        log: What was sent; this outlet adds to it.
        make: Makes the sender, in the thread, and again after a failure of making it.
        note: Makes positions in a topic durable.
        max_waiting: Messages held at most.
        clock: Monotonic seconds, of the pauses.
        jitter: Draws from [0, 1), for the pauses.
    """

    def __init__(
        self,
        spec: SinkSpec,
        kind: Kind,
        log: SentLog,
        make: MakeSender,
        note: Callable[[dict[str, int]], None] = lambda positions: None,
        *,
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = spec.name
        self._spec, self._kind, self._log, self._make, self._note = spec, kind, log, make, note
        self._max_waiting, self._clock = max_waiting, clock
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._queue: deque[_Waiting] = deque()
        self._waiting: set[Pair] = set()
        self._unlogged: dict[Pair, Key | Failed] = {}
        self._ended = False
        self._patience = Patience(clock=clock, jitter=jitter)
        self._warnings = Warnings(_LOG, clock)
        self._sender: Sender | None = None
        self._positions: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._note_at = clock()
        self._delivered = self._failed = self._too_old = 0
        self._trouble = ""
        self.failures: deque[Failed] = deque(maxlen=_KEPT_FAILURES)
        """The last messages that the target refused for good, with its reasons."""
        self._thread = threading.Thread(target=self._run, name=f"telebeam-{self.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Outlet({self.name}, {len(self._waiting)} waiting)"

    def offer(self, rows: pa.RecordBatch) -> bool:
        """Takes what is not known yet, as far as there is room; never waits.

        Returns:
            Whether nothing has to be offered again.

        Raises:
            pyarrow.ArrowInvalid: The rows are not of the kind.
        """
        rows = wanted(self._spec, conform(rows, self._kind.schema))
        keys = keys_of(rows, self._kind)
        with self._changed:
            if self._ended or self._stopping.is_set():
                return all(key in self._log for key in keys)
            new: dict[Pair, int] = {}
            for place, key in enumerate(keys):
                pair = (key.id, key.state)
                if pair not in self._waiting and pair not in self._unlogged and key not in self._log:
                    new.setdefault(pair, place)
            places = list(new.values())[: self._max_waiting - len(self._waiting)]
            if places:
                self._queue.append(_Waiting(rows.take(pa.array(places)), [keys[place] for place in places]))
                self._waiting.update((keys[place].id, keys[place].state) for place in places)
                self._changed.notify_all()
            return len(places) == len(new)

    def settled(self, rows: pa.RecordBatch) -> bool:
        """Whether all of the rows that this sink is to get are delivered, or given up, and the log has them."""
        keys = keys_of(wanted(self._spec, rows), self._kind)
        with self._changed:
            return not any((key.id, key.state) in self._unlogged or key not in self._log for key in keys)

    def counts(self) -> Counts:
        """What it has done so far."""
        with self._changed:
            return Counts(len(self._waiting), self._delivered, self._failed, self._too_old, self._trouble)

    def flush(self, seconds: float) -> bool:
        """Waits until nothing waits any more; returns whether that is so."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not (self._waiting or self._unlogged), seconds)
            return not (self._waiting or self._unlogged)

    def stop(self) -> None:
        """Begins to end; what waits stays owed."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Ends the thread; what is on its way may take so many seconds more.  A second time does nothing."""
        self.stop()
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while self._due():
                try:
                    self._step()
                except TelebeamError as error:
                    self._trouble_with(error, 0.0)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            if self._sender is not None:
                self._sender.close()
            if self._positions != self._noted and not self._unlogged:
                with contextlib.suppress(SinkError):  # without it more of the topic is read the next time
                    self._note(self._positions)

    def _due(self) -> bool:
        """Waits for something to do and for the end of a pause; false when the outlet is to end."""
        with self._changed:
            while not self._stopping.is_set():
                left = self._patience.left()
                if (self._queue or self._unlogged) and not left:
                    return True
                self._changed.wait(left if self._queue or self._unlogged else None)
            return False

    def _step(self) -> None:
        self._log.refresh()
        if self._unlogged:
            self._enter()
        if self._sender is None:
            self._sender = self._make(self._stopping)
        head = self._head(self._sender.at_once)
        if head is None:
            self._all_is_well()
            return
        sent = self._sender.send(head)
        if sent.trouble is None and not sent.delivered and not sent.failed:
            sent = Sent(trouble=SinkError(f"{self.name} says nothing of what it was sent"))
        self._account(sent)
        if sent.trouble is not None:
            self._trouble_with(sent.trouble, sent.pause_seconds)
        else:
            self._all_is_well()

    def _head(self, most: int) -> pa.RecordBatch | None:
        """The first rows that wait and that the log does not have; those before them that it has wait no more."""
        parts: list[pa.RecordBatch] = []
        known: list[Key] = []
        with self._changed:
            for waiting in self._queue:
                room = most - sum(part.num_rows for part in parts)
                if not room:
                    break
                places: list[int] = []
                for place, key in enumerate(waiting.keys):
                    if key in self._log:
                        known.append(key)
                    elif len(places) < room:
                        places.append(place)
                    else:
                        break
                parts.append(waiting.rows.take(pa.array(places, pa.int64())))
            old = sum(self._log.is_too_old(key) for key in known)
            self._too_old += old
            self._drop(known)
        if old:
            self._warnings.say(
                "old",
                f"{self.name}: {old} {self._kind.name} are not sent: they lie so far back that nobody can tell "
                "whether they were",
            )
        head = pa.concat_batches(parts) if parts else None
        return head if head is not None and head.num_rows else None

    def _account(self, sent: Sent) -> None:
        """Takes what was sent from the queue, and enters it into the log."""
        with self._changed:
            self._unlogged.update(((key.id, key.state), key) for key in sent.delivered)
            self._unlogged.update(((each.key.id, each.key.state), each) for each in sent.failed)
            self._delivered += len(sent.delivered)
            self._failed += len(sent.failed)
            self.failures.extend(sent.failed)
            self._drop([*sent.delivered, *(each.key for each in sent.failed)])
        for each in sent.failed[:1]:
            words = f"{len(sent.failed)} of the {self._kind.name} will never be taken, such as {each.key.id}"
            self._warnings.say("failed", f"{self.name}: {words}: {each.reason}")
        if sent.positions:
            self._positions = sent.positions
        self._enter()

    def _enter(self) -> None:
        """Makes durable what became of messages; until that is done, positions stay where they were."""
        with self._changed:
            entries = list(self._unlogged.values())
        if entries:
            self._log.add(
                [each for each in entries if isinstance(each, Key)],
                [each for each in entries if isinstance(each, Failed)],
            )
        with self._changed:
            self._unlogged.clear()
            self._changed.notify_all()
        if self._positions != self._noted and self._clock() - self._note_at >= NOTE_SECONDS:
            self._note(self._positions)
            self._noted, self._note_at = self._positions, self._clock()

    def _drop(self, keys: Iterable[Key]) -> None:
        gone = {(key.id, key.state) for key in keys} & self._waiting
        if not gone:
            return
        looked_at: list[_Waiting] = []
        open_ = set(gone)
        # What is gone stands at the head, nearly always: the rest is not looked through.
        while open_ and self._queue:
            waiting = self._queue.popleft()
            pairs = [(key.id, key.state) for key in waiting.keys]
            kept = [place for place, pair in enumerate(pairs) if pair not in open_]
            open_ -= set(pairs)
            if kept:
                rows, keys = waiting.rows.take(pa.array(kept)), [waiting.keys[place] for place in kept]
                looked_at.append(_Waiting(rows, keys))
        self._queue.extendleft(reversed(looked_at))
        self._waiting -= gone
        self._changed.notify_all()

    def _trouble_with(self, error: TelebeamError, asked_seconds: float) -> None:
        with self._changed:
            self._patience.failed(asked_seconds)
            self._trouble = error.message
            waiting = len(self._waiting)
        # The hint of a target that is away is for who runs a command; that of a wrong setting is for all.
        hint = f"; {error.hint}" if error.hint and not isinstance(error, UnreachableError) else ""
        self._warnings.say("trouble", f"{error.message}{hint}: {waiting} {self._kind.name} wait for {self.name}")

    def _all_is_well(self) -> None:
        with self._changed:
            was_away, self._trouble = self._patience.away, ""
            self._patience.worked()
        if was_away:
            _LOG.warning("%s is back: it gets what it has missed", self.name)
