"""A run's outcome and quality as tables that a person wants to read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WORST = 5
_ISSUES = 3
_OVERDUE = 20
"""Rows of a table of devices."""
_NAME_COLUMNS = 32
"""A device id may have 256 characters; a table shows so many of them."""
_MOST_COUNTS = 10
"""Rows of a table of counts; the others are added up."""
_SOURCE_COLUMNS = 16
"""Of a table whose other columns need the room."""
_PLAIN_PATH = re.compile(r"[\w./:@=+-]+")


def print_run_report(console: Console, outcome: dict[str, Any], quality: pa.Table | None, lake: str | None) -> None:
    """Prints the tables that a run ends with, and where to look next.

    Args:
        console: Where to; its width is kept but for the line that is there to be copied.
        outcome: What ``telebeam run --json`` prints.
        quality: The run's quality report (:data:`~telebeam.transforms.schema.QUALITY`), where there is one.
        lake: The lake's path, where there is one.
    """
    console.print(_balance(outcome))
    if quality is not None and quality.num_rows:
        console.print(_sensors(quality))
        devices = quality.filter(pc.equal(quality["scope"], "device"))
        if devices.num_rows:
            console.print(_devices(devices))
    rate = outcome["balance"]["in"] / outcome["seconds"] if outcome["seconds"] else 0
    console.print(Text(f"{rate:,.0f} rows/s: {outcome['seconds']:.1f} s on {outcome['runner']}"))
    if lake is not None:
        console.print(Text(f"Look next at {lake}/readings, windows, rejects and quality; with DuckDB:"))
        console.print(Text(f"  {_query(lake)}", style="cyan"), soft_wrap=True)


def print_inventory(console: Console, found: dict[str, Any]) -> None:
    """Prints what a registry says of devices.

    Args:
        console: Where to.
        found: What ``telebeam devices --json`` prints.
    """
    table = _table(f"{found['devices']:,} devices at {found['at'][:19]}", "device type", "status", "devices")
    for row in found["types"]:
        table.add_row(Text(printable(row["device_type"] or "–")), row["status"], f"{row['devices']:,}")
    console.print(table)
    if found["since"] is None:
        console.print(Text("no device type has an interval, or there is no lake: nothing is overdue"))
        return
    late = found["overdue"]
    table = _table(f"{len(late):,} overdue, seen since {found['since'][:19]}", "device", "type", "silent", "last seen")
    for row in late[:_OVERDUE]:
        silent = row["silent_seconds"]
        table.add_row(
            Text(printable(row["device_id"])), Text(printable(row["device_type"])),
            "–" if silent is None else f"{silent:,.0f} s", (row["last_seen"] or "–")[:19].replace("T", " "),
        )  # fmt: skip
    console.print(table)
    if len(late) > _OVERDUE:
        console.print(Text(f"… and {len(late) - _OVERDUE:,} more; --json has them all"))


def print_trial(console: Console, trial: dict[str, Any]) -> None:
    """Prints how often rules would have fired.

    Args:
        console: Where to.
        trial: What ``telebeam rules test --json`` prints.
    """
    title = f"{trial['readings']:,} readings of {trial['devices']:,} devices, {trial['start']} to {trial['end']}"
    table = _table(title, "rule", "fired", "critical", "devices", "a device-day", "longest", "still firing", "last")
    for rule in trial["rules"]:
        table.add_row(
            rule["rule"], f"{rule['fired']:,}", f"{rule['critical']:,}", f"{rule['groups']:,}",
            f"{rule['per_device_day']:.3g}", f"{rule['longest_seconds']:,.0f} s", f"{rule['open']:,}",
            (rule["last"] or "–")[:16].replace("T", " "),
        )  # fmt: skip
    console.print(table)


def printable(text: str) -> str:
    r"""A text that does nothing to a terminal: what is no printable character is escaped.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def print_reject_groups(console: Console, groups: list[dict[str, Any]]) -> None:
    """Prints rejects by reason and source.

    Args:
        console: Where to.
        groups: What ``telebeam rejects ls --json`` prints as ``groups``.
    """
    total = sum(group["count"] for group in groups)
    table = Table(title=Text(f"{total:,} rejects in {len(groups):,} groups", style="bold"), title_justify="left",
                  header_style="dim", box=None, expand=True)  # fmt: skip
    for name in ("reason", "count", "source", "first", "last"):
        table.add_column(name, justify="right" if name == "count" else "left", no_wrap=True)
    for name, share in (("detail", 2), ("payload", 3)):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=share)
    for group in groups:
        table.add_row(
            group["reason"], f"{group['count']:,}", _cut(group["source"], _SOURCE_COLUMNS), _minute(group["first"]),
            _minute(group["last"]), Text(printable(group["detail"])), Text(_payload(group)),
        )  # fmt: skip
    console.print(table)


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def print_rejects(console: Console, rejects: list[dict[str, Any]]) -> None:
    """Prints whole rejects, a field a line.

    Args:
        console: Where to.
        rejects: What ``telebeam rejects show --json`` prints as ``rejects``.
    """
    for number, reject in enumerate(rejects):
        if number:
            console.print()
        for name, value in reject.items():
            if name != "payload_is" and value is not None:
                shown = _payload(reject) if name == "payload" else printable(str(value))
                console.print(Text.assemble((f"{name:<17}", "dim"), shown), soft_wrap=True)
    if not rejects:
        console.print(Text("no reject is meant"))


def print_reject_stats(console: Console, stats: dict[str, Any]) -> None:
    """Prints counts of rejects.

    Args:
        console: Where to.
        stats: What ``telebeam rejects stats --json`` prints.
    """
    console.print(Text(f"{stats['rejects']:,} rejects; {stats['replayed']:,} were replayed", style="bold"))
    for key, name in (("by_reason", "reason"), ("by_hour", "hour"), ("by_device", "device"), ("by_source", "source")):
        table = _table(f"by {name}", name, "rejects")
        counts = list(stats[key].items())
        for label, count in counts if key == "by_hour" else counts[:_MOST_COUNTS]:
            table.add_row(_cut(label), f"{count:,}")
        if key == "by_device" and stats["without_device"]:
            table.add_row("without a device id", f"{stats['without_device']:,}")
        if key != "by_hour" and len(counts) > _MOST_COUNTS:
            table.add_row(f"{len(counts) - _MOST_COUNTS:,} others", f"{sum(n for _, n in counts[_MOST_COUNTS:]):,}")
        console.print(table)


def print_replay(console: Console, replay: dict[str, Any], left: Mapping[str, str]) -> None:
    """Prints what a replay did, or would do.

    Args:
        console: Where to.
        replay: What ``telebeam rejects replay --json`` prints.
        left: Why rejects are left, in words.
    """
    would = "would be " if replay["dry_run"] else ""
    table = _table(f"{replay['looked_at']:,} rejects looked at", "reason", f"{would}replayed", "already there",
                   "still refused", "why")  # fmt: skip
    table.columns[-1].justify = "left"
    for reason, found in replay["by_reason"].items():
        why = ", ".join(f"{name} {count:,}" for name, count in found["still_refused"].items())
        still = sum(found["still_refused"].values())
        table.add_row(reason, f"{found['replayed']:,}", f"{found['already_there']:,}", f"{still:,}", Text(why))
    table.add_section()
    table.add_row("all", f"{replay['replayed']:,}", f"{replay['already_there']:,}", f"{replay['still_refused']:,}", "")
    console.print(table)
    console.print(Text(f"{replay['readings']:,} readings {would}written"))
    if replay["windows"] or replay["points"] or replay["refused_points"]:
        console.print(
            Text(f"{replay['windows']:,} windows computed anew; {replay['points']:,} points in InfluxDB, "
                 f"{replay['refused_points']:,} refused")
        )  # fmt: skip
    for code, count in replay["left"].items():
        console.print(Text(f"{count:,} left as they are: {left.get(code, code)}"), soft_wrap=True)
    if replay["backfill"] is not None:
        span = f"--start {replay['backfill']['start']} --end {replay['backfill']['end']}"
        console.print(Text(f"readings of streams are in no window until a backfill: {span}"), soft_wrap=True)


def _payload(reject: dict[str, Any]) -> str:
    return f"0x{reject['payload']}" if reject["payload_is"] == "hex" else printable(reject["payload"])


def _cut(text: str, columns: int = _NAME_COLUMNS) -> Text:
    """A text for a table's cell; of a long one the end, which is where files differ."""
    shown = printable(text)
    return Text(shown if len(shown) <= columns else f"…{shown[1 - columns :]}")


def _table(title: str, *columns: str) -> Table:
    """A table whose first column and issues are texts, and the others numbers."""
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="dim")
    for number, name in enumerate(columns):
        is_text = number == 0 or "issues" in name
        table.add_column(name, justify="left" if is_text else "right", no_wrap=number == 0, overflow="ellipsis",
                         max_width=_NAME_COLUMNS if number == 0 else None)  # fmt: skip
    return table


def _balance(outcome: dict[str, Any]) -> Table:
    balance = outcome["balance"]
    table = _table(f"{outcome['pipeline']}: every row accounted for", "rows", "count", "share")
    total = balance["in"]
    for name, label in (
        ("in", "in"), ("readings", "= readings"), ("rejects", "+ rejects"), ("duplicates", "+ duplicates"),
    ):  # fmt: skip
        table.add_row(label, f"{balance[name]:,}", f"{balance[name] / total:.2%}" if total else "–")
    table.add_section()
    table.add_row("windows", f"{outcome['windows']:,}", "")
    for name, rows in outcome.get("made", {}).items():
        table.add_row(name, f"{rows:,}", "")
    if outcome["points"] or outcome["refused_points"]:
        table.add_row("points in InfluxDB", f"{outcome['points']:,}", "")
        table.add_row("points refused", f"{outcome['refused_points']:,}", "")
    return table


def _sensors(quality: pa.Table) -> Table:
    table = _table("Quality by sensor type", "sensor type", "rows", "valid", "most frequent issues")
    rows = quality.filter(pc.is_in(quality["scope"], pa.array(["sensor_type", "total"]))).to_pylist()
    for row in sorted(rows, key=lambda row: (row["scope"] == "total", row["sensor_type"] or "")):
        if row["scope"] == "total":
            table.add_section()
        name = "all" if row["scope"] == "total" else row["sensor_type"]
        _add_quality(table, name, row)
    return table


def _devices(devices: pa.Table) -> Table:
    table = _table("The worst devices", "device", "rows", "valid", "most frequent issues")
    order = [("valid_rate", "ascending"), ("quality_mean", "ascending"), ("total", "descending")]
    for row in devices.take(pc.select_k_unstable(devices, min(_WORST, len(devices)), order)).to_pylist():
        _add_quality(table, row["device_id"], row)
    return table


def _add_quality(table: Table, name: str | None, row: dict[str, Any]) -> None:
    # As Text, for a device id with brackets is no markup.
    table.add_row(Text(name or "–"), f"{row['total']:,}", f"{row['valid_rate']:.2%}", Text(_issues(row)))


def _issues(row: dict[str, Any]) -> str:
    return ", ".join(f"{issue['issue']} {issue['count']:,}" for issue in row["top_issues"][:_ISSUES])


def _query(lake: str) -> str:
    """A statement to try: as a command line where the path needs no quoting by a shell."""
    path = lake.replace("'", "''")
    statement = (
        f"select device_id, sensor_type, max(max) from read_parquet('{path}/windows/**/*.parquet', "  # noqa: S608
        "hive_partitioning=true) group by all order by 3 desc limit 5"
    )
    return f'duckdb -c "{statement}"' if _PLAIN_PATH.fullmatch(lake) else statement
