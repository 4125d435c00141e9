"""Issue codes are sets in the order of their first appearance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.issues import ISSUES, add_issues, count_issues
from telebeam.transforms.schema import Issue

CODES = list(Issue)
TEXTS = st.lists(st.sampled_from([*map(str, CODES), "foreign", None]), max_size=4)
LISTS = st.lists(st.one_of(st.none(), TEXTS), max_size=12)


@given(before=LISTS, data=st.data())
@settings(max_examples=200, deadline=None)
def test_codes_are_appended_once_behind_what_was_there(before: list[list[str | None] | None], data: st.DataObject):
    flags = st.lists(st.booleans(), min_size=len(before), max_size=len(before))
    marked = {issue: data.draw(flags) for issue in data.draw(st.lists(st.sampled_from(CODES), unique=True))}
    expected = [
        list(dict.fromkeys([*filter(None, codes or []), *[str(issue) for issue, rows in marked.items() if rows[i]]]))
        for i, codes in enumerate(before)
    ]
    column = pa.array([["sliced", "away"], *before], ISSUES).slice(1)
    found = add_issues(column, {issue: np.array(rows, bool) for issue, rows in marked.items()})
    assert found.type == ISSUES
    assert found.to_pylist() == expected
    assert count_issues(found).tolist() == list(map(len, expected))


def test_a_column_without_anything_to_add_is_the_same_array():
    column = pa.array([[], ["wrong_type"]], ISSUES)
    assert add_issues(column, {Issue.OUT_OF_RANGE: np.zeros(2, bool)}) is column
