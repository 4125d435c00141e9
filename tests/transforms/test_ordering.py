"""The order of rows is that of their values, whatever the dictionaries hold and however far apart numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.transforms.batches import codes, distinct, encode
from telebeam.transforms.ordering import rank, sort_order

FIXED = settings(derandomize=True, deadline=None, max_examples=150)
TEXT = st.one_of(st.none(), st.text(st.sampled_from("abü\U0001f600 é"), max_size=3))
NUMBER = st.one_of(st.integers(-3, 3), st.integers(-(2**62), 2**62))
ROWS = st.lists(st.tuples(TEXT, NUMBER, st.floats(-2, 2), NUMBER), min_size=1, max_size=30)
COLUMNS = ("text", "time", "value", "offset")


def key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Nulls first, then by code points."""
    return (row[0] is not None, row[0] or "", *row[1:])


def batch(rows: list[tuple[Any, ...]], text: Any) -> pa.RecordBatch:
    texts, times, values, offsets = zip(*rows, strict=True)
    columns = [
        text(pa.array(texts, pa.string())),
        pa.array(times, pa.int64()),
        pa.array(values),
        pa.array(offsets, pa.int64()),
    ]
    columns[1] = columns[1].cast(pa.timestamp("us", "UTC"))
    return pa.RecordBatch.from_arrays(columns, names=COLUMNS)


def redundant(texts: pa.StringArray) -> pa.DictionaryArray:
    """The texts by a dictionary that holds some twice, null, and one that is not used."""
    dictionary = pa.array([*texts.to_pylist(), "zz", None, *texts.to_pylist()], pa.string())
    half = np.arange(len(texts)) % 2 * (len(texts) + 2)
    return pa.DictionaryArray.from_arrays(pa.array((np.arange(len(texts)) + half).astype(np.int32)), dictionary)


@FIXED
@given(ROWS, st.sampled_from([("text", "time"), COLUMNS, ("time", "offset"), ("text", "time", "offset")]))
@example([("a", 2**62, 0.0, -(2**62)), ("a", -(2**62), 0.0, 2**62)], ("time", "offset"))
def test_the_order_is_that_of_the_values(rows, columns):
    places = [COLUMNS.index(name) for name in columns]
    for text in (lambda texts: texts, encode, redundant, lambda texts: texts.cast(pa.large_string())):
        order = sort_order(batch(rows, text), columns)
        found = rows if order is None else [rows[place] for place in order]
        with_nulls = [key(("", *row[1:])) if 0 not in places else key(row) for row in found]
        chosen = [tuple(k[0:2] if p == 0 else (k[p + 1],) for p in places) for k in with_nulls]
        assert chosen == sorted(chosen)
        assert sorted(map(repr, found)) == sorted(map(repr, rows))


@FIXED
@given(ROWS)
def test_equal_rows_stay_in_the_order_in_which_they_stand(rows):
    order = sort_order(batch(rows * 2, encode), ("text", "time"))
    expected = sorted(range(2 * len(rows)), key=lambda place: key((rows * 2)[place])[:3])
    assert (list(range(2 * len(rows))) if order is None else order.tolist()) == expected


def test_what_is_sorted_needs_no_order():
    rows = [("a", 1, 0.0, 1), ("a", 1, 0.0, 1), ("b", 0, 0.0, 0)]
    for columns in (("text", "time"), COLUMNS):
        assert sort_order(batch(rows, encode), columns) is None
        assert sort_order(batch(rows[:1], encode), columns) is None


@FIXED
@given(st.lists(TEXT, min_size=1, max_size=20))
def test_equal_texts_have_equal_ranks_and_after_distinct_equal_codes(texts):
    column = redundant(pa.array(texts, pa.string()))
    for numbers in (rank(column), codes(distinct(column))):
        pairs = set(zip(texts, numbers.tolist(), strict=True))
        assert len(pairs) == len(set(texts)) == len({number for _, number in pairs})
        assert all(number == -1 for text, number in pairs if text is None)
    assert distinct(column).to_pylist() == texts
