"""Rules that name groups of the registry: they see each reading in the group of its device at its time."""

from __future__ import annotations

import random
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.errors import JobError
from telebeam.transforms.rules.alerts import identity
from telebeam.transforms.rules.kernel import Evaluated, RuleBook
from telebeam.transforms.rules.ptransforms import EvaluateRules
from telebeam.transforms.rules.spec import GROUP, RuleSpec
from telebeam.transforms.testing import has_rows
from tests.transforms.rules.samples import MIDNIGHT, TICK, Row, dicts, readings_of, rule, scores_of

END, SOON = 90, 20
"""Ticks: the first is behind all that is forgotten, the second before."""
SENSORS = ("temperature", "vibration")
LAW = settings(derandomize=True, deadline=None, max_examples=30)
HOT = {"sensor_type": "temperature", "above": 80}
BY_GROUP = rule(name="hot", when=HOT, group_by="group", message="{rule} in {group}")


def grouped(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A row's group is where the sample says that it is."""
    return batch.append_column(GROUP, batch.column("location"))


def told(rules: list[RuleSpec], rows: list[Row], until: int = END) -> Evaluated:
    scores = grouped(scores_of(rows))
    return RuleBook(rules).evaluate(grouped(readings_of(rows)), scores, MIDNIGHT + until * TICK)


def changes(found: Evaluated, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in columns) for row in found.alerts.to_pylist()]


CONDITIONS = st.sampled_from([
    {"above": 2}, {"sensor_type": "vibration", "below": 2, "critical_below": 1}, {"anomaly": {"above": 0.5}},
    {"absent": "12h"}, {"count": {"of": {"above": 1}, "within": "1d", "at_least": 2}}, {"stuck": "12h"},
    {"sequence": {"first": {"sensor_type": "vibration"}, "then": {"above": 2}, "within": "1d"}},
    {"all": [{"sensor_type": "temperature", "above": 1}, {"not": {"sensor_type": "vibration", "above": 1}}]},
    {"rate_of_change": {"above": 0.00001}}, {"unit": "1", "above": 2},
])  # fmt: skip


@st.composite
def settings_of(draw: st.DrawFn) -> dict[str, Any]:
    """A rule that says PLACE where it names a group, or a location; it names at least one."""
    group_by = draw(st.sampled_from(["device", "PLACE", ["device", "PLACE"], ["sensor_type", "PLACE"]]))
    only = {} if "PLACE" in group_by and draw(st.booleans()) else {"PLACEs": draw(st.sampled_from(["hall", ["roof"]]))}
    extra = draw(st.sampled_from([{}, {"for": "6h"}, {"cool_down": "12h"}, {"then": [{"tag": "t"}]}]))
    return {"when": draw(CONDITIONS), "group_by": group_by, "only": only, **extra}


def naming(made: dict[str, Any], place: str) -> RuleSpec:
    group_by = made["group_by"]
    named = group_by.replace("PLACE", place) if isinstance(group_by, str) else [
        name.replace("PLACE", place) for name in group_by
    ]  # fmt: skip
    only = {name.replace("PLACE", place): texts for name, texts in made["only"].items()}
    return rule(**{**made, "group_by": named, "only": only, "message": "{rule} at {location} {value}"})


@st.composite
def histories(draw: st.DrawFn, places: tuple[str | None, ...]) -> list[Row]:
    tick, rows = 0, []
    for _ in range(draw(st.integers(1, 20))):
        tick += draw(st.sampled_from([0, 1, 1, 2, 3, 29]))
        if tick >= END:
            break
        score = draw(st.sampled_from([None, (0.0, False), (0.9, True)]))
        device, sensor = (
            draw(st.sampled_from(["boiler-1", "pump-1"])),
            draw(st.sampled_from(["temperature", "vibration"])),
        )
        rows.append(Row(tick, draw(st.integers(0, 4)), device, sensor, draw(st.sampled_from(places)), score))
    return rows


@LAW
@given(settings_of(), histories(("hall", "roof")))
def test_a_rule_by_group_is_the_rule_by_location_of_devices_that_stand_where_their_group_is(made, rows):
    by_group, by_place = told([naming(made, "group")], rows), told([naming(made, "location")], rows)
    # An alert that no reading explains has the location that it is grouped by.
    said = [each.alerts.drop_columns(["location", "message"]) for each in (by_group, by_place)]
    assert dicts(said[:1]) == dicts(said[1:])
    assert {tag: dicts([found]) for tag, found in by_group.tagged.items()} == {
        tag: dicts([found]) for tag, found in by_place.tagged.items()
    }


@LAW
@given(settings_of(), histories(("hall", "roof", None)))
def test_a_reading_without_a_group_is_in_no_sight_of_a_rule_that_names_one(made, rows):
    spec = naming(made, "group")
    assert dicts([told([spec], rows).alerts]) == dicts([told([spec], [row for row in rows if row.location]).alerts])


@LAW
@given(settings_of(), histories(("hall", "roof", None)), st.lists(st.integers(0, END), max_size=4), st.integers(0, 9))
def test_how_time_is_cut_and_a_restart_do_not_show(made, rows, cuts, seed):
    rules, found, first = [naming(made, "group")], [], 0
    book = RuleBook(rules)
    for cut in [*sorted(cuts), END]:
        piece = [row for row in rows if first <= row.tick < cut]
        random.Random(seed).shuffle(piece)
        until = MIDNIGHT + cut * TICK
        found.append(book.evaluate(grouped(readings_of(piece)), grouped(scores_of(piece)), until).alerts)
        book, first = RuleBook.restored(rules, book.state()), cut
    assert dicts(found) == dicts([told(rules, rows).alerts])


def test_an_alert_of_a_group_names_it_and_is_hashed_by_it():
    rows = [Row(1, 90, "boiler-1", location="north"), Row(2, 95, "boiler-2", location="north"), Row(3, 99, "x-1")]
    (row,) = told([BY_GROUP], rows, SOON).alerts.to_pylist()
    assert (row["device_id"], row["location"], row["message"]) == (None, "north", "hot in north")
    assert row["alert_id"] == identity("hot", "default", "north", MIDNIGHT + TICK)


def test_a_location_that_is_named_too_is_the_alerts_location():
    readings = readings_of([Row(1, 90, location="hall")])
    readings = readings.append_column(GROUP, pa.array(["north"]))
    spec = rule(when=HOT, group_by=["location", "group"])
    (row,) = RuleBook([spec]).evaluate(readings, None, MIDNIGHT + SOON * TICK).alerts.to_pylist()
    assert (row["location"], row["message"]) == ("hall", "r: temperature of hall, north is 90")


def test_a_device_that_changes_its_group_counts_where_it_is():
    spec = rule(when=HOT, only={"groups": ["north"]}, message="{group}")
    rows = [Row(1, 90, location="south"), Row(2, 90, location="north"), Row(3, 10, location="south")]
    assert changes(told([spec], rows, SOON), "state", "message") == [("firing", "north")]
    rows.append(Row(4, 10, location="north"))
    assert changes(told([spec], rows, SOON), "state", "message") == [
        ("firing", "north"),
        ("resolved", "resolved: north"),
    ]


def test_a_device_that_is_absent_says_the_one_group_that_the_rule_names():
    spec = rule(when={"absent": "12h"}, only={"groups": "north"}, message="{device_id} of {group}")
    found = told([spec], [Row(1, location="north"), Row(1, device="x-1", location="south")], SOON)
    assert changes(found, "message", "device_id") == [("boiler-1 of north", "boiler-1")]


def test_rules_that_name_no_group_see_all_readings_beside_those_that_do():
    plain = rule(name="all", when=HOT)
    rows = [Row(1, 90, location="north"), Row(1, 90, "boiler-2")]
    found = told([BY_GROUP, plain], rows, SOON)
    assert changes(found, "rule", "device_id") == [("all", "boiler-1"), ("all", "boiler-2"), ("hot", None)]
    alone = RuleBook([plain]).evaluate(readings_of(rows), None, MIDNIGHT + SOON * TICK).alerts
    assert dicts([alone]) == [row for row in dicts([found.alerts]) if row["rule"] == "all"]


@pytest.mark.parametrize("batch", ["readings", "scores"])
def test_rows_without_groups_are_refused_where_a_rule_names_one(batch: str):
    readings, scores = readings_of([Row(1)]), scores_of([Row(1, a=(0.9, True))])
    readings, scores = (grouped(readings), scores) if batch == "scores" else (readings, grouped(scores))
    with pytest.raises(JobError, match="rule hot names groups, and the rows have no column group"):
        RuleBook([BY_GROUP]).evaluate(readings, scores, MIDNIGHT + SOON * TICK)


def test_an_empty_batch_needs_no_groups():
    assert RuleBook([BY_GROUP]).evaluate(readings_of([]), scores_of([]), MIDNIGHT + TICK).alerts.num_rows == 0


def test_what_is_said_at_once_has_the_ids_of_what_is_said_in_order():
    specs = [rule(when=HOT, only={"groups": "north"}), rule(name="s", when=HOT, group_by=["device", "group"])]
    rows = [Row(1, 90, location="north"), Row(2, 90, "boiler-2"), Row(3, 90, "boiler-3", location="south")]
    at_once = RuleBook(specs).immediate(grouped(readings_of(rows))).alerts
    assert dicts([at_once]) == dicts([told(specs, rows, SOON).alerts])


def test_archives_bring_their_groups_as_a_column():
    rows = [Row(1, 90, location="north"), Row(2, 10, location="north"), Row(3, 90, "boiler-2")]
    expected = told([BY_GROUP], rows, SOON).alerts
    with Pipeline("FnApiRunner") as pipeline:
        found = {
            "readings": pipeline | "Readings" >> beam.Create([grouped(readings_of([row])) for row in rows])
        } | EvaluateRules((BY_GROUP,), MIDNIGHT + SOON * TICK)
        assert_that(found.alerts, has_rows(expected.to_pylist()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"only": {"groups": []}}, "found an empty list or text"),
        ({"only": {"groups": ["north", " "]}}, "found an empty list or text"),
        ({"group_by": ["group", "group"]}, "expected each column once"),
        ({"message": "{group} is hot"}, "the message says {group}, and the rule names no group"),
        ({"group_by": "groups"}, "expected one of"),
    ],
)
def test_groups_that_can_not_be_are_refused(settings: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        rule(when=HOT, **settings)
