"""A model's forests as one Arrow IPC stream, a row for each: plain numbers, nothing that is executed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from telebeam.transforms.anomaly.drift import BINS, Histogram
from telebeam.transforms.anomaly.features import FEATURES
from telebeam.transforms.anomaly.isolation import Isolation
from telebeam.transforms.anomaly.model import Group, Part

_SIZES = {"mean": 1, "scale": 1, "feature": 2, "threshold": 2, "path": 2, "anchors": 1, "edges": 2, "counts": 2}
"""Array → its dimensions."""
_KINDS = {"feature": pa.uint8(), "threshold": pa.float32()}
SCHEMA = pa.schema(
    [
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("sensor_type", pa.string(), nullable=False),
        pa.field("device_id", pa.string()),
        pa.field("series", pa.uint64()),
        pa.field("trees", pa.int32(), nullable=False),
        *[pa.field(name, pa.large_list(_KINDS.get(name, pa.float64())), nullable=False) for name in _SIZES],
    ]
)


_TYPED = SCHEMA.insert(3, pa.field("device_type", pa.string()))
"""Where device types have forests; others stay as they were before there were such."""


def to_ipc(parts: Sequence[Part]) -> pa.Buffer:
    """What :func:`from_ipc` reads; equal parts give equal bytes."""
    rows = []
    for part in parts:
        group, forest, histogram = part.group, part.forest, part.histogram
        arrays = {name: getattr(histogram if name in ("edges", "counts") else forest, name) for name in _SIZES}
        names = {"tenant": group.tenant, "sensor_type": group.sensor_type, "device_id": group.device_id}
        flat = {name: array.ravel() for name, array in arrays.items()}
        names["device_type"] = group.device_type
        rows.append({**names, "series": group.series, "trees": len(forest.path), **flat})
    schema = _TYPED if any(part.group.device_type is not None for part in parts) else SCHEMA
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return sink.getvalue()


def from_ipc(buffer: pa.Buffer) -> tuple[Part, ...]:
    """The forests that a stream holds, each checked to be one.

    Raises:
        ValueError: It is no such stream, or its numbers are none of a forest.
    """
    try:
        with pa.ipc.open_stream(pa.BufferReader(buffer)) as reader:
            if reader.schema not in (SCHEMA, _TYPED):
                raise ValueError("its columns are not those of forests")
            table = reader.read_all()
        table.validate(full=True)
    except pa.ArrowException as error:
        raise ValueError(f"no Arrow stream of forests: {error}") from error
    if not table.num_rows or any(table[f.name].null_count for f in SCHEMA if not f.nullable):
        raise ValueError("it holds no forest, or a null")
    return tuple(_part(table, row) for row in range(table.num_rows))


def _part(table: pa.Table, row: int) -> Part:
    trees = table["trees"][row].as_py()
    if trees < 1:
        raise ValueError(f"a forest of {trees} trees")
    flat = {name: np.array(table[name][row].values.to_numpy(zero_copy_only=False)) for name in _SIZES}
    if len(flat["mean"]) != len(FEATURES):
        raise ValueError(f"{len(flat['mean'])} features; expected {len(FEATURES)}")
    heights = {"edges": len(FEATURES), "counts": len(FEATURES)}
    arrays = {
        name: array if _SIZES[name] == 1 else array.reshape(heights.get(name, trees), -1)
        for name, array in flat.items()
    }
    histogram = Histogram(arrays.pop("edges"), arrays.pop("counts"))
    if histogram.counts.shape[1] != BINS:
        raise ValueError("a histogram of other bins")
    named = ("tenant", "sensor_type", "device_id", "series", "device_type")
    group = Group(**{name: table[name][row].as_py() for name in named if name in table.schema.names})
    return Part(group, Isolation(**arrays), histogram)
