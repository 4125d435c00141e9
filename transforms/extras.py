"""Packages that only some pipelines need: the extras of setup.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from telebeam.transforms.errors import ConfigurationError


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Says which extra brings the package that an import in here misses.

    Args:
        extra: As setup.py has it.
        what: What needs it, in the user's words.

    Raises:
        ConfigurationError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{what} needs the Python package {error.name}", f"pip install 'telebeam[{extra}]'"
        ) from error
