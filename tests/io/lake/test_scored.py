"""Scores are cut between readings, however they come."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io.lake.scored import whole_readings
from telebeam.transforms.schema import SCORES, SCORES_IN_FLIGHT, conform

ROW = {
    "tenant": "default", "device_id": "device-1", "sensor_type": "t", "measurement_type": "t", "unit": "", "value": 1.0,
    "source": "s", "source_partition": 0, "anomaly_score": 0.0, "is_anomaly": False,
}  # fmt: skip


def scores(detectors: list[int]) -> pa.RecordBatch:
    """For each reading the scores of so many detectors."""
    rows = [
        {**ROW, "timestamp": place, "source_offset": place, "detector": f"d{number}"}
        for place, count in enumerate(detectors)
        for number in range(count)
    ]
    return conform(pa.RecordBatch.from_pylist(rows, schema=SCORES), SCORES_IN_FLIGHT)


@settings(derandomize=True, deadline=None)
@given(
    detectors=st.lists(st.integers(1, 4), max_size=12),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    rows=st.sampled_from([None, 1, 5]),
)
def test_no_reading_is_split_and_nothing_is_lost(detectors: list[int], cuts: list[int], rows: int | None):
    whole = scores(detectors)
    edges = sorted({0, *(min(cut, whole.num_rows) for cut in cuts), whole.num_rows})
    parts = [whole.slice(a, b - a) for a, b in pairwise(edges)]
    found = list(whole_readings(parts, rows))
    assert [row for batch in found for row in batch.to_pylist()] == whole.to_pylist()
    offsets = [set(batch.column("source_offset").to_pylist()) for batch in found]
    assert sum(map(len, offsets)) == len(detectors)
    assert all(batch.num_rows >= (rows or 1) for batch in found[:-1])


@pytest.mark.parametrize("rows", [None, 3])
def test_nothing_gives_nothing(rows: int | None):
    assert list(whole_readings([], rows)) == []
