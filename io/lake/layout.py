"""Where things stand in the lake: ``<dataset>/[window_seconds=N/]date=YYYY-MM-DD/hour=HH/<name>.parquet``.

Hours are UTC, of the event time; rejects go by ``rejected_at``.  Names of partitions hold nothing that a payload says.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

HOUR = 3_600_000_000
"""An hour, in µs."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = re.compile(r"[^A-Za-z0-9_.-]+")


def partition(dataset: str, hour: int, window_seconds: int | None = None) -> str:
    """The folder of a dataset's hour, given in hours since the epoch.

    >>> partition("windows", 490_896, 60)
    'windows/window_seconds=60/date=2026-01-01/hour=00'
    """
    moment = _EPOCH + timedelta(hours=hour)
    window = "" if window_seconds is None else f"/window_seconds={window_seconds}"
    return f"{dataset}{window}/date={moment.date().isoformat()}/hour={moment:%H}"


def hour_of(path: str) -> tuple[int, int]:
    """The first and the last instant of a file's hour, µs since the epoch.

    >>> hour_of("readings/date=1970-01-01/hour=02/a.parquet")
    (7200000000, 10799999999)
    """
    _, date, hour, _ = path.rsplit("/", 3)
    start = datetime.fromisoformat(f"{date.removeprefix('date=')}T{hour.removeprefix('hour=')}:00:00+00:00")
    first = (start - _EPOCH) // timedelta(microseconds=1)
    return first, first + HOUR - 1


def unit_name(pipeline: str, source: str, part: str) -> str:
    """A file name's stem for a part of a source: readable, unique, without anything a path could be made of.

    >>> unit_name("fleet", "2026/day 1.parquet", "0-3")
    'fleet-2026-day-1.parquet-610e4e6a-0-3'
    """
    digest = hashlib.blake2b(f"{pipeline}\0{source}".encode(), digest_size=4).hexdigest()
    readable = _PLAIN.sub("-", source)[-40:].strip("-.")
    return f"{pipeline}-{readable}-{digest}-{part}"


def hours_of_windows(first: int, last: int, seconds: int) -> range:
    """The hours in which the windows start that hold events from ``first`` to ``last``, both in µs."""
    length = seconds * 1_000_000
    return range((first - first % length) // HOUR, (last - last % length) // HOUR + 1)
