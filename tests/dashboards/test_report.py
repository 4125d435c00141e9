from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from telebeam.dashboards.report import print_run_report
from telebeam.transforms.schema import QUALITY

OUTCOME: dict[str, Any] = {
    "pipeline": "fleet", "runner": "FnApiRunner", "seconds": 2.0, "windows": 1_234_567,
    "points": 0, "refused_points": 0,
    "balance": {"in": 10_000_000_000, "readings": 9_999_999_999, "rejects": 1, "duplicates": 0, "late": 0},
}  # fmt: skip


def quality(*devices: str) -> pa.Table:
    issues = [{"issue": name, "count": 10**9} for name in ("unknown_sensor_type", "missing_device_id", "out_of_range")]
    row = {
        "pipeline": "fleet", "tenant": "default", "total": 10**10, "valid": 1, "invalid": 10**10 - 1, "valid_rate": 0.1,
        "quality_mean": 0.5, "top_issues": issues,
    }  # fmt: skip
    rows = [{**row, "scope": "total"}, {**row, "scope": "sensor_type", "sensor_type": "temp[red]erature"}]
    rows += [{**row, "scope": "device", "device_id": device} for device in devices]
    return pa.Table.from_pylist(rows, schema=QUALITY)


def printed(width: int, table: pa.Table | None, lake: str | None = "lake", **changed: Any) -> str:
    stream = io.StringIO()
    print_run_report(Console(file=stream, width=width), {**OUTCOME, **changed}, table, lake)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_the_tables_fit_the_page_whatever_they_hold(width: int):
    page = printed(width, quality("x" * 256, "a b", "ü" * 40))
    tables = [line for line in page.splitlines() if line[:1] in "┏┃┡│├└"]
    assert max(map(len, tables)) <= width
    assert "10,000,000,000" in page
    assert "missing_device_id" in page


def test_a_name_with_brackets_is_shown_as_it_is():
    page = printed(100, quality("[bold]device[/bold]", "[/]"))
    assert "[bold]device[/bold]" in page
    assert "[/]" in page
    assert "temp[red]erature" in page


def test_the_worst_devices_come_first_and_there_are_five():
    page = printed(100, quality(*(f"device-{n}" for n in range(9))))
    assert page.count("device-") == 5


@pytest.mark.parametrize("table", [None, QUALITY.empty_table(), quality()])
def test_a_run_without_devices_has_its_balance(table: pa.Table | None):
    page = printed(80, table)
    assert "= readings" in page
    assert "worst devices" not in page


def test_the_line_to_copy_is_one_line():
    lake = "/a/rather/long/path" * 12
    lines = printed(80, None, lake).splitlines()
    assert (
        f"  duckdb -c \"select device_id, sensor_type, max(max) from read_parquet('{lake}/windows/**/*.parquet'"
        in "".join(line for line in lines if "duckdb -c" in line)
    )


def test_a_path_that_a_shell_would_change_is_given_as_a_statement():
    page = printed(100, None, "o'lake $HOME")
    assert "duckdb -c" not in page
    assert "read_parquet('o''lake $HOME/windows/**/*.parquet'" in page


def test_a_run_of_nothing_has_no_share_and_no_rate():
    nothing = dict.fromkeys(OUTCOME["balance"], 0)
    assert "0 rows/s" in printed(80, None, None, balance=nothing, seconds=0)


def test_points_are_shown_where_there_are():
    assert "points refused" in printed(80, None, points=3, refused_points=1)
    assert "points" not in printed(80, None)
