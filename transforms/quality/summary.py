"""The rows of the ``quality`` dataset out of the counts that a run has gathered."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.schema import QUALITY, TIMESTAMP

GROUP = ("tenant", "device_id", "sensor_type")
"""What is counted apart.  Every row is counted twice: in its tenant and device, where the sensor type is empty, and in
its sensor type, where the other two are.  A refused row that names no device has an empty one."""
_KEYS = [pa.field(name, pa.string()) for name in GROUP]
GROUPS = pa.schema(
    [
        *_KEYS,
        *[pa.field(name, pa.int64()) for name in ("total", "rejected", "flagged", "score")],
        pa.field("first", TIMESTAMP),
        pa.field("last", TIMESTAMP),
    ]
)
"""Sums for each group: all rows, refused ones, readings with issues, and the scores in :data:`SCORE_UNIT`."""
CODES = pa.schema([*_KEYS, pa.field("code", pa.string()), pa.field("count", pa.int64())])
"""How often each issue and each reason occurred in a group."""

SCORE_UNIT = 10**9
"""Scores are summed as whole billionths: in any order to the same sum, exactly for decimal ones, and up to nine
billion readings without an overflow."""
TOP = 5
"""Codes that a row names."""

_SCOPES = {"total": (), "sensor_type": ("sensor_type",), "device": ("tenant", "device_id")}


def summarize(groups: pa.Table, codes: pa.Table, pipeline: str) -> pa.RecordBatch:
    """The quality of everything, of each sensor type and of each device.

    ``quality_mean`` is the mean score of the readings, ``valid_rate`` the share of rows that are readings without
    issues; both are 0 where there is nothing.  First and last timestamp are those of the readings.

    Args:
        groups: Merged rows of :data:`GROUPS`.
        codes: Merged rows of :data:`CODES`.
        pipeline: The pipeline's name.
    """
    parts = [_scope(groups, codes, scope, keys) for scope, keys in _SCOPES.items()]
    table = pa.concat_tables(parts)
    columns = {name: table.column(name) for name in table.column_names}
    columns["pipeline"] = pa.array([pipeline] * len(table), pa.string())
    ordered = pa.table([columns[name] for name in QUALITY.names], names=QUALITY.names).cast(QUALITY)
    return ordered.combine_chunks().to_batches()[0]


def _scope(groups: pa.Table, codes: pa.Table, scope: str, keys: tuple[str, ...]) -> pa.Table:
    sums = [(name, "sum") for name in ("total", "rejected", "flagged", "score")]
    table = _counted_by(groups, keys).group_by(list(keys)).aggregate([*sums, ("first", "min"), ("last", "max")])
    table = table.sort_by([(key, "ascending") for key in keys]) if keys else table
    total, rejected, flagged, score = (table.column(f"{name}_sum").fill_null(0).to_numpy() for name, _ in sums)
    invalid, readings = rejected + flagged, total - rejected
    columns = {
        "scope": pa.array([scope] * len(table), pa.string()),
        **{key: table.column(key) if key in keys else pa.nulls(len(table), pa.string()) for key in GROUP},
        "total": pa.array(total),
        "valid": pa.array(total - invalid),
        "invalid": pa.array(invalid),
        "valid_rate": pa.array((total - invalid) / np.maximum(total, 1)),
        "quality_mean": pa.array(score / SCORE_UNIT / np.maximum(readings, 1)),
        "top_issues": _top_issues(codes, keys, table),
        "first_timestamp": table.column("first_min"),
        "last_timestamp": table.column("last_max"),
    }
    return pa.table(columns)


def _counted_by(table: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """The rows that are counted by these keys: what names no device counts in the total only."""
    by_type = pc.not_equal(table.column("sensor_type"), "")
    if "sensor_type" in keys:
        return table.filter(by_type)
    table = table.filter(pc.invert(by_type))
    return table.filter(pc.not_equal(table.column("device_id"), "")) if keys else table


def _top_issues(codes: pa.Table, keys: tuple[str, ...], rows: pa.Table) -> pa.ListArray:
    """For each row its most frequent codes, those of equal count by name."""
    counted = _counted_by(codes, keys).group_by([*keys, "code"]).aggregate([("count", "sum")])
    numbers = pa.table({**{key: rows.column(key) for key in keys}, "row": pa.array(np.arange(len(rows)))})
    if keys:
        counted = counted.join(numbers, list(keys), use_threads=False)
    else:
        counted = counted.append_column("row", pa.array(np.zeros(len(counted), np.int64)))
    counted = counted.sort_by([("row", "ascending"), ("count_sum", "descending"), ("code", "ascending")])
    counted = counted.combine_chunks()
    row = counted.column("row").to_numpy()
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    top = counted.filter(pa.array(rank < TOP))
    ends = np.searchsorted(row[rank < TOP], np.arange(len(rows) + 1)).astype(np.int32)
    kind = QUALITY.field("top_issues").type
    values = [top.column(name).combine_chunks() for name in ("code", "count_sum")]
    return pa.ListArray.from_arrays(
        pa.array(ends), pa.StructArray.from_arrays(values, fields=list(kind.value_type)), type=kind
    )
