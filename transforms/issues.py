"""The issue codes of a batch of readings: what is added, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.schema import READINGS, Issue

ISSUES = READINGS.field("issues").type


def add_issues(issues: pa.ListArray, masks: Mapping[Issue, npt.NDArray[np.bool_]]) -> pa.ListArray:
    """The column with each code added to the rows that its mask marks.

    A row's codes are a set in the order of their first appearance, those that were there before the new ones;
    a null row is an empty one, and null is no code.  The work grows with the codes, not with the rows.

    >>> before = pa.array([["wrong_type"], [], ["unknown_unit"]], ISSUES)
    >>> add_issues(before, {Issue.UNKNOWN_UNIT: np.array([True, False, True])}).to_pylist()
    [['wrong_type', 'unknown_unit'], [], ['unknown_unit']]
    """
    found = {code: np.flatnonzero(mask) for code, mask in masks.items() if mask.any()}
    lengths = count_issues(issues)
    is_set = not len(lengths) or lengths.max() < 2
    if not found and is_set and not issues.null_count and not issues.values.null_count:
        return issues
    old = issues.flatten().dictionary_encode()
    texts = pa.concat_arrays([old.dictionary, pa.array(list(found), pa.string())]).dictionary_encode()
    number = texts.indices.to_numpy()
    rows: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    codes: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]
    if len(old):
        valid = old.is_valid().to_numpy(zero_copy_only=False)
        with_codes = np.flatnonzero(lengths > 0)
        rows.append(np.repeat(with_codes, lengths[with_codes])[valid])
        codes.append(number[old.indices.drop_null().to_numpy()])
    for place, marked in enumerate(found.values(), start=len(old.dictionary)):
        rows.append(marked)
        codes.append(np.full(len(marked), number[place], np.int32))
    return _lists(np.concatenate(rows), np.concatenate(codes), texts.dictionary, len(lengths))


def count_issues(issues: pa.ListArray) -> npt.NDArray[np.int32]:
    """How many codes each row has."""
    lengths = pc.list_value_length(issues)
    counts: npt.NDArray[np.int32] = (lengths.fill_null(0) if lengths.null_count else lengths).to_numpy()
    return counts


def _lists(
    rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int32], texts: pa.StringArray, count: int
) -> pa.ListArray:
    """One list a row of the texts that are paired with it, each text once, in their order."""
    pairs = rows * max(len(texts), 1) + codes
    first = np.sort(np.unique(pairs, return_index=True)[1])
    first = first[np.argsort(rows[first], kind="stable")]
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(rows[first], minlength=count), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), texts.take(pa.array(codes[first])), type=ISSUES)


def no_issues(rows: int) -> pa.ListArray:
    """A column of empty lists."""
    return pa.ListArray.from_arrays(pa.array(np.zeros(rows + 1, np.int32)), pa.array([], pa.string()), type=ISSUES)
