"""A stream on Dataflow: the runner brings its own Pub/Sub source and holds the state.

::

    Pub/Sub ─► [gather ─► parse ─► cleanse ─► check quality]  in shards, held by the runner
                  │ rejects              │ readings
                  ▼                      ▼
              lake: rejects          lake: readings ─┬─► windows, from the lake's readings ─► lake: windows ─┐
                  ▲                                  └─► InfluxDB, from the lake ◄──────────────────────────┘
                  └──────── what InfluxDB refuses ───────────┘

The kernels, the lake and its names are those of every other runner, and so are the rows.
"""

from __future__ import annotations

import logging
import re
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    TestOptions,
    WorkerOptions,
)

from telebeam.io import storage
from telebeam.io.influxdb.ptransforms import WriteToInfluxDB
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.ptransforms import FileTuple, ReadLakeFiles, WriteToLake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.pubsub.ptransforms import dataflow_envelopes
from telebeam.io.pubsub.spec import PubSubSourceSpec
from telebeam.pipelines.batch import readable
from telebeam.pipelines.dataflow_files import CheckInShards, FileParts
from telebeam.pipelines.dataflow_windows import CloseWindows, ReadWindows, is_there
from telebeam.pipelines.graph import build_stream
from telebeam.pipelines.sources import checks_of, feeds_of, fleet_of, readers_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.stream import stream_job
from telebeam.transforms.aggregation.spec import check_fixed
from telebeam.transforms.devices.spec import CAYENNE_LPP
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.lateness import lateness_of

_LOG = logging.getLogger(__name__)

SHARDS = 8
"""What is gathered side by side: each makes a file every ``time.file_every`` and keeps a thread busy at most."""

_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/.*")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_AT_LEAST_ONCE = "streaming_mode_at_least_once"
_SCHEMES = ("gs://", "gcs://", "s3://")


def build_dataflow(pipeline: beam.Pipeline, spec: PipelineSpec, started: datetime) -> dict[str, beam.PCollection]:
    """Puts the steps of a job that reads Pub/Sub by the runner's own source into a pipeline.

    Args:
        pipeline: For a runner with such a source.
        spec: With ``source.pubsub`` and ``sinks.lake``.
        started: What rejects of InfluxDB carry as ``rejected_at``.

    Returns:
        The collections by name, as of :func:`follow`.

    Raises:
        ConfigurationError: The source is another one.
    """
    return follow(pipeline | "Read" >> dataflow_envelopes(_subscription(spec)), spec, started)


def follow(
    envelopes: beam.PCollection,
    spec: PipelineSpec,
    started: datetime,
    *,
    shards: int = SHARDS,
    clock: Callable[[], float] = time.time,
) -> dict[str, beam.PCollection]:
    """Puts the steps behind the source into its pipeline.

    Args:
        envelopes: Batches of ``ENVELOPES``.
        spec: With ``sinks.lake``.
        started: What rejects of InfluxDB carry as ``rejected_at``.
        shards: What is gathered side by side.
        clock: Of the workers, in seconds since 1970.

    Returns:
        The collections by name: ``readings`` and ``rejects``, the tuples of their files, and, where there are,
        ``windows``.
    """
    lake, influx = spec.stream_lake, spec.sinks.influxdb
    checks = checks_of(spec, fleet_of(spec, refreshes=True))
    wait = spec.time.max_out_of_orderness.total_seconds()
    ends = [(window.seconds, window.allowed_lateness.total_seconds()) for window in spec.windows]
    stream = _stream(spec)
    lengths = tuple(window.seconds for window in spec.windows)
    gathered = CheckInShards(checks, lateness_of(ends, wait), spec.time.file_every.total_seconds(), shards, clock)
    checked = envelopes | "Check" >> gathered
    filed = checked["readings"] | "FileReadings" >> FileParts(lake, spec.pipeline, stream, "readings", lengths)
    refused = checked["rejects"] | "FileRejects" >> FileParts(lake, spec.pipeline, stream, "rejects")
    flow = {"readings": filed.files, "rejects": refused.files}
    if spec.windows:
        flow["windows"] = filed.touched | "Windows" >> CloseWindows(lake, spec.pipeline, spec.windows, wait)
    if influx is not None:
        _to_influxdb(flow, lake, influx, started)
    return flow


def _to_influxdb(flow: dict[str, beam.PCollection], lake: LakeSpec, influx: InfluxSpec, started: datetime) -> None:
    # Each behind a shuffle of names: an InfluxDB that is away holds up no step that writes the lake.
    if "readings" in influx.write:
        files = flow["readings"] | "KeepFiles" >> beam.Reshuffle()
        # A batch job may have taken a file's place by now, and it writes InfluxDB itself.
        present = files | "StillThere" >> beam.Filter(is_there, lake).with_output_types(FileTuple)
        _points(present | "ReadBack_readings" >> ReadLakeFiles(lake), "readings", lake, influx, started)
    if "windows" in influx.write and "windows" in flow:
        windows = flow["windows"] | "KeepWindows" >> beam.Reshuffle()
        _points(windows | "ReadBack_windows" >> ReadWindows(lake), "windows", lake, influx, started)


def _points(batches: beam.PCollection, dataset: Any, lake: LakeSpec, influx: InfluxSpec, started: datetime) -> None:
    refused = batches | f"InfluxDB_{dataset}" >> WriteToInfluxDB(influx, dataset, rejected_at=started)
    _ = refused | f"WriteRefused_{dataset}" >> WriteToLake(lake, "rejects")


def _subscription(spec: PipelineSpec) -> PubSubSourceSpec:
    if spec.source.pubsub is None:
        raise ConfigurationError(
            f"source.{spec.source.kind} is no Pub/Sub subscription; expected source.pubsub",
            "this graph is for a runner's own Pub/Sub source",
        )
    return spec.source.pubsub


def _stream(spec: PipelineSpec) -> str:
    """Names the source in files."""
    return _subscription(spec).stream


@dataclass(frozen=True)
class Submitted:
    """What became of a job that was handed over.

    Args:
        words: For people.
        job_id: Dataflow's; None of a dry run and of a template.
    """

    words: str
    job_id: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """What ``--json`` prints."""
        return {"submitted": self.words, "job_id": self.job_id}


def check_dataflow(spec: PipelineSpec, options: PipelineOptions) -> None:
    """Finds out what is missing before Beam looks for it on the network, or a worker for ever.

    Raises:
        ConfigurationError: Something is.
    """
    _check_installed()
    _check_options(options)
    _check_places(spec)
    if spec.source.pubsub is not None and spec.source.pubsub.endpoint is not None:
        raise ConfigurationError(
            f"source.pubsub.endpoint: {spec.source.pubsub.endpoint} would not be read: Dataflow has its own source",
            "leave endpoint out, or run it with --runner prism",
        )
    check_fixed(spec.all_windows, "Dataflow")
    if spec.source.is_stream and spec.order is not None:
        named = {"anomalies": spec.anomalies, "rules": spec.rules, "windows of the last readings": spec.last}
        what = " and ".join(name for name, given in named.items() if given)
        raise ConfigurationError(
            f"{what} are not done by a stream on Dataflow yet: nobody there says how far time has come",
            "run it with --runner flink, or a batch job over its lake every night",
        )


def _check_installed() -> None:
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"--runner dataflow needs Google's clients: {error}", "pip install 'telebeam[dataflow]'"
        ) from error


def _check_options(options: PipelineOptions) -> None:
    given: Namespace = options.view_as(GoogleCloudOptions)
    hint = "behind --: --project=PROJECT --region=europe-west1 --temp_location=gs://BUCKET/temp"
    if not given.project:
        raise ConfigurationError("--project is missing; expected the Google Cloud project that runs the job", hint)
    if not given.region or not _REGION.fullmatch(given.region):
        found = f"{given.region!r} is not one" if given.region else "is missing"
        raise ConfigurationError(f"--region {found}; expected a region of Dataflow's, as europe-west1", hint)
    location = given.temp_location or given.staging_location
    if not location or not _BUCKET.fullmatch(location):
        # Beam looks for a bucket of its own making, for minutes, where this is wrong.
        found = f"{location!r} is not one" if location else "is missing"
        raise ConfigurationError(f"--temp_location {found}; expected gs://BUCKET/FOLDER", hint)
    if _AT_LEAST_ONCE in (given.dataflow_service_options or ()):
        raise ConfigurationError(
            f"--dataflow_service_options={_AT_LEAST_ONCE}: a message that comes twice would be in the lake twice",
            "leave it out: exactly once is Dataflow's default",
        )
    setup, image = options.view_as(SetupOptions), options.view_as(WorkerOptions).sdk_container_image
    if not (setup.setup_file or setup.extra_packages or image or options.view_as(TestOptions).dry_run):
        raise ConfigurationError(
            "workers would not find telebeam; expected --setup_file, --extra_package or --sdk_container_image",
            "--setup_file=./setup.py in a checkout; docs/dataflow/README.md says how an image is made",
        )


def _check_places(spec: PipelineSpec) -> None:
    """A worker has no such disk as this machine."""
    places = {"sinks.lake.path": spec.sinks.lake.path if spec.sinks.lake is not None else None}
    if not spec.source.is_stream:
        places[f"source.{spec.source.kind}.path"] = spec.source.files.path
    places |= dict(_files_of_devices(spec))
    for key, path in places.items():
        if path is not None and not path.startswith(_SCHEMES):
            raise ConfigurationError(
                f"{key}: {storage.shown(path)} is a place of this machine, which Dataflow's workers don't have",
                f"--set {key}=gs://BUCKET/{path.strip('./').rpartition('/')[2].strip('*') or 'lake'}",
            )


def _files_of_devices(spec: PipelineSpec) -> Iterator[tuple[str, str | None]]:
    if spec.devices is not None:
        yield "devices.registry", spec.devices.registry
        for name, kind in spec.devices.types.items():
            yield f"devices.types.{name}.schema", kind.data_schema
            yield f"devices.types.{name}.codec", None if kind.codec == CAYENNE_LPP else kind.codec


def submit(spec: PipelineSpec, options: PipelineOptions) -> Submitted:
    """Hands a streaming job over to Dataflow, and does not wait for its end.

    A job that reads Kafka is the one of ``graph.build_stream``, with telebeam's own source.

    Raises:
        ConfigurationError: It can't run there.
        JobError: Dataflow does not take it.
    """
    check_dataflow(spec, options)
    if spec.source.pubsub is not None and any(window.early for window in spec.windows):
        _LOG.warning("windows[].early: Dataflow sends windows when they have ended, and no sooner")
    try:
        pipeline = beam.Pipeline(options=options)
        if spec.source.pubsub is not None:
            build_dataflow(pipeline, spec, datetime.now(UTC))
        else:
            _build_with_readers(pipeline, spec, options)
        result = pipeline.run()
    except Exception as error:
        raise readable(error) from error
    return _submitted(result, options)


def _build_with_readers(pipeline: beam.Pipeline, spec: PipelineSpec, options: PipelineOptions) -> None:
    # The broker knows how many partitions there are, and a dry run must not need one.
    is_dry = options.view_as(TestOptions).dry_run
    readers = SHARDS if is_dry else readers_of(spec.source, feeds_of(spec))
    build_stream(pipeline, stream_job(spec, readers))


def _submitted(result: Any, options: PipelineOptions) -> Submitted:
    cloud = options.view_as(GoogleCloudOptions)
    if options.view_as(TestOptions).dry_run:
        return Submitted("translated for Dataflow; nothing was submitted")
    if cloud.template_location:
        return Submitted(f"the job's description is in {cloud.template_location}")
    job = result.job_id()
    page = f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job}?project={cloud.project}"
    return Submitted(f"submitted as job {job}, see {page}", job)
