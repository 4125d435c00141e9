"""What follows from readings that a replay has filed: windows and scores of archives, and InfluxDB's points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.influxdb.client import InfluxWriter
from telebeam.io.influxdb.sink import PointSink
from telebeam.io.influxdb.spec import Dataset, InfluxSpec
from telebeam.io.lake.hour_panes import HourPanes, keeping, remove_panes
from telebeam.io.lake.in_order import replay as score_hours
from telebeam.io.lake.layout import HOUR, Together, hours_of, is_longer, together
from telebeam.io.lake.parquet import open_parquet, row_groups
from telebeam.io.lake.recompute import recompute_together
from telebeam.io.lake.scored import whole_readings
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeFile, LakeWriter
from telebeam.pipelines.sources import fleet_of, order_of, windows_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.schema import DATASETS, in_flight

Times = npt.NDArray[np.int64]


def follow(spec: PipelineSpec, lake: LakeSpec, root: storage.Location, times: Times) -> Iterator[LakeFile]:
    """Computes anew what follows from readings of an archive, as the batch job does; gives the files made.

    Args:
        spec: Its windows, detectors and rules.
        lake: The lake.
        root: The same, located.
        times: The readings' event times, µs since the epoch.

    Raises:
        SourceError: A file of readings is damaged.
        SinkError: The lake does not take the files.
    """
    if not len(times):
        return
    fleet = fleet_of(spec)
    yield from _windows(windows_of(spec, fleet), times, lake, root)
    order = order_of(spec, fleet)
    if order is not None:
        yield from score_hours(lake, order, int(times.min()) // HOUR, int(times.max()) // HOUR, root)


def _windows(windows: Sequence[WindowSpec], times: Times, lake: LakeSpec, root: storage.Location) -> Iterator[LakeFile]:
    longer = [window for window in windows if is_longer(window)]
    panes: list[HourPanes] = []
    try:
        for part, hours in _together(windows, times):
            keep = keeping(root, part, longer)
            yield from recompute_together(lake, hours, root, given=panes, keep=keep)
            kept = None if keep is None else keep.kept()
            panes += [] if kept is None else [kept]
    finally:
        remove_panes(root, (file for each in panes for file in each.files))


def _together(windows: Sequence[WindowSpec], times: Times) -> list[tuple[Together, dict[WindowSpec, list[int]]]]:
    """The hours of windows, in parts that are computed together; those of longer ones behind those of an hour."""
    found: dict[Together, dict[WindowSpec, set[int]]] = defaultdict(lambda: defaultdict(set))
    for hour in np.unique(times // HOUR):
        within = times[times // HOUR == hour]
        for window in windows:
            for start in hours_of(window, int(within.min()), int(within.max())):
                found[together(window, start)][window].add(start)
    return [(part, {window: sorted(hours) for window, hours in each.items()}) for part, each in sorted(found.items())]


class Influx:
    """Sends files of the lake to InfluxDB, where it is a sink.

    Args:
        lake: The lake, whose rejects get the points that are refused.
        root: The same, located.
        spec: The bucket; None where there is none.
        now: ``rejected_at`` of refused points, µs since 1970.
    """

    def __init__(self, lake: LakeSpec, root: storage.Location, spec: InfluxSpec | None, now: int) -> None:
        self._lake, self._root, self._spec = lake, root, spec
        self._rejected_at = datetime.fromtimestamp(now / 1e6, UTC)

    def send(self, readings: Sequence[str], made: Sequence[LakeFile]) -> tuple[int, int]:
        """Writes the points of files; gives how many were taken and refused.

        Args:
            readings: Paths of files of readings.
            made: Files of what follows from them.

        Raises:
            SinkError: The server can't be written to.
        """
        if self._spec is None or not (readings or made):
            return 0, 0
        points = refused = 0
        writer = InfluxWriter(self._spec)
        try:
            for dataset in self._spec.write:
                paths = readings if dataset == "readings" else [f.path for f in made if f.dataset == dataset and f.rows]
                sink: PointSink[None] = PointSink(writer, self._spec, dataset, self._rejected_at)
                for path in dict.fromkeys(paths):
                    for batch in self._batches(path, dataset):
                        self._file(sink.add(batch, None))
                self._file(sink.flush())
                points, refused = points + sink.written, refused + sink.refused
        finally:
            writer.close()
        return points, refused

    def _batches(self, path: str, dataset: Dataset) -> Iterator[pa.RecordBatch]:
        schema = in_flight(DATASETS[dataset])
        texts = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        with open_parquet(self._root, path, texts) as file:
            batches = row_groups(file, range(file.metadata.num_row_groups), schema.names, self._root.child(path))
            yield from whole_readings(batches) if dataset == "scores" else batches

    def _file(self, refused: Iterator[tuple[None, pa.RecordBatch]]) -> None:
        for _, rejects in refused:
            LakeWriter(self._lake, "rejects", self._root).write(rejects)
