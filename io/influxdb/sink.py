"""Batches in, requests of full size out, and as rejects what the server did not take."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from telebeam.io.influxdb.client import Refused
from telebeam.io.influxdb.lines import LINES, Lines, RefusedPoints
from telebeam.io.influxdb.rejects import rejected_points
from telebeam.io.influxdb.spec import Dataset, InfluxSpec
from telebeam.transforms.schema import Reason

Place = TypeVar("Place")


class Writer(Protocol):
    """What writes lines: an ``InfluxWriter``."""

    def write(self, lines: Lines) -> list[Refused]:
        """Write the lines; returns those that are refused."""


class PointSink(Generic[Place]):
    """Collects the points of small batches until a request is full; at most one request and one batch wait.

    Each batch comes with the place it stands at — in a pipeline its timestamp and window — and its rejects go back
    with that same place.

    Args:
        writer: Takes the lines.
        spec: Names, and the size of a request.
        dataset: What the batches hold.
        rejected_at: The time that rejects carry.
    """

    def __init__(self, writer: Writer, spec: InfluxSpec, dataset: Dataset, rejected_at: datetime) -> None:
        self._writer = writer
        self._spec = spec
        self._dataset: Dataset = dataset
        self._rejected_at = rejected_at
        self._waiting: list[tuple[Place, pa.RecordBatch, Lines]] = []
        self._points = 0
        self.written = 0
        """Points that the server has taken."""
        self.refused = 0
        """Points that became rejects."""

    def add(self, batch: pa.RecordBatch, place: Place) -> Iterator[tuple[Place, pa.RecordBatch]]:
        """Take a batch; yields rejects.

        Raises:
            SinkError: The server can't be written to; nothing that waited may be counted as written.
        """
        lines, unrepresentable = LINES[self._dataset](batch, self._spec)
        if len(unrepresentable):
            rejects = self._rejects(batch, unrepresentable, Reason.UNREPRESENTABLE)
            yield place, rejects
        self._waiting.append((place, batch, lines))
        self._points += len(lines)
        if self._points >= self._spec.batch_points:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[Place, pa.RecordBatch]]:
        """Write all that waits; yields rejects.

        Raises:
            SinkError: The server can't be written to; nothing that waited may be counted as written.
        """
        waiting, self._waiting, self._points = self._waiting, [], 0
        if not waiting:
            return
        lines = _concatenated([lines for _, _, lines in waiting])
        refused = self._writer.write(lines)
        self.written += len(lines) - len(refused)
        if not refused:
            return
        indices = np.array([each.index for each in refused])
        words = pa.array([each.words for each in refused], pa.string())
        start = 0
        for place, batch, part in waiting:
            here = np.flatnonzero((indices >= start) & (indices < start + len(part)))
            if len(here):
                points = part.take(indices[here] - start)
                faulty = RefusedPoints(points.rows, points.text, words.take(pa.array(here)))
                yield place, self._rejects(batch, faulty, Reason.REFUSED_BY_SINK)
            start += len(part)

    def _rejects(self, batch: pa.RecordBatch, points: RefusedPoints, reason: Reason) -> pa.RecordBatch:
        self.refused += len(points)
        return rejected_points(batch, points, reason=reason, dataset=self._dataset, rejected_at=self._rejected_at)


def _concatenated(parts: list[Lines]) -> Lines:
    if len(parts) == 1:
        return parts[0]
    return Lines(
        pa.concat_arrays([part.text for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.times for part in parts]),
    )
