"""The flow, on one page: what a job is made of, whatever runs it.

A batch job (:func:`build`)::

    files ─► parse ─► enrich ─► cleanse ─► check quality ─► lake: readings ─► windows, from them ─► lake: windows
      │        │        │                      │                                    │
      └────────┴────────┴─── rejects ──────────┴─► lake: rejects                    └─► then, from the lake: InfluxDB
                                               ├─► quality report ─► lake: quality
                                               └─► in order, from the lake's readings ─► lake: scores, alerts, commands

Batches go from the file to the readings' files without a shuffle between; behind them go the names of files only, so
that no runner holds data in memory and no sink's trouble keeps another from being complete.  Without a lake, windows
are aggregated from the batches in flight and rejects are counted.  Without ``devices`` nothing is enriched.

A stream (:func:`build_stream`), by the same kernels and the same lake::

    broker ─► [parse ─► enrich ─► cleanse ─► check quality ─► lake: readings, rejects]  one bundle, a unit a partition
                                              │               │ notices: what stands in the lake and is not done yet
                                              │ at once       ├─► windows, from the lake's readings ─► lake: windows ─┐
                                              ├─► InfluxDB    ├─► in order, from the lake ─► lake: scores, alerts ────┤
                                              └─► alerts      │                           └─► topics and webhooks     │
                                                              └─► InfluxDB, from the lake: what did not get there ◄───┘

Only notices go through the runner, so a stream loses nothing with it: what a notice says stands in the lake.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import apache_beam as beam
import pyarrow as pa

from telebeam.io.files.ptransforms import ReadFiles
from telebeam.io.influxdb.ptransforms import TryInfluxDB, WriteToInfluxDB
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.layout import unit_name
from telebeam.io.lake.ptransforms import ReadLakeFiles, RecomputeWindows, ScoreHours, WriteToLake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.deliveries import DeliverToInfluxDB
from telebeam.io.streams.job import StreamJob
from telebeam.io.streams.order import ScoreInOrder
from telebeam.io.streams.ptransforms import EndStage, FileStream
from telebeam.io.streams.windows import KeepWindows
from telebeam.pipelines.sources import fleet_of, order_of, schemas_of, windows_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.aggregation.ptransforms import AggregateWindows
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.batches import UNIT
from telebeam.transforms.cleansing.ptransforms import Cleanse
from telebeam.transforms.cleansing.spec import cleanse_spec
from telebeam.transforms.devices.kernel import quality_by_type
from telebeam.transforms.devices.ptransforms import EnrichReadings
from telebeam.transforms.metrics import measured
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.parsing.ptransforms import ParseReadings
from telebeam.transforms.quality.ptransforms import CheckQuality, ReportQuality

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Run:
    """What is of one run and not of the configuration.

    Args:
        started: The run's clock: what ``future``, ``too_old`` and ``rejected_at`` are measured by, the same for all
            workers and for a bundle that runs twice.
        start: Readings before it are left out.
        end: Readings from it on are left out.
    """

    started: datetime
    start: datetime | None = None
    end: datetime | None = None

    def now(self) -> float:
        """The run's clock in seconds since 1970."""
        return self.started.timestamp()

    @property
    def span(self) -> tuple[int, int] | None:
        """[start, end) in µs since 1970; None where neither is given."""
        if self.start is None and self.end is None:
            return None
        return _micros(self.start or datetime.min.replace(tzinfo=UTC)), _micros(
            self.end or datetime.max.replace(tzinfo=UTC)
        )


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def build(pipeline: beam.Pipeline, spec: PipelineSpec, run: Run) -> dict[str, beam.PCollection]:
    """Puts a job's steps into a pipeline.

    Returns:
        The collections by name: ``readings``, ``rejects`` (of each step) and, where there are, ``windows``.
    """
    source = pipeline | "Read" >> ReadFiles(
        spec.source.files, spec.source.kind, spec.parse, spec.pipeline, spec.source.on_bad_file, run.span, run.now
    )
    fleet = fleet_of(spec)
    parsed = source["batches"] | "Parse" >> ParseReadings(spec.parse, run.now, run.span, schemas_of(spec), fleet)
    readings, unknown = parsed.readings, {}
    if fleet is not None:
        enriched = readings | "Enrich" >> EnrichReadings(fleet, run.now)
        readings, unknown = enriched.readings, {"UnknownDevices": enriched.rejects}
    limits = {} if spec.devices is None else quality_by_type(spec.devices, spec.quality)
    units = {name: cleanse_spec(rules) for name, rules in limits.items()}
    clean = readings | "Cleanse" >> Cleanse(cleanse_spec(spec.quality), units)
    checked = clean | "CheckQuality" >> CheckQuality(spec.quality, run.now, limits)
    rejects = {"BadFiles": source["rejects"], "Unparsed": parsed.rejects, **unknown, "Unusable": checked.rejects}
    flow = {"readings": checked.readings, **rejects}
    windows = windows_of(spec, fleet)
    if spec.sinks.lake is None:
        return flow | _without_lake(checked.readings, spec, windows, run)
    order = order_of(spec, fleet)
    return flow | _with_lake(checked.readings, rejects, spec, spec.sinks.lake, windows, order, run)


def build_stream(pipeline: beam.Pipeline, job: StreamJob, *, apart: bool = False) -> dict[str, beam.PCollection]:
    """Puts a streaming job's steps into a pipeline.

    Args:
        pipeline: Where to.
        job: What to do.
        apart: Whether each reader is a stage of its own, as Prism needs them.

    Returns:
        The collections by name, all of notices: ``filed`` and, where there are, ``windows``.
    """
    flow = {"filed": pipeline | "Stream" >> FileStream(job, apart)}
    if job.windows:
        influx = job.influx if job.influx_takes("windows") else None
        early = None if influx is None or all(each.early is None for each in job.windows) else TryInfluxDB(influx)
        keep = KeepWindows(job.lake, job.pipeline, job.windows, influx is not None, early, job.run)
        flow["windows"] = flow["filed"] | "Windows" >> keep
    if job.order is not None:
        flow["ordered"] = flow["filed"] | "InOrder" >> ScoreInOrder(job)
    owed = _owed(flow, job)
    is_read = [*owed.values(), *([flow["filed"]] if len(flow) > 1 else [])]
    left = {name: made for name, made in flow.items() if made not in is_read}
    if job.influx is not None and owed:
        left |= owed | "InfluxDB" >> DeliverToInfluxDB(job.lake, job.pipeline, job.influx, job.run)
    for name, made in left.items():
        _ = made | f"End_{name}" >> EndStage()
    return flow


def _owed(flow: dict[str, beam.PCollection], job: StreamJob) -> dict[str, beam.PCollection]:
    """What tells of files that InfluxDB does not have."""
    owed = {"readings": flow["filed"]} if job.influx_takes("readings") else {}
    owed |= {"windows": flow["windows"]} if job.influx_takes("windows") and job.windows else {}
    return owed | ({"ordered": flow["ordered"]} if job.influx is not None and "ordered" in flow else {})


def _with_lake(
    readings: beam.PCollection,
    rejects: dict[str, beam.PCollection],
    spec: PipelineSpec,
    lake: LakeSpec,
    windows: tuple[WindowSpec, ...],
    order: OrderSpec | None,
    run: Run,
) -> dict[str, beam.PCollection]:
    files = readings | "WriteReadings" >> WriteToLake(lake, "readings", run.span)
    # One by one, for a Flatten would keep them from being fused with what made them.
    written = [
        files,
        *(batches | f"Write{name}" >> WriteToLake(lake, "rejects", run.span) for name, batches in rejects.items()),
    ]
    report = {"readings": readings, **rejects} | "ReportQuality" >> ReportQuality(spec.pipeline)
    named = report | "NameReport" >> beam.Map(_named, report_unit(spec, run)).with_output_types(pa.RecordBatch)
    written.append(named | "WriteQuality" >> WriteToLake(lake, "quality"))
    flow = {"quality": report}
    if windows:
        flow["windows"] = files | "Windows" >> RecomputeWindows(lake, windows)
        written.append(flow["windows"])
    if order is not None:
        flow["ordered"] = files | "InOrder" >> ScoreHours(lake, order)
        written.append(flow["ordered"])
    influx = spec.sinks.influxdb
    for dataset in influx.write if influx is not None else ():
        made = _made(dataset, files, flow)
        if made is not None and influx is not None:
            # Only when the lake is complete: an InfluxDB that is away must not keep it from being so.
            complete = made | f"AfterLake_{dataset}" >> beam.WaitOn(*written)
            batches = complete | f"ReadBack_{dataset}" >> ReadLakeFiles(lake)
            refused = batches | f"InfluxDB_{dataset}" >> WriteToInfluxDB(influx, dataset, rejected_at=run.started)
            _ = refused | f"WriteRefused_{dataset}" >> WriteToLake(lake, "rejects")
    return flow


def _made(dataset: str, files: beam.PCollection, flow: dict[str, beam.PCollection]) -> beam.PCollection | None:
    """The files of a dataset; None where the job makes none."""
    if dataset == "readings":
        return files
    if dataset == "windows" or "ordered" not in flow:
        return flow.get("windows") if dataset == "windows" else None
    return flow["ordered"] | f"Only_{dataset}" >> beam.Filter(_is_of, dataset)


def _is_of(file: tuple[str, str, int, int, int], dataset: str) -> bool:
    return file[0] == dataset


def _without_lake(
    readings: beam.PCollection, spec: PipelineSpec, windows: tuple[WindowSpec, ...], run: Run
) -> dict[str, beam.PCollection]:
    influx: InfluxSpec = spec.sinks.influxdb  # type: ignore[assignment]  # the settings ask for one sink at least
    flow = {}
    _ = readings | "CountReadings" >> beam.Map(lambda batch: measured("readings", batch.num_rows))
    if windows:
        flow["windows"] = readings | "Windows" >> AggregateWindows(windows)
    for dataset, batches in {"readings": readings, **flow}.items():
        if dataset in influx.write:
            _ = batches | f"InfluxDB_{dataset}" >> WriteToInfluxDB(influx, dataset, rejected_at=run.started)
    return flow


def _named(report: pa.RecordBatch, unit: str) -> pa.RecordBatch:
    return report.replace_schema_metadata({UNIT: unit.encode()})


def report_unit(spec: PipelineSpec, run: Run) -> str:
    """The unit of a run's quality report: the same run again has the same one."""
    span = "all" if run.span is None else f"{run.span[0]}-{run.span[1]}"
    return unit_name(spec.pipeline, f"{spec.source.kind}-{spec.source.files.path}", span)
