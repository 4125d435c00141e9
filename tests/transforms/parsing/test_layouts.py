"""Records of one layout are told apart from those that only look so, and what was learned changes no row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.transforms.parsing import json as json_format
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.json import json_groups
from telebeam.transforms.parsing.layouts import Layout, LayoutGroup, Tables, layouts_of
from telebeam.transforms.parsing.learned import Learned
from telebeam.transforms.parsing.matching import Matcher
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.templates import learn
from tests.transforms.parsing.test_ways import reading, records, singly_only

RECORD = b'{"device_id":"d-1","timestamp":1767225600,"unit":"","value":-21.50e+3,"metadata":{"site":"oslo"}}'


def column(*payloads: bytes) -> pa.LargeBinaryArray:
    return pa.array(payloads, pa.large_binary())


def layout_of(record: bytes) -> Layout:
    template = learn(record)
    assert template is not None
    group = Matcher(column(record)).match(template)
    assert group is not None
    (layout,) = layouts_of([group])
    return layout


def having(layout: Layout, *payloads: bytes) -> list[bool]:
    tables = Tables(column(*payloads), np.ones(len(payloads), bool))
    tables.match([layout])
    rows = [row for group in tables.groups() for row in group.rows.tolist()]
    assert rows == np.flatnonzero(~tables.open).tolist()
    return (~tables.open).tolist()


def test_other_values_of_the_same_widths_have_the_layout():
    other = b'{"device_id":"x y","timestamp":2000000000,"unit":"","value":-10.00e+9,"metadata":{"site":"~[}{"}}'
    assert having(layout_of(RECORD), RECORD, other) == [True, True]


@pytest.mark.parametrize("place", range(len(RECORD)))
def test_a_byte_that_is_changed_leaves_a_record_that_is_read_alike_or_takes_the_layout_from_it(place: int):
    layout = layout_of(RECORD)
    changed = [RECORD[:place] + bytes([byte]) + RECORD[place + 1 :] for byte in range(256)]
    # Alone and among good ones: whether any is bad is found out before which.
    together = having(layout, *changed)
    assert together == [having(layout, payload)[0] for payload in changed]
    whole = json.loads(RECORD)
    for payload, fits in zip(changed, together, strict=True):
        if fits:
            found = json.loads(payload)
            assert list(found) == list(whole)
            assert [type(value) for value in found.values()] == [type(value) for value in whole.values()]


@pytest.mark.parametrize("value", ["01.5", "-1.5", "1e.5", "1..5", "1.5 ", "٣.5"])
def test_a_number_has_its_digits_where_the_layout_has_them(value: str):
    layout = layout_of(reading(1, value="21.5"))
    assert having(layout, reading(1, value=value)) == [False]
    assert having(layout, reading(1, value="90.0")) == [True]


def test_one_digit_before_the_point_may_be_zero():
    assert having(layout_of(reading(1, value="-2.5")), reading(1, value="-0.0"), reading(1, value="-00.")) == [
        True,
        False,
    ]


def test_long_records_have_no_layout_and_are_read_all_the_same(parse_json: Any):
    payloads = [reading(n, note=json.dumps("x" * 2000)) for n in range(100, 140)]
    known = Known()
    assert len(parse_json(*payloads, known=known).readings) == 40
    assert not known.json.layouts
    assert parse_json(*payloads, known=known) == parse_json(*payloads)


def test_names_that_are_not_ascii_have_no_layout_and_are_read_all_the_same(parse_json: Any):
    payloads = [reading(n, location=json.dumps(f"z\u00fcrich-{n}", ensure_ascii=False)) for n in range(100, 300)]
    known = Known()
    assert len(parse_json(*payloads, known=known).readings) == 200
    assert not known.json.layouts
    assert parse_json(*payloads, known=known) == parse_json(*payloads)


def test_pieces_of_arrays_that_were_matched_are_not_looked_at_again(parse_json: Any, monkeypatch: pytest.MonkeyPatch):
    looked: list[int] = []
    monkeypatch.setattr(
        json_format, "Tables", lambda payloads, open_: looked.append(len(payloads)) or Tables(payloads, open_)
    )
    assert len(parse_json(b"[" + b",".join(reading(n) for n in range(100, 200)) + b"]").readings) == 100
    assert looked == [100]


def test_the_most_frequent_layouts_are_learned_first():
    payloads = [reading(1, value=value) for value in ["1.5"] * 3 + ["21.5"] * 5 + ["321.5"]]
    template = learn(payloads[0])
    assert template is not None
    group = Matcher(column(*payloads)).match(template)
    assert group is not None
    assert [layout.record for layout in layouts_of([group])] == [payloads[3], payloads[0], payloads[8]]


def test_what_is_read_again_is_found_by_its_layout_alone(monkeypatch: pytest.MonkeyPatch):
    payloads = column(*(reading(n, unit=json.dumps("cm"[: n % 2 + 1])) for n in range(100, 400)))
    learned = Learned()
    first = json_groups(payloads, ParseSpec(), learned)
    monkeypatch.setattr(Matcher, "match", lambda matcher, template: pytest.fail("a template was needed"))
    again = json_groups(payloads, ParseSpec(), learned)
    assert sum(len(group.rows) for group in first.groups) == sum(len(group.rows) for group in again.groups) == 300


def test_what_was_used_last_is_kept():
    learned = Learned()
    for n in range(100):
        json_groups(column(*(reading(m, **{f"extra{n}": "1"}) for m in range(10, 20))), ParseSpec(), learned)
    assert len(learned.templates) <= 64
    assert len(learned.layouts) <= 64
    assert any(b"extra99" in layout.record for layout in learned.layouts)
    learned.make_room()
    assert any(b"extra99" in layout.record for layout in learned.layouts)
    assert any(b"extra99" in b"".join(template.literals) for template in learned.templates)


KINDS = ['"temperature"', '"humidity"', '"pressure"', '"°"', "null", '""']


def fleet(first: int, kinds: list[str] = KINDS) -> list[bytes]:
    numbers = range(first, first + 240)
    types = [kinds[n % len(kinds)] for n in numbers]
    scores = ["0.5" if n % len(kinds) == 1 else "1.0" for n in numbers]
    return [
        reading(n, sensor_type=kind, unit=kind, value=f"{n % 40}.{n % 10}", quality_score=score)
        for n, kind, score in zip(numbers, types, scores, strict=True)
    ]


def test_words_that_take_turns_are_read_off_the_layouts(parse_json: Any):
    known = Known()
    for first in (1000, 2000, 3000):
        payloads = fleet(first)
        found = parse_json(*payloads, known=known)
        with pytest.MonkeyPatch.context() as patch:
            singly_only(patch)
            assert found == parse_json(*payloads)
    groups = json_groups(column(*fleet(4000)), ParseSpec(), known.json).groups
    layouts = [group for group in groups if isinstance(group, LayoutGroup)]
    assert sum(len(group.rows) for group in layouts) > 200
    for group in layouts:
        node = group.outline.find(("unit",))
        assert node is not None
        if node.kind != "string":
            continue
        assert set(group.text(node).dictionary.to_pylist()) <= {"temperature", "humidity", "pressure", "°", ""}


def test_other_words_than_those_that_took_turns_are_read_too(parse_json: Any):
    known = Known()
    parse_json(*fleet(0, KINDS[:3]), known=known)
    payloads = fleet(1000, ['"vibration"', '"humidity"', '"pressurE"'])
    assert parse_json(*payloads, known=known) == parse_json(*payloads)


def test_times_and_names_are_not_fixed_however_few_there_are():
    payloads = [
        reading(1, value=value, timestamp=time) for value in ("1.25", "0.5") for time in ("1767225600", "1767225601")
    ]
    template = learn(payloads[0])
    assert template is not None
    group = Matcher(column(*payloads * 10)).match(template)
    assert group is not None
    fixed = {template.slots[slot] for layout in layouts_of([group]) for slot in layout.fixed}
    assert layouts_of([group])[0].fixed
    assert not having(layouts_of([group])[0], reading(1, value="1.25", sensor_type='"temperaturE"'))[0]
    assert having(layouts_of([group])[0], reading(2, value="1.25", timestamp="1767225602")) == [True]
    assert fixed == {"string", "number"}


@st.composite
def changed(draw: st.DrawFn, payload: bytes) -> bytes:
    """A record with some bytes replaced, most often in a value."""
    found = bytearray(payload)
    for _ in range(draw(st.integers(0, 3)) if found else 0):
        digits = [place for place, byte in enumerate(found) if chr(byte).isdigit()]
        place = draw(st.sampled_from(digits) if digits and draw(st.booleans()) else st.integers(0, len(found) - 1))
        found[place] = draw(
            st.one_of(st.sampled_from(b'0123456789.-eE+"\\{}[]:, x\x00\x1f\x7f\x80\xc3\xa9'), st.integers(0, 255))
        )
    return bytes(found)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_was_read_before_changes_nothing_of_what_is_read(data: st.DataObject, parse_json: Any):
    base = data.draw(st.lists(records(), min_size=1, max_size=4))
    known = Known()
    for _ in range(data.draw(st.integers(1, 3))):
        payloads = [data.draw(changed(data.draw(st.sampled_from(base)))) for _ in range(data.draw(st.integers(1, 8)))]
        payloads += base * data.draw(st.sampled_from([1, 1, 40]))
        joined = b"[" + b",".join(payloads) + b"]"
        assert parse_json(*payloads, joined, known=known) == parse_json(*payloads, joined)
