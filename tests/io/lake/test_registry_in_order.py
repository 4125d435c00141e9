"""What the registry says of devices counts at their readings' times: live, after a restart and in a backfill alike."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.internal import pickler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.in_order import replay
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.live_order import LiveOrder
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.models.source import with_models
from telebeam.io.models.store import publish
from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.spec import detector_spec
from telebeam.transforms.devices.fleet import Fleet, FleetOf
from telebeam.transforms.devices.kernel import types_of
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.errors import JobError
from telebeam.transforms.lateness import lateness_of
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.rules.spec import RuleSpec
from tests.io.lake.streamed import Partition, heard
from tests.io.models.samples import DRAWN
from tests.transforms.anomaly.models import grown, scored_by
from tests.transforms.anomaly.samples import MIDNIGHT, SECOND, fleet, times_of

WINDOWS = lateness_of([(60, 120.0)], 10)
QUARTER = 15 * 60 * SECOND
RULES = tuple(RuleSpec.model_validate(given) for given in (
    {"name": "high", "when": {"above": 20.5}, "group_by": "group", "message": "{group} at {value}"},
    {"name": "north", "when": {"above": 20.5}, "only": {"groups": ["north"]}, "then": [{"tag": "north"}]},
    {"name": "odd", "when": {"anomaly": {"above": 0.5}}, "group_by": ["group", "sensor_type"]},
    {"name": "quiet", "when": {"absent": "2m"}, "only": {"groups": ["north", "south"]}},
    {"name": "all", "when": {"above": 21}},
))  # fmt: skip


def row(device: str, group: str | None, kind: str | None, since: int | None = None) -> dict[str, Any]:
    return {"device_id": device, "device_type": kind, "group": group, "status": "active", "valid_from": since}


def registry_of(*rows: dict[str, Any]) -> FleetOf:
    found = Registry.of(pa.RecordBatch.from_pylist(list(rows), schema=REGISTRY))
    return lambda: Fleet(DevicesSpec(), found)


def moving(at: int) -> FleetOf:
    """dev-0 goes from the north to the south and becomes a fan, dev-1 leaves its group; nobody knows dev-2."""
    return registry_of(
        row("dev-0", "north", "pump"), row("dev-0", "south", "fan", at),
        row("dev-1", "north", "pump"), row("dev-1", None, None, at),
    )  # fmt: skip


def with_types(batch: pa.RecordBatch, fleet_of: FleetOf) -> pa.RecordBatch:
    return batch.append_column("device_type", types_of(batch, fleet_of().registry))


def put_by_type(lake: Path) -> None:
    """A model whose sensor types have a forest for each device type besides."""
    sample = with_types(fleet(3000, 5, devices=2), moving(MIDNIGHT + HOUR))
    publish(storage.locate(str(lake)), DRAWN, grown(sample, "device_type"))


def order_of(lake: Path, fleet_of: FleetOf | None) -> OrderSpec:
    detectors = with_models([detector_spec(detector="model", model="fleet")], str(lake))
    return OrderSpec("fleet", detectors, RULES, (3,)).with_fleet(fleet_of)


def told(lake: Path) -> dict[str, list[dict[str, Any]]]:
    tables = {"scores": Lake(str(lake)).scores(), "alerts": Lake(str(lake)).alerts()}
    tables["tagged"] = pa.Table.from_pylist(
        [each for path in (lake / "tagged").rglob("*.parquet") for each in pq.read_table(path).to_pylist()]
    )
    return {
        name: table.sort_by([(column, "ascending") for column in ("timestamp", *table.column_names[:4])]).to_pylist()
        for name, table in tables.items()
        if table.num_rows
    }


def batch_of(lake: Path, other: Path, fleet_of: FleetOf) -> dict[str, list[dict[str, Any]]]:
    for name in ("readings", "_models"):
        shutil.copytree(lake / name, other / name)
    list(replay(LakeSpec(path=str(other)), order_of(other, fleet_of), MIDNIGHT // HOUR, MIDNIGHT // HOUR))
    return told(other)


def sorted_fleet(seed: int, rows: int = 300) -> pa.RecordBatch:
    batch = fleet(rows, seed, devices=3, hours=0.25)
    return batch.take(pa.array(times_of(batch).argsort(kind="stable")))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    put_by_type(folder)
    return folder


def check_live_is_batch(models: Path, seed: int, switch: int, units: int, again: set[int]) -> None:
    """A stream is cut into units; devices change at a step, and jobs begin anew in some units."""
    moves, batch = moving(MIDNIGHT + switch * 10 * SECOND), sorted_fleet(seed)
    with tempfile.TemporaryDirectory() as live, tempfile.TemporaryDirectory() as other:
        lake = Path(live)
        shutil.copytree(models / "_models", lake / "_models")
        spec = LakeSpec(path=live)
        feed, work = Partition(spec), LiveOrder(spec, order_of(lake, moves), WINDOWS)
        size = -(-batch.num_rows // units)
        for number, begin in enumerate(range(0, batch.num_rows, size)):
            unit = batch.slice(begin, size)
            notice = heard(feed.file(unit, clock=int(times_of(unit).max()) - 10 * SECOND))
            if number in again:
                work = LiveOrder(spec, order_of(lake, moves), WINDOWS)
            work.settle(notice)
            work.write_down(notice)
        last = heard(feed.finish())
        work.settle(last)
        work.write_down(last)
        found = told(lake)
        assert len(found["scores"]) == batch.num_rows
        assert {each["rule"] for each in found["alerts"]} >= {"high", "all"}
        assert found == batch_of(lake, Path(other), moves)


@pytest.mark.parametrize(("switch", "units", "again"), [(45, 5, {2, 3}), (20, 2, {1})])
def test_live_is_batch_while_devices_change_their_groups_and_types(
    models: Path, switch: int, units: int, again: set[int]
):
    check_live_is_batch(models, 4, switch, units, again)


@settings(derandomize=True, deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 99), switch=st.integers(0, 90), units=st.integers(1, 9), again=st.sets(st.integers(0, 8)))
def test_live_is_batch_however_a_stream_is_cut_and_restarted_while_devices_change(
    models: Path, request: pytest.FixtureRequest, seed: int, switch: int, units: int, again: set[int]
):
    if not request.config.getoption("--long"):
        pytest.skip("the same law for many streams: --long")
    check_live_is_batch(models, seed, switch, units, again)


def replayed(lake: Path, fleet_of: FleetOf | None, batch: pa.RecordBatch) -> dict[str, list[dict[str, Any]]]:
    put_by_type(lake)
    Partition(LakeSpec(path=str(lake))).file(batch)
    list(replay(LakeSpec(path=str(lake)), order_of(lake, fleet_of), MIDNIGHT // HOUR, MIDNIGHT // HOUR))
    return told(lake)


def test_each_reading_is_in_the_group_of_its_own_time(tmp_path: Path):
    switch = MIDNIGHT + QUARTER // 2
    found = replayed(tmp_path, moving(switch), sorted_fleet(4))
    tagged = {(each["device_id"], each["timestamp"].timestamp() * 1e6 < switch) for each in found["tagged"]}
    assert tagged == {("dev-0", True), ("dev-1", True)}
    places = {(each["location"], each["device_id"]) for each in found["alerts"] if each["rule"] == "high"}
    assert places == {("north", None), ("south", None)}
    messages = [each["message"] for each in found["alerts"] if (each["rule"], each["state"]) == ("high", "firing")]
    assert {message.split()[0] for message in messages} == {"north", "south"}


def test_each_reading_is_scored_by_the_type_of_its_own_time(tmp_path: Path):
    moves, batch = moving(MIDNIGHT + QUARTER // 2), sorted_fleet(4)
    found = replayed(tmp_path, moves, batch)
    (detector,) = order_of(tmp_path, None).detectors
    typed = with_types(batch, moves)
    scorers = [Scorer([scored_by(detector.models)]) for _ in range(2)]  # type: ignore[union-attr]
    expected, plain = (scorer.score(rows) for scorer, rows in zip(scorers, (typed, batch), strict=True))
    scores = {each["source_offset"]: each["anomaly_score"] for each in found["scores"]}
    assert scores == by_offset(expected)
    assert scores != by_offset(plain)


def by_offset(scores: pa.RecordBatch) -> dict[int, float]:
    return dict(zip(*(scores.column(name).to_pylist() for name in ("source_offset", "anomaly_score")), strict=True))


def test_rules_that_name_groups_need_a_registry(tmp_path: Path):
    with pytest.raises(JobError, match="rule high names groups"):
        replayed(tmp_path, None, sorted_fleet(1))


def test_a_registry_is_asked_once_for_a_piece_of_time_and_only_by_what_needs_it(tmp_path: Path):
    asked = []
    plain = moving(MIDNIGHT)

    def counting() -> Fleet:
        asked.append(1)
        return plain()

    order = order_of(tmp_path, counting)
    look = order.look()
    rows = fleet(50, 1)
    assert look.with_group(rows).schema.names[-1] == "group"
    assert look.with_type(rows).schema.names[-1] == "device_type"
    assert asked == [1]
    unasked = OrderSpec("fleet", (), RULES[4:], fleet_of=counting).look()
    assert unasked.with_group(rows) is rows
    assert unasked.with_type(rows) is rows
    assert asked == [1]


def test_the_registry_is_no_part_of_what_a_past_is_of(tmp_path: Path):
    one, other = order_of(tmp_path, None), order_of(tmp_path, moving(MIDNIGHT))
    assert one == other
    assert one.fingerprint == other.fingerprint
    assert pickler.loads(pickler.dumps(one)).fleet_of is None
