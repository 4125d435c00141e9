"""Models for the laws of trained detectors: grown from a fleet drawn from a seed."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from telebeam.transforms.anomaly.model import Model, Models
from telebeam.transforms.anomaly.spec import TrainedModel
from telebeam.transforms.anomaly.training import Per, Trainer
from tests.transforms.anomaly.samples import HOUR, MIDNIGHT, fleet

LATER = MIDNIGHT + HOUR
"""From when on the second version of ``two_versions`` is the newest."""


@cache
def model(
    seed: int = 1, valid_from: int = MIDNIGHT, version: str = "v1", created_at: int = 0, per: Per = "sensor_type"
) -> Model:
    """A model of two sensor types."""
    trained = grown(fleet(3000, seed, devices=2), per)
    return Model("fleet", version, valid_from, created_at, trained, f"{seed} {per}")


def grown(batch: pa.RecordBatch, per: Per = "sensor_type", cuts: tuple[int, ...] = ()) -> tuple:  # type: ignore[type-arg]
    """The parts that come of some readings, learned in pieces."""
    time = batch.column("timestamp").cast(pa.int64()).to_numpy()
    trainer = Trainer(per, trees=10)
    for low, high in zip([-(2**62), *cuts], [*cuts, 2**62], strict=True):
        piece = batch.filter(pa.array((time >= low) & (time < high)))
        if piece.num_rows:
            trainer.learn(piece)
    return tuple(each.part for each in trainer.fit())


def two_versions() -> Models:
    """Two versions, the second from an hour after midnight on."""
    return Models((model(2, LATER, "v2"), model()))


def scored_by(models: object, **settings: object) -> TrainedModel:
    return TrainedModel.model_validate({"model": "fleet", **settings}).scored_by(models)
