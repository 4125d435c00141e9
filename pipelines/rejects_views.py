"""What ``telebeam rejects ls|stats|show`` tell: read file by file, so that memory does not grow with the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io import storage
from telebeam.io.lake.rejected import read_rejects, reject_files
from telebeam.pipelines.rejects_where import Where
from telebeam.transforms.batches import rows_of
from telebeam.transforms.schema import REJECTS

TOP_DEVICES = 10
SAMPLE_BYTES = 120
"""Of a payload that stands for its group."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = 3_600_000_000
Advance = Callable[[int], None]


def rejects_where(
    root: storage.Location, where: Where, columns: list[str], advance: Advance, dataset: str = "rejects"
) -> Iterator[pa.RecordBatch]:
    """The rejects that are meant, a row group at a time, with at least the named columns.

    Raises:
        SourceError: A file is damaged.
    """
    needed = list(dict.fromkeys([*columns, *where.columns]))
    for path in reject_files(root, *where.span, dataset):
        for batch in read_rejects(root, path, needed):
            advance(batch.num_rows)
            found = rows_of(batch, where.holds(batch))
            if found.num_rows:
                yield found


@dataclass
class _Group:
    reason: str
    source: str
    detail: str
    payload: bytes
    count: int = 0
    first: int = np.iinfo(np.int64).max
    last: int = np.iinfo(np.int64).min

    def as_dict(self) -> dict[str, Any]:
        return {
            "reason": self.reason, "source": self.source, "count": self.count, "first": iso(self.first),
            "last": iso(self.last), "detail": self.detail, **payload_text(self.payload, is_cut=True),
        }  # fmt: skip


def groups(root: storage.Location, where: Where, advance: Advance) -> list[dict[str, Any]]:
    """Rejects by reason and source, the largest group first, each with its first reject as a sample.

    Raises:
        SourceError: A file is damaged.
    """
    found: dict[tuple[str, str], _Group] = {}
    for batch in rejects_where(root, where, ["reason", "source", "rejected_at", "detail", "payload"], advance):
        times = batch.column("rejected_at").cast(pa.int64())
        table = pa.table(
            {"reason": batch.column("reason"), "source": batch.column("source"), "time": times,
             "row": pa.array(np.arange(batch.num_rows))}
        )  # fmt: skip
        wanted = [("row", "count"), ("row", "min"), ("time", "min"), ("time", "max")]
        for part in table.group_by(["reason", "source"]).aggregate(wanted).to_pylist():
            key = part["reason"], part["source"]
            if key not in found:
                row = part["row_min"]
                sample = batch.column("payload")[row].as_py()[:SAMPLE_BYTES]
                found[key] = _Group(*key, batch.column("detail")[row].as_py(), sample)
            group = found[key]
            group.count += part["row_count"]
            group.first, group.last = min(group.first, part["time_min"]), max(group.last, part["time_max"])
    ordered = sorted(found.values(), key=lambda group: (-group.count, group.reason, group.source))
    return [group.as_dict() for group in ordered]


@dataclass
class _Counts:
    rejects: int = 0
    by: dict[str, Counter[Any]] = field(default_factory=dict)

    def add(self, name: str, column: pa.Array) -> None:
        counts = self.by.setdefault(name, Counter())
        for each in pc.value_counts(column).to_pylist():
            counts[each["values"]] += each["counts"]


def stats(root: storage.Location, where: Where, advance: Advance) -> dict[str, Any]:
    """Counts of rejects by reason, by hour of ``rejected_at``, by source and of the worst devices, and of the replayed.

    Raises:
        SourceError: A file is damaged.
    """
    counts = _Counts(by={name: Counter() for name in ("reason", "hour", "device_id", "source")})
    for batch in rejects_where(root, where, ["reason", "rejected_at", "device_id", "source"], advance):
        counts.rejects += batch.num_rows
        for name in ("reason", "device_id", "source"):
            counts.add(name, batch.column(name))
        hours = batch.column("rejected_at").cast(pa.int64()).to_numpy() // _HOUR
        counts.add("hour", pa.array(hours))
    replayed = sum(batch.num_rows for batch in rejects_where(root, where, ["reason"], advance, "replayed"))
    by = counts.by
    named = Counter({device: count for device, count in by["device_id"].items() if device is not None})
    return {
        "rejects": counts.rejects,
        "replayed": replayed,
        "by_reason": dict(_largest(by["reason"])),
        "by_hour": {iso(hour * _HOUR): count for hour, count in sorted(by["hour"].items())},
        "by_device": dict(_largest(named)[:TOP_DEVICES]),
        "without_device": by["device_id"].get(None, 0),
        "by_source": dict(_largest(by["source"])),
    }


def _largest(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def rejects(root: storage.Location, where: Where, limit: int, advance: Advance) -> list[dict[str, Any]]:
    """The first rejects that are meant, whole.

    Raises:
        SourceError: A file is damaged.
    """
    rows = (batch.slice(row, 1) for batch in rejects_where(root, where, REJECTS.names, advance)
            for row in range(batch.num_rows))  # fmt: skip
    return [_whole(row) for row in islice(rows, limit)]


def _whole(row: pa.RecordBatch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in row.schema.names:
        column = row.column(name)
        if name == "payload":
            found |= payload_text(column[0].as_py())
        elif pa.types.is_timestamp(column.type):
            found[name] = iso(column.cast(pa.int64())[0].as_py())
        else:
            found[name] = column[0].as_py()
    return found


def raw_payloads(root: storage.Location, where: Where, advance: Advance) -> list[bytes]:
    """The payloads of the rejects that are meant; of more than two, two."""
    rows = (batch.column("payload")[row] for batch in rejects_where(root, where, ["payload"], advance)
            for row in range(batch.num_rows))  # fmt: skip
    return [payload.as_py() for payload in islice(rows, 2)]


def payload_text(payload: bytes, *, is_cut: bool = False) -> dict[str, str]:
    """A payload as text where it is UTF-8, else as hexadecimal digits; one that is cut may end within a character.

    >>> payload_text(b"{"), payload_text(bytes([255]))
    ({'payload': '{', 'payload_is': 'text'}, {'payload': 'ff', 'payload_is': 'hex'})
    """
    try:
        return {"payload": payload.decode(), "payload_is": "text"}
    except UnicodeDecodeError as error:
        if is_cut and len(payload) >= SAMPLE_BYTES and error.start > len(payload) - 4:
            return {"payload": payload[: error.start].decode(), "payload_is": "text"}
        return {"payload": payload.hex(), "payload_is": "hex"}


def iso(micros: int | None) -> str | None:
    """An instant, µs since 1970, as RFC 3339 has it; None for none.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    if micros is None:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{micros} µs"
