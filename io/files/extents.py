"""When the rows of a Parquet file's row groups were, as far as its statistics tell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow.parquet as pq

from telebeam.transforms.parsing.shapes import mapping, plan
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.table import outline_of

_PER_MICROSECOND = {"milliseconds": (1, 1000), "microseconds": (1, 1), "nanoseconds": (1000, 1)}
"""Physical unit → (what to divide by, what to multiply with) for microseconds."""

_DAY = 86_400_000_000
"""A naive time is less than that away from UTC, in µs."""


class Extents(NamedTuple):
    """[first, last] of each row group in µs since the epoch; None where the statistics leave it open."""

    groups: list[tuple[int, int] | None]

    @classmethod
    def of(cls, file: pq.ParquetFile, spec: ParseSpec) -> Extents:
        """A file's extents, by the column that parsing takes the timestamp from."""
        metadata = file.metadata
        path = plan(outline_of(file.schema_arrow), mapping(spec), "table").timestamp
        names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
        name = ".".join(path or ())
        if names.count(name) != 1:
            return cls([None] * metadata.num_row_groups)
        index = names.index(name)
        kind = json.loads(metadata.schema.column(index).logical_type.to_json())
        if kind.get("Type") != "Timestamp" or kind.get("timeUnit") not in _PER_MICROSECOND:
            return cls([None] * metadata.num_row_groups)
        margin = 0 if kind["isAdjustedToUTC"] else _DAY
        divisor, factor = _PER_MICROSECOND[kind["timeUnit"]]
        found: list[tuple[int, int] | None] = []
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(index).statistics
            known = statistics is not None and statistics.has_min_max and statistics.physical_type == "INT64"
            found.append(
                # A negative time of nanoseconds is cut to microseconds upwards.
                (statistics.min_raw * factor // divisor - margin, statistics.max_raw * factor // divisor + 1 + margin)
                if known
                else None
            )
        return cls(found)

    def may_hold(self, groups: Iterable[int], span: tuple[int, int]) -> bool:
        """Whether one of the groups leaves room for a row within [first, end)."""
        extents = [self.groups[group] for group in groups]
        return any(extent is None or (extent[0] < span[1] and extent[1] >= span[0]) for extent in extents)
