"""What docs/rules.md shows is taken, and what there is stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from telebeam.transforms.rules.message import NAMES
from telebeam.transforms.rules.spec import OnlySpec, RuleSpec, check_rules
from telebeam.transforms.rules.when import BOUNDS, KINDS, NESTED
from tests.transforms.rules.samples import rule

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_are_taken(example: str):
    made = check_rules(RuleSpec.model_validate(given) for given in yaml.safe_load(example)["rules"])
    assert made


def test_every_condition_has_an_example_and_a_line():
    shown = "".join(EXAMPLES)
    assert not [key for key in (*BOUNDS, *KINDS, *NESTED) if f"{key}:" not in shown and key not in ("any",)]
    assert not [key for key in (*BOUNDS, *KINDS, *NESTED) if f"`{key}:" not in DOCUMENT]


def test_every_option_has_an_example_and_a_line():
    names = [field.alias or name for name, field in RuleSpec.model_fields.items()]
    assert not [name for name in names if f"`{name}`" not in DOCUMENT or f"{name}:" not in "".join(EXAMPLES)]
    assert not [name for name in OnlySpec.model_fields if f"`{name}`" not in DOCUMENT]


def test_every_name_of_a_message_is_named():
    assert not [name for name in NAMES if f"`{name}`" not in DOCUMENT]


@pytest.mark.parametrize(
    "when", [{"above": 1}, {"outside": [1, 2]}, {"sensor_type": "x"}, {"absent": "5m"}, {"stuck": "5m"}]
)
def test_every_kind_of_alert_is_named(when: dict):
    assert f"`{rule(when=when).when.kind}`" in DOCUMENT
