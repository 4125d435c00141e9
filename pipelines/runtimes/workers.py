"""Python workers that a runner starts by itself, in processes of their own (Beam's environment ``PROCESS``)."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from telebeam.pipelines.runtimes.golang import beam_version, go_program
from telebeam.pipelines.runtimes.installs import RuntimeUnavailableError

PACKAGE = "github.com/apache/beam/sdks/v2/python/container"
_DYING_WITH_THE_PARENT = (
    "# The kernel's own signal at a parent's death comes when the thread ends that started the child: in Flink a",
    "# task's, and other tasks still use the worker then. So the parent is watched, once a second.",
    "# One that ended and whose own parent did not ask for it can still be signalled, so its state is read, too.",
    "parent=$PPID me=$$",
    """runs() { kill -0 "$1" && ! grep -qs '^State:.Z' "/proc/$1/status"; }""",
    "(while runs $parent && runs $me; do sleep 1; done; kill -KILL $me) > /dev/null 2>&1 < /dev/null &",
)


def boot_program() -> Path:
    """Beam's program that starts a Python worker, built by Go if it isn't there (a minute).

    Raises:
        RuntimeUnavailableError: There is none and no Go to build it.
    """
    return go_program(PACKAGE, beam_version(), "run workers in this process with --environment_type=LOOPBACK")


def worker_boot(folder: Path, python: Path | None = None) -> Path:
    """Writes the script by which a runner on this machine starts workers, and gives its path.

    The workers use an environment as it is: nothing is installed into it.  They end with the process that started them,
    however that ends, and a worker that crashes is started anew.

    Args:
        folder: Where the script stands, and what the workers put down; it has to stay as long as the job runs.
        python: The interpreter of the environment; this process's unless given.

    Raises:
        RuntimeUnavailableError: The boot program can't be had, or the environment has not the Beam that is here.
    """
    interpreter = Path(python or sys.executable).absolute()
    _hold_that_beam_is_the_same(interpreter)
    names = folder / "bin"
    names.mkdir(parents=True, exist_ok=True)
    _write_script(names / "python", _python(interpreter))
    script = folder / "boot.sh"
    _write_script(script, _boot(folder.absolute(), interpreter))
    return script


def process_options(boot: Path) -> tuple[str, str]:
    """Beam's options for workers that are started by a script of ``worker_boot``."""
    return ("--environment_type=PROCESS", f"--environment_config={json.dumps({'command': str(boot)})}")


def _python(interpreter: Path) -> list[str]:
    """The boot program calls what is named "python" on its PATH."""
    return [
        "# The boot program asks pip what is installed. pip takes seven seconds for the answers, at every start of a",
        "# worker, and environments that uv makes have none; Beam was found when this was written.",
        'case "$*" in "-m pip freeze"* | "-m pip show apache-beam") exit 0 ;; esac',
        'PIPELINE_OPTIONS_FILE="$PWD/$PIPELINE_OPTIONS_FILE"',
        'cd "$TELEBEAM_FOLDER" || exit',
        *_DYING_WITH_THE_PARENT,
        f'exec {_quoted(interpreter)} "$@"',
    ]


def _boot(folder: Path, interpreter: Path) -> list[str]:
    return [
        f'export PATH={_quoted(folder / "bin")}:{_quoted(interpreter.parent)}:"$PATH"',
        "export RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1",
        *_DYING_WITH_THE_PARENT,
        "# The boot program leaves a file where it runs; a worker runs where the runner does: paths may be relative.",
        f'export TELEBEAM_FOLDER="$PWD" && own=$(mktemp -d {_quoted(folder)}/worker-XXXXXX) && cd "$own" || exit',
        f'exec {_quoted(boot_program())} --semi_persist_dir="$own" "$@"',
    ]


def _hold_that_beam_is_the_same(interpreter: Path) -> None:
    hint = f"install apache-beam=={beam_version()} there, or run the job with the interpreter of its workers"
    question = "from importlib.metadata import version; print(version('apache-beam'))"
    try:
        asked = [str(interpreter), "-c", question]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - a list, no shell
    except OSError as error:
        raise RuntimeUnavailableError(f"{interpreter} is no Python for workers: {error}", hint) from error
    found = done.stdout.strip()
    if found != beam_version():
        said = f"apache-beam {found}" if found else "no apache-beam"
        raise RuntimeUnavailableError(f"{interpreter} has {said}; expected {beam_version()}", hint)


def _write_script(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    path.chmod(0o755)


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))
