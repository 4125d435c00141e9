"""A stream's readings as its readers file them, and the notices that they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.layout import HOUR, partition, stream_file
from telebeam.io.lake.live_windows import LiveWindows
from telebeam.io.lake.parquet import to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY
from telebeam.io.streams.notices import FOREVER, NEVER, Heard, Notice, PartitionNotice
from telebeam.io.streams.receipts import WindowReceipt, load, windows_path
from telebeam.io.streams.touched import Stretch, settle, touch
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import canonical
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.schema import DATASETS, WINDOWS
from tests.transforms.aggregation.samples import MIDNIGHT, SECOND, readings

MINUTE = 60 * SECOND
KEY = [(name, "ascending") for name in WINDOWS.names[:7]]


@dataclass
class Partition:
    """One partition of a stream, one reader's only one."""

    lake: LakeSpec
    number: int = 0
    readers: int = 1
    lengths: tuple[int, ...] = (60,)
    windows: tuple[WindowSpec, ...] = ()
    """Others than fixed ones, in place of the lengths."""
    next: int = 0
    clock: int = NEVER
    touched: dict[int, list[Stretch]] = field(default_factory=dict)

    def file(self, rows: pa.RecordBatch, clock: int | None = None) -> Notice:
        """Files a unit; its clock is that of its newest reading unless told."""
        times = rows.column("timestamp").cast(pa.int64()).to_numpy()
        root = storage.locate(self.lake.path)
        for hour in np.unique(times // HOUR).tolist():
            part = rows.filter(pa.array(times // HOUR == hour))
            order = sort_order(part, SORTED_BY["readings"])
            part = part if order is None else part.take(pa.array(order))
            inside = times[times // HOUR == hour]
            span = int(inside.min()), int(inside.max())
            name = stream_file("fleet", "iot-1", self.number, self.next, hour, *span)
            content = to_parquet([canonical(part)], DATASETS["readings"], self.lake)
            storage.publish(root, f"{partition('readings', hour)}/{name}.parquet", content)
        self.next += rows.num_rows
        self.clock = max(self.clock, int(times.max()) if clock is None else clock)
        in_time = times[~rows.column("is_late").to_numpy(zero_copy_only=False)]
        for seconds, width in self.touches.items():
            former = self.touched.get(seconds, [])
            self.touched[seconds] = touch(former, in_time, width, self.next)
        return self.notice()

    @property
    def touches(self) -> dict[int, int]:
        """As :attr:`.StreamJob.touches`."""
        fixed = {seconds: seconds * 1_000_000 for seconds in self.lengths}
        return {window.seconds: window.touches for window in self.windows} or fixed

    def look_at_receipts(self) -> None:
        """Leaves out what is done."""
        for seconds in self.touches:
            receipt = load(storage.locate(self.lake.path), windows_path("fleet", seconds), WindowReceipt)
            done = receipt.offsets.get(f"iot-1/{self.number}", -1)
            self.touched[seconds] = settle(self.touched.get(seconds, []), receipt.until, seconds * 1_000_000, done)

    def notice(self) -> Notice:
        """All that is outstanding."""
        touched = {seconds: tuple((s.first, s.end) for s in found) for seconds, found in self.touched.items() if found}
        offsets = {seconds: tuple(s.offset for s in found) for seconds, found in self.touched.items() if found}
        part = PartitionNotice("iot-1", self.number, self.next, touched, offsets=offsets)
        return Notice(self.number, self.readers, self.clock, (part,))

    def finish(self) -> Notice:
        """What is outstanding at the end of a bounded read."""
        self.clock = FOREVER
        return self.notice()


def heard(*notices: Notice) -> Heard:
    """Some notices, the last one of each reader being the one that counts."""
    found = Heard()
    for notice in notices:
        found.hear(notice)
    return found


def windows_files(lake: LakeSpec) -> list[str]:
    """The names of all windows files."""
    return sorted(path.name for path in Path(lake.path, "windows").rglob("*.parquet"))


def live(lake: LakeSpec, seconds: int = 60, **options: Any) -> LiveWindows:
    early = options.pop("early", None)
    return LiveWindows(lake, "fleet", WindowSpec(every=timedelta(seconds=seconds), early=early), **options)


def told(lake: LakeSpec, seconds: int = 60) -> list[tuple[str, int, int]]:
    """(device, count, revision) of each window as a reader sees it."""
    rows = Lake(lake.path).windows(seconds).sort_by(KEY).to_pylist()
    return [(row["device_id"], row["count"], row["revision"]) for row in rows]


def at(*minutes: float, **columns: Any) -> pa.RecordBatch:
    """A reading at each of some minutes after midnight; values ascend."""
    times = [MIDNIGHT + int(minute * MINUTE) for minute in minutes]
    return readings([float(minute) for minute in minutes], times, **columns)
