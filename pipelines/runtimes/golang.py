"""Programs written in Go, built from their source by the go command."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from telebeam.pipelines.runtimes.installs import installed, require, step

GO = {"go": "Go 1.25 or newer, which fetches the version that it needs"}


def beam_version() -> str:
    """The version of the Beam that is installed here; its programs have to be of the same."""
    return version("apache-beam")


def go_program(package: str, release: str, instead: str) -> Path:
    """A program of a Go module, installed if it isn't there.

    Args:
        package: Its full path, whose last part names the program.
        release: A version without its ``v``.
        instead: What to do where Go can't be had.

    Raises:
        RuntimeUnavailableError: There is no Go, or it can't build the program.
    """
    name = package.rpartition("/")[2]
    what = f"{name} {release}, a minute or two"

    def build(folder: Path) -> None:
        require(f"{name} {release}", GO, instead)
        step(what, ["go", "install", f"{package}@v{release}"], folder, {"GOBIN": str(folder)})

    return installed(f"{name}-{release}", build) / name
