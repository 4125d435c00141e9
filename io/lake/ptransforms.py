"""The lake in a pipeline: writing batches, computing windows from what was written, reading files back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.hour_panes import HourPanes, keeping, remove_panes
from telebeam.io.lake.in_order import replay
from telebeam.io.lake.layout import HOUR, Together, hours_of, is_longer, together
from telebeam.io.lake.parquet import open_parquet, row_groups
from telebeam.io.lake.recompute import recompute_together
from telebeam.io.lake.scored import whole_readings
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeFile, LakeWriter
from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.metrics import NAMES, measured
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.schema import DATASETS, in_flight

FileTuple = tuple[str, str, int, int, int]
"""A :class:`.writer.LakeFile` as it travels: dataset, path, rows, first and last time in µs."""


@dataclass
class WriteToLake(beam.PTransform):
    """Files batches of one dataset; gives a tuple for each file written or taken away.

    In: batches of ``READINGS`` or another dataset, bounded; one batch is written at a time, fused with what made it.
    Delivery: exactly once for each unit, however often it is written: its files' names are a function of the unit and
    of the hours of its rows, each is published whole, and what an earlier run filed elsewhere is taken away.  A file
    that can't be written raises a SinkError, and nothing counts as delivered.

    Metrics: ``readings`` for that dataset.

    Args:
        spec: The lake.
        dataset: readings | rejects | windows | quality.
        span: [first, end) in µs: what a unit filed outside of it before stays.
    """

    spec: LakeSpec
    dataset: str
    span: tuple[int, int] | None = None

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """The files."""
        write = beam.ParDo(_WriteBatches(self.spec, self.dataset, self.span))
        return batches | "WriteBatches" >> write.with_output_types(FileTuple)


class _WriteBatches(beam.DoFn):
    """Holds the filesystem's client."""

    _writer: LakeWriter

    def __init__(self, spec: LakeSpec, dataset: str, span: tuple[int, int] | None) -> None:
        super().__init__()
        self._spec = spec
        self._dataset = dataset
        self._span = span

    def setup(self) -> None:
        self._writer = LakeWriter(self._spec, self._dataset)

    def process(self, batch: pa.RecordBatch) -> Iterator[FileTuple]:
        yield from (_plain(file) for file in self._writer.write(batch, self._span))
        if self._dataset == "readings":
            measured("readings", batch.num_rows)


def _plain(file: LakeFile) -> FileTuple:
    return file.dataset, file.path, file.rows, file.first, file.last


@dataclass
class RecomputeWindows(beam.PTransform):
    """Computes the windows that some readings files touch, from all readings of the lake; gives their files' tuples.

    Readings are read once for all fixed and sliding windows, and once for each kind of sessions.  Windows of at most an
    hour come first, each hour for itself; longer ones are merged from the panes that were kept of the hours.

    In: the tuples of :class:`WriteToLake` for readings, bounded.  The windows' files are replaced.  Nothing is late:
    every reading of the lake counts.  Through the shuffle go hours, not readings.

    Metrics: ``windows``.

    Args:
        spec: The lake.
        windows: Their kinds.
    """

    spec: LakeSpec
    windows: tuple[WindowSpec, ...]

    def expand(self, files: beam.PCollection) -> beam.PCollection:
        """The windows' files."""
        longer = tuple(window for window in self.windows if is_longer(window))
        others = tuple(window for window in self.windows if not is_longer(window))
        if not longer:
            return files | "Hours" >> _Compute(self.spec, others)
        if not others:
            return files | "Days" >> _Compute(self.spec, longer)
        hours = files | "Hours" >> _Compute(self.spec, others, longer)
        days = (files, hours[_PANES]) | "Days" >> _Compute(self.spec, longer)
        _ = hours[_PANES] | "AfterDays" >> beam.WaitOn(days) | "RemovePanes" >> beam.Map(_remove, self.spec)
        return (hours[_FILES], days) | beam.Flatten()


_FILES, _PANES = "files", "panes"
PanesTuple = tuple[int, str, tuple[tuple[str, int, int, str, str, int, int], ...]]
"""A :class:`.hour_panes.HourPanes` as it travels."""


@dataclass
class _Compute(beam.PTransform):
    """In: tuples of files, or (those, panes that were kept).  Out: files of windows, or (those, panes kept) by tag."""

    spec: LakeSpec
    windows: tuple[WindowSpec, ...]
    longer: tuple[WindowSpec, ...] = ()

    def expand(self, given: beam.PCollection | tuple[beam.PCollection, beam.PCollection]) -> Any:
        files, *panes = given if isinstance(given, tuple) else (given,)
        touched = beam.FlatMap(_touched, self.windows).with_output_types(tuple[Together, tuple[int, int]])
        parts = [files | "Touched" >> touched | beam.Distinct()]
        for each in panes:
            needed = beam.FlatMap(_needed, self.windows).with_output_types(tuple[Together, PanesTuple])
            parts.append(each | "Needed" >> needed)
        grouped = tuple(parts) | "Spread" >> beam.CoGroupByKey()
        compute = beam.FlatMap(_compute, self.windows, self.spec, self.longer)
        if not self.longer:
            return grouped | "Compute" >> compute.with_output_types(FileTuple)
        made = grouped | "Compute" >> compute.with_outputs(_PANES, main=_FILES)
        made[_FILES].element_type, made[_PANES].element_type = FileTuple, PanesTuple
        return made


def _touched(file: FileTuple, windows: tuple[WindowSpec, ...]) -> Iterator[tuple[Together, tuple[int, int]]]:
    """(what is computed together, (place of the windows, hour)) for each hour of windows that a file touches."""
    _, _, _, first, last = file
    for place, window in enumerate(windows):
        for hour in hours_of(window, first, last):
            yield together(window, hour), (place, hour)


def _needed(panes: PanesTuple, windows: tuple[WindowSpec, ...]) -> Iterator[tuple[Together, PanesTuple]]:
    """An hour's panes for each part of the windows that have some of them."""
    first = panes[0] * HOUR
    for key in {together(window, hour) for window in windows for hour in hours_of(window, first, first + HOUR - 1)}:
        yield key, panes


def _compute(
    keyed: tuple[Together, Sequence[Iterable[Any]]],
    windows: tuple[WindowSpec, ...],
    spec: LakeSpec,
    longer: tuple[WindowSpec, ...],
) -> Iterator[Any]:
    part, (touched, *panes) = keyed
    hours: dict[WindowSpec, list[int]] = {}
    for place, hour in sorted(touched):
        hours.setdefault(windows[place], []).append(hour)
    keep = keeping(storage.locate(spec.path), part, longer)
    given = [HourPanes.of_plain(plain) for each in panes for plain in each]
    for file in recompute_together(spec, hours, given=given, keep=keep):
        measured("windows", file.rows)
        yield _plain(file)
    kept = None if keep is None else keep.kept()
    if kept is not None:
        yield beam.pvalue.TaggedOutput(_PANES, kept.plain())


def _remove(panes: PanesTuple, spec: LakeSpec) -> None:
    remove_panes(storage.locate(spec.path), HourPanes.of_plain(panes).files)


@dataclass
class ScoreHours(beam.PTransform):
    """Scores the hours that some readings files touch, in order; gives the tuples of the files made.

    In: the tuples of :class:`WriteToLake` for readings, bounded.  One worker goes from the first hour to the last, for
    each begins with what the one before has learned.  Nothing is late: every reading of the lake counts.

    Metrics: ``scores``, ``alerts``, ``commands``.

    Args:
        spec: The lake.
        order: What is done.
    """

    spec: LakeSpec
    order: OrderSpec

    def expand(self, files: beam.PCollection) -> beam.PCollection:
        """The files of scores, alerts and commands."""
        return (
            files
            | "Times" >> beam.Map(_times).with_output_types(tuple[int, int])
            | "FirstAndLast" >> beam.CombineGlobally(_first_and_last).without_defaults()
            | "ScoreHours" >> beam.FlatMap(_score, self.spec, self.order).with_output_types(FileTuple)
        )


def _times(file: FileTuple) -> tuple[int, int]:
    _, _, _, first, last = file
    return first, last


def _first_and_last(times: Iterable[tuple[int, int]]) -> tuple[int, int]:
    firsts, lasts = zip(*times, strict=True)
    return min(firsts), max(lasts)


def _score(times: tuple[int, int], spec: LakeSpec, order: OrderSpec) -> Iterator[FileTuple]:
    for file in replay(spec, order, times[0] // HOUR, times[1] // HOUR):
        if file.dataset in NAMES:
            measured(file.dataset, file.rows)
        yield _plain(file)


@dataclass
class ReadLakeFiles(beam.PTransform):
    """Reads files of the lake back, a row group a batch.

    In: the tuples of :class:`WriteToLake`; those of files that were taken away give nothing.

    Args:
        spec: The lake.
    """

    spec: LakeSpec

    def expand(self, files: beam.PCollection) -> beam.PCollection:
        """The batches."""
        return files | "ReadBack" >> beam.FlatMap(_read_back, self.spec).with_output_types(pa.RecordBatch)


def _read_back(file: FileTuple, spec: LakeSpec) -> Iterator[Any]:
    dataset, path, rows, _, _ = file
    if not rows:
        return
    schema = in_flight(DATASETS[dataset])
    texts = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    with open_parquet(storage.locate(spec.path), path, texts) as parquet:
        batches = row_groups(parquet, range(parquet.metadata.num_row_groups), schema.names, path)
        yield from whole_readings(batches) if dataset == "scores" else batches
