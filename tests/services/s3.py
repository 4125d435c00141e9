"""An object store that speaks S3, for tests: moto's server, run on a free local port.

``python tests/services/s3.py`` prints the version of the server that would be started.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

READY_SECONDS = 60
STOP_SECONDS = 10
REGION = "us-east-1"
LOGIN = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "only-for-tests", "AWS_EC2_METADATA_DISABLED": "true"}
"""What a client has to have in its environment."""


class S3UnavailableError(Exception):
    """There is no server here; the text says what is missing."""


@dataclass
class S3Server:
    """A server that this process started, empty."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def uri(self, path: str) -> str:
        """The address of ``bucket/path`` as telebeam takes it."""
        return f"s3://{path}?region={REGION}&scheme=http&endpoint_override=127.0.0.1:{self.port}"

    def create_bucket(self, name: str) -> str:
        """Makes a bucket and gives its name back."""
        self._send("PUT", name)
        return name

    def put(self, path: str, content: bytes) -> None:
        """Stores an object as ``bucket/key``."""
        self._send("PUT", path, content)

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            self._send("GET", "moto-api/")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _send(self, method: str, path: str, content: bytes | None = None) -> None:
        headers = {
            # The server takes any signature, and tells by its scope that S3 is meant.
            "Authorization": f"AWS4-HMAC-SHA256 Credential=tester/20260101/{REGION}/s3/aws4_request, "
            "SignedHeaders=host, Signature=0",
            "Content-Type": "application/octet-stream",
        }
        address = f"{self.url}/{quote(path)}"
        request = urllib.request.Request(address, content, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """A server of its own, empty; stopped at the end.

    Raises:
        S3UnavailableError: moto's server is not installed, or does not start.
    """
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        raise S3UnavailableError("moto's server is not installed; it comes with moto[server]")
    server = S3Server(free_port())
    with tempfile.TemporaryDirectory(prefix="telebeam-s3-", ignore_cleanup_errors=True) as folder:
        output = Path(folder) / "log"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(server.port)]
        with output.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **LOGIN}, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise S3UnavailableError(f"moto's server did not start:\n{output.read_text(errors='replace')}")
                time.sleep(0.05)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    try:
        print("moto", importlib.metadata.version("moto"))
    except importlib.metadata.PackageNotFoundError:
        sys.exit("moto is not installed; it comes with moto[server]")
