"""The lake's rejects, file by file and unit by unit, and how those that were replayed leave them.

A reject that was replayed goes to the dataset ``replayed`` under the name of the file that it leaves: it is there
before it is gone here, and doing it again replaces itself.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, hour_of, partition, unit_name
from telebeam.io.lake.parquet import open_parquet, row_groups, to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import SORTED_BY, LakeWriter, beside, held_columns, replayed_path
from telebeam.transforms.batches import canonical, concat, rows_of, with_columns
from telebeam.transforms.errors import SinkError
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.rejects import ORIGIN
from telebeam.transforms.replaying import VALUE, InLake
from telebeam.transforms.schema import DATASETS, REJECTS, REPLAYED, TIMESTAMP, Reason, conform

Mask = npt.NDArray[np.bool_]

BESIDE_THEIR_READINGS = frozenset({Reason.UNREPRESENTABLE, Reason.REFUSED_BY_SINK})
"""Reasons of points that a sink refused: their readings are in the lake."""

_PART = r"(?:(?P<groups>\d{5,}-\d{5,}(?:-\d{4})?)|(?P<rows>\d{12,}))"
_OF_FILE = re.compile(rf"(?P<unit>.+-[0-9a-f]{{8}}-{_PART})-[a-z]+")
_OF_STREAM = re.compile(r"(?P<unit>(?P<stream>.+)-p(?P<number>\d{4,})-o(?P<offset>\d{12,}))-s\d{4}-\d{4}")

Origin = Literal["table", "text", "stream", "unnamed", "foreign"]


class RejectedUnit(NamedTuple):
    """A unit that has rejects."""

    name: str
    origin: Origin
    """Of a Parquet file, of a text file, of a stream, of no unit that its name tells, or of another pipeline."""
    paths: tuple[str, ...]
    """Its files of rejects, relative to the lake."""
    stream: str = ""
    """A stream's name, behind the pipeline's."""
    number: int = 0
    """Of the stream's partition."""
    offset: int = 0
    """The unit's first one."""


def reject_files(
    root: storage.Location, start: datetime | None = None, end: datetime | None = None, dataset: str = "rejects"
) -> list[str]:
    """The files of rejects whose hour has an instant of [start, end), ascending.

    Raises:
        SourceError: They can't be listed.
    """
    found = storage.files_below(root, dataset)
    return [path for path in found if _may_hold(path, start, end)]


def _may_hold(path: str, start: datetime | None, end: datetime | None) -> bool:
    first, last = hour_of(path)
    return (start is None or start.timestamp() * 1e6 <= last) and (end is None or end.timestamp() * 1e6 > first)


def read_rejects(
    root: storage.Location, path: str, columns: Sequence[str] = tuple(REJECTS.names)
) -> Iterator[pa.RecordBatch]:
    """A file of rejects, or of replayed ones, a row group a batch; columns that files of before lack are null.

    Raises:
        SourceError: It is damaged.
    """
    schema = pa.schema([REPLAYED.field(name) for name in columns])
    with open_parquet(root, path) as file:
        held = {*held_columns("rejects", file.schema_arrow), *(name for name in columns if name == "replayed_at")}
        wanted = [name for name in columns if name in held]
        for batch in row_groups(file, range(file.metadata.num_row_groups), wanted, root.child(path)):
            yield conform(batch, schema)


def whole_file(root: storage.Location, path: str) -> pa.RecordBatch:
    """All rejects of a file, as :func:`read_rejects`."""
    return concat(list(read_rejects(root, path)) or [pa.RecordBatch.from_pylist([], schema=REJECTS)])


def units_of(paths: Sequence[str], pipeline: str) -> list[RejectedUnit]:
    """The units that some files are of, each with all of its files.

    What another pipeline has filed may bear a name that begins like this one's: of files the rows tell, see
    :func:`is_of`; of streams the journals do.
    """
    found: dict[str, RejectedUnit] = {}
    for path in paths:
        unit = _unit(path.rpartition("/")[2].removesuffix(".parquet"), pipeline)
        held = found.get(unit.name, unit)
        found[unit.name] = held._replace(paths=(*held.paths, path))
    return list(found.values())


def is_of(unit: RejectedUnit, pipeline: str, source: str) -> bool:
    """Whether a pipeline has made a unit of files that has rows of a source.

    An archive of our own readings keeps their sources, so that its units' names say nothing of them: then it is any
    pipeline's but one that is told by the name.
    """
    if unit.name.startswith(unit_name(pipeline, source, "")):
        return True
    others = (unit.name[:place] for place, letter in enumerate(unit.name) if letter == "-" and place > len(pipeline))
    return unit.origin == "table" and not any(unit.name.startswith(unit_name(each, source, "")) for each in others)


def _unit(name: str, pipeline: str) -> RejectedUnit:
    if name.startswith("rows-"):
        return RejectedUnit(name, "unnamed", ())
    if not name.startswith(f"{pipeline}-"):
        return RejectedUnit(name, "foreign", ())
    if found := _OF_STREAM.fullmatch(name):
        stream = found["stream"].removeprefix(f"{pipeline}-")
        return RejectedUnit(found["unit"], "stream", (), stream, int(found["number"]), int(found["offset"]))
    if found := _OF_FILE.fullmatch(name):
        return RejectedUnit(found["unit"], "table" if found["groups"] else "text", ())
    return RejectedUnit(name, "unnamed", ())


class ReadingsOfUnits:
    """The readings that units have in the lake.

    Args:
        lake: The lake.
        root: The same, located.
        units: The names of those of streams: the lake may hold very many others.
    """

    def __init__(self, lake: LakeSpec, root: storage.Location, units: Container[str]) -> None:
        self._root = root
        self._units = units
        self._writer = LakeWriter(lake, "readings", root)
        self._streamed: dict[str, list[str]] | None = None

    def values(self, unit: RejectedUnit, wanted: pa.RecordBatch) -> InLake:
        """The unit's values that are of the offsets of some rejects, read file by file.

        Raises:
            SourceError: A file is damaged.
        """
        columns = [*ORIGIN, *VALUE]
        schema = pa.schema([DATASETS["readings"].field(name) for name in columns])
        offsets = wanted.column("source_offset").unique()
        found, replayed = [pa.RecordBatch.from_pylist([], schema=schema)], [np.zeros(0, bool)]
        for path in self._paths(unit):
            by_replay = path.endswith(f"/{beside(unit.name)}.parquet")
            for rows in self._rows(path, columns, offsets):
                found.append(conform(rows, schema))
                replayed.append(np.full(rows.num_rows, by_replay))
        return InLake(concat(found), np.concatenate(replayed))

    def add(self, unit: RejectedUnit, readings: pa.RecordBatch) -> int:
        """Files readings beside the unit's own; gives how many there are.

        Raises:
            SinkError: The lake does not take them.
        """
        if readings.num_rows:
            self._writer.add(unit.name, readings)
        return readings.num_rows

    def added(self, unit: RejectedUnit, hours: Sequence[int]) -> list[str]:
        """The files that replays have made for a unit, of some hours since the epoch."""
        paths = [f"{partition('readings', hour)}/{beside(unit.name)}.parquet" for hour in hours]
        return [path for path in paths if storage.exists(self._root, path)]

    def _paths(self, unit: RejectedUnit) -> list[str]:
        listed = self._writer.files_of(unit.name)
        own = self._of_streams().get(unit.name, []) if unit.origin == "stream" else []
        return [path for path in sorted({*listed, *own}) if storage.exists(self._root, path)]

    def _of_streams(self) -> dict[str, list[str]]:
        """The files of readings of each unit of a stream: one listing for all of them."""
        if self._streamed is None:
            self._streamed = {}
            for path in storage.files_below(self._root, "readings"):
                name = _OF_STREAM.fullmatch(path.rpartition("/")[2].removesuffix(".parquet"))
                if name is not None and name["unit"] in self._units:
                    self._streamed.setdefault(name["unit"], []).append(path)
        return self._streamed

    def _rows(self, path: str, columns: list[str], offsets: pa.Array) -> Iterator[pa.RecordBatch]:
        with open_parquet(self._root, path) as file:
            groups = range(file.metadata.num_row_groups)
            for batch in row_groups(file, groups, columns, self._root.child(path)):
                mask = np.isin(batch.column("source_offset").to_numpy(), offsets.to_numpy())
                yield rows_of(batch, mask)


def move_to_replayed(lake: LakeSpec, root: storage.Location, moved: Mapping[str, Mask], now: int) -> None:
    """Takes rejects out of their files, which stand in ``replayed`` then.

    Args:
        lake: The lake.
        root: The same, located.
        moved: Path of a file of rejects → bool[n]: which of its rows.
        now: ``replayed_at``, µs since the epoch.

    Raises:
        SinkError: The lake does not take them, or a file was changed meanwhile.
    """
    for path, mask in moved.items():
        if not mask.any():
            continue
        rejects = whole_file(root, path)
        if rejects.num_rows != len(mask):
            raise SinkError(f"{root.child(path)} was changed meanwhile", "let the other job end, then replay again")
        _file_replayed(lake, root, replayed_path(path), rows_of(rejects, mask), now)
        left = rows_of(rejects, ~mask)
        if left.num_rows:
            storage.publish(root, path, to_parquet([canonical(left)], REJECTS, lake))
        else:
            storage.remove(root, path)


def _file_replayed(lake: LakeSpec, root: storage.Location, path: str, rejects: pa.RecordBatch, now: int) -> None:
    """Files replayed rejects with those that the file has already; those among them that are replayed again go."""
    at = pa.array(np.full(rejects.num_rows, now), TIMESTAMP)
    rows = conform(with_columns(rejects, {"replayed_at": at}), REPLAYED)
    if storage.exists(root, path):
        former = concat(list(read_rejects(root, path, REPLAYED.names)))
        again = set(_keys(rows))
        rows = concat([rows_of(former, np.array([key not in again for key in _keys(former)], bool)), rows])
    order = sort_order(rows, SORTED_BY["replayed"])
    rows = rows if order is None else rows.take(pa.array(order))
    storage.publish(root, path, to_parquet([canonical(rows)], REPLAYED, lake))


def _keys(rows: pa.RecordBatch) -> list[tuple[object, ...]]:
    names = [name for name in rows.schema.names if name != "replayed_at"]
    return list(zip(*(_plain(rows.column(name)) for name in names), strict=True))


def _plain(column: pa.Array) -> list[object]:
    """A column's values; instants as numbers, for a reject's may be of a year that Python has not."""
    values: list[object] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values


def hours_of_times(times: npt.NDArray[np.int64]) -> list[int]:
    """The hours since the epoch that some instants, in µs, fall into, ascending."""
    found: list[int] = np.unique(times // HOUR).tolist()
    return found
