"""What users would take instead: Quix Streams, Bytewax and Pathway, in an environment of their own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.process import run
from benchmarks.report import Row, Target
from benchmarks.streaming.throughput import PEERS, Rate, Throughput, Topic, against
from telebeam.pipelines.runtimes.installs import installed
from telebeam.transforms.errors import JobError

REQUIREMENTS = PEERS / "requirements.txt"
MESSAGES, A_SECOND = 400_000, 4_000
"""What they get: rates are compared, and all that we get would take them minutes.  100 s of events: a window closes."""


def peers_python() -> Path:
    """The Python that has them, installed once a machine.

    Raises:
        JobError: They can't be had.
    """
    name = f"peers-{hashlib.blake2b(REQUIREMENTS.read_bytes(), digest_size=6).hexdigest()}"
    return installed(name, _install) / "bin" / "python"


def _install(folder: Path) -> None:
    print("  installing the peers, a minute or two", file=sys.stderr)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    for command in ([sys.executable, "-m", "venv", str(folder)], install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise JobError(f"{command[-1]} can't be installed:\n{done.stderr[-2000:]}")


class Others:
    """Runs them over full topics.

    Args:
        bench: Whose topics.
    """

    def __init__(self, bench: Throughput) -> None:
        self._bench = bench
        self._python = peers_python()

    def quix_streams(self, topic: Topic) -> Rate:
        """One process; it has no other way of doing it.  Windows that are open at the end stay so."""
        said = self._run("quix_streams.py", topic)
        if not said["aggregated"]:
            raise JobError(f"Quix Streams closed no window of {topic.name}")
        return self._rate(said, topic)

    def bytewax(self, topic: Topic) -> Rate:
        """One worker: several are threads that wait for each other."""
        said = self._run("bytewax_flow.py", topic)
        _hold_all(said, topic)
        return self._rate(said, topic)

    def pathway(self, topic: Topic, part: Topic) -> Rate:
        """By what a full topic takes longer than a part: nothing of it runs once a message that could count."""
        whole, some = self._run("pathway_flow.py", topic), self._run("pathway_flow.py", part)
        _hold_all(whole, topic)
        _hold_all(some, part)
        said = {"messages": topic.readings, "whole": whole, "part": some}
        return Rate((topic.readings - part.readings) / (whole["seconds"] - some["seconds"]), said)

    def _rate(self, said: dict[str, Any], topic: Topic) -> Rate:
        if said["messages"] != topic.readings:
            raise JobError(f"{said['messages']} messages of {topic.name} were read, expected {topic.readings}")
        return Rate(said["after_first"] / said["seconds"], said)

    def _run(self, program: str, topic: Topic) -> dict[str, Any]:
        output = self._bench.next_folder() / "output"
        where = ["--bootstrap-servers", self._bench.bootstrap_servers, "--topic", topic.name]
        usage = run([self._python, PEERS / program, *where, "--output", output], output.parent)
        said: dict[str, Any] = json.loads(usage.output.splitlines()[-1])
        return {**said, "aggregated": _aggregated(output), "cpu_seconds": round(usage.cpu_seconds, 3)}


def _aggregated(output: Path) -> int:
    """How many readings the windows have that a peer wrote; Pathway says of each row whether it comes or goes."""
    with (output / "windows.jsonl").open(encoding="utf-8") as lines:
        windows = map(json.loads, lines)
        return sum(window["count"] * window.get("diff", 1) for window in windows)


def _hold_all(said: dict[str, Any], topic: Topic) -> None:
    """Raises a JobError where readings are missing in the windows; one in 800 is out of range."""
    good = topic.readings - topic.readings // 800 - 1
    if not good <= said["aggregated"] <= topic.readings:
        raise JobError(f"windows of {topic.name} have {said['aggregated']} readings, expected {good} or more")


def others(bench: Throughput, readings: int) -> list[Row]:
    """One reading a message, against what users would take instead."""
    full = bench.topic("others", readings)
    some = bench.topic("others-some", min(MESSAGES, readings), a_second=A_SECOND)
    part = bench.topic("others-part", min(MESSAGES, readings) // 4, a_second=A_SECOND)
    peers = Others(bench)
    rates = bench.in_turns(
        telebeam=lambda: bench.telebeam(full),
        quix_streams=lambda: peers.quix_streams(some),
        bytewax=lambda: peers.bytewax(some),
        pathway=lambda: peers.pathway(some, part),
    )
    best = max((name for name in rates if name != "telebeam"), key=lambda name: rates[name].per_second)
    words = {"quix_streams": "Quix Streams", "bytewax": "Bytewax", "pathway": "Pathway"}
    return [
        against(f"one reading a message: against {words[name]}", rates, name, Target(2, 4) if name == best else None)
        for name in words
    ]
