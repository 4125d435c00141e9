"""Reading archives: Parquet, JSON lines and CSV, as batches from the file on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.io.files.parquet import read_parquet_unit
from telebeam.io.files.spec import FileSourceSpec
from telebeam.io.files.text import read_text_unit
from telebeam.io.files.units import Unit, plan_units
from telebeam.io.lake.layout import unit_name
from telebeam.io.storage import find
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import SourceError
from telebeam.transforms.metrics import measured
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.rejects import reject_batch
from telebeam.transforms.schema import Reason

UnitTuple = tuple[str, str, str, int, int, int]


@dataclass
class ReadFiles(beam.PTransform):
    """Reads all files that a path or glob names: a bounded source of batches with their origin.

    Gives two collections: ``batches`` (a table's columns for Parquet, ``ENVELOPES`` else; one batch a unit, which its
    schema's metadata names) and ``rejects`` (``bad_file``, a row for each file, or part of one, that can't be read).
    Order is not kept.  Every row is delivered once for each time that the step is run, under the same name of unit.

    Args:
        spec: The path.
        kind: parquet | jsonl | csv.
        parse: Which columns of a table are needed.
        pipeline_name: What the names of units begin with.
        on_bad_file: ``fail`` raises a SourceError; ``reject`` gives a reject and goes on.
        span: [first, end) in µs: units that are surely outside are not read.
        now: The clock on the worker, in seconds since 1970.
    """

    spec: FileSourceSpec
    kind: str
    parse: ParseSpec
    pipeline_name: str = "pipeline"  # Beam sets an attribute named pipeline
    on_bad_file: str = "fail"
    span: tuple[int, int] | None = None
    now: Callable[[], float] = time.time

    def expand(self, root: Any) -> Any:
        """The two collections, by name."""
        read = beam.ParDo(_ReadUnit(self.kind, self.parse, self.pipeline_name, self.on_bad_file, self.now))
        plan = beam.ParDo(_PlanUnits(_planner(self), self.pipeline_name, self.on_bad_file, self.now))
        planned = (
            root
            | "Path" >> beam.Create([self.spec.path])
            | "FindFiles" >> beam.FlatMap(find).with_output_types(str)
            | "SpreadFiles" >> beam.Reshuffle()
            | "PlanUnits" >> plan.with_output_types(UnitTuple).with_outputs("rejects", main="units")
        )
        batches = (
            planned.units
            | "SpreadUnits" >> beam.Reshuffle()
            | "ReadUnits" >> read.with_output_types(pa.RecordBatch).with_outputs("rejects", main="batches")
        )
        rejects = (planned.rejects, batches.rejects) | "BadFiles" >> beam.Flatten()
        return {"batches": batches.batches, "rejects": rejects}


def _planner(read: ReadFiles) -> Callable[[str], list[Unit]]:
    """How a file is cut into units, given its path."""
    return partial(_plan, read.spec.path, read.kind, read.span, read.parse)


def _plan(base: str, kind: str, span: tuple[int, int] | None, parse: ParseSpec, path: str) -> list[Unit]:
    return plan_units(base, path, kind, span, parse)


class _Files(beam.DoFn):
    """What both steps do with a file that can't be read."""

    def __init__(self, pipeline: str, on_bad_file: str, now: Callable[[], float]) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._on_bad_file = on_bad_file
        self._now = now

    def _verdict(self, path: str, part: str, error: SourceError | None) -> Any:
        """A reject for a file or a part of it that can't be read; none, under the same name, for one that can.

        What was bad in an earlier run and is mended now takes its reject along so.
        """
        if error is not None and self._on_bad_file == "fail":
            raise SourceError(error.message, error.hint or "set source.on_bad_file: reject to go on without it")
        found = [] if error is None else [error.message]
        columns = {
            "reason": pa.array([Reason.BAD_FILE.value for _ in found], pa.string()),
            "detail": pa.array(found, pa.string()),
            "payload": pa.array([path.encode() for _ in found], pa.large_binary()),
            "source": pa.array([path for _ in found], pa.string()),
            "source_partition": pa.array([0 for _ in found], pa.int32()),
            "source_offset": pa.array([0 for _ in found], pa.int64()),
        }
        measured("rows_in", len(found))
        measured("rejects", len(found))
        rejects = reject_batch(columns, int(self._now() * 1e6))
        unit = unit_name(self._pipeline, path, part).encode()
        return beam.pvalue.TaggedOutput("rejects", rejects.replace_schema_metadata({UNIT: unit}))


class _PlanUnits(_Files):
    """Opens each file once, to cut it into units."""

    def __init__(
        self, plan: Callable[[str], list[Unit]], pipeline: str, on_bad_file: str, now: Callable[[], float]
    ) -> None:
        super().__init__(pipeline, on_bad_file, now)
        self._plan = plan

    def process(self, path: str) -> Iterator[Any]:
        failed = None
        try:
            yield from [tuple(unit) for unit in self._plan(path)]
        except SourceError as error:
            failed = error
        yield self._verdict(path, "bad-file", failed)


class _ReadUnit(_Files):
    """Reads a unit."""

    def __init__(self, kind: str, parse: ParseSpec, pipeline: str, on_bad_file: str, now: Callable[[], float]) -> None:
        super().__init__(pipeline, on_bad_file, now)
        self._kind = kind
        self._parse = parse

    def process(self, fields: UnitTuple) -> Iterator[Any]:
        unit = Unit(*fields)
        failed = None
        try:
            if self._kind == "parquet":
                yield from read_parquet_unit(self._pipeline, unit, self._parse)
            else:
                yield from read_text_unit(self._pipeline, unit, self._kind)
        except SourceError as error:
            failed = error
        yield self._verdict(unit.path, f"bad-part-{unit.start:012d}", failed)
