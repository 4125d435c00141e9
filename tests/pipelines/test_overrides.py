from __future__ import annotations

from pathlib import Path

import pytest

from telebeam.pipelines.config import load_config

CONFIGS = Path(__file__).resolve().parent.parent / "fixtures" / "configs"
MINIMAL = (CONFIGS / "minimal.yaml").read_text(encoding="utf-8")
FULL = (CONFIGS / "full.yaml").read_text(encoding="utf-8")


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_a_source_is_swapped_on_the_command_line(config):
    spec = load_config(config(FULL), ["source.parquet.path=archive/x.parquet"])
    assert (spec.source.kind, spec.source.files.path) == ("parquet", "archive/x.parquet")
    assert spec.source.on_bad_file == "reject"
    assert spec.source.jsonl is None


def test_a_source_of_a_later_version_is_swapped_for_its_backfill(config):
    text = replaced(MINIMAL, 'parquet: {path: "archive/**/*.parquet"}', "kafka: {topics: [iot]}")
    assert load_config(config(text), ["source.jsonl={path: a.jsonl}"]).source.kind == "jsonl"


@pytest.mark.parametrize("value", ["*.parquet", "[ab]*.parquet", "**/*.parquet", "@x", "%x", "s3://b/a?.parquet"])
def test_a_glob_needs_no_quotes_on_the_command_line(config, value):
    assert load_config(config(MINIMAL), [f"source.parquet.path={value}"]).source.files.path == value


def test_a_list_entry_is_overridden_by_its_number(config):
    spec = load_config(config(FULL), ["windows[1].every=5m"])
    assert [window.seconds for window in spec.windows] == [60, 300]


def test_an_override_of_one_alias_leaves_the_others(config):
    text = MINIMAL + "quality:\n  limits:\n    a: &x {min: 0, max: 1}\n    b: *x\n"
    limits = load_config(config(text), ["quality.limits.b.max=9"]).quality.limits
    assert (limits["a"].max, limits["b"].max) == (1, 9)


def test_the_last_override_wins(config):
    assert load_config(config(MINIMAL), ["pipeline=a", "pipeline=b"]).pipeline == "b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("nonsense", "nonsense…: expected KEY=VALUE"),
        ("=x", "expected KEY=VALUE"),
        ("a..b=1", "expected KEY=VALUE"),
        ("windows[7].every=1m", "windows[7] does not exist"),
        ("pipeline.name=x", "pipeline.name can't be set: pipeline holds text, not a mapping"),
        ("sinks[0]=x", "sinks[0] can't be set: sinks holds a mapping, not a list"),
        (
            "quality.max_age_days=old",
            "--set quality.max_age_days: quality.max_age_days: found 'old'; expected a number",
        ),
        ("qualty.max_age_days=1", "did you mean quality?"),
    ],
)
def test_a_wrong_override_is_named(config, refusal, override, said):
    assert said in refusal(config(FULL), override)
