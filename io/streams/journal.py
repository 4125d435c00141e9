"""What the lake holds of a partition, in one small file that says where reading goes on.

The journal is written before a unit's files are published, with their names, and again when all of them are.  Whoever
is killed in between leaves a pending unit, whose files the next one takes away before it reads those records again.  So
each record is in the lake once, and what the broker is told to be done is never more than what the journal says.
"""

from __future__ import annotations

import msgspec
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.streams.feed import Partition
from telebeam.io.streams.notices import NEVER, Owed
from telebeam.io.streams.touched import Stretch
from telebeam.transforms.errors import SourceError, TakenOverError


class Pending(msgspec.Struct, frozen=True):
    """A unit whose files may be there or not."""

    end: int
    paths: tuple[str, ...]


class Counts(msgspec.Struct, frozen=True):
    """Rows of a partition since its first record."""

    rows_in: int = 0
    readings: int = 0
    rejects: int = 0
    duplicates: int = 0
    late: int = 0

    def plus(self, other: Counts) -> Counts:
        """The sums."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Counts(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def minus(self, other: Counts) -> Counts:
        """The differences."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Counts(*(a - b for a, b in zip(mine, theirs, strict=True)))


class Journal(msgspec.Struct, frozen=True):
    """The state of a partition."""

    next: int
    """The first offset that is not in the lake."""
    newest: int = NEVER
    """The newest event time, capped as :class:`~telebeam.transforms.lateness.Lateness` says, µs since 1970."""
    pending: Pending | None = None
    touched: dict[int, tuple[Stretch, ...]] = {}
    """Window length in seconds → what waits to be computed."""
    owed: tuple[Owed, ...] = ()
    counts: Counts = Counts()


def folder(pipeline: str) -> str:
    """Where a pipeline's journals stand."""
    return f"_commits/streams/{pipeline}"


def journal_path(pipeline: str, partition: Partition) -> str:
    """Where a partition's journal stands."""
    return f"{folder(pipeline)}/{partition.stream}/{partition.number}.json"


def ids_path(pipeline: str, partition: Partition, offset: int) -> str:
    """Where the ids of the records before an offset stand, of a partition whose broker has no offsets of its own."""
    return f"{folder(pipeline)}/{partition.stream}/{partition.number}-ids-{offset}.arrow"


class JournalFile:
    """A partition's journal, of which this is the only writer.

    Args:
        root: The lake.
        pipeline: The pipeline's name.
        partition: Which one.

    Raises:
        SourceError: It is damaged.
    """

    def __init__(self, root: storage.Location, pipeline: str, partition: Partition) -> None:
        self._root = root
        self._path = journal_path(pipeline, partition)
        self._written = _bytes(root, self._path)
        self.journal: Journal | None = None if self._written is None else _decoded(root, self._path, self._written)

    def save(self, journal: Journal) -> None:
        """Replaces the journal in one step.

        Raises:
            SinkError: The lake does not take it.
            TakenOverError: Somebody else has written it meanwhile.
        """
        if _bytes(self._root, self._path) != self._written:
            raise TakenOverError(
                f"another job writes {self._root.child(self._path)}",
                "run one job for each pipeline and lake, or give this one another pipeline: name",
            )
        content = msgspec.json.encode(journal)
        storage.publish(self._root, self._path, pa.py_buffer(content))
        self._written, self.journal = content, journal


def _bytes(root: storage.Location, path: str) -> bytes | None:
    content = storage.read(root, path)
    return None if content is None else content.to_pybytes()


def _decoded(root: storage.Location, path: str, content: bytes) -> Journal:
    try:
        return msgspec.json.decode(content, type=Journal)
    except msgspec.MsgspecError as error:
        raise SourceError(
            f"{root.child(path)} is damaged: {error}",
            "restore it from a copy: it says up to which offset the lake holds the stream",
        ) from error


def journals(root: storage.Location, pipeline: str) -> dict[Partition, Journal]:
    """The journals of all partitions of a pipeline.

    Raises:
        SourceError: One is damaged, or they can't be listed.
    """
    found = {}
    for path in storage.files_below(root, folder(pipeline), ".json"):
        stream, _, number = path.removesuffix(".json").rpartition("/")
        content = _bytes(root, path)
        if content is not None:
            partition = Partition(stream.rpartition("/")[2], int(number))
            found[partition] = _decoded(root, path, content)
    return found
