"""A run's outcome and quality as tables that a person wants to read."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_WORST = 5


def run_report(outcome: dict[str, Any], quality: pa.Table | None, lake: str | None) -> RenderableType:
    """The tables that a run ends with.

    Args:
        outcome: What ``telebeam run --json`` prints.
        quality: The run's quality report (:data:`~telebeam.transforms.schema.QUALITY`), where there is one.
        lake: The lake's path, where there is one.
    """
    parts: list[RenderableType] = [_balance(outcome)]
    if quality is not None and quality.num_rows:
        parts += [_sensors(quality), _devices(quality)]
    parts.append(_next(outcome, lake))
    return Group(*parts)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < left else "right")
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
    if outcome["points"] or outcome["refused_points"]:
        table.add_row("points in InfluxDB", f"{outcome['points']:,}", "")
        table.add_row("points refused", f"{outcome['refused_points']:,}", "")
    return table


def _sensors(quality: pa.Table) -> Table:
    table = _table("Quality by sensor type", "sensor type", "readings", "valid", "most frequent issues")
    rows = quality.filter(pc.is_in(quality["scope"], pa.array(["sensor_type", "total"]))).to_pylist()
    for row in sorted(rows, key=lambda row: (row["scope"] == "total", row["sensor_type"] or "")):
        if row["scope"] == "total":
            table.add_section()
        table.add_row(row["sensor_type"] or "all", f"{row['total']:,}", f"{row['valid_rate']:.2%}", _issues(row))
    return table


def _devices(quality: pa.Table) -> Table:
    table = _table("The worst devices", "device", "readings", "valid", "most frequent issues")
    devices = quality.filter(pc.equal(quality["scope"], "device"))
    worst = devices.take(
        pc.select_k_unstable(devices, _WORST, [("valid_rate", "ascending"), ("total", "descending")])
    )
    for row in worst.to_pylist():
        table.add_row(row["device_id"], f"{row['total']:,}", f"{row['valid_rate']:.2%}", _issues(row))
    return table


def _issues(row: dict[str, Any]) -> str:
    return ", ".join(f"{issue['issue']} {issue['count']:,}" for issue in row["top_issues"][:3])


def _next(outcome: dict[str, Any], lake: str | None) -> Text:
    rate = outcome["balance"]["in"] / outcome["seconds"] if outcome["seconds"] else 0
    text = Text(f"{rate:,.0f} rows/s: {outcome['seconds']:.1f} s on {outcome['runner']}\n")
    if lake is not None:
        query = (
            f"select device_id, sensor_type, max(max) from read_parquet('{lake}/windows/**/*.parquet', "
            "hive_partitioning=true) group by all order by 3 desc limit 5"
        )
        text.append(f"Look next at {lake}/readings, windows, rejects and quality; with DuckDB:\n")
        text.append(f'  duckdb -c "{query}"\n', style="cyan")
    return text
