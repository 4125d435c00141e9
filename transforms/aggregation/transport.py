"""Partials as RecordBatches, so that they travel and rest as Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from telebeam.transforms.aggregation.partials import MOMENTS, Ends, Partials
from telebeam.transforms.aggregation.quantiles import Distribution
from telebeam.transforms.schema import SERIES

_ENDS = ("time", "offset", "partition", "value")


def to_batch(partials: Partials) -> pa.RecordBatch:
    """The partials, a row each; the limb that counts 2**(40 k) of a moment is the column ``moment:k``."""
    columns: dict[str, pa.Array] = {name: partials.series.column(name) for name in SERIES}
    for name in ("start", "count", "huge", "low", "high"):
        columns[name] = pa.array(getattr(partials, name))
    for moment, limbs in partials.sums.items():
        for k, limb in limbs.items():
            columns[f"{moment}:{k}"] = pa.array(limb)
    for side in ("first", "last"):
        ends: Ends = getattr(partials, side)
        columns |= {f"{side}_{name}": pa.array(getattr(ends, name)) for name in _ENDS}
        columns[f"{side}_source"] = ends.source
    content = partials.distribution
    columns["values"] = _lists(content.value_ends, content.values)
    columns["buckets"] = _lists(content.bucket_ends, content.buckets)
    columns["bucket_counts"] = _lists(content.bucket_ends, content.counts)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def from_batch(batch: pa.RecordBatch) -> Partials:
    """The partials of a batch that :func:`to_batch` made."""

    def numbers(name: str) -> np.ndarray:
        column: np.ndarray = batch.column(name).to_numpy(zero_copy_only=False)
        return column

    def ends(side: str) -> Ends:
        time, offset, partition, value = (numbers(f"{side}_{name}") for name in _ENDS)
        return Ends(time, offset, partition, batch.column(f"{side}_source"), value)

    sums: dict[str, dict[int, np.ndarray]] = {moment: {} for moment in MOMENTS}
    for name in batch.schema.names:
        moment, colon, k = name.partition(":")
        if colon:
            sums[moment][int(k)] = numbers(name)
    values, value_ends = _flat(batch.column("values"))
    buckets, bucket_ends = _flat(batch.column("buckets"))
    counts, _ = _flat(batch.column("bucket_counts"))
    return Partials(
        series=batch.select(list(SERIES)),
        sums=sums,
        first=ends("first"),
        last=ends("last"),
        distribution=Distribution(values, value_ends, buckets, counts, bucket_ends),
        **{name: numbers(name) for name in ("start", "count", "huge", "low", "high")},
    )


def _lists(ends: np.ndarray, values: np.ndarray) -> pa.LargeListArray:
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _flat(column: pa.LargeListArray) -> tuple[np.ndarray, np.ndarray]:
    offsets = column.offsets.to_numpy()
    return column.flatten().to_numpy(zero_copy_only=False), offsets[1:] - offsets[0]
