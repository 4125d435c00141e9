"""``telebeam`` with its imports behind it: most of a job's first seconds, spent while a test waits for something else.

As a program it waits for a line on stdin, a JSON object of arguments, folder and environment; then it is the command.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class Warm:
    """Keeps one process ready, and begins the next one when it is taken."""

    def __init__(self) -> None:
        self._spare: subprocess.Popen[str] | None = None

    def take(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """A process that is the command from now on, in a session of its own."""
        process = self._spare or _begun()
        assert process.stdin is not None
        given = {"arguments": list(arguments), "folder": str(folder), "environment": {**os.environ, **environment}}
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.close()
        self._spare = _begun()
        return process

    def close(self) -> None:
        """Ends the one that nobody took."""
        if self._spare is not None:
            self._spare.kill()
            self._spare.communicate()
            self._spare = None


def _begun() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.streaming.warm"], cwd=ROOT, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _be_the_command() -> None:
    logging.disable(logging.WARNING)  # what Beam says at import, the command keeps to itself as well
    import telebeam.io.kafka.feed
    import telebeam.pipelines.batch
    import telebeam.pipelines.stream  # noqa: F401
    from telebeam.pipelines.cli import main

    line = sys.stdin.readline()
    if not line:
        return
    given: dict[str, Any] = json.loads(line)
    logging.disable(logging.NOTSET)
    os.chdir(given["folder"])
    os.environ.update(given["environment"])
    main(given["arguments"])


if __name__ == "__main__":
    _be_the_command()
