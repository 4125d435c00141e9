"""Quality checks and the quality report as steps of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam import coders

from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.report import QualityReport
from telebeam.transforms.quality.spec import QualitySpec


@dataclass
class CheckQuality(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """Parts readings that can be used from those that can't; see :func:`~.kernel.check_quality`.

    Batches of ``READINGS_IN_FLIGHT`` in, bounded or unbounded.  Gives two collections, ``readings`` (the same columns)
    and ``rejected`` (with ``reason`` and ``detail`` besides), that together hold every row.  Batches keep their
    timestamps; a late batch is treated like all others.

    Args:
        spec: The rules.
        now: The clock on the worker, in seconds since 1970; ``future`` and ``too_old`` are measured from it.
    """

    spec: QualitySpec = field(default_factory=QualitySpec)
    now: Callable[[], float] = time.time

    def expand(self, batches: Any) -> Any:
        """The two collections, by name or unpacked in this order."""
        check = beam.FlatMap(_check, self.spec, self.now).with_output_types(pa.RecordBatch)
        return batches | "CheckBatches" >> check.with_outputs("rejected", main="readings")


def _check(batch: pa.RecordBatch, spec: QualitySpec, now: Callable[[], float]) -> Iterator[Any]:
    checked = check_quality(batch, spec, int(now() * 1e6))
    if checked.readings.num_rows:
        yield checked.readings
    if checked.rejected.num_rows:
        yield beam.pvalue.TaggedOutput("rejected", checked.rejected)


@dataclass
class ReportQuality(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """Reduces a bounded run's readings and rejects to its quality report: one batch of ``QUALITY``.

    Elements are ``("readings", batch)`` and ``("rejects", batch)``; see :class:`~.report.QualityReport` for the
    columns of each.  A run without any batch gets its report as well.

    Args:
        pipeline_name: What the report's rows are marked with.
    """

    pipeline_name: str  # Beam sets an attribute named pipeline

    def expand(self, tagged: Any) -> Any:
        """The report's one batch."""
        combine = beam.CombineGlobally(CombineReports(self.pipeline_name)).with_output_types(pa.RecordBatch)
        return tagged | "CombineReports" >> combine


class QualityReportCoder(coders.Coder):  # type: ignore[misc]  # Beam has no types
    """A report as its Arrow streams."""

    def encode(self, value: QualityReport) -> bytes:
        """The report's bytes."""
        return value.to_bytes()

    def decode(self, encoded: bytes) -> QualityReport:
        """The report of these bytes."""
        return QualityReport.from_bytes(encoded)

    def is_deterministic(self) -> bool:
        """Whether equal reports have equal bytes: the order of their groups may differ."""
        return False


class CombineReports(beam.CombineFn):  # type: ignore[misc]  # Beam has no types
    """Adds up tagged batches; the accumulator is a :class:`~.report.QualityReport`."""

    def __init__(self, pipeline: str) -> None:
        super().__init__()
        self._pipeline = pipeline

    def create_accumulator(self) -> QualityReport:
        """An empty report."""
        return QualityReport.create()

    def add_input(self, accumulator: QualityReport, element: tuple[str, pa.RecordBatch]) -> QualityReport:
        """The report with one batch more."""
        dataset, batch = element
        return accumulator.add(readings=batch) if dataset == "readings" else accumulator.add(rejected=batch)

    def merge_accumulators(self, accumulators: Iterable[QualityReport]) -> QualityReport:
        """The report of all that several have seen."""
        merged = QualityReport.create()
        for accumulator in accumulators:
            merged = merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: QualityReport) -> pa.RecordBatch:
        """The report's rows."""
        return accumulator.extract(self._pipeline)

    def get_accumulator_coder(self) -> Any:
        """Arrow streams: Beam would pickle the report."""
        return QualityReportCoder()
