"""What is installed once a machine, under ``~/.cache/telebeam/services``: whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from telebeam.transforms.errors import ConfigurationError

Build = Callable[[Path], None]
"""Fills the folder that it is given, or raises."""

LOG = "install.log"
_TAIL_LINES = 20


class RuntimeUnavailableError(ConfigurationError):
    """A program that a runner needs is not on this machine and can't be installed."""


def cache() -> Path:
    """The folder below which everything is installed."""
    return Path.home() / ".cache" / "telebeam" / "services"


def installed(name: str, build: Build) -> Path:
    """The folder of an installation, built if it isn't there.

    It gets its name when it is complete, so a build that is killed leaves nothing that looks like one; of two
    processes that want the same, one builds and the other waits.

    Args:
        name: The folder's, with the version in it.
        build: How to fill it.

    Raises:
        RuntimeUnavailableError: It can't be built, or the cache can't be written.
    """
    target = cache() / name
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _build(target, build)
    except OSError as error:
        raise RuntimeUnavailableError(
            f"{name} can't be installed into {target.parent}: {error}", "make the folder writable, or set HOME"
        ) from error
    return target


def _build(target: Path, build: Build) -> None:
    prefix = f"{target.name}.unfinished-"
    for left in target.parent.glob(f"{prefix}*"):  # of builds that were killed: nobody else is here under the lock
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        build(folder)
        folder.chmod(0o755)  # temporary folders are for their maker alone
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def step(title: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Runs one command of a build in its folder, and says on stderr what it is and how long it took.

    Raises:
        RuntimeUnavailableError: It fails; with the end of what it said.
    """
    _say(f"installing {title} …")
    begun = time.monotonic()
    log = folder / LOG
    with log.open("ab") as output:
        done = subprocess.run(  # noqa: S603 - a list, no shell
            command, cwd=folder, env={**os.environ, **(environment or {})}, check=False,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeUnavailableError(
            f"{title} can't be installed: {' '.join(command)} ends with code {done.returncode} and says\n{tail(log)}",
            "is the network there? behind a proxy, set it for the tool that is named",
        )
    _say(f"  done in {time.monotonic() - begun:.0f} s")


def require(what: str, tools: Mapping[str, str], instead: str) -> None:
    """Holds that every tool is on the PATH.

    Args:
        what: What they are to install.
        tools: A word to say of each program.
        instead: What to do where one can't be had.

    Raises:
        RuntimeUnavailableError: One is missing.
    """
    missing = [f"{tool} ({words})" for tool, words in tools.items() if not shutil.which(tool)]
    if missing:
        raise RuntimeUnavailableError(
            f"{what} can't be installed: not on the PATH: {', '.join(missing)}", f"install it, or {instead}"
        )


def java(what: str, at_least: int) -> str:
    """The Java program: JAVA_HOME's, or the PATH's.

    Raises:
        RuntimeUnavailableError: There is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    hint = f"install a Java runtime of version {at_least} or newer, on the PATH or named by JAVA_HOME"
    if program is None:
        where = f"in JAVA_HOME, which is {home}" if home else "on the PATH"
        raise RuntimeUnavailableError(f"{what} needs Java {at_least} or newer, and there is no java {where}", hint)
    asked = [program, "-version"]
    said = subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False).stderr  # noqa: S603
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found.group(1)) < at_least:
        line = (said.splitlines() or ["nothing"])[0]
        raise RuntimeUnavailableError(f"{what} needs Java {at_least} or newer; {program} says: {line}", hint)
    return program


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log, or that there are none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(nothing)"


def _say(text: str) -> None:
    sys.stderr.write(f"telebeam: {text}\n")
    sys.stderr.flush()
