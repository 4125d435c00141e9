"""A real InfluxDB 2 for tests: found, or built from source once a machine, and run on a free local port.

``python tests/services/influxdb.py`` prints the path of the server's binary, building it if needed.  It is looked for
in the environment variable TELEBEAM_INFLUXD, on the PATH, and in ``~/.cache/telebeam/services/influxdb-2.7.12``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

VERSION = "2.7.12"
CACHE = Path.home() / ".cache" / "telebeam" / "services" / f"influxdb-{VERSION}"
READY_SECONDS = 30
STOP_SECONDS = 20
BUILD_TOOLS = {
    "go": "Go 1.24 or newer",
    "cargo": "Rust, stable",
    "rustc": "Rust, stable",
    "gcc": "a C compiler",
    "pkg-config": "pkg-config",
}


class InfluxUnavailableError(Exception):
    """There is no server here and none can be built; the text says what is missing."""


def influxd() -> Path:
    """The server's binary, built from source if there is none (two to eight minutes).

    Raises:
        InfluxUnavailableError: A build tool is missing, or the build fails.
    """
    named = os.environ.get("TELEBEAM_INFLUXD")
    if named:
        if not os.access(named, os.X_OK):
            raise InfluxUnavailableError(f"TELEBEAM_INFLUXD names {named}, which is not a program")
        return Path(named)
    found = shutil.which("influxd")
    if found:
        return Path(found)
    binary = CACHE / "influxd"
    if not binary.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second test process waits here and finds the binary built
            if not binary.exists():
                _build(binary)
    return binary


def _build(binary: Path) -> None:
    missing = [f"{tool} ({what})" for tool, what in BUILD_TOOLS.items() if not shutil.which(tool)]
    if missing:
        raise InfluxUnavailableError(
            f"InfluxDB {VERSION} has to be built from source and this is missing: {', '.join(missing)}; "
            "install it, or set TELEBEAM_INFLUXD to an influxd of your own"
        )
    folder = Path(tempfile.mkdtemp(prefix="build-", dir=binary.parent))
    try:
        _build_in(folder)
        (folder / "bin" / "influxd").replace(binary)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build_in(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "go.mod").write_text("module influxbuild\n\ngo 1.24\n")
    # The Flux library pins an old Rust and denies warnings, whatever RUSTFLAGS say: only a wrapper gets past it.
    wrapper = folder / "bin" / "rustc-wrap"
    wrapper.write_text('#!/bin/sh\nexec "$@" --cap-lints warn\n')
    wrapper.chmod(0o755)
    # Flux is a C library to Go: InfluxData's own pkg-config compiles it and says where it lies.
    finder = folder / "bin" / "pkg-config"
    module = "github.com/influxdata/influxdb/v2/cmd/influxd"
    rust = {"RUSTUP_TOOLCHAIN": "stable", "RUSTC_WRAPPER": str(wrapper), "PKG_CONFIG": str(finder)}
    get = ["go", "get", f"{module}@v{VERSION}", "github.com/influxdata/pkg-config@v0.2.14"]
    _step("1 of 3: fetching the sources", get, folder, {})
    _step("2 of 3: its pkg-config", ["go", "build", "-o", str(finder), "github.com/influxdata/pkg-config"], folder, {})
    server = ["go", "build", "-ldflags", "-s -w", "-o", "bin/influxd", module]
    _step("3 of 3: the server, two to eight minutes", server, folder, rust)


def _step(title: str, command: list[str], folder: Path, extra: dict[str, str]) -> None:
    print(f"InfluxDB {VERSION}, building, {title} …", file=sys.stderr, flush=True)
    begun = time.monotonic()
    log = folder / "build.log"
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **extra}, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise InfluxUnavailableError(f"InfluxDB {VERSION} can't be built: {' '.join(command)} says\n{tail}")
    print(f"  done in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


@dataclass
class InfluxServer:
    """A server that this process started, set up with one organisation, one bucket and an all-access token."""

    binary: Path
    folder: Path
    port: int
    org: str = "iot"
    bucket: str = "telemetry"
    token: str = field(default="test-token-of-a-throw-away-server", repr=False)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server over its folder and wait until it is ready."""
        command = [
            str(self.binary), "--http-bind-address", f"127.0.0.1:{self.port}",
            "--bolt-path", str(self.folder / "influxd.bolt"), "--sqlite-path", str(self.folder / "influxd.sqlite"),
            "--engine-path", str(self.folder / "engine"), "--reporting-disabled", "--log-level", "warn",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise InfluxUnavailableError(
                    f"influxd did not start:\n{(self.folder / 'log').read_text(errors='replace')}"
                )
            time.sleep(0.05)

    def set_up(self) -> None:
        """Make the user, the organisation, the bucket and the token."""
        account = {"username": "tester", "password": "only-for-tests", "org": self.org, "bucket": self.bucket}
        self._post("/api/v2/setup", {**account, "token": self.token})

    def stop(self) -> None:
        """Stop the server, by its own process alone; its data stays until the folder goes."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(json.load(answer)["status"] == "pass")
        except (OSError, ValueError):
            return False

    def _post(self, path: str, body: dict[str, str]) -> None:
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10):
            pass


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_influxdb() -> Iterator[InfluxServer]:
    """A server of its own in a temporary folder, ready to be written to; stopped and removed at the end.

    Raises:
        InfluxUnavailableError: There is no server and none can be built.
    """
    binary = influxd()
    with tempfile.TemporaryDirectory(prefix="telebeam-influxdb-", ignore_cleanup_errors=True) as folder:
        server = InfluxServer(binary, Path(folder), free_port())
        try:
            server.start()
            server.set_up()
            yield server
        finally:
            server.stop()


if __name__ == "__main__":
    try:
        print(influxd())
    except InfluxUnavailableError as error:
        sys.exit(str(error))
