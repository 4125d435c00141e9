"""Quality checks and the quality report as steps of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import Coder

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.metrics import measured
from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.report import QualityReport
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.rejects import of_stage, rejects_of
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform


@dataclass
class CheckQuality(beam.PTransform):
    """Parts readings that can be used from those that can't; see :func:`~.kernel.check_quality`.

    Batches of ``READINGS_IN_FLIGHT`` in, with or without ``payload``, bounded or unbounded.  Gives two collections:
    ``readings`` (``READINGS_IN_FLIGHT``) and ``rejects`` (``REJECTS``), which together hold every row.  There is a
    batch of each for every batch that comes in, empty ones included, so that a sink knows what it has seen.  Batches
    keep their timestamps; a late one is treated like all others.

    Metrics: ``rejects``.

    Args:
        spec: The rules.
        now: The clock on the worker, in seconds since 1970: ``future`` and ``too_old`` are measured from it, and it is
            ``rejected_at``.
        by_type: The rules for device types that have limits of their own; told by the column ``device_type``, which
            ``EnrichReadings`` adds.
    """

    spec: QualitySpec = field(default_factory=QualitySpec)
    now: Callable[[], float] = time.time
    by_type: Mapping[str, QualitySpec] = field(default_factory=dict)

    def expand(self, batches: Any) -> Any:
        """The two collections, by name."""
        step = beam.FlatMap(_check, self.spec, self.now, self.by_type).with_output_types(pa.RecordBatch)
        return batches | "CheckBatches" >> step.with_outputs("rejects", main="readings")


def _check(
    batch: pa.RecordBatch, spec: QualitySpec, now: Callable[[], float], by_type: Mapping[str, QualitySpec]
) -> Iterator[Any]:
    moment = int(now() * 1e6)
    readings, rejected = check_quality(batch, spec, moment, by_type)
    measured("rejects", rejected.num_rows)
    yield conform(readings, READINGS_IN_FLIGHT).replace_schema_metadata(batch.schema.metadata)
    yield beam.pvalue.TaggedOutput("rejects", of_stage(rejects_of(rejected, moment), "quality"))


@dataclass
class ReportQuality(beam.PTransform):
    """Reduces a bounded run's readings and rejects to its quality report: one batch of ``QUALITY``.

    Takes a dict of collections: ``readings`` of scored readings, and under any other names rejects; see
    :class:`~.report.QualityReport` for the columns of each.  Each is reduced where it is made, so that what travels is
    a report.  A run without any batch gets its report as well.

    Args:
        pipeline_name: What the report's rows are marked with.
    """

    pipeline_name: str  # Beam sets an attribute named pipeline

    def expand(self, collections: Any) -> Any:
        """The report's one batch."""
        reports = [
            batches
            | f"Reduce_{name}" >> beam.CombineGlobally(CombineReports(name)).without_defaults().with_output_types(bytes)
            for name, batches in collections.items()
        ]
        return (
            reports
            | "Gather" >> beam.Flatten()
            | "Merge" >> beam.CombineGlobally(CombineReports(None)).with_output_types(bytes)
            | "Extract" >> beam.Map(_extract, self.pipeline_name).with_output_types(pa.RecordBatch)
        )


def _extract(report: bytes, pipeline_name: str) -> pa.RecordBatch:
    return QualityReport.from_bytes(report).extract(pipeline_name)


class QualityReportCoder(Coder):
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


class CombineReports(beam.CombineFn):
    """Adds up batches, or reports as bytes; the accumulator is a :class:`~.report.QualityReport`.

    Args:
        dataset: ``readings``, another name for rejects, or None for reports.
    """

    def __init__(self, dataset: str | None) -> None:
        super().__init__()
        self._dataset = dataset

    def create_accumulator(self) -> QualityReport:
        """An empty report."""
        return QualityReport.create()

    def add_input(self, accumulator: QualityReport, element: pa.RecordBatch | bytes) -> QualityReport:
        """The report with one batch, or one report, more."""
        if isinstance(element, bytes):
            return accumulator.merge(QualityReport.from_bytes(element))
        if self._dataset == "readings":
            return accumulator.add(readings=element)
        return accumulator.add(rejected=element)

    def merge_accumulators(self, accumulators: Iterable[QualityReport]) -> QualityReport:
        """The report of all that several have seen."""
        merged = QualityReport.create()
        for accumulator in accumulators:
            merged = merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: QualityReport) -> bytes:
        """The report, as it travels."""
        return accumulator.to_bytes()

    def get_accumulator_coder(self) -> Coder:
        """Arrow streams: Beam would pickle the report."""
        return QualityReportCoder()
