"""What a job tells while it runs: a live line on a terminal, JSON lines elsewhere, both on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from telebeam.transforms.metrics import LOCAL

_LIVE_SECONDS, _LOG_SECONDS = 0.5, 5.0
_COLUMNS = 80
"""Where a terminal does not say how wide it is."""


class Progress:
    """Prints the counts of this process until it is left; for a runner that works elsewhere there are none.

    Args:
        stream: Where to; stderr unless given.
        quiet: Print nothing.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._quiet = quiet
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telebeam-progress", daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        LOCAL.reset()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._live and not self._quiet:
            self._write("\r\x1b[K")

    def finish(self, counts: Mapping[str, int]) -> None:
        """Tells the whole of a job that is done; from here on nothing more is printed.

        Args:
            counts: The job's own, whatever ran it.
        """
        self._stop.set()
        self._thread.join()
        seconds = time.monotonic() - self._started
        self._say(counts, seconds, counts.get("rows_in", 0) / seconds, done=True)

    def _run(self) -> None:
        before, since = 0, self._started
        while not self._stop.wait(_LIVE_SECONDS if self._live else _LOG_SECONDS):
            counts, now = LOCAL.snapshot(), time.monotonic()
            rows = counts.get("rows_in", 0)
            self._say(counts, now - self._started, (rows - before) / (now - since))
            before, since = rows, now

    def _say(self, counts: Mapping[str, int], seconds: float, rate: float, *, done: bool = False) -> None:
        if self._quiet:
            return
        if self._live:
            text = "  ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)
            line = f"{seconds:5.0f} s  {rate:,.0f} rows/s  {text}"[: self._columns() - 1]
            self._write(f"\r\x1b[K{line}{chr(10) if done else ''}")
        else:
            line = json.dumps({"seconds": round(seconds, 1), "rows_per_second": round(rate), **counts, "done": done})
            self._write(line + "\n")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        except OSError:
            return _COLUMNS

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads any more: no reason for the job to stop.
            self._quiet = True
