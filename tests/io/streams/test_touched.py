"""What waits to be computed is never forgotten, and is dropped when it is done."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.streams.touched import MOST_STRETCHES, Stretch, settle, touch

LENGTH = 10
units = st.lists(st.lists(st.integers(-50, 300), max_size=6), max_size=8)
receipts = st.lists(st.tuples(st.integers(-20, 320), st.integers(0, 9)), max_size=3)


def windows(stretches: list[Stretch]) -> dict[int, int]:
    return {start: each.offset for each in stretches for start in range(each.first, each.end, LENGTH)}


def touched_by(batches: list[list[int]]) -> list[Stretch]:
    stretches: list[Stretch] = []
    for offset, times in enumerate(batches, 1):
        stretches = touch(stretches, np.array(times, np.int64), LENGTH, offset)
    return stretches


@given(units)
def test_each_window_waits_with_the_last_offset_that_touched_it(batches):
    expected: dict[int, int] = {}
    for offset, times in enumerate(batches, 1):
        expected |= {time - time % LENGTH: offset for time in times}
    assert windows(touched_by(batches)) == expected


@given(units)
def test_stretches_are_disjoint_ascending_and_not_needlessly_many(batches):
    stretches = touched_by(batches)
    for before, after in itertools.pairwise(stretches):
        assert before.end < after.first or (before.end == after.first and before.offset != after.offset)


@given(units, receipts)
def test_a_receipt_drops_the_closed_windows_that_hold_all_and_no_other(batches, given_receipts):
    stretches = touched_by(batches)
    expected = windows(stretches)
    for until, offset in given_receipts:
        stretches = settle(stretches, until, LENGTH, offset)
        expected = {s: o for s, o in expected.items() if s + LENGTH > until or o > offset}
    assert windows(stretches) == expected


def test_scattered_late_readings_make_no_endless_list():
    times = np.arange(0, 20 * LENGTH * MOST_STRETCHES, 3 * LENGTH, dtype=np.int64)
    stretches = touch([], times, LENGTH, 1)
    assert len(stretches) <= MOST_STRETCHES
    assert set((times - times % LENGTH).tolist()) <= set(windows(stretches))
