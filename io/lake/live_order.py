"""What a live job makes in order: each step when the clock has passed it, and once more when it has closed for good.

Nothing is kept that is not in the lake: whoever is killed goes on from what was last written down, and files the same
steps again under the same names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from telebeam.io import storage
from telebeam.io.lake.in_order import LAST_N, OrderedFiles, file_made, past_at
from telebeam.io.lake.layout import HOUR, hour_of, seconds_of
from telebeam.io.lake.past import Made, Past
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.steps import PIECE_ROWS, STEP, last_instant, needed_by, silences, step_of, steps_of, stretches
from telebeam.io.lake.writer import LakeFile
from telebeam.io.streams import receipts
from telebeam.io.streams.notices import FOREVER, IN_ORDER, NEVER, Heard, OwedWindows
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt
from telebeam.transforms.aggregation.partials import times_of
from telebeam.transforms.lateness import Lateness
from telebeam.transforms.order import OrderSpec

MOST_BEHIND = 10 * 60 * 1_000_000
"""How long a step waits for readings that its windows still take, in µs: long ones take them for days."""
SAVE_EVERY = 5 * 60 * 1_000_000
"""Event time after which the past is written down, in µs: as much is gone through again after a kill."""


class Advanced(NamedTuple):
    """What a call has made."""

    alerts: tuple[pa.RecordBatch, ...] = ()
    commands: tuple[pa.RecordBatch, ...] = ()
    scores: int = 0
    """Rows that were filed."""
    last_n: int = 0
    """The same of what the last readings say."""
    owed: tuple[OwedWindows, ...] = ()
    """All files that InfluxDB does not have yet, in their order."""
    tagged: tuple[dict[str, pa.RecordBatch], ...] = ()
    """Tag → the readings that a rule gave it, as they were filed."""


class LiveOrder:
    """Scores, alerts and commands of a live job; to be called by one worker at a time.

    Args:
        lake: Whose readings they are of, and where they are filed.
        order: What is done.
        lateness: Which readings may come behind the clock and count.
        influx: The datasets that InfluxDB is to have.
        root: Where the lake is, if not where the spec's path leads.
        piece_rows: Readings that are held at a time, about.
    """

    def __init__(
        self, lake: LakeSpec, order: OrderSpec, lateness: Lateness, influx: Container[str] = (),
        root: storage.Location | None = None, piece_rows: int = PIECE_ROWS,
    ) -> None:  # fmt: skip
        self._lake = lake
        self._order = order
        self._lateness = lateness
        self._influx = influx
        self._receipt = WindowReceipt()
        """As it is to be written down: what is owed beyond that is made again after a kill."""
        self._root = root or storage.locate(lake.path)
        self._piece_rows = piece_rows
        self._files = self._new_files()
        self._final: Past | None = None
        """At an edge behind which nothing is expected any more."""
        self._ahead: Past | None = None
        """At the clock; None where nothing was scored yet."""
        self._saved = NEVER

    def _new_files(self) -> OrderedFiles:
        return OrderedFiles(self._lake, self._root, self._order.pipeline)

    def settle(self, heard: Heard) -> Advanced:
        """Scores what the clock has passed since the last call; may be killed anywhere and called again.

        Args:
            heard: The readers' notices; as long as one is missing nothing is done.

        Raises:
            SourceError: A file of the lake is damaged, or the lake is away.
            SinkError: The lake does not take the files.
        """
        if heard.clock == NEVER:
            return Advanced()
        try:
            return self._settle(heard)
        except BaseException:
            # Half a stretch may have been scored: what is true stands in the lake.
            self._final = self._ahead = None
            # What was filed before the failure is filed again, so that it is owed, too.
            self._files = self._new_files()
            raise

    def _settle(self, heard: Heard) -> Advanced:
        final = self._begun()
        if final is None:
            return Advanced()
        closed, clock = self._edges(heard.clock, final.edge)
        made = self._run(final, closed) if closed > final.edge else []
        made += self._run_ahead(final, clock) if clock > closed else []
        files = [file for files, _ in made for file in files]
        self._owe(files)
        self._files.forget(final.edge)
        rows = Counter[str]()
        for file in files:
            rows[file.dataset] += file.rows
        return Advanced(
            tuple(found.alerts for _, found in made if found.alerts.num_rows),
            tuple(found.commands for _, found in made if found.commands.num_rows),
            rows["scores"],
            rows[LAST_N],
            self._receipt.owed,
            tuple(found.tagged for _, found in made if any(rows.num_rows for rows in found.tagged.values())),
        )

    def _owe(self, files: Iterable[LakeFile]) -> None:
        """Puts files behind what InfluxDB is to have, and takes out what it has by now."""
        owed = {file.path: file for file in self._receipt.owed}
        sequence = self._receipt.sequence
        for file in files:
            if file.dataset in self._influx:
                sequence += 1
                owed.pop(file.path, None)
                owed[file.path] = OwedWindows(sequence, file.path)
        done = self._delivered() if owed else 0
        left = tuple(file for file in owed.values() if file.sequence > done)
        self._receipt = replace(self._receipt, sequence=sequence, owed=left)

    def _delivered(self) -> int:
        path = receipts.influxdb_path(self._order.pipeline)
        return receipts.load(self._root, path, InfluxReceipt).windows.get(IN_ORDER, 0)

    def _run_ahead(self, final: Past, clock: int) -> list[tuple[list[LakeFile], Made]]:
        """Scores up to the clock what may still change: from where it was left, or from what is final."""
        if self._ahead is None or self._ahead.edge < final.edge:
            self._ahead = final.copy()
        return self._run(self._ahead, clock) if clock > self._ahead.edge else []

    def _edges(self, clock: int, since: int) -> tuple[int, int]:
        """(behind what nothing is expected, up to where to score): the last edges of steps there.

        A read that is through is final to the end of the step of its last reading.
        """
        if clock >= FOREVER:
            last = self._last_reading(since)
            end = since if last is None else max(since, step_of(last) + STEP)
            return end, end
        open_since = [ends.open_since(clock) for ends in self._lateness.windows]
        oldest = clock - MOST_BEHIND - max((ends.allowed_lateness for ends in self._lateness.windows), default=0)
        return max(since, step_of(max(oldest, min(open_since, default=oldest)))), max(since, step_of(clock))

    def _last_reading(self, since: int) -> int | None:
        hours = storage.files_below(self._root, "readings")
        ends = [(seconds_of(path) or hour_of(path))[1] for path in hours]
        return last_instant(self._root, (since, max(ends) + 1)) if ends and max(ends) >= since else None

    def _begun(self) -> Past | None:
        """Where to go on: at what was written down, else at the first hour in which this stream has readings."""
        if self._final is None:
            receipt = receipts.load(self._root, receipts.order_path(self._order.pipeline), WindowReceipt)
            # What was delivered of a run that was killed may have higher numbers than were written down.
            self._receipt = replace(receipt, sequence=max(receipt.sequence, self._delivered()))
            until = receipt.until
            begin = until if until != NEVER else self._first_hour()
            if begin is None:
                return None
            self._final = past_at(self._root, self._order, begin, late=False, piece_rows=self._piece_rows)
            self._saved = self._final.edge
        return self._final

    def _first_hour(self) -> int | None:
        name = f"/{self._order.pipeline}-"
        firsts = [
            seconds[0]
            for path in storage.files_below(self._root, "readings")
            if name in path and (seconds := seconds_of(path)) is not None
        ]
        return min(firsts) // HOUR * HOUR if firsts else None

    def _run(self, past: Past, until: int) -> list[tuple[list[LakeFile], Made]]:
        """Moves a past forward and files what it gives, a file for each step."""
        span, made = (past.edge, until), []
        for (since, end), readings in stretches(
            self._root, span, late=False, columns=needed_by(self._order), piece_rows=self._piece_rows
        ):
            made.append(self._file(past, since, end, readings))
        for end in silences(past.edge, until):
            made.append(self._file(past, past.edge, end, None))
        return made

    def _file(self, past: Past, since: int, until: int, readings: pa.RecordBatch | None) -> tuple[list[LakeFile], Made]:
        found = past.pass_time(until) if readings is None else past.advance(readings, until)
        columns = [] if readings is None else [times_of(readings)]
        columns += [times_of(found.alerts), times_of(found.commands)]
        steps = np.unique(steps_of(np.concatenate(columns))).tolist()
        spans = [(step, step + STEP) for step in steps]
        return file_made(self._files, since, until, found, spans) if spans else [], found

    def write_down(self, heard: Heard) -> None:
        """Makes what is final durable, where enough has become so: whoever is killed goes on from there.

        Args:
            heard: What was settled last.

        Raises:
            SinkError: The lake does not take it.
        """
        final = self._final
        if final is None or (final.edge - self._saved < SAVE_EVERY and heard.clock < FOREVER):
            return
        # The past first: a receipt without it would begin with nothing remembered.
        final.save(self._root)
        offsets = dict(self._receipt.offsets)
        for part in heard.partitions():
            offsets[part.name] = max(part.next, offsets.get(part.name, part.next))
        self._receipt = replace(self._receipt, until=final.edge, offsets=offsets)
        receipts.save(self._root, receipts.order_path(self._order.pipeline), self._receipt)
        self._saved = final.edge
