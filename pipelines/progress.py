"""What a job tells while it runs: a live line on a terminal, JSON lines elsewhere, both on stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from telebeam.transforms.metrics import LOCAL

_LIVE_SECONDS, _LOG_SECONDS = 0.5, 5.0


class Progress:
    """Prints the counts of this process until it is left; for a runner that works elsewhere there are none.

    Args:
        stream: Where to.
        quiet: Print nothing.
    """

    def __init__(self, stream: TextIO = sys.stderr, *, quiet: bool = False) -> None:
        self._stream = stream
        self._live = stream.isatty()
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
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _run(self) -> None:
        before, since = 0, self._started
        while not self._stop.wait(_LIVE_SECONDS if self._live else _LOG_SECONDS):
            counts, now = LOCAL.snapshot(), time.monotonic()
            rows = counts.get("rows_in", 0)
            self._say(counts, now - self._started, (rows - before) / (now - since))
            before, since = rows, now

    def _say(self, counts: dict[str, int], seconds: float, rate: float) -> None:
        if self._quiet:
            return
        if self._live:
            text = "  ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(counts.items()))
            self._stream.write(f"\r\x1b[K{seconds:5.0f} s  {rate:,.0f} rows/s  {text}")
        else:
            line = {"seconds": round(seconds, 1), "rows_per_second": round(rate), **counts}
            self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()
