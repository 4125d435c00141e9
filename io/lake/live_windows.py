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
from telebeam.io.lake.compute import PIECE_ROWS, Span, compute, joined, pieces, span_of_hour
from telebeam.io.lake.layout import HOUR, live_windows_file, partition
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.revisions import FiledWindows, compare, windows_files
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY
from telebeam.io.streams import receipts
from telebeam.io.streams.notices import FOREVER, NEVER, Heard, OwedWindows
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import canonical, concat, rows_of, with_columns
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
        keeps_receipt: bool = True,
    ) -> None:
        self._keeps_receipt = keeps_receipt
        self._lake = lake
        self._pipeline = pipeline
        self._seconds = window.seconds
        self._early = window.early.total_seconds() if window.early is not None else None
        self._root = root or storage.locate(lake.path)
        self._piece_rows = piece_rows
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
        due = self._due(heard, receipt)
        rows = 0
        for hour, spans in _by_hour(due, self._seconds):
            filed, receipt = self._settle_hour(hour, spans, receipt, influx)
            rows += filed
        if due:
            # A bounded read that has finished closes what there is; a later one goes on from there.
            closed = due[-1][1] if heard.clock >= FOREVER else heard.clock
            offsets = dict(receipt.offsets)
            for part in heard.partitions():
                offsets[part.name] = max(part.next, offsets.get(part.name, part.next))
            self._save(replace(receipt, until=max(receipt.until, closed), offsets=offsets))
        return Settled(rows, receipt.owed if influx else ())

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
        closed = self._edge(max(heard.clock, self._receipt(influx=False).until))
        touched = (span for part in heard.partitions() for span in part.touched.get(self._seconds, ()))
        spans = joined((max(first, closed), end) for first, end in touched)
        for piece in pieces(self._root, spans, self._seconds, self._piece_rows) if spans else ():
            windows = compute(self._root, piece, self._seconds, self._piece_rows, late=False)
            if windows.num_rows:
                yield windows
        self._last_early = now

    def _due(self, heard: Heard, receipt: WindowReceipt) -> list[Span]:
        """Where windows have closed to which readings came that the receipt does not speak of."""
        if heard.clock == NEVER:
            return []
        # What has closed once stays so, also where a partition that appears holds the clock back.
        closed, settled = self._edge(max(heard.clock, receipt.until)), self._edge(receipt.until)
        due = []
        for part in heard.partitions():
            begin = settled if receipt.offsets.get(part.name, -1) >= part.next else NEVER
            for first, end in part.touched.get(self._seconds, ()):
                due.append((self._edge(max(first, begin)), min(-self._edge(-end), closed)))
        return joined(due)

    def _edge(self, instant: int) -> int:
        """The edge of windows at or before an instant."""
        return instant - instant % (self._seconds * 1_000_000)

    def _settle_hour(
        self, hour: int, spans: Sequence[Span], receipt: WindowReceipt, influx: bool
    ) -> tuple[int, WindowReceipt]:
        """(how many windows it filed, the receipt with their file)."""
        rows = 0
        for _ in range(_ROUNDS):
            filed = FiledWindows(self._root, self._seconds, hour, spans)
            found = self._compared(filed, spans, receipt.until)
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
        for piece in pieces(self._root, spans, self._seconds, self._piece_rows):
            windows = compute(self._root, piece, self._seconds, self._piece_rows, late=False)
            rows, files = filed.rows(piece.spans, piece.devices)
            compared = compare(windows, rows)
            starts = windows.column("window_start").cast(pa.int64()).to_numpy(zero_copy_only=False)
            revisions = filed.next_revisions(starts).astype(np.int32)
            numbered = rows_of(with_columns(windows, {"revision": pa.array(revisions)}), compared.changed)
            if numbered.num_rows:
                changed.append(numbered)
            news = ~compared.changed & (starts + self._seconds * 1_000_000 > until)
            numbers = files[compared.same_as[news]]
            highest = rows.column("revision").to_numpy(zero_copy_only=False)[compared.same_as[news]]
            for number in np.unique(numbers).tolist():
                path = filed.paths[number]
                unknown[path] = max(unknown.get(path, 0), int(highest[numbers == number].max()))
        return _Found(changed, sorted(unknown, key=lambda path: (unknown[path], path)))

    def _path(self, hour: int, windows: pa.RecordBatch, content: pa.Buffer) -> str:
        starts = windows.column("window_start").cast(pa.int64()).to_numpy(zero_copy_only=False)
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


def _by_hour(spans: Sequence[Span], seconds: int) -> Iterator[tuple[int, list[Span]]]:
    """(hour, the spans of windows that start in it), for each hour in which windows start."""
    length = seconds * 1_000_000
    hours = {hour for first, end in spans for hour in range(first // HOUR, (end - length) // HOUR + 1)}
    for hour in sorted(hours):
        whole = span_of_hour(hour, seconds)
        if whole is not None:
            inside = joined((max(first, whole[0]), min(end, whole[1])) for first, end in spans)
            if inside:
                yield hour, inside


def _sorted(windows: pa.RecordBatch) -> pa.RecordBatch:
    order = sort_order(windows, SORTED_BY["windows"])
    return windows if order is None else windows.take(pa.array(order))
