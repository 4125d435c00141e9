"""Windows as a step of a pipeline."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.aggregation.grid import HOUR, Grid
from telebeam.transforms.aggregation.kernel import aggregate, extract, merge, rows_of_windows, slide
from telebeam.transforms.aggregation.panes import grouped
from telebeam.transforms.aggregation.partials import Partials
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.aggregation.transport import from_batch, to_batch
from telebeam.transforms.batches import codes, rows_of
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform

Key = tuple[int, int, int]
"""(place of the windows among those that are wanted, bucket of time, shard)."""


@dataclass
class AggregateWindows(beam.PTransform):
    """Condenses readings into windows of event time: batches of readings in, of ``WINDOWS`` out.

    Bounded input only.  All windows are of the whole input: nothing is late.  The rows are the same to the last bit
    whatever the order and the splitting of the input; their order is by series and start within a batch.

    Partial aggregates go through one GroupByKey, keyed by kind of windows, a time bucket of at least an hour and a
    shard of the devices; a runner that shuffles in memory holds as much as there are series and windows.  Sessions are
    keyed by their block.

    Args:
        windows: The kinds; each gives its own rows.
        shards: How many groups the devices of a time bucket are dealt to.
    """

    windows: tuple[WindowSpec, ...]
    shards: int = 8

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """The windows' batches.

        Raises:
            ConfigurationError: The input is unbounded.
        """
        if not batches.is_bounded:
            raise ConfigurationError("AggregateWindows got an unbounded collection; expected a bounded one")
        partials = beam.FlatMap(_partials, self.windows, self.shards)
        return (
            batches
            | "Partials" >> partials.with_output_types(tuple[Key, pa.RecordBatch])
            | "ByShard" >> beam.GroupByKey()
            | "Merge" >> beam.Map(_merge, self.windows).with_output_types(pa.RecordBatch)
        )


def _partials(
    batch: pa.RecordBatch, windows: Sequence[WindowSpec], shards: int
) -> Iterator[tuple[Key, pa.RecordBatch]]:
    readings = conform(batch, READINGS_IN_FLIGHT)
    for place, window in enumerate(windows if readings.num_rows else ()):
        found = _windows(readings, window.windowing)
        width = _bucket(window.windowing)
        for partials in _with_groups(found, window):
            rows = to_batch(partials)
            places = partials.start // width * shards + _shards(rows.column("device_id"), shards)
            for each in np.unique(places).tolist():
                yield (place, each // shards, each % shards), rows_of(rows, places == each)


def _with_groups(found: Partials, window: WindowSpec) -> list[Partials]:
    return [found] if window.grouping is None else [found, grouped(found, window.grouping, window.fleet_of)]


def _windows(readings: pa.RecordBatch, windowing: Grid | Sessions) -> Partials:
    """What a batch adds to each window: of sliding ones, to each that holds a reading of it."""
    if isinstance(windowing, Sessions):
        return windowing.aggregate(readings)
    return slide(aggregate(readings, windowing), windowing)


def _bucket(windowing: Grid | Sessions) -> int:
    """The width of a time bucket, in µs: a session's parts are all in that of its block."""
    return windowing.block if isinstance(windowing, Sessions) else max(windowing.every, HOUR)


def _shards(devices: pa.DictionaryArray, shards: int) -> np.ndarray:
    """Each row's shard, by a checksum of its device that is the same on every worker."""
    of_text = np.array([zlib.crc32(text.encode()) % shards for text in devices.dictionary.to_pylist()], np.int64)
    shard: np.ndarray = of_text[codes(devices)]
    return shard


def _merge(keyed: tuple[Key, Iterable[pa.RecordBatch]], windows: Sequence[WindowSpec]) -> pa.RecordBatch:
    (place, _, _), batches = keyed
    windowing, parts = windows[place].windowing, [from_batch(batch) for batch in batches]
    if isinstance(windowing, Grid):
        return extract(merge(parts), windowing)
    sessions = windowing.merge(parts)
    return rows_of_windows(sessions, windowing.ends(sessions), windowing.seconds)
