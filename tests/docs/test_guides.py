"""The guides' tables are what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import typer

import telebeam.transforms
from telebeam.io.influxdb.spec import MEASUREMENTS, TAGS
from telebeam.pipelines.cli import app
from telebeam.pipelines.simulation.catalog import DEVICE_TYPES
from telebeam.pipelines.simulation.spec import FAULTS, FaultSpec
from telebeam.transforms.schema import AGGREGATES


def rows(root: Path, document: str, title: str) -> list[list[str]]:
    """The cells of a section's first table, without its head."""
    text = (root / document).read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"\n## {title}\n")[1] if title else text, flags=re.MULTILINE)[0]
    table = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_fault_is_explained_in_its_own_words(root: Path):
    documented = {names(fault)[0]: text for fault, text in rows(root, "docs/simulation.md", "Faults")}
    assert list(documented) == list(FAULTS)
    for name, text in documented.items():
        assert text == " ".join(str(FaultSpec.model_fields[name].description).replace("``", "`").split())


def test_every_option_of_simulate_is_documented(root: Path):
    command = typer.main.get_command(app).commands["simulate"]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts if option != "--help"}
    assert {names(row[0])[0] for row in rows(root, "docs/simulation.md", "")} == options


def test_every_device_type_is_documented_with_its_sensors(root: Path):
    documented = {names(kind)[0]: sensors for kind, sensors in rows(root, "docs/simulation.md", "Devices")}
    assert set(documented) == set(DEVICE_TYPES)
    for name, kind in DEVICE_TYPES.items():
        assert all(sensor.sensor_type in documented[name] for sensor in kind.sensors), name


def test_measurements_tags_and_fields_are_documented(root: Path):
    readings, windows = rows(root, "docs/influxdb.md", "Measurements")
    assert names(readings[0]) == [MEASUREMENTS["readings"]]
    assert names(windows[0]) == [MEASUREMENTS["windows"]]
    assert set(names(readings[3])) == set(TAGS["readings"])
    assert set(names(windows[3])) == set(TAGS["windows"]) - set(TAGS["readings"])
    assert set(names(windows[4])) == {"count", *AGGREGATES}


def test_every_transform_and_every_specification_is_in_the_guide(root: Path):
    text = (root / "docs" / "using-from-python.md").read_text(encoding="utf-8")
    assert not [name for name in telebeam.transforms.__all__ if not re.search(rf"\b{name}\b", text)]


def test_the_contributors_guide_names_targets_that_exist(root: Path):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    paths = re.findall(r"`((?:tests|docs|transforms|pipelines|io)/[\w./-]+)`", text)
    assert not [path for path in paths if not (root / path).exists()]
    assert all(option in (root / "tests/conftest.py").read_text() for option in ("--rewrite-golden", "--long"))
