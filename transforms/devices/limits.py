"""Rules that differ by device type: a batch in parts, each with the rules that hold for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import pyarrow as pa

from telebeam.transforms.batches import codes

Rules = TypeVar("Rules")

DEVICE_TYPE = "device_type"
"""The column of readings in flight that says which rules hold; enriching adds it where there are such rules."""


def parts_by_type(
    batch: pa.RecordBatch, special: Mapping[str, Rules], general: Rules
) -> Iterator[tuple[pa.RecordBatch, Rules]]:
    """The rows of each device type that has rules of its own, and the rest with the general ones.

    The rest comes first, and always; a batch without ``device_type`` is all rest.
    """
    if not special or DEVICE_TYPE not in batch.schema.names:
        yield batch, general
        return
    column = batch.column(DEVICE_TYPE)
    names, numbers = column.dictionary.to_pylist(), codes(column)
    own = [code for code, name in enumerate(names) if name in special]
    rest = ~np.isin(numbers, own)
    yield batch if rest.all() else batch.filter(pa.array(rest)), general
    for code in own:
        rows = numbers == code
        if rows.any():
            yield batch.filter(pa.array(rows)), special[names[code]]
