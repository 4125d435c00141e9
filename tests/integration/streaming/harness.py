"""A streaming job as a process of its own: configured, started, killed, stopped, and waited for by what it filed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import yaml

from tests.checker import check, windows_match
from tests.checking.messages import Acknowledged
from tests.integration.streaming.warm import Warm

PATIENCE_SECONDS = 120.0
"""For anything that must come about: far beyond what it takes, for a busy machine is no defect."""
DRAIN_SECONDS = 10.0
"""Within which a job must have ended that is told to."""
LENGTH = 2
"""Seconds of the tests' windows: soon closed."""
TIME = {"max_out_of_orderness": "1s", "idle_after": "2s", "file_every": "1s"}
WINDOWS = [{"every": f"{LENGTH}s", "allowed_lateness": "10m"}]
TELEBEAM = Path(sys.executable).parent / "telebeam"
_POLL_SECONDS = 0.1


class Stopped(NamedTuple):
    """How a job ended that was told to."""

    code: int
    seconds: float
    summary: dict[str, Any]


def write_config(folder: Path, source: Mapping[str, Any], **changes: Any) -> Path:
    """A configuration with a lake beside it; ``sinks`` are added to the lake, None leaves a section out."""
    folder.mkdir(parents=True, exist_ok=True)
    sinks = {"lake": {"path": "lake"}, **changes.pop("sinks", {})}
    whole = {"pipeline": "fleet", "source": source, "windows": WINDOWS, "time": TIME, "sinks": sinks, **changes}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in whole.items() if value is not None}))
    return path


def kafka_config(
    folder: Path, servers: str, *topics: str, kafka: Mapping[str, Any] | None = None, **changes: Any
) -> Path:
    """A configuration that reads topics."""
    source = {"bootstrap_servers": servers, "topics": list(topics), **(kafka or {})}
    return write_config(folder, {"kafka": source}, **changes)


class StreamingJob:
    """``telebeam run`` on Prism, killed at the end of the ``with`` where it still runs.

    Args:
        config: The configuration; the job works in its folder, and its lake is there.
        options: For the command, beside what it always gets.
        environment: Beside this process's own.
        mode: How it is run, unless as a stream.
        warm: Gives the process, unless the job is to be the command as users start it.
    """

    def __init__(
        self, config: Path, *options: str, environment: Mapping[str, str] | None = None,
        mode: Sequence[str] = ("--mode", "stream", "--runner", "prism", "--status-every", "1s"),
        warm: Warm | None = None,
    ) -> None:  # fmt: skip
        self.lake = config.parent / "lake"
        self.statuses: list[dict[str, Any]] = []
        """What it has told of itself, oldest first."""
        self.said: list[str] = []
        """All else on stderr, by lines."""
        self.summary: dict[str, Any] = {}
        """The object that it ended with."""
        arguments = ["run", str(config), "--json", *mode, *options]
        self.process = (
            warm.take(arguments, config.parent, environment or {})
            if warm is not None
            else subprocess.Popen(
                [str(TELEBEAM), *arguments], cwd=config.parent, env={**os.environ, **(environment or {})}, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._take_result), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self._take_line), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process.poll() is None

    @property
    def text(self) -> str:
        """What it has said, without the status lines."""
        return "\n".join(self.said)

    def kill(self) -> None:
        """Ends it at once, by SIGKILL."""
        if self.is_running:
            self.process.kill()
        self._collect()

    def pause(self) -> None:
        """Stops its clock, by SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on after ``pause``."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> Stopped:
        """Tells it to end, by SIGTERM, and waits until it has."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.end()
        return Stopped(code, time.monotonic() - begun, self.summary)

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Waits until it ends by itself, and gives its exit code."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the job has not ended in {seconds:.0f} s; it said\n{self.text[-4000:]}") from None
        self._collect()
        return self.process.returncode

    def wait(self, is_so: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Waits for something that the job must bring about."""
        wait_until(is_so, what, seconds, self)

    def wait_filed(self, acknowledged: Sequence[Acknowledged], seconds: float = PATIENCE_SECONDS) -> None:
        """Waits until the lake says that it has all these messages."""
        missing = lambda: unfiled(self.lake, acknowledged)  # noqa: E731
        wait_until(lambda: not missing(), lambda: f"filed: {missing()}", seconds, self)

    def wait_more(self, rows: int = 1, seconds: float = PATIENCE_SECONDS) -> None:
        """Waits until so many rows more than now are filed."""
        before = filed_rows(self.lake)
        self.wait(lambda: filed_rows(self.lake) >= before + rows, f"{rows} more rows", seconds)

    def settle(
        self, acknowledged: Sequence[Acknowledged], lengths: Sequence[int] = (LENGTH,),
        closed_before: datetime | None = None, seconds: float = PATIENCE_SECONDS,
    ) -> None:  # fmt: skip
        """Waits until all these messages are filed and all windows are what the lake's readings give."""
        self.wait_filed(acknowledged, seconds)
        verdict = lambda: windows_match(self.lake, lengths, closed_before=closed_before)  # noqa: E731
        wait_until(lambda: verdict().ok, lambda: f"windows: {verdict()}", seconds, self, pause=0.5)

    def _read(self, pipe: IO[str], take: Callable[[str], None]) -> None:
        for line in pipe:
            take(line.rstrip("\n"))

    def _take_result(self, line: str) -> None:
        self.summary = json.loads(line)

    def _take_line(self, line: str) -> None:
        if line.startswith("{"):
            self.statuses.append(json.loads(line))
        else:
            self.said.append(line)

    def _collect(self) -> None:
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def wait_until(
    is_so: Callable[[], bool], what: str | Callable[[], str], seconds: float = PATIENCE_SECONDS,
    job: StreamingJob | None = None, pause: float = _POLL_SECONDS,
) -> None:  # fmt: skip
    """Waits for a condition; a job that ends meanwhile, or too long a wait, is an error that says what was missing."""
    deadline = time.monotonic() + seconds
    while not is_so():
        said = "" if job is None else f"\nthe job said\n{job.text[-4000:]}\nlast {job.statuses[-1:]}"
        words = what if isinstance(what, str) else what()
        assert job is None or job.is_running, f"the job ended with {job.process.returncode} before {words}{said}"
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {words}{said}"
        time.sleep(pause)


def journals(lake: Path, pipeline: str = "fleet") -> dict[tuple[str, int], dict[str, Any]]:
    """The lake's journals by stream and partition."""
    found = {}
    for path in (lake / "_commits" / "streams" / pipeline).glob("*/*.json"):
        found[path.parent.name, int(path.stem)] = json.loads(path.read_bytes())
    return found


def filed_rows(lake: Path) -> int:
    """Readings and rejects that the journals say are filed."""
    return sum(journal["counts"]["rows_in"] for journal in journals(lake).values())


def unfiled(lake: Path, acknowledged: Iterable[Acknowledged]) -> dict[tuple[str, int], tuple[int, int]]:
    """Partitions that are not filed up to the last of these messages: (filed up to, wanted)."""
    wanted: dict[tuple[str, int], int] = {}
    for topic, partition, offset, _ in acknowledged:
        wanted[topic, partition] = max(wanted.get((topic, partition), 0), offset + 1)
    filed: dict[tuple[str, int], int] = {}
    for (stream, partition), journal in journals(lake).items():
        place = (stream.rpartition("-")[0], partition)  # a stream is a topic and six digits of its id
        filed[place] = max(filed.get(place, 0), journal["next"])
    return {place: (filed.get(place, 0), end) for place, end in wanted.items() if filed.get(place, 0) < end}


def assert_exact(
    lake: Path, acknowledged: Sequence[Acknowledged], lengths: Sequence[int] = (LENGTH,), *,
    stored: Iterable[Acknowledged] = (), closed_before: datetime | None = None,
) -> None:  # fmt: skip
    """Holds the lake to the contract: nothing lost, nothing twice, nothing invented, and every closed window right."""
    verdict = check(acknowledged, lake, stored=stored)
    assert verdict.ok, str(verdict)
    assert verdict.messages, "nothing was sent"
    windows = windows_match(lake, lengths, closed_before=closed_before)
    assert windows.ok, str(windows)
