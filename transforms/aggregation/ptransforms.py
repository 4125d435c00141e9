"""Windows as a step of a pipeline."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.aggregation.kernel import aggregate, extract, merge
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.aggregation.transport import from_batch, to_batch
from telebeam.transforms.batches import codes, rows_of
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform

_HOUR_SECONDS = 3600

Key = tuple[int, int, int]


@dataclass
class AggregateWindows(beam.PTransform):
    """Condenses readings into fixed windows of event time: batches of readings in, of ``WINDOWS`` out.

    Bounded input only.  All windows are of the whole input: nothing is late.  The rows are the same to the last bit
    whatever the order and the splitting of the input; their order is by series and start within a batch.

    Partial aggregates go through one GroupByKey, keyed by window length, a time bucket of at least an hour and a shard
    of the devices; a runner that shuffles in memory holds as much as there are series and windows.

    Args:
        windows: The lengths; each gives its own rows.
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
        seconds = [window.seconds for window in self.windows]
        return (
            batches
            | "Partials" >> beam.FlatMap(_partials, seconds, self.shards).with_output_types(tuple[Key, pa.RecordBatch])
            | "ByShard" >> beam.GroupByKey()
            | "Merge" >> beam.Map(_merge).with_output_types(pa.RecordBatch)
        )


def _partials(batch: pa.RecordBatch, lengths: Iterable[int], shards: int) -> Iterator[tuple[Key, pa.RecordBatch]]:
    readings = conform(batch, READINGS_IN_FLIGHT)
    for seconds in lengths if readings.num_rows else ():
        rows = to_batch(aggregate(readings, seconds))
        bucket = rows.column("start").to_numpy() // (max(seconds, _HOUR_SECONDS) * 1_000_000)
        shard = _shards(rows.column("device_id"), shards)
        places = bucket * shards + shard
        for place in np.unique(places).tolist():
            yield (seconds, place // shards, place % shards), rows_of(rows, places == place)


def _shards(devices: pa.DictionaryArray, shards: int) -> np.ndarray:
    """Each row's shard, by a checksum of its device that is the same on every worker."""
    of_text = np.array([zlib.crc32(text.encode()) % shards for text in devices.dictionary.to_pylist()], np.int64)
    shard: np.ndarray = of_text[codes(devices)]
    return shard


def _merge(keyed: tuple[Key, Iterable[pa.RecordBatch]]) -> pa.RecordBatch:
    (seconds, _, _), batches = keyed
    return extract(merge([from_batch(batch) for batch in batches]), seconds)
