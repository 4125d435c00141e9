"""The models of a job's detectors: read from its lake, and looked for anew while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from telebeam.io import storage
from telebeam.io.models.store import load_version, names, versions
from telebeam.transforms.anomaly.model import Model, Models
from telebeam.transforms.anomaly.spec import DetectorSpec, TrainedModel
from telebeam.transforms.errors import ConfigurationError, TelebeamError

_LOG = logging.getLogger(__name__)
LOOK_SECONDS = 60.0
"""How often the lake is asked for new versions: a listing a model, which an object store charges for."""


@dataclass
class LakeModels:
    """The models of some names in a lake; travels to workers without what it has read.

    A version that appears while a job runs counts from the next piece of time that is scored.  Publish it with a
    ``valid_from`` that lies ahead, and live and backfill score each reading by the same version.  A new version that
    is refused is left out with a warning, and so is a lake that is away for a while: the job goes on with what it has.

    Args:
        path: The lake's path or URI.
        names: Of the models.
        clock: Seconds; does not jump.
    """

    path: str
    names: tuple[str, ...]
    clock: Callable[[], float] = field(default=time.monotonic, compare=False, repr=False)
    _loaded: dict[tuple[str, str], Model | None] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Version → what it is; None for one that is refused."""
    _models: Models | None = field(default=None, init=False, compare=False, repr=False)
    _looked: float = field(default=float("-inf"), init=False, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return LakeModels, (self.path, self.names)

    def current(self) -> Models:
        """The models that there are, no older than a minute.

        Raises:
            ConfigurationError: At the first call, a version is refused.
            SourceError: At the first call, the lake can't be read.
        """
        now = self.clock()
        if self._models is None:
            self._look(strict=True)
        elif now - self._looked >= LOOK_SECONDS:
            try:
                self._look(strict=False)
            except TelebeamError as error:
                _LOG.warning("no look for new models: %s", error)
        else:
            return self._models
        self._looked = now
        known = tuple(model for model in self._loaded.values() if model is not None)
        if self._models is None or len(known) != len(self._models.versions):
            self._models = Models(known)
        return self._models

    def _look(self, *, strict: bool) -> None:
        root = storage.locate(self.path)
        for name in self.names:
            for version in versions(root, name):
                if (name, version) not in self._loaded:
                    self._loaded[name, version] = _load(root, name, version, strict=strict)


def _load(root: storage.Location, name: str, version: str, *, strict: bool) -> Model | None:
    try:
        return load_version(root, name, version)
    except ConfigurationError as error:
        if strict:
            raise
        _LOG.warning("%s; the job goes on without it", error)
        return None


def with_models(detectors: Sequence[DetectorSpec], lake: str) -> tuple[DetectorSpec, ...]:
    """The detectors, those of trained models with the models of a lake; reads nothing yet.

    Args:
        detectors: Of a job.
        lake: The lake's path or URI.
    """
    wanted = sorted({spec.model for spec in detectors if isinstance(spec, TrainedModel)})
    root = storage.locate(lake)
    # A local path in full: it is the same in every worker's folder.
    source = LakeModels(root.path if root.is_local else lake, tuple(wanted))
    return tuple(spec.scored_by(source) if isinstance(spec, TrainedModel) else spec for spec in detectors)


def check_models(detectors: Sequence[DetectorSpec], lake: str, *, has_devices: bool = True) -> None:
    """Reads and checks every model that some detectors name, before a job starts.

    Args:
        detectors: Of a job.
        lake: The lake's path or URI.
        has_devices: Whether there is a registry, which models by device type need.

    Raises:
        ConfigurationError: A model or a version is not there, is refused, or needs a registry that is not there.
        SourceError: The lake can't be read.
    """
    wanted = [spec for spec in detectors if isinstance(spec, TrainedModel)]
    found = LakeModels(lake, tuple(sorted({spec.model for spec in wanted}))).current()
    for spec in wanted:
        there = ", ".join(model.version for model in found.of(spec.model))
        if not there:
            others = ", ".join(names(storage.locate(lake)))
            hint = f"the lake has {others}" if others else f"telebeam train CONFIG --name {spec.model}"
            raise ConfigurationError(f"{storage.shown(lake)} has no model {spec.model}", hint)
        if spec.version is not None and not found.of(spec.model, spec.version):
            raise ConfigurationError(f"the model {spec.model} has no version {spec.version}", f"it has {there}")
        if not has_devices and any(model.asks_types for model in found.of(spec.model, spec.version)):
            raise ConfigurationError(
                f"the model {spec.model} has forests by device type, which need devices: "
                "the registry says which device is of which type",
                "add devices: {registry: devices.yaml}, or train --per sensor_type",
            )
