"""What was sent, in the lake, so that a replay sends nothing twice.

Each addition is a small file of its own below the segment of its event time, which is a day for alerts, named by its
content and published in one step; when there are several of a size, one file with all of them takes their place.  All
files together are the log: an entry may stand in two of them, and none can be half there.  So any number of writers and
readers need no lock, and a kill at any moment leaves either what was before or what is after.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.alerts.messages import DAY_SECONDS, KEPT_DAYS, Key
from telebeam.io.alerts.sender import Failed
from telebeam.transforms.errors import SourceError

MERGED_FILES = 8
"""Files of one size that become one: each entry is rewritten once for each factor of eight."""

_LISTINGS = 20
_FILE = re.compile(r".*/(?P<segment>-?\d+)/(?P<level>\d+)-[0-9a-f]{24}\.json")
_WRITER = re.compile(r"[A-Za-z0-9_-]{1,100}")


class _Segment(msgspec.Struct, frozen=True):
    """What one file holds."""

    entries: tuple[tuple[str, str, str], ...]
    """Id, state, and why it was refused for good: empty for what was delivered; ascending."""


class _Noted(msgspec.Struct, frozen=True):
    """What a writer noted of a target."""

    at: float
    """Seconds since 1970."""
    positions: dict[str, int]


class _File(NamedTuple):
    path: str
    segment: int
    level: int


def folder(pipeline: str, sink: str, what: str = "alerts") -> str:
    """Where a sink's log stands, of alerts or of commands."""
    return f"_commits/{what}/{pipeline}/{sink}"


class SentLog:
    """The log of one sink; safe under threads, and beside any number of other writers.

    Args:
        root: The lake.
        pipeline: The pipeline's name.
        sink: The sink's name.
        what: ``alerts``, ``commands`` or ``tagged``.
        segment_seconds: Event time that a segment holds.
        kept: Segments that the log goes back behind the newest one in it.
        now: Seconds since 1970: segments beyond tomorrow do not make others old.
    """

    def __init__(
        self,
        root: storage.Location,
        pipeline: str,
        sink: str,
        what: str = "alerts",
        *,
        segment_seconds: int = DAY_SECONDS,
        kept: int = KEPT_DAYS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root, self._folder, self._now = root, folder(pipeline, sink, what), now
        self._segment_seconds, self._kept = segment_seconds, kept
        self._lock = threading.Lock()
        self._segments: dict[int, set[bytes]] = {}
        self._files: dict[str, _File] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether it needs not be sent: it was delivered or refused for good, or nobody can tell any more."""
        digest = _digest(key.id, key.state)
        with self._lock:
            return key.segment < self._oldest() or any(digest in each for each in self._segments.values())

    def is_too_old(self, key: Key) -> bool:
        """Whether it lies before what the log goes back to, so that it must not be sent: it may have been."""
        with self._lock:
            return key.segment < self._oldest()

    def __len__(self) -> int:
        """How many entries it has."""
        with self._lock:
            return sum(map(len, self._segments.values()))

    def refresh(self) -> None:
        """Takes what this and other writers have added.

        Raises:
            SourceError: It can't be read, or a file is damaged.
        """
        for _ in range(_LISTINGS):
            listed = self._listed()
            oldest = self._oldest_of(file.segment for file in listed)
            wanted = [file for file in listed if file.path not in self._files and file.segment >= oldest]
            # A file that was merged meanwhile is gone, and what it held stands in one that is not in this listing.
            taken = [self._take(file) for file in wanted]
            if all(taken):
                with self._lock:
                    self._files = {file.path: file for file in listed if file.path in self._files}
                    self._forget()
                return
        raise SourceError(f"{self._root.child(self._folder)} changes faster than it can be read", "try again")

    def add(self, delivered: Iterable[Key], failed: Iterable[Failed] = ()) -> None:
        """Notes what became of some messages; when it returns, that is durable.

        Raises:
            SinkError: The lake does not take it; the same may be added again.
            SourceError: Files that are to become one can't be read.
        """
        segments: dict[int, dict[tuple[str, str], str]] = defaultdict(dict)
        for key, reason in (*failed, *((key, "") for key in delivered)):
            segments[key.segment][key.id, key.state] = reason
        for segment, entries in sorted(segments.items()):
            self._publish(segment, 0, entries)
        for segment in segments:
            self._merge(segment)
        self._expire()

    def failures(self) -> list[Failed]:
        """What was refused for good, as the lake has it.

        Raises:
            SourceError: It can't be read.
        """
        found = {}
        for file in self._listed():
            for identity, state, reason in self._read(file.path) or ():
                if reason:
                    found[identity, state] = Failed(Key(identity, state, file.segment), reason)
        return [found[key] for key in sorted(found)]

    def positions(self) -> dict[str, int]:
        """For each partition the lowest that a writer has noted; nothing where none has.

        Whoever reads a target from there on misses nothing that a writer has sent and not logged, whatever its name
        was.  One that was silent for a day longer than another is not waited for.

        Raises:
            SourceError: They can't be read.
        """
        found = [self._noted(path) for path in storage.files_below(self._root, f"{self._folder}/positions", ".json")]
        noted = [each for each in found if each is not None]
        newest = max((each.at for each in noted), default=0.0)
        current = [each.positions for each in noted if each.at >= newest - DAY_SECONDS]
        names = {name for positions in current for name in positions}
        return {name: min(positions.get(name, 0) for positions in current) for name in sorted(names)}

    def note(self, writer: str, positions: Mapping[str, int]) -> None:
        """Replaces a writer's positions in a target in one step.

        Args:
            writer: Who writes; one at a time of each name.
            positions: Partition → the offset before which the log knows everything that this writer has sent.

        Raises:
            SinkError: The lake does not take it.
        """
        content = msgspec.json.encode(_Noted(self._now(), dict(sorted(positions.items()))))
        storage.publish(self._root, self._positions_path(writer), pa.py_buffer(content))

    def _noted(self, path: str) -> _Noted | None:
        content = storage.read(self._root, path)
        try:
            return None if content is None else msgspec.json.decode(content.to_pybytes(), type=_Noted)
        except msgspec.MsgspecError as error:
            raise self._damaged(path, error) from error

    def _positions_path(self, writer: str) -> str:
        if not _WRITER.fullmatch(writer):
            raise ValueError(f"{writer!r} is not a writer's name; expected 1 to 100 letters, digits, - and _")
        return f"{self._folder}/positions/{writer}.json"

    def _listed(self) -> list[_File]:
        found = (_FILE.fullmatch(path) for path in storage.files_below(self._root, self._folder, ".json"))
        return [_File(it.string, int(it["segment"]), int(it["level"])) for it in found if it is not None]

    def _take(self, file: _File) -> bool:
        entries = self._read(file.path)
        if entries is None:
            return False
        digests = {_digest(identity, state) for identity, state, _ in entries}
        with self._lock:
            self._segments.setdefault(file.segment, set()).update(digests)
            self._files[file.path] = file
        return True

    def _read(self, path: str) -> tuple[tuple[str, str, str], ...] | None:
        content = storage.read(self._root, path)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content.to_pybytes(), type=_Segment).entries
        except msgspec.MsgspecError as error:
            raise self._damaged(path, error) from error

    def _damaged(self, path: str, error: Exception) -> SourceError:
        hint = "remove it; what it names may then be sent a second time"
        return SourceError(f"{self._root.child(path)} is damaged: {error}", hint)

    def _publish(self, segment: int, level: int, entries: Mapping[tuple[str, str], str]) -> str:
        rows = tuple(sorted((*key, reason) for key, reason in entries.items()))
        content = msgspec.json.encode(_Segment(rows))
        name = f"{level}-{blake2b(content, digest_size=12).hexdigest()}.json"
        path = f"{self._folder}/{segment}/{name}"
        storage.publish(self._root, path, pa.py_buffer(content))
        with self._lock:
            self._segments.setdefault(segment, set()).update(_digest(*key) for key in entries)
            self._files[path] = _File(path, segment, level)
        return path

    def _merge(self, segment: int) -> None:
        """Makes one file of several of a size; those go only when the one is there."""
        level = 0
        while True:
            with self._lock:
                files = [file for file in self._files.values() if (file.segment, file.level) == (segment, level)]
            if not files:
                return
            if len(files) >= MERGED_FILES:
                entries: dict[tuple[str, str], str] = {}
                for file in files:
                    for identity, state, reason in self._read(file.path) or ():
                        # Where one writer was refused and another was not, it was delivered.
                        entries[identity, state] = min(reason, entries.get((identity, state), reason))
                kept = self._publish(segment, level + 1, entries) if entries else ""
                self._remove(file for file in files if file.path != kept)
            level += 1

    def _expire(self) -> None:
        with self._lock:
            oldest = self._oldest()
            old = [file for file in self._files.values() if file.segment < oldest]
            self._forget()
        self._remove(old)

    def _remove(self, files: Iterable[_File]) -> None:
        for file in files:
            storage.remove(self._root, file.path)
            with self._lock:
                self._files.pop(file.path, None)

    def _forget(self) -> None:
        oldest = self._oldest()
        for segment in [segment for segment in self._segments if segment < oldest]:
            del self._segments[segment]

    def _oldest(self) -> int:
        return self._oldest_of(self._segments)

    def _oldest_of(self, segments: Iterable[int]) -> int:
        tomorrow = int((self._now() + DAY_SECONDS) // self._segment_seconds)
        known = [segment for segment in segments if segment <= tomorrow]
        return max(known) - self._kept if known else -(2**31)


def _digest(identity: str, state: str) -> bytes:
    """Sixteen bytes instead of two texts: a million entries are some 80 MB."""
    return blake2b(f"{identity}\0{state}".encode(), digest_size=16).digest()
