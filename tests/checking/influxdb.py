"""InfluxDB's points against the lake's rows, read by Flux."""

from __future__ import annotations

import csv
import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from telebeam.transforms.schema import AGGREGATES, SERIES
from tests.checking.lake import connect, view

READINGS, WINDOWS = "iot_measurements", "iot_windows"
_DEVICES_A_QUERY = 20
_TAGS = [name for name in SERIES if name != "tenant"]
_EXAMPLES = 3
_QUERY_SECONDS = 120


class Server(Protocol):
    """Where InfluxDB is, and the login; ``tests/services/influxdb.py`` starts one."""

    @property
    def url(self) -> str: ...

    org: str
    bucket: str
    token: str


@dataclass(frozen=True)
class InfluxVerdict:
    """How many points were compared; how many are missing, say something else, or are of no row."""

    points: int = 0
    missing: int = 0
    wrong: int = 0
    invented: int = 0
    examples: tuple[str, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.missing or self.wrong or self.invented)

    def __add__(self, other: InfluxVerdict) -> InfluxVerdict:
        numbers = [getattr(self, n) + getattr(other, n) for n in ("points", "missing", "wrong", "invented")]
        return InfluxVerdict(*numbers, examples=(*self.examples, *other.examples)[:_EXAMPLES])

    def __str__(self) -> str:
        found = f"{self.points} points, missing {self.missing}, wrong {self.wrong}, invented {self.invented}"
        return "\n  ".join([found, *self.examples])


def influx_matches(
    server: Server, lake: str | Path, *, devices: Sequence[str] | None = None, lengths: Sequence[int] = (60,),
    closed_before: datetime | None = None,
) -> InfluxVerdict:  # fmt: skip
    """Compares the points of some devices with the lake's readings and windows, both ways.

    Where the lake has several readings of a series at one instant, which are one point, any of them will do.

    Args:
        server: InfluxDB, with the measurements' and tags' own names and no tenant but ``default``.
        lake: The lake's folder.
        devices: Which; all unless given.
        lengths: The windows that are written, in seconds.
        closed_before: Windows that end later are left out, on both sides.
    """
    con = connect()
    view(con, "all_readings", lake, "readings")
    view(con, "rejects", lake, "rejects")
    con.execute("""create view readings as from all_readings anti join (
        from rejects where reason in ('unrepresentable', 'refused_by_sink'))
        using (source, source_partition, source_offset)""")
    names = [name for (name,) in con.sql("select distinct device_id from readings order by 1").fetchall()]
    wanted = names if devices is None else [name for name in names if name in set(devices)]
    closed = f"window_end <= '{closed_before.isoformat() if closed_before else 'infinity'}'::timestamptz"
    verdict = InfluxVerdict()
    for begin in range(0, len(wanted), _DEVICES_A_QUERY):
        some = wanted[begin : begin + _DEVICES_A_QUERY]
        verdict += _compare(server, con, READINGS, some, "from readings", "timestamp", ["value", "quality_score"])
        for seconds in lengths:
            view(con, "filed", lake, f"windows/window_seconds={seconds}")
            query = f"""from filed where {closed} qualify row_number() over
                (partition by {", ".join(SERIES)}, window_start order by revision desc) = 1"""
            fields = ["count", *AGGREGATES]
            verdict += _compare(server, con, WINDOWS, some, query, "window_start", fields, seconds, closed_before)
    return verdict


def _compare(
    server: Server, con: duckdb.DuckDBPyConnection, measurement: str, devices: list[str], query: str, time: str,
    fields: list[str], seconds: int | None = None, closed_before: datetime | None = None,
) -> InfluxVerdict:  # fmt: skip
    con.register("some_devices", pa.table({"device_id": devices}))
    numbers = ", ".join(f"{name}::double" for name in fields)
    rows = con.sql(f"""select {", ".join(_TAGS)}, epoch_us({time}), {numbers}
        from ({query}) semi join some_devices using (device_id)""").fetchall()
    con.unregister("some_devices")
    accepted: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        accepted.setdefault(row[: len(_TAGS) + 1], []).append(row[len(_TAGS) + 1 :])
    last_end = None if closed_before is None else int(closed_before.timestamp() * 1_000_000)
    points = {}
    for point in query_points(server, measurement, devices, seconds):
        moment = _micros(point["_time"])
        if seconds is None or last_end is None or moment + seconds * 1_000_000 <= last_end:
            key = (*[point.get(tag) or None for tag in _TAGS], moment)
            points[key] = tuple(float(point[name]) if point.get(name) else None for name in fields)
    missing = [key for key in accepted if key not in points]
    wrong = [key for key, found in points.items() if key in accepted and found not in accepted[key]]
    invented = [key for key in points if key not in accepted]
    said = [f"{measurement} has no {key}: {accepted[key]}" for key in missing[:1]]
    said += [f"{measurement} {key} is {points[key]}, expected {accepted[key]}" for key in wrong[:1]]
    said += [f"{measurement} {key} is of no row: {points[key]}" for key in invented[:1]]
    return InfluxVerdict(len(accepted), len(missing), len(wrong), len(invented), tuple(said))


def query_points(
    server: Server, measurement: str, devices: Sequence[str], seconds: int | None = None, start: str = "0"
) -> Iterator[dict[str, str]]:
    """The points of some devices, a row each with tags, ``_time`` and fields as texts; "" is absent."""
    which = " or ".join(f"r.device_id == {_text(device)}" for device in devices)
    length = "" if seconds is None else f' and r.window_seconds == "{seconds}"'
    flux = f"""from(bucket: {_text(server.bucket)}) |> range(start: {start}, stop: 2262-01-01T00:00:00Z)
        |> filter(fn: (r) => r._measurement == {_text(measurement)} and ({which}){length})
        |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()"""
    return ask(server, flux)


def ask(server: Server, flux: str) -> Iterator[dict[str, str]]:
    """The rows that a Flux query gives, as texts by column; "" is null."""
    body = json.dumps({"query": flux, "type": "flux", "dialect": {"header": True, "annotations": []}}).encode()
    headers = {"Authorization": f"Token {server.token}", "Content-Type": "application/json", "Accept": "text/csv"}
    request = urllib.request.Request(f"{server.url}/api/v2/query?org={server.org}", body, headers)
    with urllib.request.urlopen(request, timeout=_QUERY_SECONDS) as answer:
        text = answer.read().decode()
    for part in text.replace("\r\n", "\n").split("\n\n"):  # tables of other columns come one after the other
        yield from csv.DictReader(part.strip("\n").split("\n"))


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("${", "\\${")


def _micros(text: str) -> int:
    """Of an RFC 3339 text with up to nine digits of fraction."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000 + int(fraction[:6].ljust(6, "0"))
