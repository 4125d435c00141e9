"""What a streaming job tells while it runs: a line a minute on stderr, of the lake's and the broker's state."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

from telebeam.io import storage
from telebeam.io.streams.feed import Partition
from telebeam.io.streams.job import StreamJob
from telebeam.io.streams.journal import Counts, journals
from telebeam.io.streams.notices import NEVER
from telebeam.pipelines.sources import Lag
from telebeam.transforms.errors import TelebeamError
from telebeam.transforms.metrics import LOCAL

LAG_SECONDS = 1.0
"""How long a broker may take to tell the lag: one that is away must not keep a job from ending."""


class _Soon:
    """Asks for the lag and does not wait for long; while a question is open no other one is asked.

    Args:
        lag: Asks the broker.
    """

    def __init__(self, lag: Lag) -> None:
        self._lag = lag
        self._open: threading.Thread | None = None

    def answer(self, positions: Mapping[Partition, int]) -> int | None:
        """The lag; None where it is not told in time."""
        if self._open is not None and self._open.is_alive():
            return None
        found: list[int | None] = []
        self._open = threading.Thread(
            target=lambda: found.append(self._lag(positions)), name="telebeam-lag", daemon=True
        )
        self._open.start()
        self._open.join(LAG_SECONDS)
        return found[0] if found else None


class StatusLine:
    """Prints a line every so often until it is left.

    ``rows_per_second`` since the line before; ``lag`` records that the broker has and the lake has not (null where it
    can't be asked); ``watermark_delay_seconds`` between the present and the slowest partition's newest event time;
    ``balance`` since the job began.

    Args:
        job: The job.
        counts: The rows since it began.
        lag: Asks the broker.
        every: Seconds between two lines.
        stream: Where to; stderr unless given.
        quiet: Print nothing.
    """

    def __init__(
        self,
        job: StreamJob,
        counts: Callable[[], Counts],
        lag: Lag,
        every: float,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        self._job = job
        self._counts = counts
        self._lag = _Soon(lag)
        self._every = every
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._stop = threading.Event()
        self._began = self._since = time.monotonic()
        self._rows = 0
        self._thread = threading.Thread(target=self._run, name="telebeam-status", daemon=True)

    def __enter__(self) -> StatusLine:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def finish(self, counts: Counts) -> None:
        """Tells the whole of a run that has ended."""
        self._end()
        seconds = max(time.monotonic() - self._began, 1e-9)
        self._say({**self._state(counts), "rows_per_second": round(counts.rows_in / seconds), "done": True})

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(LAG_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                counts = self._counts()
                now = time.monotonic()
                rate = (counts.rows_in - self._rows) / (now - self._since)
                self._rows, self._since = counts.rows_in, now
                self._say({**self._state(counts), "rows_per_second": round(rate), "done": False})
            except TelebeamError as error:
                self._say({"warning": error.message})

    def _state(self, counts: Counts) -> dict[str, Any]:
        root = storage.locate(self._job.lake.path)
        found = journals(root, self._job.pipeline)
        newest = [journal.newest for journal in found.values() if journal.newest != NEVER]
        positions = {partition: journal.next for partition, journal in found.items()}
        local = LOCAL.snapshot()
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "lag": self._lag.answer(positions),
            "watermark_delay_seconds": round(time.time() - min(newest) / 1e6, 1) if newest else None,
            "balance": {
                "in": counts.rows_in,
                "readings": counts.readings,
                "rejects": counts.rejects,
                "duplicates": counts.duplicates,
                "late": counts.late,
            },
            "owed_to_influxdb": sum(len(journal.owed) for journal in found.values()),
            **{name: local.get(name, 0) for name in ("windows", "points", "refused_points")},
        }

    def _say(self, state: dict[str, Any]) -> None:
        if self._quiet:
            return
        try:
            self._stream.write(_words(state) if self._stream.isatty() else json.dumps(state) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True  # nobody reads any more: no reason for the job to stop


def _words(state: dict[str, Any]) -> str:
    if "warning" in state:
        return f"telebeam: warning: {state['warning']}\n"
    balance = state["balance"]
    lag = "?" if state["lag"] is None else f"{state['lag']:,}"
    delay = "?" if state["watermark_delay_seconds"] is None else f"{state['watermark_delay_seconds']:,.1f} s"
    return (
        f"{state['seconds']:7.0f} s  {state['rows_per_second']:,} rows/s  lag {lag}  watermark {delay} behind  "
        f"in {balance['in']:,} = readings {balance['readings']:,} + rejects {balance['rejects']:,}"
        f"  (late {balance['late']:,})  windows {state['windows']:,}\n"
    )
