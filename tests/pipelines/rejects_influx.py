"""A server that takes points, for replays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.io.influxdb.test_client import Border


@contextmanager
def taking_points() -> Iterator[Border]:
    """A server on this machine that runs as long as the context."""
    border = Border()
    border.thread.start()
    try:
        yield border
    finally:
        border.server.shutdown()
        border.thread.join()
        border.server.server_close()
