"""``telebeam check``: is everything there that a job needs?"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from telebeam.io import storage
from telebeam.io.alerts.senders import probe as probe_sink
from telebeam.io.files.units import plan_units
from telebeam.io.influxdb.client import probe
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.parquet import open_parquet
from telebeam.io.models.source import check_models
from telebeam.pipelines.runners import RunnerChoice
from telebeam.pipelines.sources import feeds_of, readers_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.anomaly.spec import TrainedModel
from telebeam.transforms.errors import SinkError, SourceError, TelebeamError, UnreachableError
from telebeam.transforms.extras import needing
from telebeam.transforms.parsing.table import missing_columns

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """What was tried, what came of it, and the error where it failed."""

    what: str
    result: str
    error: TelebeamError | None = None


def preflight(spec: PipelineSpec, choose: Callable[[], RunnerChoice]) -> list[Finding]:
    """Tries the source, every sink and the runner; writes nothing that stays."""
    checks: list[tuple[str, Callable[[], str]]] = [
        (f"source {spec.source.words}", lambda: _stream(spec) if spec.source.is_stream else _source(spec)),
        ("runner", lambda: choose().description),
    ]
    lake, influx = spec.sinks.lake, spec.sinks.influxdb
    if spec.devices is not None:
        checks.append((f"devices {spec.devices.registry}", lambda: check_devices(spec)))
    if lake is not None:
        checks.append((f"lake {lake.path}", lambda: _lake(lake.path)))
        if any(isinstance(each, TrainedModel) for each in spec.anomalies):
            checks.append(("models", lambda: _models(spec, lake.path)))
    if influx is not None:
        checks.append((f"InfluxDB {influx.url}", lambda: _influx(influx)))
    checks += [(f"alerts {sink.name}", partial(probe_sink, sink)) for sink in spec.sinks.alerts]
    checks += [(f"commands {sink.name}", partial(probe_sink, sink)) for sink in spec.sinks.commands]
    checks += [(f"tagged {sink.name}", partial(probe_sink, sink)) for sink in spec.sinks.tagged]
    return [_try(what, check) for what, check in checks]


def _try(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, check())
    except TelebeamError as error:
        return Finding(what, error.message, error)


def _source(spec: PipelineSpec) -> str:
    files = storage.find(spec.source.files.path)
    root = storage.source_root(spec.source.files.path)
    if spec.source.kind == "parquet":
        with open_parquet(root, files[0]) as file:
            missing = missing_columns(file.schema_arrow, spec.parse)
            if missing:
                raise SourceError(
                    f"{files[0]} is no archive of readings: {missing}", "name its columns in parse.fields"
                )
    else:
        plan_units(spec.source.files.path, files[0], spec.source.kind, None)
    return f"{len(files):,} file(s); the first one, {files[0]}, can be read"


def _stream(spec: PipelineSpec) -> str:
    feeds = feeds_of(spec)
    feeds.probe()
    return f"can be read, by {readers_of(spec.source, feeds)} reader(s) here"


def check_devices(spec: PipelineSpec) -> str:
    """Reads the registry of devices, and compiles what their types name.

    Returns:
        What was found, in words.

    Raises:
        ConfigurationError: A file can't be read, or what it holds is wrong.
    """
    if spec.devices is None:
        return "none are declared"
    with needing("devices", "devices"):
        from telebeam.io.devices.fleet import OpenFleet
    fleet = OpenFleet(spec.devices, refreshes=False)
    try:
        fleet.check()
        registry = fleet.fleet().registry
    finally:
        fleet.close()
    named = set(registry.texts("device_type").texts.to_pylist())
    without = sorted(named - set(spec.devices.types))
    more = f"; nothing is said of the type(s) {', '.join(without[:10])}" if spec.devices.types and without else ""
    return f"{len(registry):,} device(s), {len(spec.devices.types)} type(s){more}"


def check_influx_for_stream(spec: PipelineSpec) -> None:
    """Finds out whether InfluxDB takes points; one that is away is not waited for, since a stream catches up.

    Raises:
        SinkError: It answers, and refuses the token, the organisation or the bucket.
    """
    if spec.sinks.influxdb is None:
        return
    try:
        probe(spec.sinks.influxdb)
    except UnreachableError as error:
        _LOG.warning("%s; its points follow when it is there", error.message)


def _influx(spec: InfluxSpec) -> str:
    probe(spec)
    return f"bucket {spec.bucket} takes points"


def _models(spec: PipelineSpec, lake: str) -> str:
    check_models(spec.anomalies, lake, has_devices=spec.devices is not None)
    return "are there and whole"


def _lake(path: str) -> str:
    check_lake(path)
    return "takes files"


def check_lake(path: str) -> None:
    """Finds out whether a lake takes files, and leaves nothing: neither a file nor a folder that was not there.

    Raises:
        SinkError: It does not.
    """
    root = storage.locate(path)
    if not root.is_local:
        storage.probe(root)
        return
    folder = Path(root.path)
    obstacle = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    if not obstacle.is_dir():
        what = "is a file" if obstacle == folder else f"lies below {obstacle}, which is a file"
        raise SinkError(f"{path} {what}; expected a folder for the lake", "check sinks.lake.path")
    staging = folder / "_staging"
    made = [parent for parent in (staging, folder, *folder.parents) if not parent.exists()]
    try:
        storage.probe(root)
    except (SinkError, OSError) as error:
        cause = error.__cause__ or error
        raise SinkError(
            f"the lake {path} does not take files: {cause}",
            "check sinks.lake.path, the disk's space and the permissions",
        ) from error
    finally:
        _remove_empty(made)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
