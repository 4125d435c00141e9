"""The peer: one DuckDB program that does the batch job's work.

An archive goes in; readings held against the quality rules, rejects and one-minute windows with every column of the
lake come out, in the lake's folders, as zstd Parquet sorted by device and time.  It is written to be fast, not to be
extended: each choice below was measured against its alternatives on four million readings and two threads.

It does less than the batch job in five ways, all in its own favour: units are taken as canonical, ties of ``first``
and ``last`` are broken within a file only, a line that is no JSON object is counted as a missing device id, a file is
not staged and published atomically, and ``source_partition`` is always 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

WINDOW_SECONDS = 60
WINDOW_MICROSECONDS = WINDOW_SECONDS * 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS_IN_FLIGHT = 2
COLUMNS = ("device_id", "timestamp", "sensor_type", "measurement_type", "value", "unit", "location", "metadata")
# Level 1 as in the batch job; DuckDB's default of 3 takes 1.7 times as long for the same columns.
PARQUET = "format parquet, compression zstd, compression_level 1"

OUT_OF_RANGE = """case sensor_type
    when 'temperature' then value not between -50 and 100
    when 'humidity' then value not between 0 and 100
    when 'pressure' then value not between 800 and 1200
    when 'voltage' then value not between 0 and 50
    else false end"""
QUALITY_SCORE = f"case when {OUT_OF_RANGE} then greatest(0.1, 1 - 0.2 * 1) else 1.0 end::double"
REASON = """case
    when device_id is null then 'missing_device_id'
    when length(device_id) not between 3 and 256 then 'bad_device_id'
    when timestamp is null then 'missing_timestamp'
    when value is null then 'missing_value'
    when not isfinite(value) then 'bad_value'
    when timestamp > timestamptz '{now}' + interval 300 second then 'future' end"""

READINGS = f"""'default' as tenant, device_id, timestamp, sensor_type, measurement_type, value, unit, location,
    {QUALITY_SCORE} as quality_score,
    case when {OUT_OF_RANGE} then ['out_of_range'] else []::varchar[] end as issues,
    metadata, false as is_late, source, 0::integer as source_partition, source_offset"""

SERIES = "device_id, sensor_type, measurement_type, unit, location"
PLAIN = """count(*) as count, avg(value) as mean, stddev_pop(value) as std, min(value) as min, max(value) as max"""
# One number for (timestamp, offset): arg_min over a row of the two takes three times as long.
ORDER_OF_ARRIVAL = "epoch_us(timestamp)::hugeint * 4294967296 + source_offset"
# All quantiles in one call sort a window's values once.
FULL = f"""{PLAIN}, sum(value) as sum,
    arg_min(value, {ORDER_OF_ARRIVAL}) as first, arg_max(value, {ORDER_OF_ARRIVAL}) as last,
    quantile_cont(value, [0.5, 0.95, 0.99]) as quantiles,
    regr_slope(value, (epoch_us(timestamp) % {WINDOW_MICROSECONDS}) / 1e6) as trend_per_second,
    avg({QUALITY_SCORE}) as quality_mean"""
PLAIN_COLUMNS = "count, mean, std, min, max"
FULL_COLUMNS = f"""{PLAIN_COLUMNS}, sum, first, last, quantiles[1] as p50, quantiles[2] as p95, quantiles[3] as p99,
    trend_per_second, quality_mean"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the program and prints how many rows went where, as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--input", required=True, metavar="GLOB")
    parser.add_argument("--format", choices=("parquet", "jsonl"), default="parquet")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--plain", action="store_true", help="windows of count, mean, std, min and max only")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    now = datetime.now(UTC)
    with duckdb.connect(config={"threads": options.threads}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        open_archive(connection, options.input, options.format, now)
        counts = run(connection, options.output, now, plain=options.plain)
    sys.stdout.write(json.dumps(counts) + "\n")
    return 0


def open_archive(connection: duckdb.DuckDBPyConnection, glob: str, kind: str, now: datetime) -> None:
    """Names the archive ``archive``: a view of Parquet, whose statistics prune by hour, or a table of parsed JSON."""
    path = "'" + glob.replace("'", "''") + "'"
    columns = ", ".join(COLUMNS)
    if kind == "parquet":
        connection.execute(f"""create view records as
            select {columns}, filename as source, file_row_number as source_offset
            from read_parquet({path}, filename = true, file_row_number = true)""")
    else:
        texts = dict.fromkeys(COLUMNS, "VARCHAR")
        # A table numbers its rows for nothing; row_number() over the file doubles the time of reading it.
        connection.execute(f"""create table parsed as
            select * replace (try_cast(timestamp as timestamptz) as timestamp, try_cast(value as double) as value)
            from read_json({path}, format = 'newline_delimited', columns = {texts}, filename = true,
                           ignore_errors = true)""")
        connection.execute("""create table starts as
            select filename, min(rowid) as first_row from parsed group by filename""")
        connection.execute(f"""create view records as
            select {columns}, filename as source, parsed.rowid - first_row as source_offset
            from parsed join starts using (filename)""")
    connection.execute(f"create view archive as select *, {REASON.format(now=now)} as reason from records")


def run(connection: duckdb.DuckDBPyConnection, output: Path, now: datetime, *, plain: bool) -> dict[str, int]:
    """Writes every dataset, an hour at a time: sorting hours is cheaper than sorting all, and bounds the memory.

    Two hours are in flight, for the end of a sort and of a file keep one thread only: 10 to 20 % less time.
    """
    rows_per_hour = connection.execute("""
        select case when reason is null then epoch_us(timestamp) // 3600000000 end as hour, count(*)
        from archive group by hour order by hour""").fetchall()
    counts = {"in": 0, "readings": 0, "rejects": 0}
    with ThreadPoolExecutor(HOURS_IN_FLIGHT) as pool:
        jobs = []
        for hour, rows in rows_per_hour:
            if hour is None:
                jobs.append(pool.submit(write_rejects, connection.cursor(), output, now))
            else:
                start = EPOCH + hour * HOUR
                jobs.append(pool.submit(write_hour, connection.cursor(), output, start, plain=plain))
            counts["rejects" if hour is None else "readings"] += rows
            counts["in"] += rows
        for job in jobs:
            job.result()
    return counts


def write_hour(connection: duckdb.DuckDBPyConnection, output: Path, start: datetime, *, plain: bool) -> None:
    """Writes the readings and the windows of one hour; each is one statement over the archive."""
    rows = f"""(select * from archive where reason is null
        and timestamp >= timestamptz '{start}' and timestamp < timestamptz '{start + HOUR}')"""
    # What is the same in every row, or follows from it, is added after the sort: fewer bytes to move.
    _copy(
        connection,
        f"select {READINGS} from (from {rows} order by device_id, timestamp)",
        _file(output, "readings", start),
    )
    groups = f"""select {SERIES}, epoch_us(timestamp) // {WINDOW_MICROSECONDS} as number, {PLAIN if plain else FULL}
        from {rows} group by {SERIES}, number order by device_id, number"""
    windows = f"""select 'default' as tenant, {SERIES},
        make_timestamptz(number * {WINDOW_MICROSECONDS}) as window_start,
        make_timestamptz((number + 1) * {WINDOW_MICROSECONDS}) as window_end,
        {WINDOW_SECONDS}::bigint as window_seconds,
        {PLAIN_COLUMNS if plain else FULL_COLUMNS}, 0::integer as revision from ({groups})"""
    _copy(connection, windows, _file(output, f"windows/window_seconds={WINDOW_SECONDS}", start))


def write_rejects(connection: duckdb.DuckDBPyConnection, output: Path, now: datetime) -> None:
    """Writes what was refused, each with the row as JSON."""
    payload = ", ".join(f"{name} := {name}" for name in COLUMNS)
    _copy(
        connection,
        f"""select reason, '' as detail, encode(to_json(struct_pack({payload}))::varchar) as payload,
        device_id, timestamp, source, 0::integer as source_partition, source_offset, timestamptz '{now}' as rejected_at
        from archive where reason is not null""",
        _file(output, "rejects", now),
    )


def _file(output: Path, dataset: str, hour: datetime) -> Path:
    folder = output / dataset / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "part-0.parquet"


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    quoted = str(path).replace("'", "''")
    connection.execute(f"copy ({query}) to '{quoted}' ({PARQUET})")


if __name__ == "__main__":
    sys.exit(main())
