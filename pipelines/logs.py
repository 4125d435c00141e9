"""What Beam says, in the command line's own form: a line a message, and no error twice."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO

_LOG = logging.getLogger(__name__)

_REPORTED = (
    "apache_beam.runners.common",
    "apache_beam.runners.worker.sdk_worker",
    "apache_beam.runners.worker.data_plane",
)
"""They log an error of a worker with its traceback, once or more, before the job's own error reports it."""
_NOISE = "apitools not found"
"""Beam misses Google's client libraries at import, which nothing here uses."""
_TRACEBACK = "Traceback (most recent call last)"


class _OneLine(logging.Formatter):
    """The message's first line, without a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage().strip().partition("\n")[0]
        return f"telebeam: {record.levelname.lower()}: {text}"


class _WithoutTracebacks:
    """A stream that leaves out what is written as one traceback: Beam's workers print theirs to stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left_out = False

    def write(self, text: str) -> int:
        # print() writes the text and then its line feed.
        drop = text.startswith(_TRACEBACK) or (self._left_out and text == "\n")
        self._left_out = drop and text != "\n"
        return len(text) if drop else self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def show_logs(*, tracebacks: bool) -> None:
    """Sends warnings and errors of all libraries to stderr.

    Args:
        tracebacks: All that they say, as they say it.
    """
    handler = logging.StreamHandler()
    if not tracebacks:
        handler.setFormatter(_OneLine())
        handler.addFilter(lambda record: not record.name.startswith(_REPORTED))
        # A runner's message of a bundle that failed; the job's error says it in words.
        handler.addFilter(lambda record: record.name != "root" or _TRACEBACK not in record.getMessage())
        handler.addFilter(lambda record: not record.getMessage().startswith(_NOISE))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


@contextmanager
def without_tracebacks() -> Iterator[None]:
    """Keeps tracebacks that workers in this process print out of stderr; the job's error says it in words."""
    before, threading.excepthook = threading.excepthook, _one_line
    try:
        with redirect_stderr(_WithoutTracebacks(sys.stderr)):  # type: ignore[type-var]
            yield
    finally:
        threading.excepthook = before


def _one_line(failed: threading.ExceptHookArgs) -> None:
    """What a thread ended with; a connection that a worker loses when its runner ends is nobody's business."""
    if not failed.exc_type.__module__.startswith("grpc"):
        name = failed.thread.name if failed.thread is not None else "?"
        _LOG.warning("the thread %s ended with %s: %s", name, failed.exc_type.__name__, failed.exc_value)
