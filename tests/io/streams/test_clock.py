"""The watermark never goes back, waits for who is slow and for nobody who is silent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.streams.clock import PartitionClock, ReaderClock
from telebeam.io.streams.notices import FOREVER, NEVER

NOW = 1_000_000_000
clocks = st.builds(PartitionClock, st.integers(0, 2 * NOW), st.floats(0, 100), st.booleans(), st.booleans())


def clock() -> ReaderClock:
    return ReaderClock(max_out_of_orderness=10, idle_after=30.0)


def test_the_slowest_partition_counts():
    assert clock().advance([PartitionClock(500, 100), PartitionClock(300, 100)], 100, NOW) == 290


def test_a_partition_that_was_never_read_holds_everything_up():
    assert clock().advance([PartitionClock(500, 100), PartitionClock(NEVER, 100)], 100, NOW) == NEVER


def test_a_silent_partition_holds_up_nobody_once_the_broker_says_that_it_is_drained():
    silent = PartitionClock(300, heard=0)
    busy = PartitionClock(500, heard=100)
    assert clock().advance([busy, silent], 100, NOW) == 290
    silent.drained = True
    assert clock().advance([busy, silent], 100, NOW) == 490


def test_a_drained_partition_is_waited_for_until_it_was_silent_for_long_enough():
    assert clock().advance([PartitionClock(500, 100), PartitionClock(300, 80, drained=True)], 100, NOW) == 290


def test_where_all_are_silent_the_present_counts():
    assert clock().advance([PartitionClock(300, 0, drained=True)], 100, NOW) == NOW - 10


def test_a_clock_that_is_fast_is_held_at_the_present():
    assert clock().advance([PartitionClock(NOW + 300, 100)], 100, NOW) == NOW - 10


def test_a_read_that_has_finished_waits_for_nothing():
    assert clock().advance([PartitionClock(300, 0, finished=True)], 100, NOW) == FOREVER


@given(st.lists(st.lists(clocks, max_size=3), max_size=6))
def test_it_never_goes_back(states):
    watch = clock()
    seen = [watch.advance(state, 100.0, NOW) for state in states]
    assert seen == sorted(seen)
