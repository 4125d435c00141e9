"""Partials survive being sent: as a batch, through the coder, cut by shard."""

from __future__ import annotations

from collections.abc import Callable

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from apache_beam.testing.util import assert_that

from telebeam.transforms.aggregation.kernel import aggregate, extract, merge
from telebeam.transforms.aggregation.ptransforms import AggregateWindows
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.aggregation.transport import from_batch, to_batch
from telebeam.transforms.coders import RecordBatchCoder
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import READINGS, WINDOWS, conform
from tests.transforms.aggregation.samples import bits, fleet, readings, shuffled


def sent(batch: pa.RecordBatch) -> pa.RecordBatch:
    coder = RecordBatchCoder()
    return coder.decode(coder.encode(batch))


@pytest.mark.parametrize("seconds", [1, 60, 3600])
def test_partials_are_the_same_after_the_journey(seconds):
    batch = fleet(3000, seed=1)
    partials = aggregate(batch, seconds)
    arrived = from_batch(sent(to_batch(partials)))
    assert bits(extract(merge([arrived]), seconds)) == bits(extract(partials, seconds))
    assert bits(to_batch(arrived)) == bits(to_batch(partials))


def test_partials_that_were_cut_apart_are_merged_again():
    rows = to_batch(aggregate(fleet(3000, seed=2), 3600))
    odd = np.arange(rows.num_rows) % 3 == 0
    parts = [rows.filter(pa.array(odd)), rows.filter(pa.array(~odd)), rows.slice(0, 0)]
    arrived = merge([from_batch(sent(part)) for part in parts])
    assert bits(extract(arrived, 3600)) == bits(extract(from_batch(rows), 3600))


def test_a_slice_is_sent_as_the_slice():
    rows = to_batch(aggregate(fleet(3000, seed=3), 60))
    assert bits(to_batch(from_batch(sent(rows.slice(5, 20))))) == bits(to_batch(from_batch(rows.slice(5, 20))))
    assert len(from_batch(rows.slice(5, 20)).distribution.value_ends) == 20


def run(batches: list[pa.RecordBatch], check: Callable[[list[pa.RecordBatch]], None], *windows: str) -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        lengths = tuple(WindowSpec(every=window) for window in windows)
        assert_that(pipeline | beam.Create(batches) | AggregateWindows(lengths), check)


@pytest.mark.parametrize("parts", [1, 4])
def test_the_step_gives_the_kernels_rows_however_the_input_is_cut(parts):
    batch = fleet(4000, seed=4, hours=3)
    mixed = shuffled(batch, parts)
    size = -(-4000 // parts)
    key = [(name, "ascending") for name in WINDOWS.names[:7]]

    def check(found: list[pa.RecordBatch]) -> None:
        table = pa.Table.from_batches([conform(rows, WINDOWS) for rows in found])
        for seconds in (60, 420):
            ours = table.filter(pc.equal(table["window_seconds"], seconds))
            expected = pa.Table.from_batches([conform(extract(aggregate(batch, seconds), seconds), WINDOWS)])
            assert ours.sort_by(key).equals(expected.sort_by(key))

    run([mixed.slice(first, size) for first in range(0, 4000, size)], check, "1m", "7m")


def test_plain_text_columns_are_taken_too_and_empty_batches_give_nothing():
    plain = conform(readings([1.0, 2.0]), READINGS)

    def check(found: list[pa.RecordBatch]) -> None:
        assert [rows.num_rows for rows in found] == [1]

    run([plain, plain.slice(0, 0)], check, "1m")


def test_an_unbounded_input_is_refused():
    pipeline = beam.Pipeline()
    unbounded = pipeline | beam.Impulse()
    unbounded.is_bounded = False
    with pytest.raises(ConfigurationError, match="expected a bounded one"):
        _ = unbounded | AggregateWindows((WindowSpec(every="1m"),))
