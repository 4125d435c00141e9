"""What one part of a source gives, as files of the lake: written twice, it is written once.

A *unit* is a part of a source that is always cut the same way.  Its files' names are a function of its name and of the
hours that its rows fall into.  ``_commits/<dataset>/<unit>.json`` lists them, so that a unit which now falls into other
hours, after a change of the configuration, takes its old files with it.  The list is written before the files are, and
it keeps the names of former ones for good: whoever was killed anywhere in between, or before the windows of the hours
that were left were computed anew, is mended by writing the unit again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, hour_of, partition
from telebeam.io.lake.parquet import open_parquet, row_groups, to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.transforms.batches import UNIT, canonical, concat, encode, rows_of, with_columns
from telebeam.transforms.errors import SinkError
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.schema import ADDED, DATASETS, MESSAGE, conform, in_flight

_AS_READINGS = ("device_id", "timestamp", "sensor_type", "measurement_type", "source_partition", "source_offset")
_AS_REJECTS = ("source", "source_partition", "source_offset", "reason", "detail")

SORTED_BY = {
    "readings": _AS_READINGS,
    "rejects": _AS_REJECTS,
    "replayed": _AS_REJECTS,
    "windows": ("device_id", "window_start", "sensor_type", "measurement_type", "tenant", "unit", "location"),
    "quality": ("scope", "tenant", "sensor_type", "device_id"),
    "scores": (*_AS_READINGS, "detector"),
    "alerts": ("timestamp", "rule", "alert_id", "state"),
    "commands": ("timestamp", "rule", "command_id"),
    "drift": ("tenant", "sensor_type", "device_type", "valid_from", "version", "feature", "statistic"),
    "last_n": (*_AS_READINGS, "source", "tenant", "unit", "location", "value"),
}
"""The order of rows within a file: readers of a device's hour skip the rest."""

TIME_OF = {
    "readings": "timestamp",
    "rejects": "rejected_at",
    "replayed": "rejected_at",
    "windows": "window_start",
    "quality": "last_timestamp",
    "scores": "timestamp",
    "alerts": "timestamp",
    "commands": "timestamp",
    "drift": "window_start",
    "last_n": "timestamp",
}
"""The column by whose hour a row is filed."""


Span = tuple[int, int]
"""[first, end) in µs since the epoch."""


class LakeFile(NamedTuple):
    """A file that a unit wrote, or one that it took away (``rows`` = 0)."""

    dataset: str
    path: str
    rows: int
    first: int
    """The earliest time in it, µs since the epoch."""
    last: int
    """The latest."""


class LakeWriter:
    """Writes batches of one dataset; keeps nothing between them.

    Args:
        spec: The lake.
        dataset: readings | rejects | windows | quality.
        root: Where the lake is, if not where the spec's path leads: a filesystem of one's own.
    """

    def __init__(self, spec: LakeSpec, dataset: str, root: storage.Location | None = None) -> None:
        self.spec = spec
        self.dataset = dataset
        self.root = root or storage.locate(spec.path)
        self.schema = in_flight(DATASETS[dataset])

    def write(self, batch: pa.RecordBatch, span: Span | None = None) -> list[LakeFile]:
        """Files a unit's rows by hour.

        The unit is named by :data:`~telebeam.transforms.batches.UNIT` in the schema's metadata, else by its rows.

        Args:
            batch: All of the unit's rows; of a span, all of those within it.
            span: [first, end) in µs: what the unit filed outside of it before stays as it is.

        Raises:
            SinkError: The lake does not take it; nothing of the file at fault is visible.
        """
        rows = conform(batch, self.schema)
        unit = (batch.schema.metadata or {}).get(UNIT, b"").decode() or _fingerprint(rows)
        before = self._committed(unit)
        if self.dataset == "rejects":
            rows = self._as_first_rejected(before, rows)
            # Rejects are filed by when they were rejected: a span of event time is no span of their files.
            rows, span = (rows if span is None else self._with_rejects_outside(before, rows, span)), None
        parts = {f"{partition(self.dataset, hour)}/{unit}.parquet": part for hour, part in by_hour(rows, self.dataset)}
        if span is None:
            return self._publish(unit, before, parts)
        inside = [path for path in before.files if _overlaps(path, span)]
        for path in inside:
            parts |= self._with_outside(path, parts.get(path), span)
        return self._publish(unit, before, parts, kept=[path for path in before.files if path not in inside])

    def add(self, unit: str, rows: pa.RecordBatch) -> list[LakeFile]:
        """Files further rows of a unit in files beside its own, with those that were added before.

        Whoever writes the unit anew takes them away with its old files, for its list names them.

        Raises:
            SinkError: The lake does not take them; a part of the hours may have theirs.
        """
        before = self._committed(unit)
        parts = {
            f"{partition(self.dataset, hour)}/{beside(unit)}.parquet": part
            for hour, part in by_hour(conform(rows, self.schema), self.dataset)
        }
        for path, part in parts.items():
            if path in before.files and (old := self._read(path)) is not None:
                parts[path] = _sorted(concat([old, part]), self.dataset)
        files = sorted({*parts, *before.files})
        now = _Commit(files, [path for path in before.former if path not in parts])
        if now != before:
            self._commit(unit, now)
        return self._publish_parts(parts)

    def files_of(self, unit: str) -> list[str]:
        """The files that a unit is said to have, relative to the lake; one that is named may not be there."""
        return self._committed(unit).files

    def written(self, unit: str) -> pa.Table:
        """What a unit has in the lake now."""
        batches = [batch for path in self._committed(unit).files if (batch := self._read(path)) is not None]
        plain = [conform(batch, DATASETS[self.dataset]) for batch in batches]
        return pa.Table.from_batches(plain, schema=DATASETS[self.dataset])

    def _publish(
        self, unit: str, before: _Commit, parts: dict[str, pa.RecordBatch], kept: Sequence[str] = ()
    ) -> list[LakeFile]:
        """Publishes a unit's files, then takes away its former ones."""
        files = sorted({*parts, *kept})
        now = _Commit(files, sorted({*before.files, *before.former} - set(files)))
        if now != before:
            self._commit(unit, now)
        written = self._publish_parts(parts)
        for path in now.former:
            storage.remove(self.root, path)
        return written + [LakeFile(self.dataset, path, 0, *hour_of(path)) for path in now.former]

    def _publish_parts(self, parts: dict[str, pa.RecordBatch]) -> list[LakeFile]:
        written = []
        for path, part in parts.items():
            storage.publish(self.root, path, to_parquet([canonical(part)], DATASETS[self.dataset], self.spec))
            times = times_of(part, self.dataset)
            written.append(LakeFile(self.dataset, path, part.num_rows, int(times.min()), int(times.max())))
        return written

    def _read(self, path: str) -> pa.RecordBatch | None:
        if not storage.exists(self.root, path):
            return None
        with open_parquet(self.root, path) as file:
            groups = range(file.metadata.num_row_groups)
            columns = held_columns(self.dataset, file.schema_arrow)
            batches = list(row_groups(file, groups, columns, self.root.child(path)))
        return concat([conform(batch, self.schema) for batch in batches]) if batches else None

    def _with_outside(self, path: str, part: pa.RecordBatch | None, span: Span) -> dict[str, pa.RecordBatch]:
        """A file's new rows with those of its old ones that lie outside of a span; nothing where there are neither."""
        old = self._read(path)
        if old is not None:
            time = times_of(old, self.dataset)
            old = rows_of(old, (time < span[0]) | (time >= span[1]))
        rows = [batch for batch in (part, old) if batch is not None and batch.num_rows]
        return {path: _sorted(concat(rows), self.dataset)} if rows else {}

    def _as_first_rejected(self, before: _Commit, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rejects with the ``rejected_at`` under which they stand in the lake, for those that do."""
        first: dict[tuple[Any, ...], int] = {}
        paths = (*before.files, *before.former)
        # What was replayed, and is refused again by other settings, was first rejected when it was.
        for path in (*paths, *(replayed_path(path) for path in paths)):
            old = self._read(path)
            if old is not None:
                for key, moment in zip(_identities(old), _moments(old), strict=True):
                    first[key] = min(moment, first.get(key, moment))
        if not first:
            return rows
        moments = [first.get(key, moment) for key, moment in zip(_identities(rows), _moments(rows), strict=True)]
        kind = DATASETS["rejects"].field("rejected_at").type
        return conform(with_columns(rows, {"rejected_at": pa.array(moments, kind)}), self.schema)

    def _with_rejects_outside(self, before: _Commit, rows: pa.RecordBatch, span: Span) -> pa.RecordBatch:
        """A span's rejects with those of before whose event time is known and lies outside of it."""
        here = set(_identities(rows))
        found = [rows]
        for old in (self._read(path) for path in before.files):
            if old is not None:
                time = pc.fill_null(old.column("timestamp").cast(pa.int64()), span[0]).to_numpy(zero_copy_only=False)
                new = np.array([key not in here for key in _identities(old)], bool)
                found.append(rows_of(old, new & ((time < span[0]) | (time >= span[1]))))
        return concat([batch for batch in found if batch.num_rows] or [rows])

    def _commit_path(self, unit: str) -> str:
        return f"_commits/{self.dataset}/{unit}.json"

    def _committed(self, unit: str) -> _Commit:
        content = storage.read(self.root, self._commit_path(unit))
        if content is None:
            return _Commit([], [])
        try:
            found = json.loads(content.to_pybytes())
            return _Commit([str(path) for path in found["files"]], [str(path) for path in found["former"]])
        except (ValueError, KeyError, TypeError) as error:
            path = self.root.child(self._commit_path(unit))
            raise SinkError(
                f"{path} is damaged: {error!r}; expected the list of a unit's files",
                f"remove it and the files named {unit}.parquet below {self.root.child(self.dataset)}, then run again",
            ) from error

    def _commit(self, unit: str, commit: _Commit) -> None:
        text = json.dumps(commit._asdict(), indent=0).encode()
        storage.publish(self.root, self._commit_path(unit), pa.py_buffer(text))


class _Commit(NamedTuple):
    """A unit's files, and those that it had and has no more."""

    files: list[str]
    former: list[str]


def beside(unit: str) -> str:
    """The name of the files that hold what was added to a unit."""
    return f"{unit}-replayed"


def replayed_path(path: str) -> str:
    """Where those rejects of a file stand that were replayed."""
    return f"replayed/{path.partition('/')[2]}"


def held_columns(dataset: str, found: pa.Schema) -> list[str]:
    """The columns of a dataset that are read of a file: all but those that files of before lack."""
    added = ADDED.get(dataset, frozenset())
    return [name for name in DATASETS[dataset].names if name not in added or found.get_field_index(name) >= 0]


def _identities(rejects: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Each reject but for when it was rejected, and for what files of before don't say."""
    plain = conform(rejects, DATASETS["rejects"])
    names = [name for name in plain.schema.names if name not in ("rejected_at", *ADDED["rejects"])]
    return list(zip(*(plain.column(name).to_pylist() for name in names), strict=True))


def _moments(rejects: pa.RecordBatch) -> list[int]:
    return rejects.column("rejected_at").cast(pa.int64()).to_pylist()


def by_hour(rows: pa.RecordBatch, dataset: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each hour since the epoch, sorted as the dataset's files are."""
    if not rows.num_rows:
        return
    hours = times_of(rows, dataset) // HOUR
    if hours.min() == hours.max():
        yield int(hours[0]), _sorted(rows, dataset)
        return
    order = np.argsort(hours, kind="stable")
    rows, hours = rows.take(pa.array(order)), hours[order]
    starts = np.flatnonzero(np.diff(hours, prepend=hours[0] - 1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(hours)], strict=True):
        yield int(hours[start]), _sorted(_compact(rows.slice(start, end - start)), dataset)


def _compact(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with dictionaries no longer than they are: a file holds a dictionary whole, used or not."""
    return with_columns(
        rows,
        {
            name: encode(column.dictionary_decode())
            for name, column in zip(rows.schema.names, rows.columns, strict=True)
            if pa.types.is_dictionary(column.type) and len(column.dictionary) > len(column)
        },
    )


def times_of(rows: pa.RecordBatch, dataset: str) -> npt.NDArray[np.int64]:
    """When each row was, µs since the epoch; 0 for a report of a run that had no reading."""
    times: npt.NDArray[np.int64] = pc.fill_null(rows.column(TIME_OF[dataset]).cast(pa.int64()), 0).to_numpy()
    return times


def _sorted(rows: pa.RecordBatch, dataset: str) -> pa.RecordBatch:
    order = sort_order(rows, SORTED_BY[dataset])
    return rows if order is None else rows.take(pa.array(order))


def _overlaps(path: str, span: Span) -> bool:
    first, last = hour_of(path)
    return last >= span[0] and first < span[1]


def _fingerprint(rows: pa.RecordBatch) -> str:
    """A name for rows that come from no unit: by what they say, but for when they were rejected."""
    # Columns that there were none of when the first lakes were made count only where they say something.
    unsaid = [name for name in MESSAGE if name in rows.schema.names and rows.column(name).null_count == rows.num_rows]
    plain = conform(rows, pa.schema([f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f
                                     for f in rows.schema if f.name not in ("rejected_at", *unsaid)]))  # fmt: skip
    digest = hashlib.blake2b(digest_size=12)
    digest.update(plain.serialize())
    return f"rows-{digest.hexdigest()}"
