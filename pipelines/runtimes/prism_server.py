"""A Prism of one job: it serves this process and dies with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from telebeam.pipelines.runtimes.processes import ServerProcess, free_port, is_listening

READY_SECONDS = 30
_HOST = "127.0.0.1"


@dataclass
class PrismServer:
    """Prism's job service on a free port.

    Args:
        program: Where Prism is.
        folder: Its log.
    """

    program: Path
    folder: Path
    process: ServerProcess = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = free_port()
        command = [
            str(self.program), f"--job_port={self.port}", "--serve_http=false", "--log_kind=text", "--log_level=warn",
        ]  # fmt: skip
        self.process = ServerProcess("Prism", command, self.folder / "prism.log")

    @property
    def job_endpoint(self) -> str:
        """What ``--job_endpoint`` takes."""
        return f"{_HOST}:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it takes jobs.

        Raises:
            ServerStartError: It does not start.
        """
        self.process.start(lambda: is_listening(self.port), READY_SECONDS)


@contextmanager
def running_prism(program: str) -> Iterator[PrismServer]:
    """A Prism that takes jobs; stopped at the end.

    Args:
        program: Where Prism is.

    Raises:
        ServerStartError: It does not start.
    """
    with tempfile.TemporaryDirectory(prefix="telebeam-prism-") as folder:
        server = PrismServer(Path(program), Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.process.stop(5)
