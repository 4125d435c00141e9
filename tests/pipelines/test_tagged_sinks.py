"""Sinks of tagged readings in a configuration: refused, explained and probed before a job starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from telebeam.pipelines.config import load_config
from telebeam.pipelines.explain import explain
from telebeam.pipelines.preflight import preflight
from telebeam.pipelines.runners import RunnerChoice
from telebeam.transforms.errors import ConfigurationError, JobError

CONFIG = """pipeline: fleet
source: {kafka: {bootstrap_servers: "127.0.0.1:1", topics: [iot]}}
rules:
  - {name: overheated, when: {sensor_type: temperature, above: 80}, then: {tag: hot}}
sinks:
  lake: {path: lake}
  tagged:
    - kafka: {bootstrap_servers: "127.0.0.1:1", topic: hot-readings}
      tags: [TAG]
    - pubsub: {topic: "projects/my-fleet/topics/all", endpoint: "127.0.0.1:1"}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fleet.yaml"
    path.write_text(CONFIG.replace("TAG", "hot"), encoding="utf-8")
    return path


def no_runner() -> RunnerChoice:
    raise JobError("not asked for", "")


def test_a_tag_that_no_rule_gives_is_refused_before_anything_starts(config: Path):
    config.write_text(CONFIG.replace("TAG", "hto"), encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        load_config(config)
    assert "no rule gives the tag 'hto'; rules give hot" in str(refused.value)
    assert "then: {tag: hto}" in str(refused.value)


def test_what_goes_where_is_said_in_words(config: Path):
    said = explain(load_config(config))
    assert "[InOrder] sends readings with the tags hot to kafka-hot-readings-" in said
    assert "[InOrder] sends readings with all tags to pubsub-all-" in said


def test_every_topic_is_tried(config: Path):
    found = {each.what: each for each in preflight(load_config(config), no_runner)}
    kafka, pubsub = (each for what, each in found.items() if what.startswith("tagged "))
    assert kafka.error is not None
    assert "127.0.0.1:1" in kafka.result
    assert pubsub.error is not None
    assert not Path("lake").exists()
