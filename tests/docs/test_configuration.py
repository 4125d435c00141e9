from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from telebeam.pipelines.config import load_config
from telebeam.pipelines.config_docs import main, render, sections
from telebeam.pipelines.settings import describe_settings
from telebeam.transforms.errors import ConfigurationError


@pytest.fixture
def document(root: Path) -> str:
    return (root / "docs/configuration.md").read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)


def test_the_tables_are_what_the_settings_say(root: Path, document: str, golden: Callable[[Path, str], None]):
    golden(root / "docs/configuration.md", render(document))


def test_every_section_has_its_table(document: str):
    assert re.findall(r"<!-- settings: (.*?) -->", document) == sections()


def test_every_setting_is_in_a_table(document: str):
    rows = set(re.findall(r"^\| `([^`]+)`", document, flags=re.MULTILINE))
    assert rows >= {s.key for s in describe_settings() if not s.key.startswith("sinks.") or s.key.count(".") > 1}


def test_the_examples_are_taken(document: str, tmp_path: Path):
    path = tmp_path / "fleet.yaml"
    examples = blocks(document, "yaml")
    assert len(examples) == 2
    for example in examples:
        path.write_text(example, encoding="utf-8")
        load_config(path)


def test_the_example_of_a_refusal_is_what_is_said(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (said,) = blocks(document, "text")
    Path("fleet.yaml").write_text(
        "pipeline: fleet\nsource: {csv: {path: a}}\nsinks:\n  lake: {path: lake}\nquality:\n  limts: {}\n"
        "windows:\n  # how long\n  - {every: 1 minute}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_config("fleet.yaml")
    assert str(caught.value) == said.rstrip("\n")


def test_the_command_rewrites_the_tables_and_nothing_else(document: str, tmp_path: Path):
    path = tmp_path / "configuration.md"
    path.write_text(
        re.sub(r"(<!-- settings.*? -->\n).*?(<!-- end)", r"\1\2", document, flags=re.DOTALL), encoding="utf-8"
    )
    assert path.read_text(encoding="utf-8") != document
    main([str(path)])
    assert path.read_text(encoding="utf-8") == document
