"""A lake in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from telebeam.io.lake.spec import LakeSpec


@pytest.fixture
def lake(tmp_path: Path) -> LakeSpec:
    return LakeSpec(path=str(tmp_path / "lake"))
