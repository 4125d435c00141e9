"""The book itself: what it refuses, what it writes down, and what it says at once."""

from __future__ import annotations

import pyarrow as pa
import pytest

from telebeam.transforms.errors import JobError
from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.spec import immediate
from tests.transforms.rules.samples import MIDNIGHT, SECOND, Row, dicts, readings_of, rule, scores_of

HOT = rule(name="hot", when={"sensor_type": "temperature", "above": 80})
END = MIDNIGHT + 1000 * SECOND


def given(*rows: Row) -> pa.RecordBatch:
    return readings_of(rows, SECOND)


@pytest.mark.parametrize("row", [Row(-1), Row(1000), Row(2000)])
def test_rows_of_another_piece_of_time_are_refused(row: Row):
    book = RuleBook([HOT])
    book.evaluate(given(), None, MIDNIGHT)
    with pytest.raises(JobError, match="in a piece of time from"):
        book.evaluate(given(row), None, END)


def test_scores_of_another_piece_of_time_are_refused():
    with pytest.raises(JobError, match="in a piece of time from"):
        RuleBook([HOT]).evaluate(given(), scores_of([Row(2000, a=(0.1, False))], SECOND), END)


def test_time_does_not_go_back():
    book = RuleBook([HOT])
    book.evaluate(given(), None, END)
    with pytest.raises(JobError, match="follows one that ends at"):
        book.evaluate(given(), None, END - 1)


def test_an_empty_piece_is_fine():
    assert RuleBook([HOT]).evaluate(given(), None, END).alerts.num_rows == 0


def test_the_rules_of_a_book_have_each_a_name():
    with pytest.raises(ValueError, match="two rules are named hot"):
        RuleBook([HOT, HOT])


def test_rules_do_not_disturb_each_other():
    rules = [HOT, rule(name="at", when={"location": "hall", "above": 1}), rule(name="gone", when={"absent": "1m"})]
    rows = given(Row(0, 90, location="hall"), Row(100, 10, location="roof"), Row(200, 95))
    together = dicts([RuleBook(rules).evaluate(rows, None, END).alerts])
    alone = [dicts([RuleBook([one]).evaluate(rows, None, END).alerts]) for one in rules]
    assert sorted(map(repr, together)) == sorted(repr(row) for found in alone for row in found)


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_state_that_is_not_whole_is_refused(damage: str):
    book = RuleBook([HOT])
    book.evaluate(given(Row(0, 90)), None, END)
    state = book.state()
    place = len(state) // 2
    broken = {
        "cut": state[:place],
        "flipped": state[:place] + bytes([state[place] ^ 1]) + state[place + 1 :],
        "foreign": b"PK\3\4" + bytes(100),
        "empty": b"",
    }[damage]
    with pytest.raises(JobError):
        RuleBook.restored([HOT], broken)


def test_no_single_flipped_byte_goes_unnoticed():
    book = RuleBook([HOT])
    book.evaluate(given(Row(0, 90)), None, END)
    state = book.state()
    for place in range(0, len(state), 97):
        broken = state[:place] + bytes([state[place] ^ 0x10]) + state[place + 1 :]
        try:
            found = RuleBook.restored([HOT], broken)
        except JobError:
            continue
        assert found.state() == state  # padding between Arrow's buffers


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"when": {"above": 1}}, {"when": {"above": 2}}),
        ({"when": {"absent": "5m"}}, {"when": {"stuck": "5m"}}),
        ({"when": {"above": 1}}, {"when": {"above": 1}, "message": "{value}"}),
    ],
)
def test_a_state_of_other_rules_is_refused(one: dict, other: dict):
    with pytest.raises(JobError, match="other rules"):
        RuleBook.restored([rule(**other)], RuleBook([rule(**one)]).state())


def test_what_is_forgotten_leaves_no_trace_in_the_state():
    book, day = RuleBook([HOT, rule(name="odd", when={"stuck": "1h"})]), 86_400
    for n in range(40):
        rows = [Row(n * day + k, 90, f"device-{n}-{k}") for k in range(20)]
        book.evaluate(given(*rows), None, MIDNIGHT + (n + 1) * day * SECOND)
    assert len(book.lanes[0].tracks) < 20 * 12
    assert all(len(program.lives) < 20 * 12 for program in book.lanes[0].programs)


def test_immediate_rules_are_those_without_a_past():
    rules = [
        HOT,
        rule(name="range", when={"outside": [1, 2]}, resolve={"at": None}),
        rule(name="wait", when={"above": 1}, for_="1s"),
        rule(name="cool", when={"above": 1}, cool_down="1s"),
        rule(name="place", when={"above": 1}, group_by="location"),
        rule(name="rate", when={"rate_of_change": {"above": 1}}),
        rule(name="both", when={"all": [{"above": 1}, {"below": 2}]}),
        rule(name="score", when={"anomaly": True}),
    ]
    assert [one.name for one in immediate(rules)] == ["hot", "range"]


def test_what_is_said_at_once_has_the_ids_of_what_is_found_in_order():
    rows = [Row(second, 90 if second // 3 % 2 else 10, f"d-{second % 2}") for second in range(20)]
    ordered = dicts([RuleBook([HOT]).evaluate(given(*rows), None, END).alerts])
    book, found = RuleBook(immediate([HOT])), []
    for device in (1, 0):
        for first in range(0, 20, 5):
            piece = [row for row in rows[first : first + 5] if row.device == f"d-{device}"]
            found += dicts([book.immediate(given(*piece)).alerts])
    assert sorted(map(repr, found)) == sorted(map(repr, ordered))


def test_a_reading_that_comes_behind_a_later_one_is_left_to_the_order():
    book = RuleBook([HOT])
    assert book.immediate(given(Row(5, 90))).alerts.num_rows == 1
    assert book.immediate(given(Row(4, 10), Row(5, 10))).alerts.num_rows == 0
    assert book.immediate(given()).alerts.num_rows == 0


def test_a_rule_with_a_past_is_not_looked_at_at_once():
    with pytest.raises(JobError, match="can't be looked at at once"):
        RuleBook([rule(when={"absent": "5m"})]).immediate(given())
