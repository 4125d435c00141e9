"""Which readings are late depends on a partition's records and their order alone."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.lateness import Lateness, WindowEnds, lateness_of

MINUTE = 60_000_000
LATENESS = Lateness(
    10, (WindowEnds(100, 50, 100), WindowEnds(400, 0, 400), WindowEnds(300, 20, 150), WindowEnds(70, 0, 1))
)
NEVER = -(2**62)


def rows(offsets: list[int], times: list[int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            pa.array(offsets, pa.int64()),
            pa.array([False] * len(times)),
        ],
        names=["timestamp", "source_offset", "is_late"],
    )


def marks(records: list[tuple[list[int], int]], cuts: list[int], lateness: Lateness = LATENESS) -> list[bool]:
    """is_late of each reading of records (event times, stamp), read in the pieces that the cuts make."""
    late: list[bool] = []
    newest = NEVER
    edges = [0, *sorted(cut % (len(records) + 1) for cut in cuts), len(records)]
    for begin, end in itertools.pairwise(edges):
        piece = range(begin, end)
        offsets = [number for number in piece for _ in records[number][0]]
        times = [time for number in piece for time in records[number][0]]
        stamps = np.array([records[number][1] for number in piece], np.int64)
        batch, newest = lateness.mark(rows(offsets, times), np.array(list(piece), np.int64), stamps, newest)
        late += batch.column("is_late").to_pylist()
    return late


def reference(records: list[tuple[list[int], int]]) -> list[bool]:
    late, newest = [], NEVER
    for times, stamp in records:
        clock = newest - LATENESS.max_out_of_orderness
        late += [
            all(
                time // ends.every * ends.every + ends.length + ends.allowed_lateness <= clock
                for ends in LATENESS.windows
            )
            for time in times
        ]
        newest = max([newest, *(min(time, stamp) if stamp >= 0 else time for time in times)])
    return late


records = st.lists(
    st.tuples(st.lists(st.integers(0, 3000), max_size=3), st.one_of(st.just(-1), st.integers(0, 3000))), max_size=12
)


@given(records, st.lists(st.integers(0, 12), max_size=4))
def test_how_a_partition_is_cut_into_polls_does_not_show(log, cuts):
    assert marks(log, cuts) == reference(log)


def test_a_late_reading_is_late_only_when_all_of_its_windows_are_closed_for_good():
    lateness = lateness_of([(60, 0), (3600, 0)], 0)
    log = [([61 * MINUTE], -1), ([59 * MINUTE], -1), ([60 * MINUTE], -1)]
    assert marks(log, [], lateness) == [False, True, False]


HOUR = 60 * MINUTE


@pytest.mark.parametrize(
    ("window", "reading", "end"),
    [
        (WindowSpec(every="1m"), 30 * MINUTE, 31 * MINUTE),
        (WindowSpec(every="1m", length="15m"), 30 * MINUTE, 45 * MINUTE),
        (WindowSpec(session_gap="10m"), 30 * MINUTE + 7, 40 * MINUTE + 7),
        (WindowSpec(every="1d", timezone="Europe/Oslo"), 22 * HOUR, 23 * HOUR),  # in winter, an hour ahead of UTC
    ],
)
def test_a_reading_is_late_when_the_last_of_its_windows_has_ended(window: WindowSpec, reading: int, end: int):
    lateness = lateness_of([window], 0)
    assert marks([([end - 1], -1), ([reading], -1)], [], lateness) == [False, False]
    assert marks([([end], -1), ([reading], -1)], [], lateness) == [False, True]
    (ends,) = lateness.windows
    for clock in (end - 1, end, end + 7 * MINUTE):
        first = ends.open_since(clock)
        assert marks([([clock], -1), ([first - 1], -1), ([first], -1)], [], lateness) == [False, True, False]


def test_one_fast_clock_makes_no_other_late():
    log = [([1000 * MINUTE], 10 * MINUTE), ([10 * MINUTE], 10 * MINUTE)]
    assert marks(log, [], lateness_of([(60, 0)], 0)) == [False, False]


def test_without_windows_nothing_is_late():
    assert marks([([5000], -1), ([0], -1)], [], Lateness(0, ())) == [False, False]
