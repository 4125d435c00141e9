"""A Pub/Sub for tests: Google's own fake (``pstest``) in a process of its own, on a free local port.

It keeps everything in memory: what was published is gone when it ends.  Seeking back in time crashes it.

``python tests/services/pubsub.py`` installs it if needed, starts it, prints its endpoint and stays until it is told to
stop; with ``--install`` it only installs it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from telebeam.pipelines.runtimes.golang import GO
from telebeam.pipelines.runtimes.installs import installed, require, step
from telebeam.pipelines.runtimes.processes import ServerProcess, free_port, is_listening, serve

VERSION = "2.7.0"
MODULE = "cloud.google.com/go/pubsub/v2/pstest"
READY_SECONDS = 30
PROJECT = "telebeam-test"
"""A project's id has at least six characters."""
VARIABLE = "PUBSUB_EMULATOR_HOST"
PROGRAM = """package main

import (
	"os"
	"os/signal"
	"syscall"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	server := pstest.NewServerWithAddress(os.Args[1])
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	server.Close()
}
"""


def pubsub_binary() -> Path:
    """The server's program, built if it isn't there (half a minute)."""
    return installed(f"pubsub-{VERSION}", _build) / "pubsub"


def _build(folder: Path) -> None:
    what = f"Pub/Sub's fake {VERSION}"
    require(what, GO, "do without the tests of Pub/Sub")
    (folder / "go.mod").write_text("module pubsubserver\n\ngo 1.24\n")
    (folder / "main.go").write_text(PROGRAM)
    step(f"{what}, 1 of 2: its sources", ["go", "get", f"{MODULE}@v{VERSION}"], folder)
    step(f"{what}, 2 of 2: the program", ["go", "build", "-o", "pubsub", "."], folder)


@dataclass
class PubSub:
    """A server that this process started, at one address as often as it is started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: ServerProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = ServerProcess("Pub/Sub's fake", [str(pubsub_binary()), self.endpoint], self.log)

    @property
    def endpoint(self) -> str:
        """What PUBSUB_EMULATOR_HOST takes."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    def start(self) -> None:
        """Start it, empty, and wait until it listens."""
        self.process.start(lambda: is_listening(self.port), READY_SECONDS)

    start_again = start

    def stop(self) -> None:
        """Stop it in order."""
        self.process.stop()

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        self.process.kill()

    def pause(self) -> None:
        """Connections stay and nothing answers, until ``resume``."""
        self.process.pause()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self.process.resume()


@contextmanager
def running_pubsub() -> Iterator[PubSub]:
    """A server of its own, empty; stopped at the end.

    Raises:
        TelebeamError: Go is missing, or it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="telebeam-pubsub-", ignore_cleanup_errors=True) as folder:
        server = PubSub(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


if __name__ == "__main__":
    sys.exit(serve(pubsub_binary, running_pubsub, lambda server: server.endpoint))
