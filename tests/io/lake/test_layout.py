"""What the names of files tell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io.lake.layout import partition, seconds_of, stream_file
from tests.transforms.aggregation.samples import HOUR, SECOND


@given(st.integers(0, 12_000), st.integers(0, 10**15), st.integers(-10, 10**6), st.data())
@settings(derandomize=True, max_examples=50)
def test_a_streams_name_tells_its_seconds(number: int, offset: int, hour: int, data):
    first = hour * HOUR + data.draw(st.integers(0, HOUR - 1))
    last = data.draw(st.integers(first, (hour + 1) * HOUR - 1))
    name = stream_file("a-b", "c.d", number, offset, hour, first, last)
    begin, end = seconds_of(f"{partition('readings', hour)}/{name}.parquet")
    assert begin <= first < begin + SECOND
    assert end - SECOND < last <= end


@pytest.mark.parametrize(
    "name",
    ["fleet-a-0123-00000-00001", "windows-60-490896", "fleet-p0001-o000000000001-s0010-0009",
     "fleet-p0001-o000000000001-s0000-3600", "fleet-p0001-o000000000001-s0000-0001-parse", "s0000-0001"],
)  # fmt: skip
def test_other_names_tell_nothing(name: str):
    assert seconds_of(f"readings/date=2026-01-01/hour=00/{name}.parquet") is None
