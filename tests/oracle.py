"""What the windows of some readings are, by DuckDB: the slow reference that the fast kernels are held against."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.schema import AGGREGATES, SERIES, WINDOWS

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
KEY = (*SERIES, "window_start")
EXACT = ("window_end", "window_seconds", "count", "min", "max", "first", "last")
EXACT_QUANTILES_UP_TO = 128
RELATIVE = 1e-9
# A sum of n doubles may wander by some √n units in the last place of the largest one, 1e-15 of it: RELATIVE × this.
NOISE = 1e-6

_ARRIVAL = "row(timestamp, source_offset, source_partition, source, value)"


def windows_oracle(con: duckdb.DuckDBPyConnection, readings: Any, seconds: int) -> pa.Table:
    """The rows of the windows dataset, without their revision, that these readings have.

    Args:
        con: A connection; its time zone plays no part.
        readings: The readings' columns: the name of a table or view, a path or glob of Parquet files, an Arrow table
            or a DuckDB relation.
        seconds: The windows' length; they are aligned to the epoch in UTC.

    Returns:
        One row for each series and window, in the order of :data:`KEY`, with the columns of
        :data:`~telebeam.transforms.schema.WINDOWS` but ``revision``, followed by what :func:`compare_windows` needs
        to judge: ``p50_low``, ``p50_high`` and so on, the order statistics beside each quantile, and ``trend_scale``.
    """
    columns = WINDOWS.remove(WINDOWS.get_field_index("revision"))
    relation: Any = _relation(con, readings)
    rows = relation.query("given", _sql(seconds)).to_arrow_table()
    bounds = [name for name in rows.column_names if name not in columns.names]
    schema = pa.schema([*columns, *[pa.field(name, pa.float64()) for name in bounds]])
    return rows.select(schema.names).cast(pa.schema([field.with_nullable(True) for field in schema]))


def _relation(con: duckdb.DuckDBPyConnection, readings: Any) -> duckdb.DuckDBPyRelation:
    if isinstance(readings, duckdb.DuckDBPyRelation):
        return readings
    if isinstance(readings, str):
        is_path = any(sign in readings for sign in "/*?.")
        return con.read_parquet(readings, hive_partitioning=False) if is_path else con.table(readings)
    return con.from_arrow(readings)


def _sql(seconds: int) -> str:
    """The statement over the relation ``given``.

    Times are whole microseconds from the window's first reading, which a double holds exactly: the slope of readings
    that lie within a millisecond is as exact as that of readings a minute apart.
    """
    series = ", ".join(SERIES)
    width = seconds * 1_000_000
    bounds = ", ".join(
        f"ordered[1 + floor((count - 1) * {share}::double)::bigint] as {name}_low, "
        f"ordered[1 + ceil((count - 1) * {share}::double)::bigint] as {name}_high"
        for name, share in QUANTILES.items()
    )
    noise = f"{NOISE} * sqrt(count) * greatest(abs(min), abs(max))"
    return f"""
    with placed as (
        select *, epoch_us(timestamp) as us, us - ((us % {width}) + {width}) % {width} as start from given
    ), timed as (
        select *, (us - min(us) over (partition by {series}, start))::double as x from placed
    ), grouped as (
        select {series}, start,
            count(*) as count, favg(value) as mean, stddev_pop(value) as std, min(value) as min, max(value) as max,
            fsum(value) as sum, arg_min(value, {_ARRIVAL}) as first, arg_max(value, {_ARRIVAL}) as last,
            quantile_cont(value, {list(QUANTILES.values())}) as quantiles, list(value order by value) as ordered,
            case when min(us) < max(us) then regr_slope(value, x) * 1e6 end as trend_per_second,
            stddev_pop(x) / 1e6 as spread, favg(quality_score) as quality_mean
        from timed group by {series}, start
    )
    select {series}, make_timestamptz(start) as window_start, make_timestamptz(start + {width}) as window_end,
        {seconds}::bigint as window_seconds, count, mean, std, min, max, sum, first, last,
        quantiles[1] as p50, quantiles[2] as p95, quantiles[3] as p99, trend_per_second, quality_mean, {bounds},
        (std + {noise}) / nullif(spread, 0) * (1 + {NOISE} * {seconds} / nullif(spread, 0)) as trend_scale
    from grouped order by {series}, window_start"""


def compare_windows(ours: pa.Table, expected: pa.Table, quantile_error: float = 1 / 256) -> None:
    """Holds window rows to the oracle's, whatever their order and encoding.

    * Keys, ``window_end``, ``count``, ``min``, ``max``, ``first`` and ``last`` are equal.
    * Every other number is within 1e-9 of its scale.  The scale of ``quality_mean`` is its own size.  That of ``mean``,
      ``std`` and ``sum`` is their own size too, and 1e-6 √n of the largest value (n times as much for the sum), because
      the digits of the values end there.  That of ``trend_per_second`` is ``std`` over the spread of the times, the
      steepest slope that such values can have: a slope near zero is the difference of larger numbers.
    * Quantiles are within 1e-12 of their neighbours' size up to :data:`EXACT_QUANTILES_UP_TO` values, and above that
      between their two neighbouring order statistics, each widened by ``quantile_error`` of its size.

    Args:
        ours: Rows of the windows dataset; more columns are ignored.
        expected: What :func:`windows_oracle` gave.
        quantile_error: The stated relative error of the sketch.

    Raises:
        AssertionError: They differ; the message holds the first rows that do.
    """
    ours, expected = _in_order(ours), _in_order(expected)
    _same_keys(ours, expected)
    for name in EXACT:
        _hold(name, ours, expected, pc.equal(ours[name], expected[name]).to_numpy(zero_copy_only=False))
    n = _numbers(expected, "count")
    largest = np.maximum(np.abs(_numbers(expected, "min")), np.abs(_numbers(expected, "max")))
    noise = NOISE * np.sqrt(n) * largest
    scales = {"mean": noise, "std": noise, "sum": noise * n, "quality_mean": 0.0}
    for name, floor in scales.items():
        right = _numbers(expected, name)
        _hold(name, ours, expected, np.abs(_numbers(ours, name) - right) <= RELATIVE * (np.abs(right) + floor))
    _hold("trend_per_second", ours, expected, _same_trend(ours, expected))
    for name in QUANTILES:
        _hold(name, ours, expected, _same_quantile(ours, expected, name, quantile_error))


def _in_order(table: pa.Table) -> pa.Table:
    bounds = [name for name in table.column_names if name.endswith(("_low", "_high")) or name == "trend_scale"]
    wanted = [*KEY, "window_end", "window_seconds", "count", *AGGREGATES]
    fields = [
        *[pa.field(name, WINDOWS.field(name).type) for name in wanted],
        *[pa.field(n, pa.float64()) for n in bounds],
    ]
    plain = {field.name: _decoded(table[field.name]).cast(field.type) for field in fields}
    return pa.table(plain).sort_by([(name, "ascending") for name in KEY])


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _same_keys(ours: pa.Table, expected: pa.Table) -> None:
    def keys(table: pa.Table) -> pa.Table:
        # A null location is a location: a join takes no two nulls for equal.
        columns = [pc.fill_null(table[name], "\0") if name == "location" else table[name] for name in KEY]
        return pa.table(columns, names=list(KEY))

    left, right = keys(ours), keys(expected)
    if left.equals(right):
        return
    extra = left.join(right, list(KEY), join_type="left anti")
    missing = right.join(left, list(KEY), join_type="left anti")
    raise AssertionError(
        f"{ours.num_rows} windows, expected {expected.num_rows}: {extra.num_rows} too many, "
        f"{missing.num_rows} missing, or one twice\n"
        f"too many: {extra.slice(0, 3).to_pylist()}\n"
        f"missing: {missing.slice(0, 3).to_pylist()}"
    )


def _same_trend(ours: pa.Table, expected: pa.Table) -> np.ndarray[Any, Any]:
    left, right = _numbers(ours, "trend_per_second"), _numbers(expected, "trend_per_second")
    scale = _numbers(expected, "trend_scale")
    no_trend = pc.is_null(expected["trend_per_second"]).to_numpy()
    both_null = no_trend & pc.is_null(ours["trend_per_second"]).to_numpy()
    same: np.ndarray[Any, Any] = both_null | (~no_trend & (np.abs(left - right) <= RELATIVE * (np.abs(right) + scale)))
    return same


def _same_quantile(ours: pa.Table, expected: pa.Table, name: str, error: float) -> np.ndarray[Any, Any]:
    left, right = _numbers(ours, name), _numbers(expected, name)
    low, high = _numbers(expected, f"{name}_low"), _numbers(expected, f"{name}_high")
    rounding = 1e-12 * np.maximum(np.abs(low), np.abs(high))
    exact = np.abs(left - right) <= rounding
    near = (low - error * np.abs(low) - rounding <= left) & (left <= high + error * np.abs(high) + rounding)
    same: np.ndarray[Any, Any] = np.where(_numbers(expected, "count") <= EXACT_QUANTILES_UP_TO, exact, near)
    return same


def _numbers(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False))


def _hold(name: str, ours: pa.Table, expected: pa.Table, same: np.ndarray[Any, Any]) -> None:
    wrong = np.flatnonzero(np.not_equal(same, True))
    if not len(wrong):
        return
    rows = [
        f"  {[expected[key][int(i)].as_py() for key in KEY]}: {ours[name][int(i)].as_py()!r}, "
        f"expected {expected[name][int(i)].as_py()!r} of {expected['count'][int(i)].as_py()} values"
        for i in wrong[:5]
    ]
    raise AssertionError(f"{name} differs in {len(wrong)} of {ours.num_rows} windows\n" + "\n".join(rows))
