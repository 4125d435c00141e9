"""The fast way, by templates, and the sure way, record by record, give the same rows, however a batch is cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.transforms.parsing import json as json_format
from telebeam.transforms.parsing import learned
from telebeam.transforms.parsing.matching import Matcher
from telebeam.transforms.parsing.records import Records
from telebeam.transforms.parsing.templates import learn

# No line feed, so that a record stays one record; \u2028 and the like are no line ends of ours.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12)
IDS = st.sampled_from(
    ["device-1", "device-22", " d-1 ", "a", "", "  ", "\u00e9-\u20ac-1", "../x", 'q"q', "tab\there", "\U0001f600x"]
)
NUMBERS = st.sampled_from([
    "0", "-0", "1", "21.5", "-3.25", "1E+2", "1e-2", "0.1", "100", "1180591620717411303424", "1e400", "-1e400",
    "1e-400",
    "0.000", "9007199254740993", "-0.0", "12345678901234567890.123456789", "1e0000001",
])  # fmt: skip
BAD_NUMBERS = st.sampled_from(
    ["01", "+1", ".5", "5.", "-", "1e", "1e+", "0x1", "NaN", "Infinity", "-Infinity", "--1", "1.2.3", "1 2"]
)
TIMES = st.sampled_from([
    '"2026-01-01T00:00:00Z"', '"2026-01-01T00:00:00.123456Z"', '"2026-01-01T02:00:00.5+02:00"', "1767225600",
    "1767225600123", "1767225600.25", '"2026-01-01T00:00:00"', '"2016-12-31T23:59:60Z"', '"yesterday"', "null",
    '"2026-02-30T00:00:00Z"', '"2026-01-01T00:00:00.123456789Z"', "1767225600123456789", "-1", "true", '""', "1e400",
])  # fmt: skip
SCALARS = st.one_of(
    NUMBERS,
    st.sampled_from(["true", "false", "null"]),
    TEXT.map(json.dumps),
    TEXT.map(lambda t: json.dumps(t, ensure_ascii=False)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(st.tuples(TEXT.map(json.dumps), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}"
        ),
    ),
    max_leaves=6,
)
STYLES = [("", ",", ":"), ("", ", ", ": "), (" ", " , ", " :"), ("\t", ",\t", ": "), ("\n  ", ",\n  ", ": ")]


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """One record of one of the shapes, or of none, in some order and style, whole or broken."""
    members = {
        "device_id": st.one_of(IDS.map(json.dumps), IDS.map(lambda t: json.dumps(t, ensure_ascii=False)), NUMBERS),
        "timestamp": TIMES,
    }
    number = st.one_of(NUMBERS, NUMBERS, VALUES, BAD_NUMBERS)
    shape = draw(st.sampled_from(["reading", "metric", "data", "flat", "none"]))
    if shape == "reading":
        members |= dict.fromkeys(
            ("sensor_type", "measurement_type", "unit", "location"), st.one_of(TEXT.map(json.dumps), SCALARS)
        )
        members |= {"value": number, "quality_score": st.one_of(NUMBERS, SCALARS)}
    elif shape == "metric":
        members |= {"metric": TEXT.map(json.dumps), "value": number, "unit": TEXT.map(json.dumps)}
    elif shape == "data":
        inner = st.lists(st.tuples(st.sampled_from(['"a"', '"b"', '"temperature"', '"a.b"', '""']), number), max_size=3)
        members["data"] = st.one_of(inner.map(lambda pairs: "{" + ",".join(f"{k}:{v}" for k, v in pairs) + "}"), VALUES)
    elif shape == "flat":
        members |= {"temperature": number, "battery": number, "site": VALUES}
    members |= {"metadata": VALUES, "extra.name": VALUES}
    names = draw(st.permutations(draw(st.lists(st.sampled_from(sorted(members)), min_size=1, unique=True))))
    pairs = [(json.dumps(name), draw(members[name])) for name in names]
    if draw(st.integers(0, 9)) == 0:
        pairs.append(draw(st.sampled_from(pairs)))
    pad, comma, colon = draw(st.sampled_from(STYLES))
    text = "{" + pad + comma.join(f"{name}{colon}{value}" for name, value in pairs) + pad.rstrip(" ") + "}"
    payload = text.encode("utf-8", "surrogatepass")
    wound = draw(st.sampled_from(["none"] * 12 + ["cut", "byte", "tail"]))
    if wound == "cut":
        payload = payload[: draw(st.integers(0, len(payload)))]
    elif wound == "byte":
        place = draw(st.integers(0, len(payload) - 1))
        payload = payload[:place] + bytes([draw(st.integers(0, 255))]) + payload[place + 1 :]
    elif wound == "tail":
        payload += draw(st.sampled_from([b"}", b",", b" x", b"\x00", b"  ", b"[]"]))
    return payload


def by_outcome(
    payloads: Sequence[bytes], parse_json: Callable[..., Any], cuts: Sequence[Sequence[int]]
) -> tuple[str, str]:
    """What batches of these rows give, put together, as text: NaN equals itself there and -0.0 does not equal 0.0."""
    readings, rejects = [], []
    for cut in cuts:
        found = parse_json(
            *[payloads[row] for row in cut],
            offsets=cut,
            keys=["devices/key-1/telemetry" if row % 3 == 0 else None for row in cut],
        )
        readings += found.readings
        rejects += found.rejects
    return "\n".join(sorted(map(repr, readings))), "\n".join(sorted(map(repr, rejects)))


def singly_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "_MAX_TEMPLATES", 0)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_record_gives_the_same_rows_alone_together_shuffled_and_without_templates(data: st.DataObject, parse_json):
    base = data.draw(st.lists(records(), min_size=1, max_size=6))
    # Copies with other values are what a template matches.
    payloads = [data.draw(st.sampled_from(base)) for _ in range(data.draw(st.integers(0, 6)))] + base
    rows = range(len(payloads))
    alone = by_outcome(payloads, parse_json, [[row] for row in rows])
    assert by_outcome(payloads, parse_json, [list(rows)]) == alone
    assert by_outcome(payloads, parse_json, [data.draw(st.permutations(rows))]) == alone
    middle = len(payloads) // 2
    assert by_outcome(payloads, parse_json, [list(rows[:middle]), list(rows[middle:])]) == alone
    with pytest.MonkeyPatch.context() as patch:
        singly_only(patch)
        assert by_outcome(payloads, parse_json, [list(rows)]) == alone


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_array_gives_the_same_rows_whether_or_not_it_is_cut_before_it_is_read(data: st.DataObject, parse_json):
    base = [reading(n, metadata=data.draw(VALUES)) for n in range(3)]
    inner = st.one_of(st.sampled_from(base), st.sampled_from(base), st.sampled_from(base), records())
    payloads = []
    for _ in range(data.draw(st.integers(1, 5))):
        comma = data.draw(st.sampled_from([b",", b",", b", ", b" ,", b",  ", b""]))
        payloads.append(b"[" + comma.join(data.draw(st.lists(inner, max_size=6))) + b"]")
    payloads += data.draw(
        st.lists(st.one_of(inner, st.sampled_from([b"[{}]", b"[{},{}]", b"[{", b"}]", b"[{}},{{}]"])))
    )
    payloads = data.draw(st.permutations(payloads))
    cut = [list(range(len(payloads)))]
    guessed = by_outcome(payloads, parse_json, cut)
    with pytest.MonkeyPatch.context() as patch:
        singly_only(patch)
        assert by_outcome(payloads, parse_json, cut) == guessed


@pytest.mark.parametrize("comma", [b",", b", "])
def test_an_array_of_good_records_is_proven_by_their_template(comma: bytes, parse_json, monkeypatch):
    payloads = [
        b"[" + comma.join(reading(n + m, metadata='{"a":{"b":1},"c":{"d":1}}') for m in range(20)) + b"]"
        for n in range(3)
    ]
    monkeypatch.setattr(json_format, "split_payloads", lambda payloads, envelopes, spec: none_left(payloads, envelopes))
    assert len(parse_json(*payloads).readings) == 60


def none_left(payloads: pa.LargeBinaryArray, envelopes: np.ndarray) -> tuple[Records, list[Any]]:
    assert not len(payloads)
    return Records(payloads, envelopes), []


def test_one_bad_record_of_an_array_spoils_what_the_array_gives_and_no_other_array(parse_json):
    good = [b"[" + b",".join(reading(10 * n + m) for m in range(10)) + b"]" for n in range(4)]
    poisoned = good[1].replace(b"}]", b"}},{]")
    found = parse_json(good[0], poisoned, good[2])
    assert len(found.readings) == 20
    assert [(reject["reason"], reject["payload"]) for reject in found.rejects] == [("malformed", poisoned)]


def test_strings_that_take_turns_are_not_taken_for_constant():
    kinds = ['"temperature"', '"humidity"', '"pressure"', '"voltage"']
    payloads = [reading(n, sensor_type=kinds[n % 4]) for n in range(4992)]
    template = learn(payloads[0])
    assert template is not None
    constant = Matcher(pa.array(payloads, pa.large_binary())).constant_strings(template)
    narrow = learn(payloads[0], constant)
    assert narrow is not None
    assert b"temperature" not in b"".join(narrow.literals)
    assert b"oslo" in b"".join(narrow.literals)


def reading(number: int, **changed: str) -> bytes:
    members = {
        "device_id": f'"device-{number}"',
        "timestamp": f'"2026-01-01T00:00:{number % 60:02d}.5Z"',
        "sensor_type": '"temperature"',
        "value": f"{number / 8}",
        "metadata": '{"site":"oslo"}',
    }
    return ("{" + ",".join(f'"{name}":{value}' for name, value in {**members, **changed}.items()) + "}").encode()


@pytest.mark.parametrize("slice_rows", [1, 2, 7, 64])
def test_how_many_rows_are_matched_together_changes_nothing(
    slice_rows: int, parse_json, monkeypatch: pytest.MonkeyPatch
):
    payloads = [reading(n, **({"value": "null"} if n % 5 == 0 else {})) for n in range(40)]
    expected = parse_json(*payloads)
    monkeypatch.setattr(json_format, "_SLICE_ROWS", slice_rows)
    assert parse_json(*payloads) == expected


def test_records_of_more_outlines_than_there_are_templates_are_read_all(parse_json, monkeypatch: pytest.MonkeyPatch):
    payloads = [reading(n, **{f"extra{n % 100}": "1"}) for n in range(200)]
    found = parse_json(*payloads)
    assert len(found.readings) == 200
    assert not found.rejects
    singly_only(monkeypatch)
    assert parse_json(*payloads) == found


@pytest.mark.parametrize("seed", range(8))
def test_strings_that_are_the_same_in_most_records_are_read_in_the_others_too(
    seed: int, parse_json, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(seed)
    texts = ['"celsius"', '"celsiuz"', '"c"', '""', '" "', '"°C"', '"a\\nb"', "null", "7"]
    mostly = lambda: texts[0] if rng.random() < 0.9 else str(rng.choice(texts))  # noqa: E731
    same_id = {"device_id": '"device-7"', "timestamp": '"2026-01-01T00:00:00Z"'} if seed % 2 else {}
    payloads = [
        reading(n, **same_id, unit=mostly(), location=mostly(), metadata=f'{{"a":{{"site":{mostly()}}},"b":"x"}}')
        for n in range(200)
    ]
    found = parse_json(*payloads)
    assert len(found.readings) == 200
    singly_only(monkeypatch)
    assert parse_json(*payloads) == found


def test_an_empty_batch_gives_empty_batches(parse_json):
    assert parse_json() == ([], [])


def test_a_batch_that_is_a_slice_of_another_gives_its_own_rows(envelopes, parse_batch):
    payloads = [reading(0), reading(1) + b"\n" + reading(2), reading(3), b"\n\n", reading(4) + b"\n" + reading(5)]
    whole = envelopes(payloads)
    for first in range(len(payloads) + 1):
        for end in range(first, len(payloads) + 1):
            alone = envelopes(payloads[first:end], offsets=range(first, end))
            assert parse_batch(whole.slice(first, end - first)) == parse_batch(alone)


def test_a_template_matches_every_record_of_its_outline():
    payloads = [reading(n, unit='"°C"', location='""', quality_score=f"1e-{n % 7}") for n in range(1000)]
    template = learn(payloads[0])
    assert template is not None
    group = Matcher(pa.array(payloads, pa.large_binary())).match(template)
    assert group is not None
    assert group.rows.tolist() == list(range(1000))


def test_a_number_in_the_last_slot_ends_where_the_record_does(parse_json):
    payloads = [f'{{"device_id":"dev-1","timestamp":{n},"value":{n}}}' for n in (1, 22, 333)]
    assert [
        row["value"] for row in parse_json(*payloads, '{"device_id":"dev-1","timestamp":1,"value":4} ').readings
    ] == [1, 22, 333, 4]


def matches(template_of: bytes, payload: bytes) -> bool:
    template = learn(template_of)
    assert template is not None
    return Matcher(pa.array([payload], pa.large_binary())).match(template) is not None


def test_a_template_matches_what_differs_in_values_only():
    record = reading(1)
    assert matches(record, reading(22222))
    for place in range(len(record)):
        for byte in b'"\\{}[]:, x0-\n':
            changed = record[:place] + bytes([byte]) + record[place + 1 :]
            if matches(record, changed):
                first, second = json.loads(record), json.loads(changed)
                assert list(first) == list(second)
                assert [type(value) for value in first.values()] == [type(value) for value in second.values()]


@pytest.mark.parametrize("payload", [b'{"a":"\\n"}', b'{"a":1,"a":2}', b"[1]", b"1", b'{"a":[1,2]}', b'{\t"a":1}'])
def test_what_has_escapes_equal_names_or_no_fitting_structure_gives_no_template(payload: bytes):
    assert learn(payload) is None


def test_the_rows_of_a_batch_stand_for_its_payloads_one_to_one(parse_json):
    rng = np.random.default_rng(7)
    payloads = [reading(int(n)) if n % 7 else b"{" for n in rng.integers(0, 1000, 500)]
    found = parse_json(*payloads)
    assert sorted(row["source_offset"] for row in [*found.readings, *found.rejects]) == list(range(500))
