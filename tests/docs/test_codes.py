"""The documented codes are the codes that occur."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest

from telebeam.transforms.quality.kernel import DETAILS
from telebeam.transforms.schema import QUALITY, Issue, Reason


def section(root: Path, title: str) -> str:
    text = (root / "docs" / "rejects-and-issues.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(text: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


@pytest.mark.parametrize(("title", "codes"), [("Reasons", Reason), ("Issues", Issue)])
def test_every_code_is_documented_with_meaning_and_example(root: Path, title: str, codes: type[StrEnum]):
    rows = table(section(root, title))
    assert [row[0].strip("`") for row in rows] == [code.value for code in codes]
    assert all(len(row) == 3 and all(row) for row in rows)


def test_the_documented_order_of_reasons_is_the_kernels(root: Path):
    order = section(root, "Reasons").split("then the order is")[1].split("\n|")[0]
    assert re.findall(r"`(\w+)`", order) == list(DETAILS)


def test_the_documented_columns_of_the_report_are_columns(root: Path):
    names = {name for row in table(section(root, "The quality report")) for name in re.findall(r"`(\w+)`", row[0])}
    assert names == set(QUALITY.names) - {"pipeline", "scope", "tenant", "device_id", "sensor_type"}
