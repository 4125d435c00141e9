"""The tables of docs/parsing.md, done as they say."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest

from telebeam.transforms.parsing.formats import CONTENT_TYPES, FORMATS

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "parsing.md"


def table(name: str) -> list[list[str]]:
    text = DOCUMENT.read_text(encoding="utf-8").split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
    rows = [re.split(r"(?<=`) \| |(?<!`) \| ", line[2:-2]) for line in text.strip().splitlines()]
    return rows[2:]


def code(cell: str) -> str:
    return cell.split("`")[1]


@pytest.mark.parametrize("row", table("shapes"), ids=lambda row: row[0])
def test_a_shapes_example_gives_the_values_that_are_said(row: list[str], parse_json):
    found = parse_json(code(row[2]))
    given = [f"{r['sensor_type']}/{r['measurement_type']} = {r['value']:g}" for r in found.readings]
    assert given == re.findall(r"`([^`]+)`", row[3])
    assert found.rejects == []


@pytest.mark.parametrize("row", table("timestamps"), ids=lambda row: row[0])
def test_a_timestamps_example_is_the_instant_that_is_said(row: list[str], parse_json):
    found = parse_json(f'{{"device_id":"boiler-1","timestamp":"{code(row[0])}","metric":"t","value":1}}')
    if code(row[1]) == "bad_timestamp":
        assert found.reasons == ["bad_timestamp"]
    else:
        assert found.readings[0]["timestamp"] == datetime.fromisoformat(code(row[1]))


@pytest.mark.parametrize("row", table("bands"), ids=lambda row: row[1])
def test_an_epochs_example_is_the_instant_that_is_said(row: list[str], parse_json):
    found = parse_json(f'{{"device_id":"boiler-1","timestamp":{code(row[2])},"metric":"t","value":1}}')
    assert found.readings[0]["timestamp"] == datetime.fromisoformat(code(row[3]))


@pytest.mark.parametrize("row", [row for row in table("policies") if row[2].startswith("`")], ids=lambda row: row[0])
def test_a_policys_example_ends_as_is_said(row: list[str], parse_json):
    found = parse_json(f'{{"device_id":"boiler-1","timestamp":1767225600,"metric":"t","value":{code(row[2])}}}')
    values = [repr(reading["value"]) for reading in found.readings]
    assert [*values, *found.reasons] == [repr(float(code(row[3]))) if code(row[3])[-1].isdigit() else code(row[3])]


def test_the_table_of_formats_names_all_formats_and_content_types():
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:3]] for line in section("formats")]
    named = {kind: forms[0] for forms, kinds in rows for kind in kinds}
    assert named == CONTENT_TYPES
    assert {form for forms, _ in rows for form in forms} == set(FORMATS) - {"unknown", "codec"}


def section(name: str) -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8").split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
    return text.strip().splitlines()[2:]
