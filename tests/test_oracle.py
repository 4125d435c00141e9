"""The oracle, held against windows that were worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.transforms.schema import READINGS, WINDOWS
from tests.oracle import compare_windows, windows_oracle

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def readings(*rows: tuple[float, float], **others: Any) -> pa.Table:
    """Readings of one series from (seconds after midnight, value), in order of arrival."""
    return pa.Table.from_pylist(
        [
            {
                "tenant": "default",
                "device_id": "boiler-1",
                "timestamp": MIDNIGHT + timedelta(seconds=seconds),
                "sensor_type": "temperature",
                "measurement_type": "temperature",
                "value": value,
                "unit": "celsius",
                "location": None,
                "quality_score": 1.0,
                "issues": [],
                "is_late": False,
                "source": "archive.parquet",
                "source_partition": 0,
                "source_offset": offset,
                **others,
            }
            for offset, (seconds, value) in enumerate(rows)
        ],
        schema=READINGS,
    )


def test_four_readings_have_the_aggregates_worked_out_by_hand(con: duckdb.DuckDBPyConnection) -> None:
    rows = windows_oracle(con, readings((60, 1.0), (70, 2.0), (80, 6.0), (90, 7.0)), 60).to_pylist()
    assert len(rows) == 1
    expected = {
        "tenant": "default",
        "device_id": "boiler-1",
        "location": None,
        "window_start": MIDNIGHT + timedelta(seconds=60),
        "window_end": MIDNIGHT + timedelta(seconds=120),
        "window_seconds": 60,
        "count": 4,
        "mean": 4.0,
        "std": math.sqrt(6.5),  # (9 + 4 + 4 + 9) / 4
        "min": 1.0,
        "max": 7.0,
        "sum": 16.0,
        "first": 1.0,
        "last": 7.0,
        "p50": 4.0,
        "p95": pytest.approx(6.85, rel=1e-12),  # 2.85 steps along 1, 2, 6, 7
        "p99": pytest.approx(6.97, rel=1e-12),
        "trend_per_second": pytest.approx(0.22, rel=1e-12),  # (15·3 + 5·2 + 5·2 + 15·3) / (225 + 25 + 25 + 225)
        "quality_mean": 1.0,
        "p50_low": 2.0,
        "p50_high": 6.0,
        "p99_low": 6.0,
        "p99_high": 7.0,
    }
    assert {name: rows[0][name] for name in expected} == expected


def test_its_columns_are_those_of_the_dataset_without_the_revision(con: duckdb.DuckDBPyConnection) -> None:
    table = windows_oracle(con, readings((0, 1.0)), 60)
    names = [name for name in WINDOWS.names if name != "revision"]
    assert table.column_names[: len(names)] == names
    assert [table.schema.field(name).type for name in names] == [WINDOWS.field(name).type for name in names]


def test_a_window_holds_its_start_and_not_its_end(con: duckdb.DuckDBPyConnection) -> None:
    table = windows_oracle(con, readings((0, 1.0), (59.999999, 2.0), (60, 3.0)), 60)
    assert table["count"].to_pylist() == [2, 1]


def test_windows_before_1970_are_aligned_to_the_epoch_as_well(con: duckdb.DuckDBPyConnection) -> None:
    table = windows_oracle(con, readings((0, 1.0), timestamp=datetime(1969, 12, 31, 23, 59, 30, tzinfo=UTC)), 60)
    assert table["window_start"].to_pylist() == [datetime(1969, 12, 31, 23, 59, tzinfo=UTC)]


def test_the_sessions_time_zone_moves_no_window(con: duckdb.DuckDBPyConnection) -> None:
    expected = windows_oracle(con, readings((0, 1.0), (5000, 2.0)), 86400)
    con.execute("set TimeZone = 'Asia/Kathmandu'")
    assert windows_oracle(con, readings((0, 1.0), (5000, 2.0)), 86400).equals(expected)


def test_readings_of_one_moment_have_no_trend_and_are_ordered_by_offset(con: duckdb.DuckDBPyConnection) -> None:
    row = windows_oracle(con, readings((59.1, 5.0), (59.1, 1.0), (59.1, 3.0)), 60).to_pylist()[0]
    assert (row["trend_per_second"], row["first"], row["last"], row["std"] > 1) == (None, 5.0, 3.0, True)


def test_the_trend_of_readings_a_microsecond_apart_is_exact(con: duckdb.DuckDBPyConnection) -> None:
    row = windows_oracle(con, readings((59.999998, 1.0), (59.999999, 2.0)), 60).to_pylist()[0]
    assert row["trend_per_second"] == pytest.approx(1e6, rel=1e-12)


def test_a_large_offset_costs_the_deviation_no_digits(con: duckdb.DuckDBPyConnection) -> None:
    row = windows_oracle(con, readings(*[(n, 1e9 + n % 2) for n in range(60)]), 60).to_pylist()[0]
    assert (row["std"], row["mean"], row["sum"]) == (0.5, 1e9 + 0.5, 6e10 + 30)


def test_tables_files_and_relations_give_the_same_windows(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    given = readings((0, 1.0), (61, 2.0))
    pq.write_table(given, tmp_path / "part.parquet")
    con.register("archive", given)
    expected = windows_oracle(con, given, 60)
    for same in ("archive", f"{tmp_path}/*.parquet", con.sql("select * from archive")):
        assert windows_oracle(con, same, 60).equals(expected)


def test_any_order_and_encoding_of_the_rows_is_the_same(con: duckdb.DuckDBPyConnection) -> None:
    expected = windows_oracle(con, readings((0, 1.0), (61, 2.0), (130, 3.0)), 60)
    ours = expected.take([2, 0, 1])
    encoded = ours.set_column(1, "device_id", ours["device_id"].dictionary_encode())
    compare_windows(encoded.append_column("revision", pa.array([0, 0, 0], pa.int32())), expected)


@pytest.mark.parametrize(
    ("column", "factor", "fails"),
    [
        ("mean", 1 + 1e-12, False),
        ("mean", 1 + 1e-8, True),
        ("std", 1 + 1e-8, True),
        ("sum", 1 + 1e-8, True),
        ("trend_per_second", 1 + 1e-8, True),
        ("quality_mean", 1 + 1e-8, True),
        ("p95", 1 + 1e-11, True),
        ("min", 1 + 1e-15, True),
        ("last", 1 + 1e-15, True),
    ],
)
def test_a_number_that_is_off_by_more_than_its_tolerance_is_named(
    con: duckdb.DuckDBPyConnection, column: str, factor: float, fails: bool
) -> None:
    expected = windows_oracle(con, readings((0, 20.0), (10, 21.5), (20, 22.25)), 60)
    ours = _with(expected, column, [expected[column][0].as_py() * factor])
    if not fails:
        compare_windows(ours, expected)
        return
    with pytest.raises(AssertionError, match=f"{column} differs in 1 of 1 windows\n.*boiler-1"):
        compare_windows(ours, expected)


@pytest.mark.parametrize("rows", [[0], [0, 1, 1]], ids=["missing", "twice"])
def test_a_window_that_is_missing_or_there_twice_is_found(con: duckdb.DuckDBPyConnection, rows: list[int]) -> None:
    expected = windows_oracle(con, readings((0, 1.0), (61, 2.0)), 60)
    with pytest.raises(AssertionError, match=f"{len(rows)} windows, expected 2"):
        compare_windows(expected.take(rows), expected)


def test_a_missing_trend_is_not_any_trend(con: duckdb.DuckDBPyConnection) -> None:
    expected = windows_oracle(con, readings((0, 1.0), (1, 1.0)), 60)
    with pytest.raises(AssertionError, match="trend_per_second"):
        compare_windows(_with(expected, "trend_per_second", [None]), expected)


def test_a_large_windows_quantile_may_be_off_by_the_sketchs_error_and_no_more(con: duckdb.DuckDBPyConnection) -> None:
    expected = windows_oracle(con, readings(*[(n / 10, -float(n)) for n in range(200)]), 60)
    low, high = expected["p95_low"][0].as_py(), expected["p95_high"][0].as_py()
    assert (low, high) == (-10.0, -9.0)
    for inside in (low * (1 + 1 / 300), high * (1 - 1 / 300)):
        compare_windows(_with(expected, "p95", [inside]), expected)
    for outside in (low * (1 + 1 / 200), high * (1 - 1 / 200)):
        with pytest.raises(AssertionError, match="p95 differs"):
            compare_windows(_with(expected, "p95", [outside]), expected)


def _with(table: pa.Table, column: str, values: list[float | None]) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, pa.array(values, pa.float64()))
