"""Small columns: number texts and pieces of bytes against their slow definitions."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.batches import codes
from telebeam.transforms.parsing.assemble import trim
from telebeam.transforms.parsing.numbers import are_json_numbers, to_doubles
from telebeam.transforms.parsing.pieces import equal, plain_texts, texts

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
NUMBERLIKE = st.one_of(st.text("01-.", max_size=5), st.text("0159-+.eE x", max_size=7), st.floats().map(repr))


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(st.lists(NUMBERLIKE, max_size=5), st.sampled_from([pa.string(), pa.large_string()]), st.integers(0, 2))
def test_a_column_of_texts_tells_numbers_as_the_grammar_does(words: list[str], kind: pa.DataType, first: int):
    found = are_json_numbers(pa.array(words, kind).slice(first))
    assert found.tolist() == [NUMBER.fullmatch(word) is not None for word in words[first:]]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5), st.sampled_from(["r", ".17e", ".400f"]))
def test_a_number_text_is_the_nearest_double(numbers: list[float], form: str):
    words = [repr(number) if form == "r" else format(number, form) for number in numbers]
    assert list(map(repr, to_doubles(pa.array(words, pa.string())).tolist())) == [repr(float(word)) for word in words]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["", "a", "b", "ab", "é", "a b"]), max_size=8), st.sampled_from(["", "|", "||"]))
def test_pieces_of_a_buffer_are_its_texts(words: list[str], between: str):
    raw = [word.encode() for word in words]
    gaps = np.cumsum([0, *(len(word) + len(between) for word in raw)])
    starts, ends = gaps[:-1], gaps[:-1] + [len(word) for word in raw] if raw else gaps[:-1]
    buffer = pa.py_buffer(between.encode().join([*raw, b""]))
    assert plain_texts(buffer, starts, ends).to_pylist() == words
    assert texts(buffer, starts, ends).to_pylist() == words


def test_a_literal_is_compared_to_the_last_byte_nul_bytes_too():
    data = np.frombuffer(b"ab\x00ab\x00\x00abc", np.uint8)
    assert equal(data, np.array([0, 3, 7]), b"ab\x00").tolist() == [True, True, False]
    assert equal(data, np.array([0, 3, 7]), b"ab").tolist() == [True, True, True]
    assert equal(data, np.array([0, 9]), b"").tolist() == [True, True]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(st.none(), st.sampled_from(["", " ", "a", " a", "a\t", "\u00a0é\u2003", "\r\n", "a b"])), max_size=8
    )
)
def test_trimmed_text_is_encoded_once_a_word_and_null_where_it_is_empty(words: list[str | None]):
    found = trim(pa.array(words, pa.string()))
    expected = [word.strip() or None if word else None for word in words]
    assert found.to_pylist() == expected
    assert (codes(found) < 0).tolist() == [word is None for word in expected]
    assert len(found.dictionary) == len({word for word in expected if word})
