"""The device registry's file: read, checked, and read again when it has changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from threading import Lock
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from telebeam.io.devices.registry_yaml import YamlRows, read_rows
from telebeam.io.storage import Location, locate, shown
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY, RowProblem, problems_of, tidy
from telebeam.transforms.errors import ConfigurationError, TelebeamError

_LOGGER = logging.getLogger(__name__)
_MOST_PROBLEMS = 20
"""Problems that a message lists."""
_TRIES = 5
"""Times that a file which changes while it is read is read again."""


class Version(NamedTuple):
    """What tells one state of a file from another: a replaced file has another time or size."""

    modified_ns: int
    size: int


def load_registry(path: str) -> Registry:
    """The registry that a YAML or Parquet file holds.

    Args:
        path: A path or URI that ends in ``.yaml``, ``.yml`` or ``.parquet``.

    Raises:
        ConfigurationError: It can't be read, or a row is wrong: the message names file, line or row, and column.
    """
    return _load(path)[0]


def _load(path: str) -> tuple[Registry, Version]:
    """A registry, and the version of the file that it is of."""
    for _ in range(_TRIES):
        before = version_of(path)
        registry = _parse(path, _read(path))
        if version_of(path) == before:
            return registry, before
    hint = "write a new file beside it and rename that"
    raise ConfigurationError(f"{shown(path)}: changes while it is read", hint)


def version_of(path: str) -> Version:
    """The file's present version.

    Raises:
        ConfigurationError: There is no such file, or it can't be reached.
    """
    location = _locate(path)
    try:
        info = location.filesystem.get_file_info(location.path)
    except OSError as error:
        raise ConfigurationError(f"{shown(path)}: can't be reached: {error}") from error
    if not info.is_file:
        raise ConfigurationError(f"{shown(path)}: there is no such file", "devices.registry names it")
    return Version(info.mtime_ns or 0, info.size or 0)


def _locate(path: str) -> Location:
    try:
        return locate(path)
    except TelebeamError as error:
        raise ConfigurationError(error.message, error.hint) from error


def _read(path: str) -> pa.Buffer:
    location = _locate(path)
    try:
        with location.filesystem.open_input_file(location.path) as file:
            return file.read_buffer()
    except OSError as error:
        raise ConfigurationError(f"{shown(path)}: can't be read: {error}") from error


def _parse(path: str, data: pa.Buffer) -> Registry:
    file = shown(path)
    ending = path.partition("?")[0].rpartition(".")[2].lower()
    if ending in ("yaml", "yml"):
        found = read_rows(data.to_pybytes(), file)
        return _checked(found, [f"{file}:{line}" for line in found.lines])
    if ending == "parquet":
        rows = _parquet_rows(data, file)
        return _checked(YamlRows(rows, [], []), [f"{file}: row {row + 1}" for row in range(rows.num_rows)])
    raise ConfigurationError(f"{file}: expected a registry that ends in .yaml, .yml or .parquet")


def _parquet_rows(data: pa.Buffer, file: str) -> pa.RecordBatch:
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        if "device_id" not in table.column_names:
            found = ", ".join(table.column_names[:20])
            raise ConfigurationError(f"{file}: has no column device_id, only {found}")
        table = table.combine_chunks()
        columns = {name: _whole(table.column(name)) for name in table.column_names if name in REGISTRY.names}
        return tidy(pa.RecordBatch.from_pydict(columns))
    except (pa.ArrowException, OSError) as error:
        hint = "columns are text, scale and offset numbers, valid_from a timestamp with a zone"
        raise ConfigurationError(f"{file}: can't be read as a registry: {error}", hint) from error


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        raise pa.ArrowInvalid("valid_from names no zone")
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)


def _checked(found: YamlRows, places: list[str]) -> Registry:
    rows = tidy(found.rows)
    problems = [*found.problems, *problems_of(rows)]
    if problems:
        raise _error(problems, places)
    return Registry.of(rows)


def _error(problems: Iterable[RowProblem], places: list[str]) -> ConfigurationError:
    ordered = sorted(problems)
    lines = [f"{places[each.row]}: {each.column}: {each.text}" for each in ordered[:_MOST_PROBLEMS]]
    hint = next((each.hint for each in ordered if each.hint), "")
    if len(ordered) == 1:
        return ConfigurationError(lines[0], hint)
    more = [f"… and {len(ordered) - _MOST_PROBLEMS} more"] if len(ordered) > _MOST_PROBLEMS else []
    return ConfigurationError("\n  ".join([f"{len(ordered)} problems in the device registry", *lines, *more]), hint)


class RegistryFile:
    """The registry that a file holds now, read again when the file has changed.

    A file is best replaced by renaming a new one over it.  A new file that is wrong or gone leaves the old registry in
    force; a warning says so, once for each such file.  May be used by several threads.

    Args:
        path: As for :func:`load_registry`.
        refresh: How often the file is looked at.
        clock: Seconds that only grow.

    Raises:
        ConfigurationError: The first file is wrong.
    """

    def __init__(self, path: str, refresh: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._refresh_seconds = refresh.total_seconds()
        self._lock = Lock()
        self._looked = clock()
        self._registry, self._version = _load(path)
        self._warned: str | None = None

    def __call__(self) -> Registry:
        """The registry; of a file that has not been looked at for the time of a refresh, after a look."""
        with self._lock:
            now = self._clock()
            if now - self._looked >= self._refresh_seconds:
                self._looked = now
                self._look()
            return self._registry

    def _look(self) -> None:
        try:
            if version_of(self._path) == self._version:
                return
            self._registry, self._version = _load(self._path)
            self._warned = None
        except ConfigurationError as error:
            if self._warned != error.message:
                self._warned = error.message
                _LOGGER.warning("the device registry stays as it was: %s", error.message)
