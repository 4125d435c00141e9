"""What one part of a source gives, as files of the lake: written twice, it is written once.

A *unit* is a part of a source that is always cut the same way.  Its files' names are a function of its name and of the
hours that its rows fall into.  ``_commits/<dataset>/<unit>.json`` lists them, so that a unit which now falls into other
hours, after a change of the configuration, takes its old files with it: the list is written before the files are
published, as the union of old and new, and again when what is gone was removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR, partition
from telebeam.io.lake.parquet import open_parquet, to_parquet
from telebeam.io.lake.spec import LakeSpec
from telebeam.transforms.batches import UNIT, concat, rows_of
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.schema import DATASETS, conform, in_flight

SORTED_BY = {
    "readings": ("device_id", "timestamp", "sensor_type", "measurement_type", "source_partition", "source_offset"),
    "rejects": ("source", "source_partition", "source_offset", "reason", "detail"),
    "windows": ("device_id", "window_start", "sensor_type", "measurement_type", "tenant", "unit", "location"),
    "quality": ("scope", "tenant", "sensor_type", "device_id"),
}
"""The order of rows within a file: readers of a device's hour skip the rest."""

TIME_OF = {"readings": "timestamp", "rejects": "rejected_at", "windows": "window_start", "quality": "last_timestamp"}
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
    """Writes batches of one dataset; keeps nothing between them."""

    def __init__(self, spec: LakeSpec, dataset: str) -> None:
        self.spec = spec
        self.dataset = dataset
        self.root = storage.locate(spec.path)
        self.schema = in_flight(DATASETS[dataset])

    def write(self, batch: pa.RecordBatch, span: Span | None = None) -> list[LakeFile]:
        """Files a unit's rows by hour; it is named by :data:`~telebeam.transforms.batches.UNIT` or by what its rows say.

        Args:
            batch: All of the unit's rows; of a span, all of those within it.
            span: [first, end) in µs: what the unit filed outside of it before stays as it is.

        Raises:
            SinkError: The lake does not take it; nothing of the file at fault is visible.
        """
        rows = conform(batch, self.schema)
        unit = (batch.schema.metadata or {}).get(UNIT, b"").decode() or _fingerprint(rows)
        parts = {
            f"{partition(self.dataset, hour)}/{unit}.parquet": part for hour, part in _by_hour(rows, self.dataset)
        }
        before = self._committed(unit)
        if self.dataset == "rejects":
            parts = self._as_first_rejected(before, parts)
        if span is None:
            return self._publish(unit, before, parts)
        inside = [path for path in before if _overlaps(path, span)]
        for path in inside:
            parts |= self._with_outside(path, parts.get(path), span)
        return self._publish(unit, inside, parts, kept=[path for path in before if path not in inside])

    def written(self, unit: str) -> pa.Table:
        """What a unit has in the lake now."""
        batches = [batch for path in self._committed(unit) if (batch := self._read(path)) is not None]
        plain = [conform(batch, DATASETS[self.dataset]) for batch in batches]
        return pa.Table.from_batches(plain, schema=DATASETS[self.dataset])

    def _publish(
        self, unit: str, before: Sequence[str], parts: dict[str, pa.RecordBatch], kept: Sequence[str] = ()
    ) -> list[LakeFile]:
        """Publishes a unit's files, then takes away those of before that are no longer among them."""
        gone = [path for path in before if path not in parts]
        wanted = sorted({*parts, *kept})
        if set(wanted) != {*before, *kept}:
            self._commit(unit, sorted({*wanted, *before}))
        files = []
        for path, part in parts.items():
            storage.publish(self.root, path, to_parquet([part], DATASETS[self.dataset], self.spec))
            extent = pc.min_max(part.column(TIME_OF[self.dataset]))
            files.append(LakeFile(self.dataset, path, part.num_rows, extent["min"].value, extent["max"].value))
        for path in gone:
            storage.remove(self.root, path)
        if gone:
            self._commit(unit, wanted)
        return files + [LakeFile(self.dataset, path, 0, *_hour_of(path)) for path in gone]

    def _read(self, path: str) -> pa.RecordBatch | None:
        if not storage.exists(self.root, path):
            return None
        with open_parquet(self.root, path) as file:
            table = file.read(use_threads=False).combine_chunks()
        return conform(table.to_batches()[0], self.schema) if table.num_rows else None

    def _with_outside(self, path: str, part: pa.RecordBatch | None, span: Span) -> dict[str, pa.RecordBatch]:
        """A file's new rows with those of its old ones that lie outside of a span; nothing where there are neither."""
        old = self._read(path)
        if old is not None:
            time = old.column(TIME_OF[self.dataset]).cast(pa.int64()).to_numpy(zero_copy_only=False)
            old = rows_of(old, (time < span[0]) | (time >= span[1]))
        rows = [batch for batch in (part, old) if batch is not None and batch.num_rows]
        return {path: _sorted(concat(rows), self.dataset)} if rows else {}

    def _as_first_rejected(
        self, before: Sequence[str], parts: dict[str, pa.RecordBatch]
    ) -> dict[str, pa.RecordBatch]:
        """The rejects as they were first written, if they are the same but for ``rejected_at``."""
        found = {path: batch for path in before if (batch := self._read(path)) is not None}
        old, new = (
            [conform(batch, DATASETS["rejects"]).drop_columns(["rejected_at"]) for batch in some.values()]
            for some in (found, parts)
        )
        return found if len(old) == len(new) and all(a.equals(b) for a, b in zip(old, new, strict=True)) else parts

    def _commit_path(self, unit: str) -> str:
        return f"_commits/{self.dataset}/{unit}.json"

    def _committed(self, unit: str) -> list[str]:
        content = storage.read(self.root, self._commit_path(unit))
        return [] if content is None else list(json.loads(content.to_pybytes())["files"])

    def _commit(self, unit: str, files: Sequence[str]) -> None:
        text = json.dumps({"files": list(files)}, indent=0).encode()
        storage.publish(self.root, self._commit_path(unit), pa.py_buffer(text))


def _by_hour(rows: pa.RecordBatch, dataset: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each hour, sorted."""
    if not rows.num_rows:
        return
    time = rows.column(TIME_OF[dataset]).cast(pa.int64()).to_numpy(zero_copy_only=False)
    hours = time // HOUR
    for hour in np.unique(hours).tolist():
        yield hour, _sorted(rows_of(rows, hours == hour), dataset)


def _sorted(rows: pa.RecordBatch, dataset: str) -> pa.RecordBatch:
    order = sort_order(rows, SORTED_BY[dataset])
    return rows if order is None else rows.take(pa.array(order))


def _overlaps(path: str, span: Span) -> bool:
    first, last = _hour_of(path)
    return last >= span[0] and first < span[1]


def _hour_of(path: str) -> tuple[int, int]:
    """The first and the last instant of a file's hour."""
    _, date, hour, _ = path.rsplit("/", 3)
    start = pa.scalar(f"{date.removeprefix('date=')}T{hour.removeprefix('hour=')}:00:00").cast(pa.timestamp("us")).value
    return start, start + HOUR - 1


def _fingerprint(rows: pa.RecordBatch) -> str:
    """A name for rows that come from no unit: by what they say, but for when they were rejected."""
    plain = conform(rows, pa.schema([f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f
                                     for f in rows.schema if f.name != "rejected_at"]))  # fmt: skip
    digest = hashlib.blake2b(digest_size=12)
    digest.update(plain.serialize())
    return f"rows-{digest.hexdigest()}"
