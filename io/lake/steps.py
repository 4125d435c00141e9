"""The lake's readings in ascending pieces of event time, for what needs them in order.

A piece begins and ends at the edges of *steps* of ten seconds, and never reaches over an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.compute import Span, overlap, within
from telebeam.io.lake.layout import HOUR, hour_of, partition, seconds_of
from telebeam.io.lake.parquet import DAMAGED, open_parquet, row_groups
from telebeam.transforms.batches import concat, rows_of
from telebeam.transforms.errors import SourceError
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.schema import DICTIONARY, READINGS_IN_FLIGHT, SERIES, conform

STEP = 10_000_000
"""The unit of time in which a stream is scored, in µs."""
PIECE_ROWS = 500_000
"""Readings that are worked on at a time, about; a batch job holds three times as many, for it reads and files others
meanwhile: some 400 MB."""
_LONGEST_SILENCE = 40 * 24
"""Hours: rules remember for thirty days at most."""
NEEDED = (
    *SERIES, "timestamp", "value", "quality_score", "is_late", "source", "source_partition", "source_offset",
)  # fmt: skip


def needed_by(order: OrderSpec) -> tuple[str, ...]:
    """The columns of readings that are looked at, or all where a rule hands readings on."""
    return tuple(READINGS_IN_FLIGHT.names) if order.tags else NEEDED


Piece = tuple[Span, pa.RecordBatch | None]
"""A span and its readings; None where there are none."""


class _Group(NamedTuple):
    path: str
    number: int
    rows: int
    first: int
    last: int


def step_of(instant: int) -> int:
    """The edge of steps at or before an instant, both in µs."""
    return instant - instant % STEP


def readings_between(
    root: storage.Location,
    span: Span,
    *,
    late: bool,
    columns: Sequence[str] = NEEDED,
    piece_rows: int = PIECE_ROWS,
) -> Iterator[tuple[Span, pa.RecordBatch]]:
    """(span, its readings) in ascending and adjoining spans; those without a reading are left out.

    Args:
        root: Where the lake is.
        span: [first, end) of event time at the edges of steps.
        late: Whether readings that came too late for a live job count.
        columns: What is read of them; ``timestamp`` and ``is_late`` always.
        piece_rows: Readings in a piece, about; the edges between pieces depend on it and nothing else does.

    Raises:
        SourceError: A readings file is damaged.
    """
    for hour in _hours(root, span):
        inside = max(span[0], hour * HOUR), min(span[1], (hour + 1) * HOUR)
        groups = list(_groups(root, hour, inside))
        for piece in _pieces(groups, inside, piece_rows):
            rows = _read(root, [group for group in groups if overlap(group.first, group.last, [piece])], piece, columns)
            if rows is not None:
                rows = rows if late else rows_of(rows, ~rows.column("is_late").to_numpy(zero_copy_only=False))
            if rows is not None and rows.num_rows:
                yield piece, rows


def stretches(
    root: storage.Location, span: Span, *, late: bool, columns: Sequence[str] = NEEDED, piece_rows: int = PIECE_ROWS
) -> Iterator[Piece]:
    """Like :func:`readings_between`, but without gaps: where nothing was read stands None, an hour at a time.

    A stretch with readings ends with the step of its last one; behind the last of them all comes nothing.
    """
    edge = span[0]
    for piece, rows in readings_between(root, span, late=late, columns=columns, piece_rows=piece_rows):
        for end in silences(edge, piece[0]):
            yield (edge, end), None
            edge = end
        newest = int(rows.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False).max())
        yield (edge, step_of(newest) + STEP), rows
        edge = step_of(newest) + STEP


def silences(since: int, until: int) -> Iterator[int]:
    """Where to stop on the way from one edge to a later one between which nothing is: at the edges of hours.

    Beyond forty days nothing falls due any more that needs a stop.
    """
    hours = range((since // HOUR + 1) * HOUR, until, HOUR)
    yield from hours[:_LONGEST_SILENCE]
    if since < until:
        yield until


def last_instant(root: storage.Location, span: Span) -> int | None:
    """When the last reading of a span was, in µs, at the latest; None where there is none."""
    for hour in reversed(_hours(root, span)):
        inside = max(span[0], hour * HOUR), min(span[1], (hour + 1) * HOUR)
        lasts = [min(group.last, inside[1] - 1) for group in _groups(root, hour, inside)]
        if lasts:
            return max(lasts)
    return None


def _hours(root: storage.Location, span: Span) -> Sequence[int]:
    """The hours of a span, or of a long one those that have readings: one that is lost in 1970 must not take years."""
    hours = range(span[0] // HOUR, (span[1] - 1) // HOUR + 1)
    if len(hours) <= _LONGEST_SILENCE:
        return hours
    found = {hour_of(path)[0] // HOUR for path in storage.files_below(root, "readings")}
    return sorted(hour for hour in found if hour in hours)


def _groups(root: storage.Location, hour: int, span: Span) -> Iterator[_Group]:
    """The row groups of an hour that may hold readings of a span."""
    for path in storage.files_below(root, partition("readings", hour)):
        if not overlap(*(seconds_of(path) or hour_of(path)), [span]):
            continue
        with open_parquet(root, path) as file:
            place = file.schema_arrow.get_field_index("timestamp")
            for number in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(number)
                time = group.column(place).statistics if place >= 0 else None
                if time is None or not time.has_min_max:
                    raise SourceError(f"{root.child(path)} has no statistics of times", DAMAGED)
                if overlap(time.min_raw, time.max_raw, [span]):
                    yield _Group(path, number, group.num_rows, time.min_raw, time.max_raw)


def _pieces(groups: Sequence[_Group], span: Span, piece_rows: int) -> Iterator[Span]:
    """The span in so many parts that each has some readings, where they are spread evenly over their row groups."""
    rows = sum(group.rows for group in groups)
    steps = (span[1] - span[0]) // STEP
    parts = min(max(1, rows // piece_rows), steps) if rows else 0
    edges = [span[0] + steps * part // parts * STEP for part in range(parts)] + [span[1]]
    for part in range(parts):
        yield edges[part], edges[part + 1]


def _read(
    root: storage.Location, groups: Sequence[_Group], span: Span, columns: Sequence[str]
) -> pa.RecordBatch | None:
    schema = pa.schema([READINGS_IN_FLIGHT.field(name) for name in columns])
    texts = [field.name for field in schema if field.type == DICTIONARY]
    found = []
    for group in groups:
        with open_parquet(root, group.path, texts) as file:
            for batch in row_groups(file, [group.number], columns, root.child(group.path)):
                rows = conform(batch, schema)
                times = rows.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
                inside = within(times, [span])
                if inside.any():
                    found.append(rows_of(rows, inside))
    return concat(found) if found else None


def steps_of(times: np.ndarray) -> np.ndarray:
    """int64[n]: the step in which each instant is, by its first µs."""
    return times - times % STEP
