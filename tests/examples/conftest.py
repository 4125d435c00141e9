"""The examples' folder, and programs started as a reader would start them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from telebeam.pipelines.cli import app

Start = Callable[..., str]


@pytest.fixture
def examples(root: Path) -> Path:
    """The folder of the examples."""
    return root / "examples"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs this interpreter in an empty folder, which is the test's as well; what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        command = [sys.executable, *(str(argument) for argument in arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def telebeam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs the command line there in this process: starting another one takes longer than a simulation."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    return run
