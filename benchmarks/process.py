"""Whole processes, timed from outside: what a user waits for and what an operator pays for."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from telebeam.transforms.errors import JobError

SAMPLE_SECONDS = 0.1
LAUNCHER = (sys.executable, "-I", "-S", Path(__file__).with_name("launch.py"))


@dataclass(frozen=True)
class Usage:
    """What one run took; ``cpu_seconds`` and ``peak_bytes`` are of the process and everything that it started."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str = ""


def run(command: Sequence[str | Path], folder: Path) -> Usage:
    """Runs a command in a folder and accounts for it, start of the interpreter included.

    The peak is the kernel's own figure while there is one process.  Where a process starts others the kernel gives
    the largest of them only; then it is the largest sum that was seen, sampled ten times a second.

    Raises:
        JobError: The command failed; its last words are in the message.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryDirectory() as scratch:
        usage, output, errors = (Path(scratch, name) for name in ("usage.json", "output", "errors"))
        with output.open("w") as out, errors.open("w") as err:
            process = subprocess.Popen([*LAUNCHER, usage, *words], cwd=folder, stdout=out, stderr=err)
            sampler = _Sampler(process.pid)
            sampler.start()
            code = process.wait()
            sampler.finish()
        text = output.read_text(encoding="utf-8")
        if code:
            said = errors.read_text(encoding="utf-8").strip() or text.strip()
            last = "\n".join(said.splitlines()[-8:])
            raise JobError(f"{' '.join(words)!r} ended with {code}, expected 0:\n{last}")
        figures = json.loads(usage.read_text(encoding="utf-8"))
    peak = max(figures["peak_bytes"], sampler.peak_of_several)
    return Usage(figures["wall_seconds"], figures["cpu_seconds"], peak, text)


def median(usages: Iterable[Usage]) -> Usage:
    """The median of each figure, with the last run's output."""
    runs = list(usages)
    return Usage(
        statistics.median(run.wall_seconds for run in runs),
        statistics.median(run.cpu_seconds for run in runs),
        int(statistics.median(run.peak_bytes for run in runs)),
        runs[-1].output,
    )


class _Sampler(threading.Thread):
    """Watches how much memory a process and its descendants hold together, where /proc tells."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_of_several = 0
        self._pid = pid
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            tree = _descendants(self._pid)[1:]  # without the launcher
            if len(tree) > 1:
                self.peak_of_several = max(self.peak_of_several, sum(map(_resident_bytes, tree)))

    def finish(self) -> None:
        self._done.set()
        self.join()


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        except OSError:  # it ended meanwhile
            continue
    return found


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):  # it ended meanwhile
        return 0
