"""Servers in processes of their own: started until ready, and never left behind."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TypeVar

from telebeam.pipelines.runtimes.installs import tail
from telebeam.transforms.errors import JobError, TelebeamError

STOP_SECONDS = 20
_POLL_SECONDS = 0.05
_PORTS = range(20_000, 32_000)
"""Below those that systems hand to outgoing connections: a stopped server's port must still be free when it is back."""

Running = TypeVar("Running")


class ServerStartError(JobError):
    """A server of ours was started and did not become ready."""


@dataclass
class ServerProcess:
    """A server that this process started; it is stopped by its own id and dies with us where the system can do that.

    Args:
        what: What messages call it.
        command: The program and its arguments.
        log: Where its output goes, added to what is there.
        environment: What it has beside our own.
    """

    what: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Starts it and waits until it is ready.

        Raises:
            ServerStartError: It ends, or isn't ready in time; it is stopped then.
        """
        if self.is_running():
            raise ServerStartError(f"{self.what} runs already", "stop it first")
        with self.log.open("ab") as log:
            # A session of its own: an interrupt at the terminal is ours, and we stop the server when we are done.
            self.process = subprocess.Popen(  # noqa: S603 - a list, no shell
                [*_dying_with_us(), *self.command], env={**os.environ, **self.environment}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + seconds
        try:
            while not is_ready():
                self._hold_that_it_starts(deadline, seconds)
                time.sleep(_POLL_SECONDS)
            self._hold_that_it_starts(deadline, seconds)  # what answers on its port may be another's
        except BaseException:
            self.kill()
            raise

    def _hold_that_it_starts(self, deadline: float, seconds: float) -> None:
        if not self.is_running():
            raise ServerStartError(f"{self.what} did not start; its log ends with\n{tail(self.log)}")
        if time.monotonic() > deadline:
            raise ServerStartError(
                f"{self.what} is not ready after {seconds:.0f} s; its log ends with\n{tail(self.log)}",
                "is the machine very busy, or short of memory?",
            )

    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Asks it to stop, by SIGTERM, and kills it where it does not; nothing where it does not run."""
        if self.process is None:
            return
        self.resume()  # a paused process would not see the request
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """Ends it at once, by SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Stops its clock, by SIGSTOP: connections stay and nothing answers."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on after ``pause``."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)


def _dying_with_us() -> list[str]:
    """What to put before a command so that its process is killed when the thread that started it ends, on Linux."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "KILL", "--"] if program else []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no outgoing connection is given.

    Raises:
        ServerStartError: There is none.
    """
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerStartError(f"no port of {_PORTS.start} to {_PORTS.stop} is free", "stop what listens there")


def is_listening(port: int) -> bool:
    """Whether a connection to a port of 127.0.0.1 is taken."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def serve(
    install: Callable[[], Path], start: Callable[[], AbstractContextManager[Running]], tell: Callable[[Running], str]
) -> int:
    """Runs a server until SIGTERM or SIGINT, and gives the exit code: what the scripts that start one do.

    Args:
        install: Installs it and says where; with ``--install`` on the command line that is all.
        start: Starts it, and stops it when left.
        tell: What to print once it is ready.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        if sys.argv[1:] == ["--install"]:
            sys.stdout.write(f"{install()}\n")
            return 0
        with start() as server:
            sys.stdout.write(f"{tell(server)}\n")
            sys.stdout.flush()
            while True:
                signal.pause()
    except TelebeamError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _leave(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)  # what cleans up is not interrupted
    sys.exit(0)
