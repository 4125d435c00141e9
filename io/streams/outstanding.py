"""What a pipeline's journals say that is filed, and no receipt that is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from telebeam.io import storage
from telebeam.io.streams.journal import Journal, journals
from telebeam.io.streams.notices import IN_ORDER
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt, influxdb_path, load, order_path, windows_path
from telebeam.io.streams.touched import settle


class Outstanding(NamedTuple):
    """What the stages behind the readers have still to do."""

    unscored: int
    """Partitions of which readings are not yet scored for good."""
    stretches: int
    """Of event time whose windows are open, or closed and not computed."""
    files: int
    """That InfluxDB may lack."""


def outstanding(
    root: storage.Location, pipeline: str, lengths: Iterable[int], *, in_order: bool = False
) -> Outstanding:
    """Of all partitions together.

    Args:
        root: The lake.
        pipeline: Whose.
        lengths: Of the windows, in seconds.
        in_order: Whether readings are scored.

    Raises:
        SourceError: The lake can't be read.
    """
    receipts = {seconds: load(root, windows_path(pipeline, seconds), WindowReceipt) for seconds in lengths}
    influx = load(root, influxdb_path(pipeline), InfluxReceipt)
    scored = load(root, order_path(pipeline), WindowReceipt) if in_order else None
    unscored, stretches, files = 0, 0, 0
    for partition, journal in journals(root, pipeline).items():
        name = partition.name
        unscored += scored is not None and scored.offsets.get(name, 0) < journal.next
        stretches += sum(_open(journal, name, seconds, receipt) for seconds, receipt in receipts.items())
        files += sum(len(owed.paths) for owed in journal.owed if owed.end > influx.readings.get(name, -1))
    for seconds, receipt in receipts.items():
        files += sum(owed.sequence > influx.windows.get(seconds, 0) for owed in receipt.owed)
    files += 0 if scored is None else sum(owed.sequence > influx.windows.get(IN_ORDER, 0) for owed in scored.owed)
    return Outstanding(unscored, stretches, files)


def _open(journal: Journal, name: str, seconds: int, receipt: WindowReceipt) -> int:
    stretches = journal.touched.get(seconds, ())
    return len(settle(stretches, receipt.until, seconds * 1_000_000, receipt.offsets.get(name, -1)))
