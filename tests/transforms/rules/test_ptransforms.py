from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline
from apache_beam.testing.util import assert_that

from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.ptransforms import EvaluateRules
from telebeam.transforms.testing import has_rows
from tests.transforms.rules.samples import MIDNIGHT, SECOND, Row, readings_of, rule, scores_of

RULES = (
    rule(name="hot", when={"above": 80}, then={"command": {"name": "stop"}}),
    rule(name="odd", when={"anomaly": {"above": 0.8}}),
)
ROWS = [Row(3, 90), Row(1, 10), Row(2, 20, a=(0.9, True)), Row(4, 10, a=(0.1, False))]
END = MIDNIGHT + 10 * SECOND


def test_batches_in_any_order_give_the_alerts_of_the_whole():
    expected = RuleBook(RULES).evaluate(readings_of(ROWS, SECOND), scores_of(ROWS, SECOND), END)
    with Pipeline("FnApiRunner") as pipeline:
        found = {
            "readings": pipeline | "Readings" >> beam.Create([readings_of([row], SECOND) for row in ROWS]),
            "scores": pipeline | "Scores" >> beam.Create([scores_of(ROWS, SECOND)]),
        } | EvaluateRules(RULES, END)
        assert_that(found.alerts, has_rows(expected.alerts.to_pylist()), label="Alerts")
        assert_that(found.commands, has_rows(expected.commands.to_pylist()), label="Commands")


def test_without_scores_readings_are_enough():
    with Pipeline("FnApiRunner") as pipeline:
        batches: list[pa.RecordBatch] = [readings_of(ROWS, SECOND)]
        found = {"readings": pipeline | beam.Create(batches)} | EvaluateRules(RULES[:1], END)
        assert_that(found.alerts, has_rows([{"state": "firing", "value": 90.0}, {"state": "resolved", "value": 10.0}]))


def test_rules_of_one_name_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="two rules are named hot"):
        EvaluateRules((RULES[0], RULES[0]), END)
