"""The streaming job as a process of its own, started as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.streaming.watch import descendants
from telebeam.transforms.errors import JobError

STOP_SECONDS = 30
_LIMITS = {
    "temperature": {"min": -50, "max": 100, "unit": "celsius"},
    "humidity": {"min": 0, "max": 100, "unit": "percent"},
    "pressure": {"min": 800, "max": 1200, "unit": "hpa"},
    "voltage": {"min": 0, "max": 50, "unit": "volts"},
}


@dataclass
class StreamJob:
    """A pipeline from a topic into a lake in ``folder``.

    Args:
        telebeam: The command.
        folder: Where its configuration, its lake and its logs are.
        kafka: ``source.kafka``.
        sinks: Beside the lake.
        windows: ``windows``.
        anomalies: ``anomalies``.
        time: ``time``.
        environment: Variables that it gets beside ours.
    """

    telebeam: Sequence[str]
    folder: Path
    kafka: dict[str, Any]
    sinks: dict[str, Any] = field(default_factory=dict)
    windows: Sequence[dict[str, Any]] = ({"every": "1m"},)
    anomalies: Sequence[dict[str, Any]] = ()
    time: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    name: str = "bench"

    @property
    def lake(self) -> Path:
        """The lake's folder."""
        return self.folder / "lake"

    @property
    def log(self) -> Path:
        """What the job said on stderr."""
        return self.folder / "job.log"

    @property
    def output(self) -> Path:
        """What the job said on stdout."""
        return self.folder / "job.out"

    def configuration(self) -> Path:
        """Writes the configuration and gives its path."""
        settings: dict[str, Any] = {
            "pipeline": self.name,
            "source": {"kafka": self.kafka},
            "quality": {"limits": _LIMITS},
            "windows": list(self.windows),
            "sinks": {"lake": {"path": str(self.lake)}, **self.sinks},
            **({"anomalies": list(self.anomalies)} if self.anomalies else {}),
            **({"time": self.time} if self.time else {}),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}.yaml"
        path.write_text(json.dumps(settings, indent=2), encoding="utf-8")  # JSON is YAML
        return path

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Starts it on Prism; the caller waits for it or stops it."""
        words = ["run", str(self.configuration()), "--mode", "stream", "--runner", "prism", "--json", *more]
        with self.log.open("ab") as log, self.output.open("wb") as output:
            return subprocess.Popen(
                [*self.telebeam, *words], cwd=self.folder, env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL, stdout=output, stderr=log, start_new_session=True,
            )  # fmt: skip

    @contextmanager
    def running(self, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        """The job, stopped in order at the end; killed where that fails.

        Raises:
            JobError: It ended by itself with an error, or did not end as it should.
        """
        process = self.start(*more)
        try:
            yield process
            self.stop(process)
        finally:
            _kill(process)

    def stop(self, process: subprocess.Popen[bytes]) -> float:
        """Asks it to drain, by SIGTERM, and gives the seconds that it took.

        Raises:
            JobError: It ended with an error, or not in time.
        """
        begun = time.monotonic()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        self.wait(process, STOP_SECONDS)
        return time.monotonic() - begun

    def wait(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        """Waits for its end.

        Raises:
            JobError: It ended with an error, or not in time; it is killed then.
        """
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            raise JobError(f"the job did not end within {seconds:.0f} s:\n{self.last_words()}") from error
        if code:
            raise JobError(f"the job ended with {code}, expected 0:\n{self.last_words()}")

    def check_alive(self, process: subprocess.Popen[bytes]) -> None:
        """Holds that it still runs.

        Raises:
            JobError: It has ended.
        """
        if process.poll() is not None:
            raise JobError(f"the job ended with {process.returncode} before its time:\n{self.last_words()}")

    def result(self) -> dict[str, Any]:
        """The JSON object that it ended with; empty where it printed none."""
        text = self.output.read_text(encoding="utf-8").strip()
        lines = text.splitlines()
        try:
            found = json.loads(lines[-1] if lines and lines[-1].startswith("{") else text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the job at once, if it still runs, and what it started."""
    if process.poll() is None:
        started = descendants(process.pid)
        process.kill()
        process.wait()
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
