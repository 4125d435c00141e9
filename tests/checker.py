"""What a stream must have done, judged from outside: what was acknowledged against what is in the lake.

Nothing of the product's own parsing, reading or windowing takes part.  Payloads are read by ``orjson``, the lake by
DuckDB, windows by :mod:`tests.oracle`, InfluxDB by Flux.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from tests.checking.influxdb import InfluxVerdict, Server, influx_matches
from tests.checking.lake import connect, view
from tests.checking.messages import Acknowledged, load_messages, read_acknowledged, read_topic
from tests.checking.windows import WindowsVerdict, late_matches, windows_match

__all__ = [
    "Acknowledged",
    "InfluxVerdict",
    "Server",
    "Verdict",
    "WindowsVerdict",
    "check",
    "influx_matches",
    "late_matches",
    "read_acknowledged",
    "read_topic",
    "windows_match",
]

BESIDE_THEIR_READINGS = ("unrepresentable", "refused_by_sink")
"""Reasons of rejects whose readings are in the lake all the same."""

_ORIGIN = "source, source_partition, source_offset"
_EXAMPLES = 3


@dataclass(frozen=True)
class Verdict:
    """What was found.

    ``lost``: values that were acknowledged and are nowhere.  ``twice``: rows beyond one a value.  ``invented``: rows of
    no message.  ``altered``: rows that say something else than their message.  ``misplaced``: readings in the folder of
    another hour.  All five must be 0; ``reasons`` counts the rejects.
    """

    messages: int
    readings: int
    rejects: int
    lost: int
    twice: int
    invented: int
    altered: int
    misplaced: int
    reasons: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.twice or self.invented or self.altered or self.misplaced)

    def __str__(self) -> str:
        found = f"{self.messages} messages: {self.readings} readings, {self.rejects} rejects; lost {self.lost}, "
        found += f"twice {self.twice}, invented {self.invented}, altered {self.altered}, misplaced {self.misplaced}"
        return "\n  ".join([found, *self.examples])


def check(acknowledged: Iterable[Acknowledged], lake: str | Path, *, stored: Iterable[Acknowledged] = ()) -> Verdict:
    """Compares messages with the lake's readings and rejects, by origin and by content.

    Each value must be exactly once in the lake: as a reading, or as a reject with bytes of its message.  Readings are
    compared by device, time, types and value.  A value in a unit that the lake does not know was converted, and is
    compared without its number; a payload whose shape this checker does not know must give at least one row, and no
    row twice.

    Args:
        acknowledged: What the producer was told is safe, each message once.
        lake: The lake's folder.
        stored: What the broker holds, where it may have taken more than it acknowledged: these may be in the lake.
    """
    con = connect()
    load_messages(con, acknowledged, stored)
    view(con, "readings", lake, "readings")
    view(con, "all_rejects", lake, "rejects")
    con.execute(f"create view rejects as from all_rejects where reason not in {BESIDE_THEIR_READINGS}")
    _judge(con)
    total = con.sql(
        """select (select count(*) from messages), (select count(*) from readings), (select count(*) from rejects),
        coalesce(sum(lost), 0), coalesce(sum(twice), 0), (select count(*) from invented), coalesce(sum(altered), 0),
        (select count(*) from misplaced) from judged"""
    ).fetchall()[0]
    reasons = con.sql("select reason, count(*) from rejects group by reason order by reason").fetchall()
    return Verdict(*map(int, total), reasons=dict(reasons), examples=tuple(_examples(con)))


def _judge(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the tables ``judged`` (a row a message), ``invented`` and ``misplaced``."""
    con.execute(f"""
    create table counted as
        select {_ORIGIN}, sum(readings)::bigint as readings, sum(rejects)::bigint as rejects,
            sum(foreign_bytes)::bigint as foreign_bytes
        from (
            select {_ORIGIN}, count(*) as readings, 0 as rejects, 0 as foreign_bytes from readings group by all
            union all
            select {_ORIGIN}, 0, count(*), count(*) filter (m.payload is not null and
                -- Text has no inner NULs, and hexadecimal digits can be searched in: two by two they are bytes.
                not contains(hex(m.payload), hex(r.payload)))
            from rejects as r left join messages as m using ({_ORIGIN}) group by all
        ) group by all;

    create table invented as select * from counted anti join messages using ({_ORIGIN});

    create table misplaced as
        select {_ORIGIN}, device_id, timestamp, filename from readings
        where strftime(timestamp, 'date=%Y-%m-%d/hour=%H') <> regexp_extract(filename, 'date=[0-9-]+/hour=[0-9]+');

    -- A message whose units or times can't be compared as they stand is compared without them.
    create table compared as
        select {_ORIGIN},
            bool_and(unit is null or unit in (select distinct unit from readings)) as plain,
            bool_and(try_cast(time as timestamptz) is not null) as timed
        from wanted semi join messages using ({_ORIGIN}) group by all;

    create table differences as
        select {_ORIGIN}, sum(greatest(n, 0))::bigint as missing, sum(greatest(-n, 0))::bigint as extra from (
            select {_ORIGIN}, device_id, moment, sensor_type, measurement_type, value, sum(n) as n from (
                select {_ORIGIN}, device_id, case when timed then try_cast(time as timestamptz) end as moment,
                    sensor_type, measurement_type, case when plain then value end as value, 1 as n
                from wanted join compared using ({_ORIGIN})
                union all
                select {_ORIGIN}, device_id, case when timed then timestamp end,
                    sensor_type, measurement_type, case when plain then value end, -1
                from readings join compared using ({_ORIGIN})
            ) group by all
        ) group by all;

    create table repeated as
        select {_ORIGIN}, sum(n - 1)::bigint as again from (
            select {_ORIGIN}, count(*) as n from readings
            group by {_ORIGIN}, tenant, device_id, timestamp, sensor_type, measurement_type, value, metadata
        ) group by all;

    create table judged as
        select {_ORIGIN}, demanded, payload,
            case when not demanded and readings + rejects = 0 then 0
                when known then greatest(missing - extra - rejects, 0)
                else greatest(coalesce(rows, 1) - readings - rejects, 0) end as lost,
            case when known then greatest(extra + rejects - missing, 0)
                when rows is not null then greatest(readings + rejects - rows, 0)
                else again end as twice,
            foreign_bytes + case when known then greatest(least(missing - rejects, extra), 0) else 0 end as altered
        from (
            select {_ORIGIN}, demanded, payload, rows, known, coalesce(missing, 0) as missing,
                coalesce(extra, 0) as extra, coalesce(again, 0) as again, coalesce(readings, 0) as readings,
                coalesce(rejects, 0) as rejects, coalesce(foreign_bytes, 0) as foreign_bytes
            from messages left join counted using ({_ORIGIN}) left join differences using ({_ORIGIN})
                left join repeated using ({_ORIGIN})
        )""")


def _examples(con: duckdb.DuckDBPyConnection) -> list[str]:
    said = []
    for kind in ("lost", "twice", "altered"):
        rows = con.sql(f"""select {_ORIGIN}, {kind}, payload from judged where {kind} > 0
            order by {_ORIGIN} limit {_EXAMPLES}""").fetchall()
        said += [f"{kind} {times} of {_place(*origin)}: {payload[:200]!r}" for *origin, times, payload in rows]
    for kind in ("invented", "misplaced"):
        rows = con.sql(f"select * from {kind} order by {_ORIGIN} limit {_EXAMPLES}").fetchall()
        said += [f"{kind} {_place(*row[:3])}: {row[3:]}" for row in rows]
    return said


def _place(source: Any, partition: Any, offset: Any) -> str:
    return f"{source}/{partition} at {offset}"
