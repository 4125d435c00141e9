"""A run's outcome and quality as tables that a person wants to read."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WORST = 5
_ISSUES = 3
_NAME_COLUMNS = 32
"""A device id may have 256 characters; a table shows so many of them."""
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
