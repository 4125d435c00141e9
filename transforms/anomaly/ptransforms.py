"""Anomaly scores as a step of a pipeline."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.spec import DetectorSpec, IsolationForest, TrainedModel
from telebeam.transforms.batches import codes, concat, distinct, encode, rows_of
from telebeam.transforms.devices.limits import DEVICE_TYPE
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import DICTIONARY, READINGS_IN_FLIGHT, conform


@dataclass
class ScoreAnomalies(beam.PTransform):
    """Scores readings: batches of readings in, of ``SCORES_IN_FLIGHT`` out, a row for each reading and detector.

    Trained models by device type go by the readings' column ``device_type``, where all batches have one.

    Bounded input only: a reading is scored by those of its series before it, so that a shard is gathered, put in the
    order of event time and scored as a whole.  Nothing is late.  The rows are the same to the last bit whatever the
    order and the splitting of the input.  One GroupByKey; a shard's readings are held in memory.  With an
    ``isolation_forest`` all readings are one shard, for its forests learn from all devices of a sensor type.

    Args:
        specs: The detectors.
        shards: How many groups the devices are dealt to.
    """

    specs: tuple[DetectorSpec, ...]
    shards: int = 8

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise ConfigurationError(f"shards={self.shards}; expected at least 1")
        self.specs = tuple(self.specs)
        Scorer(self.specs)  # refuses detectors of one name before anything runs

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """The scores' batches.

        Raises:
            ConfigurationError: The input is unbounded.
        """
        if not batches.is_bounded:
            raise ConfigurationError("ScoreAnomalies got an unbounded collection; expected a bounded one")
        shards = 1 if any(isinstance(spec, IsolationForest) for spec in self.specs) else self.shards
        typed = any(isinstance(spec, TrainedModel) for spec in self.specs)
        deal = beam.FlatMap(_deal, shards, typed).with_output_types(tuple[int, pa.RecordBatch])
        return (
            batches
            | "Deal" >> deal
            | "ByShard" >> beam.GroupByKey()
            | "Score" >> beam.Map(_score, self.specs).with_output_types(pa.RecordBatch)
        )


def _deal(batch: pa.RecordBatch, shards: int, typed: bool) -> Iterator[tuple[int, pa.RecordBatch]]:
    types = [pa.field(DEVICE_TYPE, DICTIONARY)] if typed and DEVICE_TYPE in batch.schema.names else []
    readings = conform(batch, pa.schema([*READINGS_IN_FLIGHT, *types]))
    if not readings.num_rows:
        return
    devices = distinct(encode(readings.column("device_id")))
    of_text = np.array([zlib.crc32(text.encode()) % shards for text in devices.dictionary.to_pylist()], np.int64)
    shard = of_text[codes(devices)]
    for each in np.unique(shard).tolist():
        yield each, rows_of(readings, shard == each)


def _score(keyed: tuple[int, Iterable[pa.RecordBatch]], specs: Sequence[DetectorSpec]) -> pa.RecordBatch:
    _, batches = keyed
    return Scorer(specs).score(concat(list(batches)))
