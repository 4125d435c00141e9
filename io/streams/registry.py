"""The readers of this process: they outlive the bundles and the DoFns that use them, for each holds connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from telebeam.io.streams.job import StreamJob
from telebeam.io.streams.reader import Reader

_LOCK = threading.Lock()
_READERS: dict[tuple[str, int], Reader] = {}
"""Those that no bundle uses now, by run and index."""


@contextmanager
def leased(job: StreamJob, index: int) -> Iterator[Reader]:
    """A reader for one bundle: the one that did the last, where it was done here and nothing went wrong.

    What goes wrong ends the reader: the next one begins with what stands in the lake.
    """
    key = (job.run, index)
    with _LOCK:
        reader = _READERS.pop(key, None)
    reader = reader or Reader(job, index)
    try:
        yield reader
    except BaseException:
        reader.close()
        raise
    with _LOCK:
        _READERS[key] = reader


def release(job: StreamJob, index: int) -> None:
    """Ends a reader that will not be used any more."""
    with _LOCK:
        reader = _READERS.pop((job.run, index), None)
    if reader is not None:
        reader.close()
