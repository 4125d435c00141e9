"""Ids that were delivered: what is remembered, for how long, and across a restart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.streams.seen import SeenIds, id_numbers
from telebeam.transforms.errors import SourceError

INT64 = st.integers(-(2**63), 2**63 - 1)
BATCHES = st.lists(st.lists(INT64 | st.integers(0, 50), max_size=40), max_size=30)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@given(BATCHES, st.integers(1, 60), st.lists(st.integers(0, 50), max_size=10))
def test_the_last_ones_are_known_and_what_never_came_is_not(batches: list[list[int]], limit: int, asked: list[int]):
    seen = SeenIds(limit)
    for batch in batches:
        seen.add(ids(*batch), 0.0)
    added = [each for batch in batches for each in batch]
    assert seen.known(ids(*added[-limit:])).all()
    assert min(limit, len(added)) <= len(seen) <= limit + max(1, limit // 16)
    assert not seen.known(ids(*(set(asked) - set(added)))).any()


@given(BATCHES, st.integers(1, 60))
def test_a_file_brings_the_last_ones_back(batches: list[list[int]], limit: int):
    seen = SeenIds(limit)
    for batch in batches:
        seen.add(ids(*batch), 0.0)
    again = SeenIds.from_buffer(seen.to_buffer(), limit)
    last = [each for batch in batches for each in batch][-limit:]
    assert again.known(ids(*last)).all()
    assert len(again) == len(last)
    assert again.to_buffer() == SeenIds.from_buffer(again.to_buffer(), limit).to_buffer()


def test_answers_are_in_the_order_of_the_question():
    seen = SeenIds()
    seen.add(ids(5, -3, 9), 0.0)
    assert seen.known(ids(9, 1, 5, 5, -3, 2)).tolist() == [True, False, True, True, True, False]
    assert seen.known(ids()).tolist() == []


def test_old_ids_are_forgotten_although_few_came():
    seen = SeenIds(seconds=600)
    for second in range(2_000):
        seen.add(ids(second), float(second))
    assert seen.known(ids(*range(1_400, 2_000))).all()
    assert len(seen) <= 600 * 17 // 16 + 2


def test_time_away_does_not_count():
    seen = SeenIds(seconds=600)
    seen.add(ids(1), at=10.0)
    again = SeenIds.from_buffer(seen.to_buffer(), seconds=600)
    again.add(ids(2), at=1e9)
    again.add(ids(3), at=1e9 + 600)
    assert again.known(ids(1, 2, 3)).all()
    again.add(ids(4), at=1e9 + 601)
    assert again.known(ids(1, 3, 4)).tolist() == [False, True, True]


def test_what_a_file_brought_is_not_pushed_out_by_new_ids():
    seen = SeenIds(limit=100)
    seen.add(np.arange(100), 0.0)
    again = SeenIds.from_buffer(seen.to_buffer(), limit=100)
    again.add(np.arange(1_000, 2_000), 0.0)
    assert again.known(np.arange(100)).all()
    assert SeenIds.from_buffer(again.to_buffer(), limit=100).known(np.arange(1_900, 2_000)).all()


def test_many_ids_are_searched_in_a_few_blocks():
    seen = SeenIds(limit=100_000)
    for start in range(0, 200_000, 500):
        seen.add(np.arange(start, start + 500) * 7, start / 2_000)
    assert len(seen._blocks) < 40
    assert seen.known(np.arange(100_000, 200_000) * 7).all()
    assert not seen.known(np.arange(100_000, 200_000) * 7 + 1).any()


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"ARROW1\0\0", SeenIds().to_buffer().to_pybytes()[:-9]],
    ids=["empty", "other", "cut at once", "cut"],
)
def test_a_damaged_file_is_refused_in_words(content: bytes):
    with pytest.raises(SourceError, match=r"damaged(?s:.*)hint: remove"):
        SeenIds.from_buffer(pa.py_buffer(content))


def test_a_file_of_something_else_is_refused():
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([("id", pa.string())])) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"id": ["x"]}))
    with pytest.raises(SourceError, match="expected id, int64"):
        SeenIds.from_buffer(sink.getvalue())


@given(st.lists(st.text(max_size=20) | st.integers(0, 10**20).map(str), max_size=50))
def test_equal_ids_are_equal_numbers_and_others_are_not(texts: list[str]):
    numbers = id_numbers(texts).tolist()
    assert len(set(numbers)) == len(set(texts))
    assert dict(zip(texts, numbers, strict=True)) == {text: id_numbers([text])[0] for text in texts}


def test_decimal_ids_are_themselves_and_all_others_are_below_zero():
    assert id_numbers(["0", "7", "12345678901234567"]).tolist() == [0, 7, 12345678901234567]
    assert (id_numbers(["007", "m7", "", "-7", "+7", "７", "7\n", "1" * 30]) < 0).all()
