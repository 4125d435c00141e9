"""The program of the process that runs codecs: V8, a watch over its time and memory, and two pipes.

Started as ``python -I -S host.py LIBRARIES TIME MEMORY`` with nothing of telebeam's imported, so that it is there in a
quarter of a second.  A request is a JSON header and bytes, and so is an answer; while a batch runs, the place of the
message that is being decoded is answered too, so that the one that kills the process is known.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import struct
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, BinaryIO

FRAME = struct.Struct("!II")
"""Before each message: how long its header and its body are, in bytes."""
POLL_SECONDS = 0.004
"""How often time and memory are looked at."""
WHOLE_FACTOR = 10
"""CPU time for what is not one message's, in that of one: to compile a codec, to hand a batch's results over."""
GRACE_SECONDS = 0.02
"""How long V8 may take to stop; some of its built-in functions never do."""
WALL_SECONDS = 5.0
"""Wall time that one message may take, on a machine that gives the process little CPU time."""
SPARE_BYTES = 512 * 2**20
"""What V8 reserves beyond what scripts hold, before the kernel refuses it memory."""

LATE = "took longer than"
"""How the reason begins of what was stopped for its time."""

Header = dict[str, Any]


class Host:
    """One process's codecs, each in a context of its own.

    Args:
        seconds: CPU time that one message may take.
        memory: Bytes that the process may grow by.
        answers: Where answers are written.
    """

    def __init__(self, seconds: float, memory: int, answers: BinaryIO) -> None:
        self._seconds, self._memory, self._answers = seconds, memory, answers
        self._driver = Path(__file__).with_name("driver.js").read_text(encoding="utf-8")
        self._sources: dict[str, str] = {}
        self._contexts: dict[str, tuple[Any, memoryview]] = {}
        self._ending = threading.Lock()

    async def serve(self, requests: BinaryIO) -> None:
        """Answers requests, one after another, until there are no more."""
        # The library's own loading takes part of a second; a spare process has that behind it.
        self._fresh()[0].close()
        _limit_memory(self._memory)
        while (frame := requests.read(FRAME.size)) and len(frame) == FRAME.size:
            lengths = FRAME.unpack(frame)
            header, body = json.loads(requests.read(lengths[0])), requests.read(lengths[1])
            if header["op"] == "load":
                self._answer(await self._load(header["codec"], header["source"]))
            else:
                self._answer(*await self._run(header["codec"], header["count"], body))

    def _answer(self, header: Header, body: bytes = b"") -> None:
        text = json.dumps(header).encode()
        self._answers.write(FRAME.pack(len(text), len(body)) + text + body)
        self._answers.flush()

    def _fresh(self) -> tuple[Any, memoryview]:
        """A context without a codec, and where its progress can be read."""
        from py_mini_racer import MiniRacer

        context = MiniRacer()
        context.set_hard_memory_limit(self._memory)
        context.eval(self._driver)
        progress: Any = context.eval("__telebeam.watch()")
        return context, progress

    async def _load(self, codec: str, source: str) -> Header:
        context, progress = self._fresh()
        failure, known = await self._watched(context, progress, f"__telebeam.load({json.dumps(source)})")
        if failure or not known:
            self._discard(context, progress, failure)
            return {"error": failure or "none of the functions decodeUplink, Decode and Decoder"}
        self._sources[codec] = source
        self._contexts[codec] = context, progress
        return {}

    async def _run(self, codec: str, count: int, body: bytes) -> tuple[Header, bytes]:
        if codec not in self._contexts:
            again = await self._load(codec, self._sources[codec])
            if again:
                return {"stuck": 0, "detail": again["error"]}, b""
        context, progress = self._contexts[codec]
        room: Any = context.eval(f"__telebeam.room({len(body)})")
        room[:] = body
        failure, _ = await self._watched(context, progress, f"__telebeam.run({count})", factor=1)
        texts = columns = None
        if not failure:
            failure, texts = await self._watched(context, progress, "__telebeam.texts()")
        if not failure:
            failure, columns = await self._watched(context, progress, "__telebeam.columns()")
        if failure:
            del self._contexts[codec]
            return {"stuck": self._discard(context, progress, failure), "detail": failure}, b""
        return {"texts": texts}, bytes(columns or b"")

    async def _watched(
        self, context: Any, progress: memoryview, script: str, factor: int = WHOLE_FACTOR
    ) -> tuple[str, Any]:
        """Why a script was stopped or failed, or the empty text; and what it gave.

        Its time begins anew with each message.
        """
        from py_mini_racer import JSEvalException

        seconds = self._seconds * factor
        work: Coroutine[Any, Any, Any] = context.eval_cancelable(script)
        task = asyncio.get_running_loop().create_task(work)
        began, begun, place, heap = time.monotonic(), time.process_time(), _place(progress), _resident()
        while not (await asyncio.wait({task}, timeout=POLL_SECONDS))[0]:
            now = _place(progress)
            if now != place:
                began, begun, place = time.monotonic(), time.process_time(), now
                self._answer({"at": now})
            failure = ""
            if time.process_time() - begun > seconds or time.monotonic() - began > WALL_SECONDS:
                failure = f"{LATE} {seconds * 1000:.0f} ms"
            elif _resident() - heap > self._memory:
                failure = _too_much(self._memory)
            if failure:
                task.cancel()
                return failure, None
        try:
            return "", task.result()
        except JSEvalException as error:
            if type(error).__name__ == "JSOOMException":
                return _too_much(self._memory), None
            return str(error).strip().splitlines()[0][:200], None

    def _discard(self, context: Any, progress: memoryview, failure: str) -> int:
        """The place of the message at which a context failed, which is closed: nobody knows what was left half done."""
        place = _place(progress)  # its memory goes with the context
        # Closing waits for V8 and may do so for ever, so that this thread can't be the one that gives up.
        end = threading.Timer(GRACE_SECONDS, self._give_up, [{"stuck": place, "detail": failure, "dead": True}])
        end.start()
        context.close()
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # for the end, which is on its way
        end.cancel()
        self._ending.release()
        return place

    def _give_up(self, last: Header) -> None:
        if self._ending.acquire(blocking=False):
            self._answer(last)
            os._exit(1)


def _too_much(memory: int) -> str:
    return f"took more than {memory // 2**20} MiB"


def _place(progress: memoryview) -> int:
    return int.from_bytes(progress[:4], sys.byteorder)


def _resident() -> int:
    """The bytes of memory that this process has."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return int(pages) * resource.getpagesize()


def _limit_memory(memory: int) -> None:
    """Lets the kernel refuse what grows too fast to be watched; V8 then ends the process, which is what it is for."""
    try:
        data = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    except OSError:
        return
    limit = data + memory + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main() -> None:
    """Serves the process that started this one, until it closes the pipe."""
    libraries, seconds, memory = sys.argv[1:4]
    sys.path.insert(0, libraries)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asyncio.run(Host(float(seconds), int(memory), sys.stdout.buffer).serve(sys.stdin.buffer))
    # V8's threads may be busy still, and closing would wait for them.
    os._exit(0)


if __name__ == "__main__":
    main()
