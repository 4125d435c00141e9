"""What a rule may say, and what is said where it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from telebeam.transforms.rules.spec import RuleSpec, check_rules
from tests.transforms.rules.samples import rule

FINE = {"sensor_type": "temperature", "above": 80}


def said(**given: Any) -> str:
    """Everything that is said of a rule's refusal, hints included."""
    with pytest.raises(ValidationError) as caught:
        rule(**{"when": FINE, **given})
    found = []
    for detail in caught.value.errors(include_url=False):
        error = detail.get("ctx", {}).get("error")
        found.append(" | ".join(map(str, error.args)) if isinstance(error, ValueError) else detail["msg"])
    return " ".join(found)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (None, "found nothing; expected a mapping"),
        ([FINE], "found a list; expected a mapping"),
        ({}, "says nothing"),
        ({"abov": 3}, "did you mean above?"),
        ({"sensor": "x", "above": 1}, "did you mean sensor_type?"),
        ({3: 4}, "unknown key '3'"),
        ({"sensor_type": 5, "above": 1}, "put it into quotes"),
        ({"sensor_type": [], "above": 1}, "empty list"),
        ({"sensor_type": " ", "above": 1}, "expected text"),
        ({"above": "80"}, "without quotes"),
        ({"above": True}, "expected a finite number"),
        ({"above": float("nan")}, "expected a finite number"),
        ({"above": 10**400}, "expected a finite number"),
        ({"above": None}, "found nothing"),
        ({"above": 80, "critical_above": 80}, "above 80 is not less than critical_above 80"),
        ({"below": 1, "critical_below": 2}, "critical_below 2 is not less than below 1"),
        ({"outside": 5}, "write [low, high]"),
        ({"outside": [5, 1]}, "5 is greater than 1"),
        ({"inside": [1, 2, 3]}, "expected two numbers"),
        ({"above": 1, "absent": "5m"}, "expected one of them"),
        ({"absent": "soon"}, "is not a duration"),
        ({"absent": 0}, "more than 0"),
        ({"absent": "31d"}, "at most 30 days"),
        ({"absent": True}, "expected a duration"),
        ({"stuck": "8d"}, "at most 7 days"),
        ({"rate_of_change": 5}, "expected a mapping"),
        ({"rate_of_change": {}}, "has no bound"),
        ({"rate_of_change": {"equals": 5}}, "unknown key 'equals'"),
        ({"anomaly": {"above": 1}}, "a score from 0 to below 1"),
        ({"anomaly": {"detector": 5}}, "expected text"),
        ({"count": {"of": FINE, "within": "5m"}}, "at_least is missing"),
        ({"count": {"of": FINE, "within": "5m", "at_least": 0}}, "from 1 to 1000"),
        ({"count": {"of": FINE, "within": "5m", "at_least": 2.5}}, "whole number"),
        ({"count": {"of": {"absent": "5m"}, "within": "5m", "at_least": 1}}, "a condition on one reading"),
        ({"count": {"of": FINE, "within": "8d", "at_least": 1}}, "at most 7 days"),
        ({"sequence": {"first": FINE, "then": {"all": [FINE]}, "within": "5m"}}, "a condition on one reading"),
        ({"all": []}, "expected a list of conditions"),
        ({"any": FINE}, "expected a list of conditions"),
        ({"all": [FINE], "above": 2}, "expected all alone"),
        ({"all": [FINE], "not": FINE}, "expected all alone"),
        ({"all": [FINE, {"above": "x"}]}, "when.all[1].above"),
        ({"not": {"above": 1, "critical_above": 2}}, "can't stand below not"),
        ({"not": {"count": {"of": {"critical_above": 2}, "within": "5m", "at_least": 1}}}, "can't stand below not"),
        ({"any": [FINE] * 33}, "at most 32"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_with_what_was_expected(when: Any, words: str):
    assert words in said(when=when)


def test_conditions_are_not_nested_without_end():
    when: dict[str, Any] = FINE
    for _ in range(50):
        when = {"not": when}
    assert "nested more than 8 deep" in said(when=when)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "a b"}, "is not a rule's name"),
        ({"name": ""}, "is not a rule's name"),
        ({"for": "-1s"}, "is not a duration"),
        ({"for": -1}, "is negative"),
        ({"cool_down": -1}, "is negative"),
        ({"severity": "fatal"}, "'info', 'warning' or 'critical'"),
        ({"message": "{device}"}, "did you mean {device_id}?"),
        ({"message": "{device_id.__class__}"}, "is not known"),
        ({"message": "{value[0]}"}, "is not known"),
        ({"message": "{0}"}, "is not known"),
        ({"message": "{}"}, "is not known"),
        ({"message": "{value!r}"}, "is no format"),
        ({"message": "{value:1000000000}"}, "is no format"),
        ({"message": "{value:{score}}"}, "is no format"),
        ({"message": "{device_id:>9}"}, "is no format"),
        ({"message": "{value"}, "write {{ and }} for braces"),
        ({"message": "x" * 2001}, "at most 2000"),
        ({"alert_type": "too hot"}, "is no alert_type"),
        ({"group_by": "room"}, "readings have no column 'room'"),
        ({"group_by": ["device", "device_id"]}, "each column once"),
        ({"resolve": {"at": 85}}, "on which the rule fires"),
        ({"resolve": {"at": 5}, "when": {"outside": [1, 9]}}, "either above or below"),
        ({"resolve": {"for": -1}}, "is negative"),
        ({"only": {"devices": []}}, "at least one name"),
        ({"only": {"rooms": ["a"]}}, "Extra inputs"),
        ({"active": {"hours": "8-18"}}, "08:00-18:00"),
        ({"active": {"hours": "25:00-26:00"}}, "08:00-18:00"),
        ({"active": {"hours": "08:00-08:00"}}, "no time at all"),
        ({"active": {"days": "monday"}}, "is not a day"),
        ({"active": {"days": []}}, "expected a list of days"),
        ({"active": {"timezone": "Mars/Olympus"}}, "is not a time zone"),
        ({"active": {"timezone": "../../etc/passwd"}}, "is not a time zone"),
        ({"then": [{}]}, "exactly one of command, tag"),
        ({"then": [{"tag": "a", "command": {"name": "b"}}]}, "exactly one of command, tag"),
        ({"then": [{"tag": "../a"}]}, "is no name"),
        ({"then": [{"command": {"name": ""}}]}, "expected a command's name"),
        ({"then": [{"command": {"name": "a", "payload": {"x": ["{nope}"]}}}]}, "is not known"),
        ({"then": [{"command": {"name": "a", "payload": {"x": float("inf")}}}]}, "is not JSON"),
        ({"while": "5m"}, "Extra inputs"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_what_was_expected(given: dict[str, Any], words: str):
    assert words in said(**given)


def test_rules_are_read_from_json_as_a_configuration_does():
    given = [{"name": "r", "when": {"all": [FINE, {"not": {"absent": "5m"}}]}, "for": "30s", "group_by": ["location"],
              "only": {"devices": ["a*"]}, "active": {"days": ["mon-fri"]}, "resolve": {"for": 5},
              "then": [{"tag": "x"}, {"command": {"name": "stop", "payload": {"a": [1]}}}]}]  # fmt: skip
    (made,) = TypeAdapter(tuple[RuleSpec, ...]).validate_json(json.dumps(given), strict=True)
    assert made == rule(**given[0])
    assert hash(made.when) == hash(rule(**given[0]).when)


def test_an_empty_section_stands_for_the_defaults():
    assert rule(when=FINE, only=None, resolve=None) == rule(when=FINE)


def test_rules_are_checked_together():
    score = rule(when={"count": {"of": {"anomaly": {"detector": "auto"}}, "within": "1m", "at_least": 2}})
    assert check_rules([score]) == check_rules([score], ["auto"])
    with pytest.raises(ValueError, match="unknown detector 'auto'; expected any or one of ewma"):
        check_rules([score], ["ewma"])
    with pytest.raises(ValueError, match="there is no detector"):
        check_rules([score], [])
    with pytest.raises(ValueError, match="each name once"):
        check_rules([score, score])
