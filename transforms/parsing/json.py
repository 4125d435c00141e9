"""JSON: by template where one matches, record by record where none does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from telebeam.transforms.parsing.arrays import cut_arrays
from telebeam.transforms.parsing.found import Found
from telebeam.transforms.parsing.layouts import Tables, layouts_of
from telebeam.transforms.parsing.learned import Learned
from telebeam.transforms.parsing.matching import Matcher, TemplateGroup, joined, spread
from telebeam.transforms.parsing.nodes import Group
from telebeam.transforms.parsing.records import Records, RefusedRecord, check_json, split_payloads
from telebeam.transforms.parsing.singly import group_singly
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.templates import Template, learn

_SLICE_ROWS = 32_768
"""Rows that are matched together: more do not stay in the cache from one of their members to the next, and fewer cost
a fleet of many layouts a pass for each."""
_APART_ROWS = 8192
"""From so many on, the few without a layout are a group of their own: that takes less time than a column of all."""
_SAMPLE_ROWS = 128
"""Rows from which layouts are learned."""


def json_groups(payloads: pa.LargeBinaryArray, spec: ParseSpec, learned: Learned | None = None) -> Found:
    """The records, by outline: by template where one matches, the others singly; and those that are refused.

    Args:
        payloads: large_binary[n] without nulls.
        spec: Its limits and its mapped fields.
        learned: What batches before have shown of their writers; what this one shows is added to it.
    """
    known = learned or Learned()
    known.make_room()
    pieces = cut_arrays(payloads, spec)
    unproven = np.ones(len(pieces), bool)
    guessed = list(_by_template(pieces, unproven, known, spec))
    rest = np.ones(len(payloads), bool)
    rest[pieces.envelopes] = False
    rest[pieces.envelopes[unproven]] = True
    groups = [group.where(~rest[pieces.envelopes[group.rows]]) for group in guessed] if unproven.any() else guessed
    others = np.flatnonzero(rest)
    whole = payloads if rest.all() else payloads.take(pa.array(others))
    records, refused = split_payloads(whole, others, spec)
    records = pieces.followed_by(records)
    refused = [(len(pieces) + row, why) for row, why in refused]
    unmatched = np.arange(len(records)) >= len(pieces)
    unmatched[[row for row, _ in refused]] = False
    groups += _by_template(records, unmatched, known, spec)
    singles, failed = _singly(records, np.flatnonzero(unmatched), spec)
    return Found(records, [*(group for group in groups if len(group.rows)), *singles], refused + failed)


def _by_template(records: Records, unmatched: np.ndarray, known: Learned, spec: ParseSpec) -> Iterator[TemplateGroup]:
    """Groups of those records that are unmatched yet, which some of them are then no longer."""
    # By slices, because the places of all quotes take more room than the records themselves.
    for first in range(0, len(records), _SLICE_ROWS):
        rows = slice(first, first + _SLICE_ROWS)
        if not unmatched[rows].any():
            continue
        for group in _match_slice(records.payloads[rows], unmatched[rows], known, spec):
            known.use(group.template)
            group.rows += first
            unmatched[group.rows] = False
            yield group


def _match_slice(
    payloads: pa.LargeBinaryArray, unmatched: np.ndarray, known: Learned, spec: ParseSpec
) -> Iterator[TemplateGroup]:
    """Groups by layouts, and of what has none of the known ones."""
    tables = Tables(payloads, unmatched)
    tables.match(known.layouts)
    rest = np.flatnonzero(tables.open)
    if len(rest) > _SAMPLE_ROWS:
        sample = Matcher(payloads, rest[spread(_SAMPLE_ROWS, len(rest))])
        tables.match(known.learn(layouts_of(_match_templates(sample, known, spec), known.layouts)))
        rest = np.flatnonzero(tables.open)
    groups = list(tables.groups())
    if len(rest):
        others = list(_match_templates(Matcher(payloads, rest), known, spec))
        if len(rest) <= _SAMPLE_ROWS:
            known.learn(layouts_of(others, known.layouts))
        groups += others
    for layout in tables.layouts:
        known.use(layout)
    yield from joined(groups) if len(payloads) < _APART_ROWS else groups


def _match_templates(matcher: Matcher, known: Learned, spec: ParseSpec) -> Iterator[TemplateGroup]:
    """Groups by the templates that are known, and by those of records that match none, which then are known too."""
    for template in known.templates:
        group = matcher.match(template)
        if group is not None:
            yield group
    while not known.full and matcher.open.any():
        learned = _learn(matcher, spec)
        groups = [group for group in map(matcher.match, learned) if group is not None]
        if groups:
            known.templates += learned
            yield from groups
        else:
            matcher.give_up()


def _learn(matcher: Matcher, spec: ParseSpec) -> list[Template]:
    """The templates of the first open record: with the strings that seem to be constant as literals, and without."""
    payload = matcher.next_open()
    try:
        check_json(payload, spec.max_depth)
    except RefusedRecord:
        return []
    template = learn(payload)
    if template is None:
        return []
    narrow = learn(payload, matcher.constant_strings(template))
    return [template] if narrow in (None, template) else [narrow, template]


def _singly(records: Records, rows: np.ndarray, spec: ParseSpec) -> tuple[list[Group], list[tuple[int, RefusedRecord]]]:
    if not len(rows):
        return [], []
    refused: list[tuple[int, RefusedRecord]] = []

    def valid() -> Iterator[tuple[int, bytes]]:
        for row in rows.tolist():
            payload = records.payloads[row].as_py()
            try:
                check_json(payload, spec.max_depth)
            except RefusedRecord as refusal:
                refused.append((row, refusal))
            else:
                yield row, payload

    groups, others = group_singly(valid(), spec)
    return list(groups), refused + others
