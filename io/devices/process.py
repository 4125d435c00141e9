"""One process that runs codecs, as seen by who started it: requests that are answered, or its end."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from telebeam.io.devices.host import FRAME
from telebeam.transforms.errors import JobError

_PROGRAM = Path(__file__).with_name("host.py")
_SILENCE_SECONDS = 30.0
"""How long a process may say nothing: it watches over itself, so one that is silent for so long is none any more."""
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


class Limits(NamedTuple):
    """What one message may cost."""

    seconds: float = 0.02
    """CPU time."""
    memory_bytes: int = 128 * 2**20
    """What the process may grow by."""


class Answer(NamedTuple):
    """What a request came to."""

    header: dict[str, Any] | None
    """The answer's; None where the process ended instead."""
    body: bytes
    at: int
    """The message that was being decoded when the process was last heard of."""


class Process:
    """A process of :mod:`.host`; it ends with :meth:`close`, and with the process that started it.

    Args:
        limits: What one message may cost.

    Raises:
        JobError: V8 is not installed.
    """

    def __init__(self, limits: Limits) -> None:
        found = importlib.util.find_spec("py_mini_racer")
        if found is None or found.origin is None:
            raise JobError("codecs need the package mini-racer, which is not installed", "pip install mini-racer")
        libraries = str(Path(found.origin).parent.parent)
        command = [sys.executable, "-I", "-S", str(_PROGRAM), libraries, str(limits.seconds), str(limits.memory_bytes)]
        # Dates in a codec are UTC on every machine.
        environment = {"TZ": "UTC", "LANG": "C.UTF-8"} | {
            name: os.environ[name] for name in _KEPT if name in os.environ
        }
        self._process = subprocess.Popen(  # noqa: S603 - a list, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        self._received = b""

    @property
    def id(self) -> int:
        """The operating system's number of the process."""
        return self._process.pid

    def ask(self, header: dict[str, Any], body: bytes = b"") -> Answer:
        """The answer to a request."""
        text = json.dumps(header).encode()
        at = 0
        try:
            self._send(FRAME.pack(len(text), len(body)) + text + body)
            while True:
                answer, data = self._receive()
                if "at" not in answer:
                    return Answer(answer, data, at)
                at = answer["at"]
        except (EOFError, OSError):
            self.close()
            return Answer(None, b"", at)

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _send(self, data: bytes) -> None:
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            raise EOFError
        view = memoryview(data)
        while view:
            view = view[pipe.write(view) or 0 :]

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        lengths = FRAME.unpack(self._take(FRAME.size))
        header: dict[str, Any] = json.loads(self._take(lengths[0]))
        return header, self._take(lengths[1])

    def _take(self, size: int) -> bytes:
        deadline = time.monotonic() + _SILENCE_SECONDS
        pipe = self._process.stdout
        if pipe is None or pipe.closed:
            raise EOFError
        parts = [self._received]
        missing = size - len(self._received)
        while missing > 0:
            if not select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise EOFError
            parts.append(os.read(pipe.fileno(), max(missing, 65536)))
            if not parts[-1]:
                raise EOFError
            missing -= len(parts[-1])
        data = b"".join(parts)
        self._received = data[size:]
        return data[:size]
