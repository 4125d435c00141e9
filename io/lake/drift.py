"""Drift and its alerts in the lake: a file a span, and alerts that follow from all spans of a model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, drift_file, partition, span_of_drift
from telebeam.io.lake.parquet import DAMAGED, UNREADABLE, to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.transforms.anomaly.drift_rows import Judged, drift_alerts
from telebeam.transforms.batches import rows_of
from telebeam.transforms.errors import SourceError
from telebeam.transforms.schema import ALERTS, DRIFT

_DATASET = "drift"


class DriftFiles:
    """The files of one pipeline's model: ``drift`` by the beginnings of spans, ``alerts`` by their ends.

    Filing a span again replaces it.  A kill in between is mended by the next span that is filed.

    Args:
        lake: Where to.
        root: The same, located.
        pipeline: Whose.
        model: The model's name.
    """

    def __init__(self, lake: LakeSpec, root: storage.Location, pipeline: str, model: str) -> None:
        self._lake, self._root, self._pipeline, self._model = lake, root, pipeline, model

    def file(self, rows: pa.RecordBatch, judged: Judged) -> pa.RecordBatch:
        """Files what was found of a span, and the alerts that follow from all spans now.

        Args:
            rows: ``DRIFT`` of the span; none takes the span's file away.
            judged: The span.

        Returns:
            ``ALERTS`` of all spans.

        Raises:
            SinkError: The lake does not take them.
            SourceError: A file of an earlier span is damaged.
        """
        self._replace(self._path(_DATASET, judged.start, judged.start, judged.end), rows, DRIFT)
        alerts = drift_alerts(self.rows())
        self._file_alerts(alerts, judged.end)
        return alerts

    def with_span(self, rows: pa.RecordBatch, judged: Judged) -> pa.RecordBatch:
        """The alerts that :meth:`file` would give; files nothing.

        Raises:
            SourceError: A file of an earlier span is damaged.
        """
        others = self.rows(without=(judged.start, judged.end))
        return drift_alerts(pa.concat_tables([others, pa.Table.from_batches([rows], DRIFT)]))

    def rows(self, *, without: tuple[int, int] | None = None) -> pa.Table:
        """``DRIFT`` of all spans but perhaps one.

        Raises:
            SourceError: A file is damaged.
        """
        paths = [self._root.child(path) for path, span in self._spans() if span != without]
        if not paths:
            return DRIFT.empty_table()
        checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        kind = ds.ParquetFileFormat(default_fragment_scan_options=checked)
        try:
            return ds.dataset(paths, schema=DRIFT, filesystem=self._root.filesystem, format=kind).to_table()
        except UNREADABLE as error:
            raise SourceError(f"{self._root.child(_DATASET)} has a damaged file: {error}", DAMAGED) from error

    def _spans(self) -> list[tuple[str, tuple[int, int]]]:
        paths = storage.files_below(self._root, _DATASET)
        found = ((path, span_of_drift(path, self._pipeline, self._model)) for path in paths)
        return [(path, span) for path, span in found if span is not None]

    def _file_alerts(self, alerts: pa.RecordBatch, since: int) -> None:
        """A file for each instant with changes; what is said no more of one from ``since`` on is taken away."""
        time = alerts.column("timestamp").cast(pa.int64()).to_numpy()
        changed: Iterable[int] = np.unique(time).tolist()
        gone = {end for _, (_, end) in self._spans() if end >= since} | {since}
        for end in sorted(gone | set(changed)):
            self._replace(self._path("alerts", end, end, end), rows_of(alerts, time == end), ALERTS)

    def _replace(self, path: str, rows: pa.RecordBatch, schema: pa.Schema) -> None:
        if not rows.num_rows:
            storage.remove(self._root, path)
            return
        buffer = to_parquet([rows], schema, self._lake)
        there = storage.read(self._root, path)
        if there is None or not there.equals(buffer):
            storage.publish(self._root, path, buffer)

    def _path(self, dataset: str, filed_at: int, start: int, end: int) -> str:
        return f"{partition(dataset, filed_at // HOUR)}/{drift_file(self._pipeline, self._model, start, end)}.parquet"
