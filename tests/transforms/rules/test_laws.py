"""What holds of any rules and any readings."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.rules.alerts import identity
from telebeam.transforms.rules.kernel import Evaluated, RuleBook
from telebeam.transforms.rules.spec import RuleSpec
from tests.transforms.rules.reference import Reference
from tests.transforms.rules.samples import MIDNIGHT, TICK, Row, dicts, readings_of, rule, scores_of

END = 90
LAW = settings(derandomize=True, deadline=None, max_examples=50)
SENSORS = ("temperature", "vibration")
RATE = 1e6 / TICK

bounds = st.sampled_from([
    {"above": 2}, {"below": 1}, {"above": 1, "critical_above": 3}, {"below": 2, "critical_below": 0}, {"equals": 2},
    {"outside": [1, 3]}, {"inside": [1, 2]}, {"critical_above": 2}, {"above": 3, "below": 0},
])  # fmt: skip
others = st.sampled_from([
        {}, {"stuck": "12h"}, {"stuck": "1d"}, {"rate_of_change": {"above": RATE}},
        {"rate_of_change": {"outside": [-RATE, RATE / 2]}}, {"anomaly": {"above": 0.6}}, {"anomaly": {"detector": "b"}},
        {"anomaly": {"detector": "a", "above": 0.3, "critical_above": 0.8}}, {"anomaly": True},
])  # fmt: skip
wheres = st.sampled_from([{"sensor_type": "temperature"}, {"sensor_type": ["vibration", "temperature"]},
                          {"sensor_type": "vibration"}, {"location": "hall"}, {"device_id": "boiler-1"}])  # fmt: skip
durations = st.sampled_from(["6h", "12h", "1d", "3d"])


@st.composite
def of_readings(draw: st.DrawFn) -> dict[str, Any]:
    return {**draw(wheres), **draw(draw(st.sampled_from([bounds, bounds, others])))}


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["reading", "reading", "reading", "absent", "count", "sequence"]))
    if kind == "reading":
        return draw(of_readings())
    within = draw(durations)
    if kind == "absent":
        return {**draw(wheres), "absent": within}
    if kind == "count":
        return {"count": {"of": draw(of_readings()), "within": within, "at_least": draw(st.integers(1, 3))}}
    return {"sequence": {"first": draw(of_readings()), "then": draw(of_readings()), "within": within}}


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """A leaf every other time, else all, any or not one of conditions."""
    kind = draw(st.sampled_from(["leaf", "leaf", "leaf", "all", "any", "not"])) if depth else "leaf"
    if kind == "leaf":
        return draw(leaves())
    if kind == "not":
        return {"not": draw(conditions(depth - 1).filter(lambda part: "critical" not in repr(part)))}
    return {kind: draw(st.lists(conditions(depth - 1), min_size=2, max_size=3))}


@st.composite
def rules(draw: st.DrawFn) -> RuleSpec:
    made: dict[str, Any] = {"when": draw(conditions())}
    optional = {
        "for": durations, "cool_down": durations, "resolve": st.builds(lambda gone: {"for": gone}, durations),
        "group_by": st.sampled_from(["device", "location", "sensor_type", "tenant", ["device", "sensor_type"]]),
        "only": st.sampled_from(
            [{"devices": ["*-2", "boiler-1"]}, {"sensor_types": "vibration"}, {"locations": "hall"}]
        ),
        "active": st.sampled_from([{"hours": "06:00-18:00"}, {"hours": "18:00-06:00", "days": "fri-sun"}]),
        "then": st.just([{"tag": "t"}, {"command": {"name": "stop"}}]),
    }  # fmt: skip
    for name, values in optional.items():
        if draw(st.integers(0, 3)) == 0:
            made[name] = draw(values)
    when = made["when"]
    if "resolve" not in made and set(when) & {"above", "critical_above"} and not set(when) & {"below"}:
        made["resolve"] = draw(st.sampled_from([{}, {"at": 0}, {"at": 1, "for": "6h"}]))
    return rule(**made)


said = st.one_of(st.none(), st.builds(lambda score: (score, score > 0.4), st.sampled_from([0.0, 0.5, 0.7, 0.9])))


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    tick, rows = 0, []
    for _ in range(draw(st.integers(1, 25))):
        tick += draw(st.sampled_from([0, 0, 1, 1, 1, 2, 3, 7, 29]))
        if tick >= END:
            break
        device = draw(st.sampled_from(["boiler-1", "boiler-2", "pump-1"]))
        location = "hall" if device == "boiler-1" or tick > 20 else draw(st.sampled_from([None, "roof"]))
        rows.append(
            Row(tick, draw(st.integers(0, 4)), device, draw(st.sampled_from(SENSORS)), location, draw(said), draw(said))
        )
    return rows


def evaluate(book: RuleBook, rows: list[Row], until: int) -> Evaluated:
    return book.evaluate(readings_of(rows), scores_of(rows), MIDNIGHT + until * TICK)


def in_pieces(rules: list[RuleSpec], rows: list[Row], cuts: list[int], seed: int, end: int = END) -> list[Evaluated]:
    """The same time in pieces, rows in another order, and the book written down between them."""
    book, first, found = RuleBook(rules), 0, []
    shuffle = random.Random(seed).shuffle
    for cut in [*sorted(cuts), end]:
        piece = [row for row in rows if first <= row.tick < cut]
        shuffle(piece)
        found.append(evaluate(book, piece, cut))
        book, first = RuleBook.restored(rules, book.state()), cut
    return found


@LAW
@given(rules(), histories())
def test_alerts_are_those_of_the_plain_reference(spec: RuleSpec, rows: list[Row]):
    alerts = evaluate(RuleBook([spec]), rows, END).alerts.to_pylist()
    found = [(row["alert_id"], row["timestamp"].timestamp(), row["state"], row["severity"]) for row in alerts]
    expected = [
        (identity("r", *key, MIDNIGHT + start * TICK), (MIDNIGHT + tick * TICK) / 1e6, state, severity)
        for tick, key, state, severity, start in Reference(spec, rows).events(END)
    ]
    assert sorted(found) == sorted(expected)


@LAW
@given(
    st.lists(rules(), min_size=1, max_size=2), histories(), st.lists(st.integers(0, END), max_size=5), st.integers(0, 9)
)
def test_how_time_is_cut_and_rows_are_ordered_does_not_show(
    specs: list[RuleSpec], rows: list[Row], cuts: list[int], seed: int
):
    named = [spec.model_copy(update={"name": f"rule-{number}"}) for number, spec in enumerate(specs)]
    whole, pieces = evaluate(RuleBook(named), rows, END), in_pieces(named, rows, cuts, seed)
    assert dicts(piece.alerts for piece in pieces) == dicts([whole.alerts])
    assert dicts(piece.commands for piece in pieces) == dicts([whole.commands])
    for tag, batch in whole.tagged.items():
        assert by_place(piece.tagged[tag] for piece in pieces) == by_place([batch])


HOT = {"sensor_type": "temperature", "above": 2}
EVERY_OPTION: list[dict[str, Any]] = [
    {"when": {**HOT, "critical_above": 3}, "for": "12h"},
    {"when": HOT, "cool_down": "1d", "group_by": "location"},
    {"when": HOT, "resolve": {"for": "12h"}},
    {"when": HOT, "resolve": {"at": 0, "for": "6h"}, "cool_down": "12h", "for": "6h"},
    {"when": HOT, "active": {"hours": "06:00-12:00"}},
    {"when": {"absent": "12h"}, "for": "6h", "active": {"hours": "12:00-18:00", "days": "mon-sat"}},
    {"when": {"absent": "6h", "sensor_type": "vibration"}, "group_by": "tenant"},
    {"when": {"count": {"of": HOT, "within": "3d", "at_least": 2}}, "then": {"tag": "often"}},
    {"when": {"sequence": {"first": {"sensor_type": "vibration", "above": 2}, "then": HOT, "within": "1d"}}},
    {"when": {"stuck": "12h"}},
    {"when": {"rate_of_change": {"outside": [-RATE, RATE]}}, "for": "6h", "then": {"tag": "steep"}},
    {"when": {"all": [HOT, {"not": {"anomaly": {"detector": "a", "above": 0.6}}}]}},
    {"when": {"any": [{"anomaly": True}, {"not": {"location": "hall", "above": 1}}]}, "for": "6h"},
]


@pytest.mark.parametrize("seed", [1, 2])
def test_cutting_at_every_moment_does_not_show_with_any_option(seed: int):
    draw, end = random.Random(seed), 40
    said = [None, (0.1, False), (0.7, True)]
    rows = [
        Row(tick, draw.randint(0, 4), f"d-{draw.randint(1, 3)}", draw.choice(SENSORS), draw.choice([None, "hall"]),
            draw.choice(said), draw.choice(said))
        for tick in range(end) for _ in range(draw.choice([0, 0, 1, 2, 3]))
    ]  # fmt: skip
    specs = [rule(**{"name": f"rule-{number}", **given}) for number, given in enumerate(EVERY_OPTION)]
    whole, pieces = evaluate(RuleBook(specs), rows, end), in_pieces(specs, rows, list(range(end)), seed, end)
    assert {row["rule"] for row in whole.alerts.to_pylist()} == {spec.name for spec in specs}
    assert dicts(piece.alerts for piece in pieces) == dicts([whole.alerts])
    found = [(row["rule"], row["alert_id"], row["state"], row["severity"]) for row in whole.alerts.to_pylist()]
    expected = [
        (spec.name, identity(spec.name, *key, MIDNIGHT + start * TICK), state, severity)
        for spec in specs
        for _, key, state, severity, start in Reference(spec, rows).events(end)
    ]
    assert sorted(found) == sorted(expected)
    for tag, batch in whole.tagged.items():
        assert by_place(piece.tagged[tag] for piece in pieces) == by_place([batch])


def by_place(batches: Any) -> list[str]:
    kept = [batch.drop_columns(["source_offset"]) for batch in batches]
    return sorted(repr(row) for batch in kept for row in batch.to_pylist())


@LAW
@given(rules(), histories())
def test_an_alert_fires_once_and_resolves_once_before_the_next_of_its_group(spec: RuleSpec, rows: list[Row]):
    firing: dict[Any, str] = {}
    for row in evaluate(RuleBook([spec]), rows, END).alerts.to_pylist():
        group = tuple(row[name] for name in spec.group_by if name in ("device_id", "location", "sensor_type"))
        if row["state"] == "firing":
            assert group not in firing
            firing[group] = row["alert_id"]
        else:
            assert firing.pop(group) == row["alert_id"]


def test_the_laws_hold_of_many_more(pytestconfig: pytest.Config):
    if not pytestconfig.getoption("--long"):
        pytest.skip("the long form, with --long, looks at thousands of rules")
    many = settings(LAW, max_examples=1000)
    many(given(rules(), histories())(test_alerts_are_those_of_the_plain_reference.hypothesis.inner_test))()
    cuts = st.lists(st.integers(0, END), max_size=5)
    cut = test_how_time_is_cut_and_rows_are_ordered_does_not_show.hypothesis.inner_test
    many(given(st.lists(rules(), min_size=1, max_size=2), histories(), cuts, st.integers(0, 9))(cut))()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_a_group_is_called_first_does_not_matter(order: int):
    rows = [Row(tick, 9, f"d-{device}", location="hall") for tick in range(3) for device in range(5)]
    spec = rule(when={"above": 5}, group_by="location", message="{sensor_type} {value}")
    whole = dicts([evaluate(RuleBook([spec]), rows, END).alerts])
    random.Random(order).shuffle(rows)
    assert dicts([evaluate(RuleBook([spec]), rows, END).alerts]) == whole


def test_a_book_of_no_rules_says_nothing():
    found = evaluate(RuleBook([]), [Row(0)], 1)
    assert (found.alerts.num_rows, found.commands.num_rows, found.tagged) == (0, 0, {})


def test_plain_texts_are_taken_as_encoded_ones_are():
    rows = [Row(0, 9), Row(1, 1)]
    spec = rule(when={"above": 5})
    encoded = evaluate(RuleBook([spec]), rows, END).alerts
    plain = pa.RecordBatch.from_pylist(readings_of(rows).to_pylist())
    assert RuleBook([spec]).evaluate(plain, None, MIDNIGHT + END * TICK).alerts.equals(encoded)
