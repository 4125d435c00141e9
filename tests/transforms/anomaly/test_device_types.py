"""Models by device type: each reading is scored by the forest of the type that its device has at its time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.drift_meter import DriftMeter
from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.model import Model, Models, Part
from telebeam.transforms.anomaly.training import LEAST, Trainer
from telebeam.transforms.devices.limits import DEVICE_TYPE
from telebeam.transforms.errors import ConfigurationError
from tests.transforms.anomaly.models import grown, model, scored_by
from tests.transforms.anomaly.samples import MIDNIGHT, fleet, series, times_of

HOUR = 3_600_000_000
LAW = settings(derandomize=True, deadline=None, max_examples=25)
SAMPLE = fleet(4000, 3, devices=2)
SWITCH = MIDNIGHT + HOUR
"""When a device becomes another type's."""


def typed(batch: pa.RecordBatch, *, switch: int = SWITCH, names: tuple[str, str] = ("pump", "fan")) -> pa.RecordBatch:
    """dev-0 is a pump and then a fan, dev-1 a pump at first and then of no type, others are unknown."""
    time, device = times_of(batch), np.array(batch.column("device_id").to_pylist())
    late = time >= switch
    kind = np.where(device == "dev-0", np.where(late, names[1], names[0]), np.where(late, "", names[0]))
    kind = np.where((device == "dev-0") | (device == "dev-1"), kind, "")
    texts = pa.array([text or None for text in kind.tolist()], pa.string()).dictionary_encode()
    return batch.append_column(DEVICE_TYPE, texts)


def model_by_type() -> Model:
    return replace(model(), parts=grown(typed(SAMPLE), "device_type"), fingerprint="by type")


BY_TYPE = model_by_type()


def part_of(sensor_type: str, device_type: str | None) -> Part:
    (found,) = (
        part for part in BY_TYPE.parts
        if (part.group.sensor_type, part.group.device_type) == (sensor_type, device_type)
    )  # fmt: skip
    return found


def scores(of: Model, batch: pa.RecordBatch, cuts: tuple[int, ...] = ()) -> dict[int, int]:
    """Offset → the bits of the score, time being cut at some instants and the past written down there."""
    specs, found = [scored_by(Models((of,)))], {}
    scorer, time = Scorer(specs), times_of(batch)
    for low, high in zip([-(2**62), *cuts], [*cuts, 2**62], strict=True):
        said = scorer.score(batch.filter(pa.array((time >= low) & (time < high))))
        bits = said.column("anomaly_score").to_numpy().view(np.int64).tolist()
        found |= dict(zip(said.column("source_offset").to_pylist(), bits, strict=True))
        scorer = Scorer.restored(specs, scorer.history())
    return found


def alone(device_type: str | None) -> Model:
    """The forests of one type as those of all readings."""
    parts = [part_of(kind, device_type) for kind in ("temperature", "pressure")]
    return replace(BY_TYPE, parts=tuple(replace(part, group=replace(part.group, device_type=None)) for part in parts))


def test_there_is_a_forest_for_each_type_beside_that_of_all():
    groups = [(part.group.sensor_type, part.group.device_type) for part in BY_TYPE.parts]
    assert groups == [(kind, name) for kind in ("pressure", "temperature") for name in (None, "fan", "pump")]
    plain = {part.group.sensor_type: part for part in grown(SAMPLE)}
    for kind, part in plain.items():
        assert np.array_equal(part_of(kind, None).forest.threshold, part.forest.threshold)


@pytest.mark.parametrize("cuts", [(MIDNIGHT + 1,), (SWITCH, SWITCH + HOUR // 2), (SWITCH - 1, SWITCH, SWITCH + 1)])
def test_how_time_is_cut_does_not_show_in_the_forests(cuts: tuple[int, ...]):
    again = grown(typed(SAMPLE), "device_type", cuts)
    assert [part.group for part in again] == [part.group for part in BY_TYPE.parts]
    for one, other in zip(again, BY_TYPE.parts, strict=True):
        assert np.array_equal(one.forest.threshold, other.forest.threshold)
        assert np.array_equal(one.forest.path, other.forest.path)


@LAW
@given(st.integers(0, 99), st.integers(MIDNIGHT, MIDNIGHT + 2 * HOUR), st.booleans())
def test_a_reading_is_scored_as_if_all_were_of_its_type(seed: int, switch: int, hostile: bool):
    batch = typed(fleet(400, seed, devices=3, hours=2.0, hostile=hostile), switch=switch)
    found = scores(BY_TYPE, batch)
    kinds = batch.column(DEVICE_TYPE).to_pylist()
    of_type = {name: scores(alone(name), batch.drop_columns([DEVICE_TYPE])) for name in {*kinds}}
    expected = {offset: of_type[kind][offset] for offset, kind in enumerate(kinds)}
    assert found == expected


@LAW
@given(st.integers(0, 99), st.lists(st.integers(MIDNIGHT, MIDNIGHT + 2 * HOUR), max_size=3))
def test_how_time_is_cut_and_a_restart_do_not_show_in_the_scores(seed: int, cuts: list[int]):
    batch = typed(fleet(400, seed, devices=3, hours=2.0))
    assert scores(BY_TYPE, batch, tuple(sorted(cuts))) == scores(BY_TYPE, batch)


def test_where_nobody_tells_types_or_none_has_a_forest_the_sensor_types_forest_scores():
    batch = fleet(400, 1, devices=3)
    plain = scores(alone(None), batch)
    assert max(np.array(list(plain.values())).view(np.float64)) > 0.5
    assert scores(BY_TYPE, batch) == plain
    assert scores(BY_TYPE, typed(batch, names=("boiler", "valve"))) == plain
    nothing = batch.append_column(DEVICE_TYPE, pa.nulls(batch.num_rows, pa.string()))
    assert scores(BY_TYPE, nothing) == plain


def test_a_model_of_types_and_nothing_else_scores_no_others():
    fans = replace(BY_TYPE, parts=tuple(part for part in BY_TYPE.parts if part.group.device_type == "fan"))
    batch = typed(fleet(400, 1, devices=3))
    judged = {offset for offset, bits in scores(fans, batch).items() if bits}
    kinds = batch.column(DEVICE_TYPE).to_pylist()
    assert judged
    assert {kinds[offset] for offset in judged} == {"fan"}


def test_without_types_there_are_the_forests_of_sensor_types_alone():
    assert [part.group.device_type for part in grown(SAMPLE, "device_type")] == [None, None]


def test_too_many_types_are_refused():
    readings = series(np.arange(20.0 + 501 * LEAST) % 7)
    kinds = pa.array([f"type-{number % 501}" for number in range(readings.num_rows)])
    trainer = Trainer("device_type")
    trainer.learn(readings.append_column(DEVICE_TYPE, kinds))
    with pytest.raises(ConfigurationError, match="501 device types, by sensor type, would have forests of their own"):
        trainer.fit()


def test_types_of_too_few_readings_have_no_forest():
    trainer = Trainer("device_type", trees=10)
    trainer.learn(typed(SAMPLE, switch=int(np.sort(times_of(SAMPLE))[-LEAST // 8])))
    assert {each.part.group.device_type for each in trainer.fit()} == {None, "pump"}


def test_drift_is_told_for_each_type_beside_all_of_the_sensor_type():
    meter = DriftMeter(Models((BY_TYPE,)), "fleet")
    meter.add(typed(SAMPLE))
    whole = [drift for drift in meter.drifts() if drift.hour is None and drift.feature == "value"]
    assert {(drift.sensor_type, drift.device_type) for drift in whole} == {
        (part.group.sensor_type, part.group.device_type) for part in BY_TYPE.parts
    }
    assert max(drift.psi for drift in whole) < 0.05
    by_type = {drift.device_type: drift.readings for drift in whole if drift.sensor_type == "pressure"}
    assert by_type[None] > by_type["pump"] + by_type["fan"]
