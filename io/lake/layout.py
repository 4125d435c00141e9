"""Where things stand in the lake: ``<dataset>/[window_seconds=N/]date=YYYY-MM-DD/hour=HH/<name>.parquet``.

Hours are UTC, of the event time; rejects go by ``rejected_at``.  Names of partitions hold nothing that a payload says.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.aggregation.spec import WindowSpec

HOUR = 3_600_000_000
"""An hour, in µs."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = re.compile(r"[^A-Za-z0-9_.-]+")
_SECOND = 1_000_000
_STREAMED = re.compile(r"-p\d{4,}-o\d{12,}-s(\d{4})-(\d{4})\.parquet")
_STEPS = re.compile(r"-t(\d{4})-(\d{4})\.parquet")
_LIVE_WINDOWS = re.compile(r"-w(\d{4})-(\d{4})-[0-9a-f]{12}\.parquet")
_DRIFT = re.compile(r"-(\d{8}T\d{6}\.\d{6}Z)-(\d{8}T\d{6}\.\d{6}Z)\.parquet$")


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


def hours_of(window: WindowSpec, first: int, last: int) -> list[int]:
    """The hours in which windows of a kind may start that hold events from ``first`` to ``last``, both in µs."""
    windowing = window.windowing
    if isinstance(windowing, Sessions):
        begin, end = windowing.floor_of(first), windowing.floor_of(last) + windowing.block
        return list(range(begin // HOUR, -(-end // HOUR)))
    begin, end = windowing.starts_touched(first, last + 1)
    hours = range(begin // HOUR, (end - 1) // HOUR + 1)
    return [hour for hour in hours if len(windowing.starts(max(begin, hour * HOUR), min(end, (hour + 1) * HOUR)))]


Together = tuple[int, int, int]
"""(which windows, of which gap if they are sessions, when): what is computed together."""
_NEAR, _FAR, _SESSIONS = range(3)
_DAY_HOURS = 24


def is_longer(window: WindowSpec) -> bool:
    """Whether windows are longer than an hour, and not sessions: they are made of the panes of hours."""
    windowing = window.windowing
    return not isinstance(windowing, Sessions) and windowing.length > HOUR


def hour_with_panes(key: Together) -> int | None:
    """The hour of which all readings are read when some windows are computed; None where it is none."""
    kind, _, hour = key
    return hour if kind == _NEAR else None


def together(window: WindowSpec, hour: int) -> Together:
    """Windows up to an hour go with the others that start in their hour, longer ones with those of their day."""
    windowing = window.windowing
    if isinstance(windowing, Sessions):
        return _SESSIONS, window.seconds, hour * HOUR // windowing.block
    return (_FAR, 0, hour // _DAY_HOURS) if is_longer(window) else (_NEAR, 0, hour)


def stream_file(pipeline: str, stream: str, number: int, offset: int, hour: int, first: int, last: int) -> str:
    """A file name's stem for readings of a stream's partition: where they begin, and their seconds of the hour.

    >>> stream_file("fleet", "iot-4f2a91", 3, 12345, 0, 720_000_000, 731_900_000)
    'fleet-iot-4f2a91-p0003-o000000012345-s0720-0731'

    Args:
        pipeline: Its name.
        stream: Its name, plain.
        number: The partition's.
        offset: The first record's.
        hour: Of all the readings, since the epoch.
        first: The earliest reading's time, in µs since the epoch.
        last: The latest one's.
    """
    begin, end = ((instant - hour * HOUR) // _SECOND for instant in (first, last))
    return f"{pipeline}-{stream}-p{number:04d}-o{offset:012d}-s{begin:04d}-{end:04d}"


def live_windows_file(pipeline: str, hour: int, first: int, last: int, digest: str) -> str:
    """A file name's stem for windows of a live job that start in an hour; arguments as of :func:`stream_file`.

    >>> live_windows_file("fleet", 0, 720_000_000, 780_000_000, "0123456789ab")
    'fleet-w0720-0780-0123456789ab'

    Args:
        pipeline: Its name.
        hour: In which they start, since the epoch.
        first: When the first one starts, in µs since the epoch.
        last: When the last one starts.
        digest: Of the content, 12 hexadecimal digits.
    """
    begin, end = ((instant - hour * HOUR) // _SECOND for instant in (first, last))
    return f"{pipeline}-w{begin:04d}-{end:04d}-{digest}"


def step_file(pipeline: str, hour: int, first: int, last: int) -> str:
    """A file name's stem for what is made in order of some seconds; arguments as of :func:`stream_file`.

    >>> step_file("fleet", 0, 720_000_000, 729_999_999)
    'fleet-t0720-0729'
    """
    begin, end = ((instant - hour * HOUR) // _SECOND for instant in (first, last))
    return f"{pipeline}-t{begin:04d}-{end:04d}"


def drift_file(pipeline: str, model: str, start: int, end: int) -> str:
    """A file name's stem for what was found of a model over a span, in µs since the epoch.

    >>> drift_file("fleet", "week", 0, 86_400_000_000)
    'fleet-week-b55b9ce1-19700101T000000.000000Z-19700102T000000.000000Z'
    """
    digest = hashlib.blake2b(f"{pipeline}\0{model}".encode(), digest_size=4).hexdigest()
    first, last = (f"{_EPOCH + timedelta(microseconds=at):%Y%m%dT%H%M%S.%fZ}" for at in (start, end))
    return f"{pipeline}-{model}-{digest}-{first}-{last}"


def span_of_drift(path: str, pipeline: str, model: str) -> tuple[int, int] | None:
    """The span that a file's name tells, as it was given to :func:`drift_file`; None for a file of another model.

    >>> name = drift_file("fleet", "week", 0, 86_400_000_000)
    >>> span_of_drift(f"drift/date=1970-01-01/hour=00/{name}.parquet", "fleet", "week")
    (0, 86400000000)
    >>> span_of_drift(f"drift/date=1970-01-01/hour=00/{name}.parquet", "fleet", "day")
    """
    found = _DRIFT.search(path)
    if found is None:
        return None
    first, end = ((datetime.strptime(text, "%Y%m%dT%H%M%S.%f%z") - _EPOCH) for text in found.groups())
    start, until = first // timedelta(microseconds=1), end // timedelta(microseconds=1)
    ours = path.rpartition("/")[2] == f"{drift_file(pipeline, model, start, until)}.parquet"
    return (start, until) if ours else None


def seconds_of(path: str) -> tuple[int, int] | None:
    """The first and the last instant that a file may hold, by the seconds in its name, in µs since the epoch.

    >>> seconds_of("readings/date=1970-01-01/hour=00/fleet-iot-4f2a91-p0003-o000000012345-s0720-0731.parquet")
    (720000000, 731999999)

    Returns:
        None for a name without seconds, such as a batch job's: look into the file.
    """
    found = _STREAMED.search(path) or _LIVE_WINDOWS.search(path) or _STEPS.search(path)
    if found is None or found.end() != len(path):
        return None
    begin, end = (int(second) for second in found.groups())
    hour, _ = hour_of(path)
    return (hour + begin * _SECOND, hour + (end + 1) * _SECOND - 1) if begin <= end < 3600 else None
