from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from telebeam.pipelines.runtimes.processes import ServerProcess, ServerStartError, free_port, is_listening

LISTEN = """
import signal, socket, sys, time
for number in map(int, sys.argv[2:]):
    signal.signal(number, signal.SIG_IGN)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listening", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[ServerProcess]:
    yield from started(ServerProcess("the server", [sys.executable, "-c", LISTEN, str(port)], tmp_path / "log"), port)


@pytest.fixture
def deaf(tmp_path: Path, port: int) -> Iterator[ServerProcess]:
    """It does not hear when it is asked to stop."""
    command = [sys.executable, "-c", LISTEN, str(port), str(int(signal.SIGTERM))]
    yield from started(ServerProcess("the server", command, tmp_path / "log"), port)


def started(server: ServerProcess, port: int) -> Iterator[ServerProcess]:
    server.start(lambda: is_listening(port), 30)
    yield server
    server.kill()


def failing(tmp_path: Path, program: str) -> ServerProcess:
    return ServerProcess("the server", [sys.executable, "-c", program], tmp_path / "log")


@pytest.mark.parametrize("end", [ServerProcess.stop, ServerProcess.kill])
def test_a_server_that_is_ended_is_gone_and_starts_again_at_its_port(
    server: ServerProcess, port: int, end: Callable[[ServerProcess], None]
):
    end(server)
    assert not server.is_running()
    assert not is_listening(port)
    end(server)
    server.start(lambda: is_listening(port), 30)
    assert server.is_running()


def test_a_paused_server_is_stopped_in_order(server: ServerProcess):
    process = server.process
    assert process is not None
    server.pause()
    server.stop(30)
    assert process.returncode == -signal.SIGTERM


def test_a_server_that_does_not_hear_is_killed(deaf: ServerProcess, port: int):
    process = deaf.process
    assert process is not None
    deaf.stop(0.2)
    assert process.returncode == -signal.SIGKILL
    assert not is_listening(port)


def test_a_running_server_is_not_started_twice(server: ServerProcess):
    with pytest.raises(ServerStartError, match="the server runs already"):
        server.start(lambda: True, 1)
    assert server.is_running()


def test_a_server_that_ends_at_its_start_shows_its_log(tmp_path: Path):
    server = failing(tmp_path, "print('the reason')")
    with pytest.raises(ServerStartError, match="the server did not start; its log ends with\nthe reason"):
        server.start(lambda: False, 30)
    assert not server.is_running()


def test_what_answers_in_place_of_a_server_that_ended_does_not_pass_for_it(tmp_path: Path):
    server = failing(tmp_path, "print('address in use')")

    def somebody_else_answers() -> bool:
        assert server.process is not None
        return server.process.wait(30) == 0

    with pytest.raises(ServerStartError, match="address in use"):
        server.start(somebody_else_answers, 30)


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path):
    server = failing(tmp_path, "import time; print('still thinking', flush=True); time.sleep(300)")
    with pytest.raises(ServerStartError, match=r"not ready after 1 s; .*\nstill thinking"):
        server.start(lambda: False, 1)
    assert not server.is_running()


def test_an_error_while_it_starts_leaves_no_server(tmp_path: Path):
    server = failing(tmp_path, "import time; time.sleep(300)")

    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.start(interrupted, 30)
    assert not server.is_running()


PARENT = """
import sys, time
from pathlib import Path
from telebeam.pipelines.runtimes.processes import ServerProcess
server = ServerProcess("sleep", ["sleep", "300"], Path(sys.argv[1]))
server.start(lambda: True, 30)
print(server.process.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="without setpriv (Linux) a server can outlive its parent")
def test_a_server_dies_with_its_parent(tmp_path: Path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path / "log"], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        # A parent that dies within the first milliseconds is not seen to die: servers are waited for until they answer.
        while b"setpriv" in Path(f"/proc/{child}/cmdline").read_bytes():
            time.sleep(0.01)
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_free_ports_are_free_and_not_for_outgoing_connections():
    for _ in range(100):
        port = free_port()
        assert port < 32_768
        with socket.create_server(("127.0.0.1", port)):
            assert is_listening(port)
