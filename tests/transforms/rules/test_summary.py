from __future__ import annotations

from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.summary import RuleSummary, summarise
from tests.transforms.rules.samples import MIDNIGHT, SECOND, Row, readings_of, rule

DAY = 86_400


def test_a_summary_says_how_often_a_rule_would_have_fired():
    rules = [rule(name="hot", when={"above": 80, "critical_above": 95}), rule(name="never", when={"above": 999})]
    rows = [Row(0, 90, "d-1"), Row(10, 10, "d-1"), Row(20, 96, "d-2"), Row(50, 10, "d-2"), Row(DAY - 100, 90, "d-1")]
    end = MIDNIGHT + DAY * SECOND
    alerts = RuleBook(rules).evaluate(readings_of(rows, SECOND), None, end).alerts
    hot, never = summarise(rules, alerts, devices=2, start=MIDNIGHT, end=end)
    assert hot == RuleSummary(
        rule="hot", fired=3, critical=1, groups=2, per_device_day=1.5, first=MIDNIGHT,
        last=MIDNIGHT + (DAY - 100) * SECOND, longest_seconds=100.0, open=1,
    )  # fmt: skip
    assert never == RuleSummary("never", 0, 0, 0, 0.0, None, None, 0.0, 0)


def test_a_summary_of_no_time_and_no_devices_divides_by_nothing():
    (found,) = summarise([rule(when={"above": 1})], RuleBook([]).evaluate(readings_of([]), None, 0).alerts, 0, 0, 0)
    assert found.per_device_day == 0
