"""``telebeam train``: a model from the lake's readings, tried on the last part of them, and published in the lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.layout import hour_of
from telebeam.io.lake.steps import STEP, readings_between, step_of
from telebeam.io.models.manifest import FORMAT, Forest, Manifest, Moments
from telebeam.io.models.store import publish, to_text
from telebeam.pipelines.sources import fleet_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.anomaly.features import FEATURES, VERSION
from telebeam.transforms.anomaly.labels import Labels
from telebeam.transforms.anomaly.spec import TrainedModel
from telebeam.transforms.anomaly.training import LEAST, Per, Trained, Trainer
from telebeam.transforms.batches import rows_of
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.order import Look

HELD_OUT = 0.2
"""The share of the time, the last, on which a model is tried."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Say = Callable[[str], None]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Request:
    """What is to be trained.

    Args:
        source: The lake whose readings are taken; the configuration's unless given.
        start: The first instant; the lake's first hour unless given.
        end: The instant behind the last; the end of the lake's last hour unless given.
        name: The model's; the pipeline's unless given.
        valid_from: From when on it scores; from ``end`` on unless given.
        per: What has a forest.
        trees: How many trees a forest has.
        labels: Whose times are not learned from.
    """

    source: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    name: str | None = None
    valid_from: datetime | None = None
    per: Per = "sensor_type"
    trees: int = 64
    labels: Labels = Labels({})  # noqa: RUF009 - a value; nobody changes it


@dataclass(frozen=True)
class Outcome:
    """What was trained."""

    manifest: Manifest
    lake: str
    is_new: bool
    """Whether it was not there already."""

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        return {"lake": self.lake, "new": self.is_new, **msgspec.to_builtins(self.manifest)}


def train(spec: PipelineSpec, request: Request, now: datetime, say: Say, advance: Advance) -> Outcome:
    """Trains a model on the first four fifths of a time, tries it on the rest, and publishes it in the pipeline's lake.

    The same readings and settings give the same version, which is found there the second time.

    Args:
        spec: The configuration; the model goes to its lake.
        request: What is wanted.
        now: When it is published.
        say: Is told what is being done.
        advance: Is told how many readings were gone through.

    Raises:
        ConfigurationError: There is no lake, no registry for models by device type, or too few readings in that time.
        SourceError: A file of the lake is damaged.
        SinkError: The lake does not take the model.
    """
    lake = lake_of(spec)
    root = storage.locate(request.source or lake)
    look = look_at_types(spec) if request.per == "device_type" else None
    start, end = lake_span(root, request.start, request.end)
    held_out = start + step_of(round((end - start) * (1.0 - HELD_OUT)))
    name = request.name or spec.pipeline
    threshold = next((d.threshold for d in spec.anomalies if isinstance(d, TrainedModel) and d.model == name), 0.8)
    trainer = Trainer(request.per, request.trees, threshold)
    say(f"learning from {storage.shown(request.source or lake)}, {to_text(start)} to {to_text(held_out)}")
    for readings in readings_of(root, start, held_out, look):
        trainer.learn(readings, ~request.labels.inside(readings) if request.labels else None)
        advance(readings.num_rows)
    trained = trainer.fit()
    if look is not None and not any(each.part.group.device_type for each in trained):
        say(
            f"no device type has {LEAST} readings of a sensor type: all are scored by the forests of their sensor types"
        )
    say(f"{len(trained)} forest(s) of {request.trees} trees; trying them on {to_text(held_out)} to {to_text(end)}")
    for readings in readings_of(root, held_out, end, look):
        trainer.hold_out(readings)
        advance(readings.num_rows)
    valid_from = end if request.valid_from is None else micros(request.valid_from)
    drawn = Manifest(
        format=FORMAT, name=name, version="", valid_from=to_text(valid_from), created_at=to_text(micros(now)),
        start=to_text(start), held_out_from=to_text(held_out), end=to_text(end), per=request.per, threshold=threshold,
        features_version=VERSION, features=FEATURES, forests=tuple(_forest(each) for each in trained),
        sha256="", bytes=0,
    )  # fmt: skip
    manifest, is_new = publish(storage.locate(lake), drawn, tuple(each.part for each in trained))
    return Outcome(manifest, storage.shown(lake), is_new)


def _forest(trained: Trained) -> Forest:
    group, held_out = trained.part.group, trained.hold_out
    features = {name: Moments(trained.mean[name], trained.std[name]) for name in FEATURES}
    return Forest(
        group.tenant, group.sensor_type, group.device_id, trained.readings, features,
        held_out.readings, held_out.alert_rate, held_out.quantiles(), group.device_type,
    )  # fmt: skip


def look_at_types(spec: PipelineSpec) -> Look:
    """What says of readings of which type their devices are.

    Raises:
        ConfigurationError: There is no registry, or it can't be read.
    """
    fleet = fleet_of(spec)
    if fleet is None:
        raise ConfigurationError(
            "there are no devices: the registry says which device is of which type",
            "add devices: {registry: devices.yaml}, or train --per sensor_type",
        )
    return Look(fleet().registry, groups=False, types=True)


def lake_of(spec: PipelineSpec) -> str:
    """The path of the pipeline's lake.

    Raises:
        ConfigurationError: It has none.
    """
    if spec.sinks.lake is None:
        raise ConfigurationError("there is no lake", "add sinks: {lake: {path: lake}}")
    return spec.sinks.lake.path


def lake_span(root: storage.Location, start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """[start, end) in µs; where one is not given, the edge of the lake's hours with readings.

    Raises:
        ConfigurationError: There is no hour with readings within.
    """
    hours = [hour_of(path) for path in storage.files_below(root, "readings")]
    if not hours:
        raise ConfigurationError(f"{root.path} holds no readings", "run the pipeline first, or check the lake's path")
    lowest, highest = min(hours)[0], max(hours)[1] + 1
    first = lowest if start is None else micros(start)
    last = highest if end is None else micros(end)
    if not any(low < last and first <= high for low, high in hours) or first >= last:
        raise ConfigurationError(
            f"the lake has no readings from {to_text(first)} to {to_text(last)}",
            f"it has some from {to_text(lowest)} to {to_text(highest)}",
        )
    return first, last


def readings_of(root: storage.Location, start: int, end: int, look: Look | None = None) -> Iterator[pa.RecordBatch]:
    """The readings of [start, end), in µs, in ascending pieces of time.

    Args:
        root: Where the lake is.
        start: The first instant.
        end: The instant behind the last one.
        look: Adds device types, where given.

    Raises:
        SourceError: A readings file is damaged.
    """
    for _, rows in readings_between(root, (step_of(start), step_of(end + STEP - 1)), late=True):
        time = rows.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
        inside: np.ndarray = (time >= start) & (time < end)
        if inside.any():
            found = rows if inside.all() else rows_of(rows, inside)
            yield found if look is None else look.with_type(found)


def micros(moment: datetime) -> int:
    """µs since 1970 of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
