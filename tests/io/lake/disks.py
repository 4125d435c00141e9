"""Disks that break: an object store whose n-th operation fails, and a machine that dies at the n-th file operation."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from telebeam.io.storage import Location


class Upload(io.BytesIO):
    """What an object store does with an upload: it is there, whole, when it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(self.getvalue())
        super().close()


class Store(pafs.FileSystemHandler):
    """An object store in a folder; its operations from number ``fail_at`` on fail."""

    def __init__(self, fail_at: int = sys.maxsize) -> None:
        self._local = pafs.LocalFileSystem()
        self.operations = 0
        self.fail_at = fail_at

    def _count(self) -> None:
        self.operations += 1
        if self.operations >= self.fail_at:
            raise OSError(5, "the store is gone")

    def get_type_name(self) -> str:
        return "store"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        self._count()
        return self._local.get_file_info(paths)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        self._count()
        return self._local.get_file_info(selector)

    def delete_file(self, path: str) -> None:
        self._count()
        self._local.delete_file(path)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        self._count()
        return self._local.open_input_stream(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self._count()
        return self._local.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        self._count()
        return pa.PythonFile(Upload(Path(path)), mode="w")

    def _not_used(self, *_: Any) -> None:
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _not_used
    move = copy_file = open_append_stream = _not_used


def store(folder: Path, fail_at: int = sys.maxsize) -> tuple[Location, Store]:
    handler = Store(fail_at)
    return Location(pafs.PyFileSystem(handler), str(folder)), handler


class DiedError(BaseException):
    """The process was killed: nothing that it would have done happens."""


class _Reaper:
    """Counts the file operations of this process, and kills it at one of them."""

    EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir"})

    def __init__(self) -> None:
        self.root: str | None = None
        self.left = 0
        self.installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root is None or event not in self.EVENTS or not str(arguments[0]).startswith(self.root):
            return
        self.left -= 1
        if self.left < 0:
            raise DiedError


_REAPER = _Reaper()


@contextmanager
def dying_after(operations: int, root: Path) -> Iterator[None]:
    """A process that is killed when it has done so many operations on files below a folder."""
    if not _REAPER.installed:
        sys.addaudithook(_REAPER)
        _REAPER.installed = True
    _REAPER.root, _REAPER.left = str(root), operations
    try:
        yield
    finally:
        _REAPER.root = None


def tree(root: Path) -> dict[str, bytes]:
    """The lake's files, but for what is staged."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if path.relative_to(root).parts[0] != "_staging"
    }
