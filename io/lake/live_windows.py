"""Windows of a live job: computed from the lake when they have closed, and again when readings came to them since.

Nothing is kept between two calls but in the lake.  What is due follows from the readers' notices and the receipt; what
is filed follows from what the lake holds.  So whoever is killed anywhere and begins anew ends in the same windows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from telebeam.io import storage
from telebeam.io.lake.compute import PIECE_ROWS, Span
from telebeam.io.lake.layout import live_windows_file, partition
from telebeam.io.lake.live_grid import GridSource, Source
from telebeam.io.lake.live_panes import LivePanes
from telebeam.io.lake.live_sessions import SessionSource
from telebeam.io.lake.made import Wanted, windows_of
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.revisions import FiledWindows, compare, windows_files
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY
from telebeam.io.streams import receipts
from telebeam.io.streams.notices import FOREVER, NEVER, Heard, OwedWindows
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt
from telebeam.transforms.aggregation.panes import starts_of
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import canonical, concat, rows_of
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.schema import DATASETS

_ROUNDS = 3
"""How often an hour is looked at again because another job filed windows of it at the same time."""


class Settled(NamedTuple):
    """What a call has done."""

    rows: int
    """Windows filed."""
    owed: tuple[OwedWindows, ...]
    """All files that InfluxDB does not have yet, in their order."""


class _Found(NamedTuple):
    """Windows beside the lake's."""

    rows: list[pa.RecordBatch]
    """Those that are new or changed, with their revisions."""
    files: list[str]
    """Where those stand that no receipt speaks of and that are right already; the latest revisions last."""


class LiveWindows:
    """The windows of one length; to be called by one worker at a time.

    Args:
        lake: Whose readings they are of, and where they are filed.
        pipeline: Whose.
        window: Their length, and how often those that are open are wanted.
        root: Where the lake is, if not where the spec's path leads.
        piece_rows: Readings that are worked on together, about; the windows are the same for any number.
        panes: Those of open windows, where others in this process keep windows too.
        keeps_receipt: Whether what is done is written down, and what was is not done again: where one worker alone
            settles a length.
    """

    def __init__(
        self,
        lake: LakeSpec,
        pipeline: str,
        window: WindowSpec,
        root: storage.Location | None = None,
        piece_rows: int = PIECE_ROWS,
        *,
        panes: LivePanes | None = None,
        keeps_receipt: bool = True,
    ) -> None:
        self._keeps_receipt = keeps_receipt
        self._lake = lake
        self._pipeline = pipeline
        self._window = window
        self._seconds = window.seconds
        self._early = window.early.total_seconds() if window.early is not None else None
        self._root = root or storage.locate(lake.path)
        self._piece_rows = piece_rows
        is_session = window.session_gap is not None
        self._source: Source = (
            SessionSource(self._root, window, piece_rows)
            if is_session
            else GridSource(self._root, window, piece_rows, panes)
        )
        self._last_early = float("-inf")

    def settle(self, heard: Heard, influx: bool) -> Settled:
        """Files the windows that have closed and that readers say readings came to, where they are new or changed.

        It may be killed anywhere, and be called again with the same or with later notices.

        Args:
            heard: The readers' notices; as long as one is missing nothing is due.
            influx: Whether InfluxDB is to have the windows.

        Raises:
            SourceError: A file of the lake is damaged, or the lake is away.
            SinkError: The lake does not take the windows.
        """
        receipt = self._receipt(influx)
        if heard.clock == NEVER:
            return Settled(0, receipt.owed if influx else ())
        # What has closed once stays so, also where a partition that appears holds the clock back.
        clock = max(heard.clock, receipt.until + self._source.reach)
        due = self._source.due(heard, receipt, clock)
        rows = 0
        try:
            for hour, spans in due:
                filed, receipt = self._settle_hour(hour, spans, receipt, influx)
                rows += filed
        except (SinkError, SourceError):
            self._source.forget()
            raise
        if due:
            self._save(self._done(heard, receipt))
        else:
            # Not behind windows that have closed: whoever waits for them would wait for this, too.
            self._source.read_ahead(heard, clock)
        return Settled(rows, receipt.owed if influx else ())

    def _done(self, heard: Heard, receipt: WindowReceipt) -> WindowReceipt:
        """The receipt, with all that has closed."""
        offsets = dict(receipt.offsets)
        for part in heard.partitions():
            offsets[part.name] = max(part.next, offsets.get(part.name, part.next))
        return replace(receipt, until=max(receipt.until, self._until(heard)), offsets=offsets)

    def _until(self, heard: Heard) -> int:
        """Where stretches end whose windows have all closed."""
        if heard.clock < FOREVER:
            return heard.clock - self._source.reach
        # A bounded read that has finished closes what there is; a later one goes on from there.
        ends = (end for part in heard.partitions() for _, end in part.touched.get(self._seconds, ()))
        width = abs(self._seconds) * 1_000_000
        return -(-max(ends, default=NEVER) // width) * width

    def peek(self, heard: Heard, now: float) -> Iterator[pa.RecordBatch]:
        """The windows that are still open, as they stand: nothing is filed.

        Gives nothing where ``early`` is not set, or less than that has passed since it last gave something.

        Args:
            heard: The readers' notices.
            now: Of a clock that does not jump, in seconds.

        Raises:
            SourceError: A file of the lake is damaged, or the lake is away.
        """
        if self._early is None or now - self._last_early < self._early or heard.clock == NEVER:
            return
        clock = max(heard.clock, self._receipt(influx=False).until + self._source.reach)
        spans = self._source.open(heard, clock) if isinstance(self._source, GridSource) else []
        wanted = [Wanted(self._window, tuple(spans))] if spans else []
        for made in windows_of(self._root, wanted, self._piece_rows, late=False):
            yield made.rows
        self._last_early = now

    def _settle_hour(
        self, hour: int, spans: Sequence[Span], receipt: WindowReceipt, influx: bool
    ) -> tuple[int, WindowReceipt]:
        """(how many windows it filed, the receipt with their file)."""
        rows = 0
        for _ in range(_ROUNDS):
            filed = FiledWindows(self._root, self._seconds, hour, spans)
            found = self._compared(filed, spans, receipt.until + self._source.reach)
            receipt = _owing(receipt, [path for path in found.files if influx and path not in _paths(receipt)])
            if not found.rows:
                break
            windows = _sorted(concat(found.rows))
            content = to_parquet([canonical(windows)], DATASETS["windows"], self._lake)
            path = self._path(hour, windows, content)
            if influx:
                # Before the file: whoever is killed behind it still knows that InfluxDB is to have it.  A later
                # sequence than before, for a delivery may have passed over a file that was not there yet.
                receipt = _owing(receipt, [path])
                self._save(receipt)
            storage.publish(self._root, path, content)
            rows += windows.num_rows
            if {*windows_files(self._root, self._seconds, hour, spans)} == {*filed.paths, path}:
                break
        return rows, receipt

    def _compared(self, filed: FiledWindows, spans: Sequence[Span], until: int) -> _Found:
        changed: list[pa.RecordBatch] = []
        unknown: dict[str, int] = {}
        for _, devices, windows in self._source.windows(spans):
            rows, files = filed.rows(spans, devices)
            compared = compare(windows, rows)
            changed.append(filed.numbered(rows_of(windows, compared.changed)))
            ends = windows.column("window_end").cast(pa.int64()).to_numpy(zero_copy_only=False)
            news = ~compared.changed & (ends > until)
            numbers = files[compared.same_as[news]]
            highest = rows.column("revision").to_numpy(zero_copy_only=False)[compared.same_as[news]]
            for number in np.unique(numbers).tolist():
                path = filed.paths[number]
                unknown[path] = max(unknown.get(path, 0), int(highest[numbers == number].max()))
        changed.append(filed.numbered(self._source.gone(spans, filed)))
        files_right = sorted(unknown, key=lambda path: (unknown[path], path))
        return _Found([batch for batch in changed if batch.num_rows], files_right)

    def _path(self, hour: int, windows: pa.RecordBatch, content: pa.Buffer) -> str:
        starts = starts_of(windows)
        digest = hashlib.blake2b(content, digest_size=6).hexdigest()
        name = live_windows_file(self._pipeline, hour, int(starts.min()), int(starts.max()), digest)
        return f"{partition('windows', hour, self._seconds)}/{name}.parquet"

    def _receipt(self, influx: bool) -> WindowReceipt:
        """The receipt, without what InfluxDB has by now."""
        if not self._keeps_receipt:
            return WindowReceipt()
        path = receipts.windows_path(self._pipeline, self._seconds)
        receipt = receipts.load(self._root, path, WindowReceipt)
        if not influx:
            return receipt
        delivered = receipts.load(self._root, receipts.influxdb_path(self._pipeline), InfluxReceipt)
        done = delivered.windows.get(self._seconds, 0)
        owed = tuple(file for file in receipt.owed if file.sequence > done)
        return replace(receipt, owed=owed, sequence=max(receipt.sequence, done))

    def _save(self, receipt: WindowReceipt) -> None:
        if self._keeps_receipt:
            receipts.save(self._root, receipts.windows_path(self._pipeline, self._seconds), receipt)


def _owing(receipt: WindowReceipt, paths: Iterable[str]) -> WindowReceipt:
    """The receipt with some files as the last ones that InfluxDB is to have."""
    for path in paths:
        owed = tuple(file for file in receipt.owed if file.path != path)
        number = receipt.sequence + 1
        receipt = replace(receipt, sequence=number, owed=(*owed, OwedWindows(number, path)))
    return receipt


def _paths(receipt: WindowReceipt) -> set[str]:
    return {file.path for file in receipt.owed}


def _sorted(windows: pa.RecordBatch) -> pa.RecordBatch:
    order = sort_order(windows, SORTED_BY["windows"])
    return windows if order is None else windows.take(pa.array(order))
