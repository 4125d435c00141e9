"""Each condition and each option by example: what fires when."""

from __future__ import annotations

from typing import Any

import pytest

from telebeam.transforms.rules.kernel import Evaluated, RuleBook
from tests.transforms.rules.samples import MIDNIGHT, SECOND, Row, readings_of, rule, scores_of

HUGE = 1e308


def evaluate(rows: list[Row], until: int = 1000, **given: Any) -> Evaluated:
    """One rule over rows whose ticks are seconds."""
    book = RuleBook([rule(**given)])
    return book.evaluate(readings_of(rows, SECOND), scores_of(rows, SECOND), MIDNIGHT + until * SECOND)


def changes(rows: list[Row], until: int = 1000, **given: Any) -> list[tuple[float, str]]:
    """(second, + for firing, ++ for critical, - for resolved) of each alert."""
    alerts = evaluate(rows, until, **given).alerts.to_pylist()
    return [(row["timestamp"].timestamp() - MIDNIGHT / SECOND, sign(row)) for row in alerts]


def sign(row: dict[str, Any]) -> str:
    return "-" if row["state"] == "resolved" else "++" if row["severity"] == "critical" else "+"


def values(*numbers: float, **given: Any) -> list[Row]:
    return [Row(tick, number, **given) for tick, number in enumerate(numbers)]


@pytest.mark.parametrize(
    ("when", "numbers", "expected"),
    [
        ({"above": 80}, [80, 81, 81, 80], [(1, "+"), (3, "-")]),
        ({"below": 0}, [0, -1, -0.0], [(1, "+"), (2, "-")]),
        ({"above": 8, "below": 2}, [9, 5, 1, 9, 5], [(0, "+"), (1, "-"), (2, "+"), (4, "-")]),
        ({"above": 80, "critical_above": 95}, [90, 96, 90, 70], [(0, "+"), (1, "-"), (1, "++"), (3, "-")]),
        ({"critical_above": 95}, [90, 96, 90], [(1, "++"), (2, "-")]),
        ({"below": 5, "critical_below": 1}, [0, 3, 6], [(0, "++"), (2, "-")]),
        ({"outside": [1, 3]}, [1, 3, 4, 0, 2], [(2, "+"), (4, "-")]),
        ({"inside": [1, 3]}, [0, 1, 3, 4], [(1, "+"), (3, "-")]),
        ({"equals": 0}, [1, -0.0, 1], [(1, "+"), (2, "-")]),
        ({"above": HUGE}, [HUGE, -HUGE, 1.5e308], [(2, "+")]),
        ({"rate_of_change": {"above": 2}}, [0, 2, 5, 5], [(2, "+"), (3, "-")]),
        ({"rate_of_change": {"outside": [-1, 1]}}, [0, -2, -2], [(1, "+"), (2, "-")]),
        ({"rate_of_change": {"above": 1}}, [-1.7e308, 1.7e308, 1.7e308], [(1, "+"), (2, "-")]),
        ({"stuck": "2s"}, [1, 1, 1, 1, 2], [(2, "+"), (4, "-")]),
        ({"stuck": "2s"}, [0.0, -0.0, 0.0], [(2, "+")]),
        ({"absent": "5m"}, [1, 1], [(301, "+")]),
        ({"count": {"of": {"above": 5}, "within": "4s", "at_least": 3}}, [9, 1, 9, 1, 9, 1], [(4, "+"), (4, "-")]),
        ({"count": {"of": {"above": 5}, "within": "3s", "at_least": 3}}, [9, 1, 9, 1, 9, 9], [(5, "+"), (5, "-")]),
        ({"sensor_type": "temperature"}, [1, 2, 3], [(0, "+")]),
    ],
)  # fmt: skip
def test_a_condition_holds_when_its_words_say_so(when: dict[str, Any], numbers: list[float], expected: list[Any]):
    assert (
        changes(values(*numbers), when={"sensor_type": "temperature", **when} if "count" not in when else when)
        == expected
    )


def test_a_sequence_is_its_second_reading_after_its_first_within_time():
    when = {
        "sequence": {
            "first": {"sensor_type": "v", "above": 5},
            "then": {"sensor_type": "t", "above": 80},
            "within": "5m",
        }
    }

    def after(seconds: int) -> list[Row]:
        return [Row(0, 9, sensor="v"), Row(seconds, 90, sensor="t")]

    assert changes(after(10), when=when) == [(10, "+"), (300, "-")]
    assert changes(after(300), when=when) == [(300, "+"), (300, "-")]
    assert changes(after(301), when=when) == []
    assert changes(after(0), when=when) == []
    assert changes([Row(0, 90, sensor="t"), Row(10, 9, sensor="v")], when=when) == []
    assert changes([Row(0, 9, "d-1", "v"), Row(10, 90, "d-2", "t")], when=when) == []
    assert changes([Row(0, 9, "d-1", "v"), Row(10, 90, "d-2", "t")], when=when, group_by="tenant") == [
        (10, "+"),
        (300, "-"),
    ]


def test_a_silence_ends_with_a_reading_and_a_reading_at_its_very_edge_prevents_it():
    assert changes([Row(0), Row(300), Row(600)], 600 + 1, when={"absent": "5m"}) == []
    assert changes([Row(0), Row(301)], 302, when={"absent": "5m"}) == [(300, "+"), (301, "-")]


def test_a_silence_is_not_decided_before_its_time_has_passed():
    assert changes([Row(0)], 300, when={"absent": "5m"}) == []
    assert changes([Row(0)], 301, when={"absent": "5m"}) == [(300, "+")]


def test_a_device_that_was_never_heard_is_not_missed():
    assert changes([], when={"absent": "5m"}) == []


def test_an_anomaly_is_a_score_or_a_detectors_verdict():
    rows = [Row(0, a=(0.7, False), b=(0.1, True)), Row(1, a=(0.9, True), b=(0.1, False)), Row(2, a=(0.1, False))]
    assert changes(rows, when={"anomaly": {"above": 0.8}}) == [(1, "+"), (2, "-")]
    assert changes(rows, when={"anomaly": {"detector": "b"}}) == [(0, "+"), (1, "-")]
    assert changes(rows, when={"anomaly": True}) == [(0, "+"), (2, "-")]
    assert changes(rows, when={"anomaly": {"detector": "c"}}) == []


def test_an_anomalys_alert_says_what_was_expected():
    (alert,) = evaluate(
        [Row(0, 30, a=(0.9, True), b=(0.95, True))], when={"anomaly": {"above": 0.8}}
    ).alerts.to_pylist()
    assert alert["alert_type"] == "temperature_anomaly"
    assert (alert["value"], alert["expected"], alert["score"]) == (30, 29, 0.95)
    assert alert["message"] == "r: temperature of boiler-1 is 30, expected 29 (score 0.95)"


def test_all_any_and_not_go_by_the_last_that_is_known():
    rows = [Row(0, 90), Row(1, 95, sensor="humidity"), Row(2, 10), Row(3, 10, sensor="humidity")]
    hot, damp = {"sensor_type": "temperature", "above": 80}, {"sensor_type": "humidity", "above": 90}
    assert changes(rows, when={"all": [hot, damp]}) == [(1, "+"), (2, "-")]
    assert changes(rows, when={"any": [hot, damp]}) == [(0, "+"), (3, "-")]
    assert changes(rows, when={"all": [hot, {"not": damp}]}) == []
    assert changes(rows, when={"all": [damp, {"not": hot}]}) == [(2, "+"), (3, "-")]


def test_all_readings_of_an_instant_count_before_the_truth_is_read():
    rows = [Row(0, 90), Row(0, 95, sensor="humidity"), Row(0, 10)]
    parts = [{"sensor_type": "temperature", "above": 80}, {"sensor_type": "humidity", "above": 90}]
    assert changes(rows, when={"all": parts}) == [(0, "+")]


@pytest.mark.parametrize("when", [{"above": 5}, {"below": 5}, {"equals": 1}, {"inside": [4, 6]}])
def test_of_readings_of_one_instant_one_that_matches_is_enough(when: dict[str, Any]):
    rows = [Row(0, 1), Row(0, 5), Row(0, 9), Row(1, 1), Row(1, 5), Row(1, 9)]
    assert changes(rows, 2, when=when) == [(0, "+")]


def test_for_fires_at_the_reading_that_completes_the_time():
    hot = {"above": 80}
    assert changes([Row(0, 90), Row(20, 90), Row(33, 90)], when=hot, for_="30s") == [(33, "+")]
    assert changes([Row(0, 90), Row(30, 90)], when=hot, for_="30s") == [(30, "+")]
    assert changes([Row(0, 90), Row(20, 10), Row(33, 90)], when=hot, for_="30s") == []
    assert changes([Row(0, 90)], when=hot, for_="30s") == []
    assert changes([Row(0)], when={"absent": "5m"}, for_="30s") == [(330, "+")]


def test_an_alert_resolves_where_resolve_says():
    numbers = values(90, 78, 75, 90)
    assert changes(numbers, when={"above": 80}, resolve={"at": 75}) == [(0, "+"), (2, "-"), (3, "+")]
    assert changes(values(1, 6, 8), when={"below": 5}, resolve={"at": 7}) == [(0, "+"), (2, "-")]
    dip = [Row(0, 90), Row(10, 10), Row(20, 90), Row(30, 10)]
    assert changes(dip, when={"above": 80}, resolve={"for": "1m"}) == [(0, "+"), (90, "-")]
    assert changes(dip, when={"above": 80}, resolve={"for": "10s"}) == [(0, "+"), (30 + 10, "-")]


def test_nothing_fires_while_it_cools_down():
    rows = [Row(0, 90), Row(10, 10), Row(20, 90), Row(65, 90), Row(70, 90)]
    assert changes(rows, when={"above": 80}, cool_down="1m") == [(0, "+"), (10, "-"), (70, "+")]


def test_a_rule_fires_in_its_hours_and_resolves_at_any():
    noon = 12 * 3600
    rows = [Row(noon - 10, 90), Row(noon + 5, 90), Row(2 * noon - 5, 90), Row(2 * noon + 9, 10), Row(2 * noon + 20, 90)]
    found = changes(rows, 3 * noon, when={"above": 80}, active={"hours": "12:00-24:00"})
    assert found == [(noon + 5, "+"), (2 * noon + 9, "-")]
    silent = changes([Row(0)], 3 * noon, when={"absent": "5m"}, active={"hours": "12:00-24:00"})
    assert silent == [(noon, "+")]


def test_only_narrows_what_a_rule_looks_at():
    rows = [Row(0, 90, "boiler-1"), Row(1, 90, "pump-1"), Row(2, 90, "boiler-[2]")]
    only = {"devices": "boiler-*"}
    assert [second for second, _ in changes(rows, when={"above": 80}, only=only)] == [0, 2]
    assert [second for second, _ in changes(rows, when={"above": 80}, only={"devices": ["boiler-[2]"]})] == [2]
    assert changes(rows, when={"above": 80}, only={"sensor_types": " Humidity"}) == []


def test_a_group_fires_while_any_of_its_series_does():
    rows = [Row(0, 90, "d-1", location="hall"), Row(1, 10, "d-2", location="hall"), Row(2, 10, "d-1", location="hall")]
    alerts = evaluate(rows, when={"above": 80}, group_by="location").alerts.to_pylist()
    assert [(row["timestamp"].second, row["state"]) for row in alerts] == [(0, "firing"), (2, "resolved")]
    assert [(row["device_id"], row["location"], row["sensor_type"]) for row in alerts] == [
        (None, "hall", "temperature")
    ] * 2


def test_a_device_that_is_moved_stays_the_same():
    rows = [Row(0, 90, location="hall"), Row(1, 10, location="roof")]
    assert changes(rows, when={"above": 80}) == [(0, "+"), (1, "-")]


def test_a_device_that_falls_silent_for_a_week_is_forgotten():
    week = 7 * 86_400
    assert changes([Row(0, 90)], week, when={"above": 80}) == [(0, "+")]
    assert changes([Row(0, 90)], week + 1, when={"above": 80}) == [(0, "+"), (week, "-")]
    assert changes([Row(0, 90), Row(week + 9, 90)], week + 10, when={"above": 80}) == [
        (0, "+"),
        (week, "-"),
        (week + 9, "+"),
    ]


def test_a_silence_is_held_for_ninety_days():
    end = 90 * 86_400
    assert changes([Row(0)], end + 2, when={"absent": "1h"}) == [(3600, "+"), (end, "-")]


def test_commands_follow_the_changes_that_they_name():
    then = [{"command": {"name": "stop", "payload": {"at": "{value:.1f}", "n": 1}}},
            {"command": {"name": "go", "state": "resolved"}}]  # fmt: skip
    found = evaluate(values(90.04, 10), when={"above": 80}, then=then).commands.to_pylist()
    assert [(row["command"], row["payload"], row["device_id"]) for row in found] == [
        ("stop", '{"at":"90.0","n":1}', "boiler-1"),
        ("go", "{}", "boiler-1"),
    ]
    assert len({row["command_id"] for row in found}) == 2


def test_tags_hold_the_readings_that_match_while_the_rule_holds():
    rows = [Row(0, 90), Row(1, 91), Row(2, 10), Row(3, 92), Row(3, 50, sensor="humidity")]
    tag = {"then": {"tag": "hot"}}
    plain = evaluate(rows, when={"sensor_type": "temperature", "above": 80}, **tag).tagged["hot"]
    assert plain.column("value").to_pylist() == [90, 91, 92]
    counted = {"count": {"of": {"above": 80}, "within": "10s", "at_least": 3}}
    assert evaluate(rows, when=counted, **tag).tagged["hot"].column("value").to_pylist() == [92]
    scored = [Row(0, 5, a=(0.9, True)), Row(1, 6, a=(0.1, False))]
    assert evaluate(scored, when={"anomaly": True}, **tag).tagged["hot"].column("value").to_pylist() == [5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"when": {"above": 80}}, "r: temperature of boiler-1 is 90.1235"),
        ({"when": {"above": 80}, "message": "{device_id}: {value:.1f} {{°}}"}, "boiler-1: 90.1 {°}"),
        ({"when": {"above": 80}, "message": "{timestamp} {location} {score}"}, "2026-01-01T00:00:00Z – –"),
        ({"when": {"above": 80}, "group_by": "location"}, "r: temperature of hall is 90.1235"),
    ],
)
def test_a_message_is_what_its_template_says(given: dict[str, Any], message: str):
    rows = [Row(0, 90.12345, location="hall" if "group_by" in given else None)]
    assert evaluate(rows, **given).alerts.column("message").to_pylist() == [message]


def test_the_default_message_of_a_silence_says_how_long():
    (alert,) = evaluate([Row(0)], when={"sensor_type": "temperature", "absent": "5m"}).alerts.to_pylist()
    assert alert["message"] == "r: no reading of boiler-1 for 300 s"
    assert (alert["sensor_type"], alert["value"]) == ("temperature", None)
