"""What the workers of a streaming job are told, and how they are told to end."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.alerts.spec import AlertSinkSpec, CommandSinkSpec, TaggedSinkSpec
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.feed import Feed
from telebeam.io.streams.journal import folder
from telebeam.io.streams.spec import TimeSpec
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.checking import Checks
from telebeam.transforms.errors import SourceError
from telebeam.transforms.lateness import Lateness, lateness_of
from telebeam.transforms.order import OrderSpec


class Feeds(Protocol):
    """Makes the feed of each reader; small and picklable."""

    def __call__(self, index: int, readers: int) -> Feed:
        """The feed of one of so many readers; not opened yet."""


@dataclass(frozen=True)
class StreamJob:
    """A streaming job as its workers see it.

    Args:
        pipeline: The pipeline's name: of its files and journals.
        run: A name of this run alone.
        feeds: Connects readers to the source.
        readers: How many there are.
        checks: What makes readings of records.
        windows: Those that are computed.
        lake: Where everything goes first.
        influx: InfluxDB, where it is a sink.
        time: When time is over.
        order: What is done in the order of event time, where anything is.
        alerts: Where alerts are sent.
        commands: Where commands are sent.
        tagged: Where readings are sent that rules tag.
    """

    pipeline: str
    run: str
    feeds: Feeds
    readers: int
    checks: Checks
    windows: tuple[WindowSpec, ...]
    lake: LakeSpec
    influx: InfluxSpec | None
    time: TimeSpec
    order: OrderSpec | None = None
    alerts: tuple[AlertSinkSpec, ...] = ()
    commands: tuple[CommandSinkSpec, ...] = ()
    tagged: tuple[TaggedSinkSpec, ...] = ()

    @property
    def lengths(self) -> list[int]:
        """The windows' lengths in seconds."""
        return [window.seconds for window in self.windows]

    @property
    def touches(self) -> dict[int, int]:
        """Window length in seconds → the width in µs of the stretches by which readers say what they touched."""
        return {window.seconds: window.touches for window in self.windows}

    @property
    def lateness(self) -> Lateness:
        """What is too late."""
        return lateness_of(self.windows, self.time.max_out_of_orderness.total_seconds())

    def influx_takes(self, dataset: str) -> bool:
        """Whether InfluxDB is to have a dataset."""
        return self.influx is not None and dataset in self.influx.write


_DRAINING: dict[str, threading.Event] = {}
"""By run; workers in the launcher's process see it at once."""


def _draining(run: str) -> threading.Event:
    return _DRAINING.setdefault(run, threading.Event())


def _marker(pipeline: str) -> str:
    return f"{folder(pipeline)}/drain"


def drain(root: storage.Location, pipeline: str, run: str) -> None:
    """Tells all readers of a run, wherever they work, to file what they have and to end."""
    _draining(run).set()
    storage.publish(root, _marker(pipeline), pa.py_buffer(run.encode()))


def _ended_folder(pipeline: str) -> str:
    return f"{folder(pipeline)}/ended"


def tell_ended(root: storage.Location, pipeline: str, run: str, index: int) -> None:
    """Says that a reader has done its last bundle: some runners go on without anything to do."""
    storage.publish(root, f"{_ended_folder(pipeline)}/{run}-{index}", pa.py_buffer(b""))


def ended_readers(root: storage.Location, pipeline: str, run: str) -> int:
    """How many readers of a run have done their last bundle; what other runs have left is removed."""
    found = storage.files_below(root, _ended_folder(pipeline), "")
    ours = [path for path in found if path.rpartition("/")[2].startswith(f"{run}-")]
    for path in set(found) - set(ours):
        storage.remove(root, path)
    return len(ours)


def is_draining(root: storage.Location, pipeline: str, run: str) -> bool:
    """Whether the run's readers are to end; a lake that is away says nothing of it."""
    if _draining(run).is_set():
        return True
    try:
        marker = storage.read(root, _marker(pipeline))
    except SourceError:
        return False
    if marker is not None and marker.to_pybytes() == run.encode():
        _draining(run).set()
    return _draining(run).is_set()
