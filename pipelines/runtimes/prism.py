"""Prism, Beam's portable local runner, which streams."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
from pathlib import Path

from telebeam.pipelines.runtimes.golang import beam_version, go_program
from telebeam.pipelines.runtimes.installs import RuntimeUnavailableError, cache
from telebeam.transforms.errors import TelebeamError

PACKAGE = "github.com/apache/beam/sdks/v2/go/cmd/prism"
VARIABLE = "TELEBEAM_PRISM"
_MARK = b"github.com/apache/beam/sdks"
"""In every build of it; other programs are called prism, too."""


def prism_binary() -> Path:
    """Prism, found or installed: what TELEBEAM_PRISM names, the PATH's, Go's, ours, or else built by Go in a minute.

    Raises:
        RuntimeUnavailableError: TELEBEAM_PRISM names no program; or there is none and no Go to build it.
    """
    return _found() or go_program(PACKAGE, beam_version(), f"set {VARIABLE} to where a Prism is")


def find_prism() -> str:
    """Prism where it is on this machine; nothing is installed.

    Raises:
        RuntimeUnavailableError: It isn't there.
    """
    found = _found()
    if found is None:
        raise RuntimeUnavailableError(
            "Prism is not on this machine",
            f"go install {PACKAGE}@v{beam_version()}, or set {VARIABLE} to where it is",
        )
    return str(found)


def _found() -> Path | None:
    named = os.environ.get(VARIABLE)
    if named:
        if not _is_program(Path(named)):
            raise RuntimeUnavailableError(
                f"{VARIABLE} names {named}, which is no program", "name Prism's file, or leave the variable out"
            )
        return Path(named)
    on_path = shutil.which("prism")
    places = [
        Path(on_path) if on_path else None,
        Path.home() / "go" / "bin" / "prism",
        cache() / f"prism-{beam_version()}" / "prism",
    ]
    return next((place for place in places if place and _is_program(place) and _is_beams(place)), None)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _is_beams(path: Path) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_MARK) >= 0


def main() -> int:
    """Installs Prism where it isn't there, and prints where it is."""
    try:
        sys.stdout.write(f"{prism_binary()}\n")
    except TelebeamError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
