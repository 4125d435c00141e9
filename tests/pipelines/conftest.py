"""A configuration file to write, and what loading it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from telebeam.pipelines.config import load_config
from telebeam.transforms.errors import ConfigurationError

PYDANTIC_WORDS = re.compile(
    r"Input should|valid string|valid dictionary|instance of|extra inputs|Field required|Value error", re.IGNORECASE
)


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes ``fleet.yaml``."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "fleet.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def outcome() -> Callable[..., str]:
    """The message of the refusal, or nothing where the settings are taken; any other error is the test's failure."""

    def load(path: Path, *overrides: str) -> str:
        try:
            load_config(path, overrides)
        except ConfigurationError as error:
            message = str(error)
        else:
            message = ""
        assert not PYDANTIC_WORDS.search(message), message
        return message

    return load


@pytest.fixture
def refusal(outcome: Callable[..., str]) -> Callable[..., str]:
    """The message of a refusal that must come."""

    def load(path: Path, *overrides: str) -> str:
        message = outcome(path, *overrides)
        assert message, "the configuration was taken"
        return message

    return load
