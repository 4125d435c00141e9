from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from telebeam.pipelines.cli import app
from telebeam.pipelines.config import load_config
from telebeam.pipelines.record import Record, explain_record
from telebeam.pipelines.simulation import SimulationReport
from telebeam.pipelines.simulation.spec import FAULTS


def _commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """Commands by what is typed, those of groups too."""
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= _commands(command, f"{prefix}{name} ") if inner is not None else {f"{prefix}{name}": command}
    return found


COMMANDS = _commands(typer.main.get_command(app))


@pytest.fixture
def sections(root: Path) -> dict[str, str]:
    """Command → what the document says of it."""
    text = (root / "docs/commands.md").read_text(encoding="utf-8")
    parts = re.split(r"^## telebeam ([\w -]+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str, head: str) -> dict[str, list[str]]:
    """The rows of a section's tables whose head begins with a word, by their first cell."""
    tables = re.findall(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", section, flags=re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_command_has_a_section(sections: dict[str, str]):
    assert list(sections) == list(COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_is_documented_with_its_default_and_no_other_is(sections: dict[str, str], name: str):
    documented = rows(sections[name], "option")
    real = {
        (parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name.upper()): parameter
        for parameter in COMMANDS[name].params
        if parameter.name != "help"
    }
    assert set(documented) == set(real)
    for option, (default, _) in documented.items():
        # The profile's default is chosen where no number of devices is given.
        if isinstance(real[option].default, (str, int)) and not isinstance(real[option].default, bool):
            assert default.strip("`") == str(real[option].default), option


def test_every_key_of_a_simulations_report_is_documented(sections: dict[str, str]):
    assert list(rows(sections["simulate"], "key")) == [field.name for field in fields(SimulationReport)]
    assert all(f"`{fault}`" in sections["simulate"] for fault in FAULTS)


def test_every_key_of_a_runs_summary_is_documented(sections: dict[str, str]):
    keys = ["pipeline", "runner", "seconds", "balance", "windows", "made", "points", "refused_points"]
    assert list(rows(sections["run"], "key")) == keys


def test_every_key_of_an_explained_record_is_documented(sections: dict[str, str], root: Path):
    spec = load_config(root / "tests/fixtures/configs/minimal.yaml")
    said = explain_record(
        spec, Record(b'[{"device_id": "boiler-1", "timestamp": 1767225600, "temperature": 21}, 5]', 0)
    )
    documented = rows(sections["explain-record"], "key")
    assert [name for cell in documented for name in re.findall(r"\w+", cell)] == list(said)
    for part in ("steps", "readings", "rejects"):
        assert set(said[part][0]) <= set(re.findall(r"`(\w+)`", documented[part][0])), part
    assert set(said["rules"]) == set(re.findall(r"`(\w+)`", documented["rules"][0]))
