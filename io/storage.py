"""Files by path or URI, local or in an object store, on Arrow's filesystems.

Arrow's are taken rather than Beam's because Parquet is read by ranges through them, without the GIL, and because they
need neither Beam nor a cloud's Python client.
"""

from __future__ import annotations

import fnmatch
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

from telebeam.transforms.errors import SinkError, SourceError

_WILD = re.compile(r"[*?\[]")
_QUERY = re.compile(r"\?(?=[A-Za-z_]+=)")
"""Where a query begins: a glob's question mark is none."""
_LOGIN = re.compile(r"(?<=://)[^/@]*@")
SCHEMES = ("s3", "gs", "gcs", "file")
_SHARED_SECONDS = 86_400
"""How long what workers share may outlive the start of a job that cleans."""


@dataclass(frozen=True)
class Location:
    """A filesystem and a path in it."""

    filesystem: pafs.FileSystem
    path: str

    @property
    def is_local(self) -> bool:
        """Whether the filesystem is this machine's."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def child(self, *parts: str) -> str:
        """A path below this one."""
        return str(PurePosixPath(self.path, *parts))


class Stamped(NamedTuple):
    """A file, as it was listed."""

    path: str
    """Relative to the root."""
    size: int
    """Bytes."""
    written: int
    """When it was last written to, in ns since the epoch, as finely as the store tells."""


def locate(uri: str) -> Location:
    """The filesystem that a path or URI names.

    ``s3://`` takes Arrow's options in its query: ``s3://bucket/path?region=…&endpoint_override=…&scheme=http``.

    Raises:
        SourceError: The scheme is unknown, or the address can't be understood.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return Location(pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute()))
    if scheme not in SCHEMES:
        hint = f"write a path or one of {', '.join(SCHEMES)}"
        raise SourceError(f"{shown(uri)}: the scheme {scheme}:// is not known", hint)
    address, *query = _QUERY.split(uri, maxsplit=1)
    # In an object store's path a percent sign is itself, in a file's URI it escapes.
    plain = "/:@%" if scheme == "file" or "@" in address else "/:@"
    try:
        filesystem, path = pafs.FileSystem.from_uri("?".join([quote(address, plain), *query]))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{shown(uri)}: {_LOGIN.sub('…@', str(error))}") from error
    if not path:
        raise SourceError(f"{shown(uri)} names no bucket", f"write {scheme}://bucket/path")
    return Location(filesystem, path)


def shown(uri: str) -> str:
    """A path or URI for a message: without the login that it may hold.

    >>> shown("s3://key:secret@bucket/path")
    's3://…@bucket/path'
    """
    return _LOGIN.sub("…@", uri)


@lru_cache(maxsize=64)
def source_root(uri: str) -> Location:
    """Where the files that a path, a folder or a glob names have their relative paths from.

    The longest part of the path without a wildcard; of a single file, its folder.

    Raises:
        SourceError: There is no such file or folder.
    """
    location = locate(uri)
    base, pattern = _split_glob(location.path)
    try:
        info = location.filesystem.get_file_info(base)
    except OSError as error:
        raise SourceError(f"{shown(uri)} can't be read: {error}") from error
    if info.type == pafs.FileType.NotFound or (pattern and info.type == pafs.FileType.File):
        where = f"there is no folder {base}" if pattern else "there is no such file or folder"
        raise SourceError(f"{shown(uri)}: {where}", "check the source's path")
    if info.type == pafs.FileType.File:
        return Location(location.filesystem, info.path.rpartition("/")[0])
    return Location(location.filesystem, info.path.rstrip("/"))


def find(uri: str) -> list[str]:
    """The files that a path, a folder or a glob names, sorted, relative to :func:`source_root`.

    Files whose name, or the name of a folder above them, begins with ``_`` or ``.`` are left out, as everywhere in the
    field.

    Raises:
        SourceError: There is no such file, or it can't be listed.
    """
    root = source_root(uri)
    path = locate(uri).path
    if root.path == path.rpartition("/")[0] and not _WILD.search(path):
        return [path.rpartition("/")[2]]
    try:
        names = list(_files_below(root, root.path))
    except (OSError, UnicodeDecodeError) as error:
        hint = "check the permissions, and that all names are UTF-8"
        raise SourceError(f"{shown(uri)} can't be listed: {error}", hint) from error
    pattern = _split_glob(path)[1]
    wanted = sorted(name for name in names if _matches(name, pattern) and not _hidden(name))
    if not wanted:
        hint = f"{len(names)} other files lie below {root.path}" if names else ""
        raise SourceError(f"{shown(uri)}: no file matches", hint)
    return wanted


def _files_below(root: Location, folder: str, *, allow_not_found: bool = False) -> Iterator[str]:
    """The files in a folder and below, as paths relative to the root."""
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=allow_not_found)
    for file in _stamped_below(root, selector):
        yield file.path


def _stamped_below(root: Location, selector: pafs.FileSelector) -> Iterator[Stamped]:
    start = len(root.path.rstrip("/")) + 1
    for info in root.filesystem.get_file_info(selector):
        if info.type == pafs.FileType.File:
            yield Stamped(info.path[start:], info.size, info.mtime_ns)


def _split_glob(path: str) -> tuple[str, str]:
    parts = path.rstrip("/").split("/")
    plain = next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts))
    return "/".join(parts[:plain]) or "/", "/".join(parts[plain:])


def _hidden(name: str) -> bool:
    return any(part.startswith(("_", ".")) for part in name.split("/"))


def _matches(name: str, pattern: str) -> bool:
    """Whether a relative path fits a glob: ``*`` within one part, ``**`` any number of parts."""
    return not pattern or _parts_match(name.split("/"), pattern.split("/"))


def _parts_match(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_parts_match(parts[skip:], patterns[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], patterns[0]) and _parts_match(parts[1:], patterns[1:])


def publish(root: Location, path: str, content: pa.Buffer) -> None:
    """Writes a file below a root in one atomic step: a reader sees the old one or the new one, whole.

    Locally it is staged under ``_staging/``, synced and renamed.  In an object store one upload is one step.

    Raises:
        SinkError: It can't be written; nothing of it is visible.
    """
    target = root.child(path)
    try:
        if root.is_local:
            _publish_locally(Path(root.path), Path(target), content)
        else:
            with root.filesystem.open_output_stream(target) as stream:
                stream.write(content)
    except OSError as error:
        raise SinkError(f"{target} can't be written: {error}", "check the disk's space and the permissions") from error


def _publish_locally(root: Path, target: Path, content: pa.Buffer) -> None:
    staging = root / "_staging"
    staging.mkdir(parents=True, exist_ok=True)
    _make_folders(target.parent)
    # Not by the file's name, which may be as long as names can be.
    staged = staging / uuid.uuid4().hex
    try:
        with staged.open("wb", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        staged.replace(target)
        _sync_folder(target.parent)
    finally:
        staged.unlink(missing_ok=True)


def _make_folders(folder: Path) -> None:
    """Makes a folder and those above it, each durable in the one above."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a new entry of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clean_staging(root: Location, before: float) -> None:
    """Removes what killed jobs left staged.

    What a job shares among its workers while it runs (``shared-…``) stays for a day more: another job may have begun
    before this one.

    Args:
        root: Where.
        before: Only what was last written to before this time, in seconds since 1970.

    Raises:
        SinkError: It can't be listed or removed.
    """
    selector = pafs.FileSelector(root.child("_staging"), allow_not_found=True)
    try:
        for info in root.filesystem.get_file_info(selector):
            until = before - _SHARED_SECONDS if info.base_name.startswith("shared-") else before
            # The folder stays, even empty: another job may be about to stage a file in it.
            if info.type == pafs.FileType.File and info.mtime_ns < until * 1e9:
                remove(root, f"_staging/{info.base_name}")
    except OSError as error:
        raise SinkError(f"{root.child('_staging')} can't be cleaned: {error}", "check the permissions") from error


def shared_name() -> str:
    """The path, below a root, of a new file that a job shares among its workers while it runs."""
    return f"_staging/shared-{uuid.uuid4().hex}"


def probe(root: Location) -> None:
    """Finds out whether a root takes files, and leaves none.

    Raises:
        SinkError: It does not.
    """
    name = f"_staging/probe-{uuid.uuid4().hex}"
    publish(root, name, pa.py_buffer(b"telebeam"))
    remove(root, name)


def remove(root: Location, path: str) -> None:
    """Removes a file below a root; one that is gone already is fine."""
    try:
        root.filesystem.delete_file(root.child(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise SinkError(f"{root.child(path)} can't be removed: {error}") from error


def read(root: Location, path: str) -> pa.Buffer | None:
    """A file's content; None where there is none.

    Raises:
        SourceError: It can't be read.
    """
    try:
        with root.filesystem.open_input_file(root.child(path)) as file:
            return file.read_buffer()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"{root.child(path)} can't be read: {error}") from error


def exists(root: Location, path: str) -> bool:
    """Whether there is a file below a root.

    Raises:
        SourceError: It can't be found out.
    """
    try:
        return bool(root.filesystem.get_file_info(root.child(path)).type == pafs.FileType.File)
    except OSError as error:
        raise SourceError(f"{root.child(path)} can't be read: {error}") from error


def files_below(root: Location, path: str, ending: str = ".parquet") -> list[str]:
    """The files in a folder and below, sorted, as paths relative to the root; none where there is no such folder.

    Raises:
        SourceError: It can't be listed.
    """
    return [file.path for file in stamped_below(root, path, ending)]


def stamped_below(root: Location, path: str, ending: str = ".parquet") -> list[Stamped]:
    """As :func:`files_below`, with what changes when a file is written anew.

    Raises:
        SourceError: It can't be listed.
    """
    folder = root.child(path)
    try:
        found = _stamped_below(root, pafs.FileSelector(folder, recursive=True, allow_not_found=True))
        return sorted(file for file in found if file.path.endswith(ending))
    except OSError as error:
        raise SourceError(f"{folder} can't be listed: {error}") from error
