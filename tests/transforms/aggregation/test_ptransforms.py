"""``AggregateWindows`` gives the windows of one pass over all readings, of whatever kind and however they are cut."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import assert_that

from telebeam.transforms.aggregation.folding import END, Fold, Kind
from telebeam.transforms.aggregation.panes import grouped
from telebeam.transforms.aggregation.ptransforms import AggregateWindows
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import concat
from telebeam.transforms.schema import WINDOWS, conform
from tests.transforms.aggregation.samples import fleet

KINDS = (
    WindowSpec(every="1m", group_by=("location",)),
    WindowSpec(every="5m", length="15m"),
    WindowSpec(every="1d", timezone="Europe/Oslo"),
    WindowSpec(session_gap="1m", longest="1h"),
)
KEY = [(name, "ascending") for name in ("window_seconds", *WINDOWS.names[:7])]


def expected(batch: pa.RecordBatch) -> pa.Table:
    fold = Fold([Kind(window.windowing, ((-(10**17), 10**17),)) for window in KINDS], 10**6)
    fold.add(batch)
    rows = []
    for made in fold.close(END):
        window = KINDS[made.place]
        rows.append(made.rows(window.windowing))
        if window.grouping is not None:
            rows.append(made._replace(partials=grouped(made.partials, window.grouping)).rows(window.windowing))
    return pa.Table.from_batches([conform(concat(rows), WINDOWS)]).sort_by(KEY)


def test_each_kind_is_that_of_all_readings():
    batch = fleet(3000, seed=1, hours=3)

    def check(found: list[pa.RecordBatch]) -> None:
        table = pa.Table.from_batches([conform(rows, WINDOWS) for rows in found]).sort_by(KEY)
        assert table.equals(expected(batch))

    with StrictPipeline("FnApiRunner") as pipeline:
        parts = pipeline | beam.Create([batch.slice(first, 300) for first in range(0, 3000, 300)], reshuffle=False)
        assert_that(parts | AggregateWindows(KINDS, shards=3), check)


@pytest.mark.parametrize("held_rows", [1, 100])
def test_a_fold_that_is_closed_step_by_step_gives_each_window_once(held_rows: int):
    batch = fleet(600, seed=2, hours=3)
    kinds = [Kind(window.windowing, ((-(10**17), 10**17),)) for window in KINDS[:3]]
    whole, stepwise = Fold(kinds, 10**6), Fold(kinds, held_rows)
    whole.add(batch)
    times = batch.column("timestamp").cast(pa.int64())
    found = []
    edges = [*range(times.to_pylist()[0] - 4 * 3600 * 10**6, times.to_pylist()[0] + 4 * 3600 * 10**6, 421 * 10**6), END]
    for first, end in zip([-END, *edges], edges, strict=False):
        inside = [first <= time < end for time in times.to_pylist()]
        stepwise.add(batch.filter(pa.array(inside)))
        found += list(stepwise.close(end))
    for place, kind in enumerate(kinds):
        rows, right = (
            pa.Table.from_batches([conform(made.rows(kind.windowing), WINDOWS) for made in each if made.place == place])
            for each in (found, list(whole.close()))
        )
        assert rows.sort_by(KEY).equals(right.sort_by(KEY))
        whole = Fold(kinds, 10**6)
        whole.add(batch)
