"""A model's scores in a batch job are those of a stream, while versions change and workers begin anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from telebeam.io.lake import Lake
from telebeam.io.lake.in_order import replay
from telebeam.io.lake.live_order import LiveOrder
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.models.source import with_models
from telebeam.transforms.anomaly.spec import detector_spec
from telebeam.transforms.lateness import lateness_of
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.rules.spec import RuleSpec
from tests.io.lake.streamed import Partition, heard
from tests.io.models.samples import put
from tests.transforms.anomaly.samples import HOUR, MIDNIGHT, fleet, times_of

WINDOWS = lateness_of([(60, 120.0)], 10)
SWITCH = MIDNIGHT + HOUR // 8
"""When the second version takes over."""


def order_of(lake: Path, *settings: dict[str, Any]) -> OrderSpec:
    specs = [detector_spec(detector="model", model="fleet", **each) for each in settings]
    rule = RuleSpec.model_validate({"name": "odd", "when": {"anomaly": {"above": 0.5}}})
    return OrderSpec("fleet", with_models(specs, str(lake)), (rule,))


def told(lake: Path) -> list[dict[str, Any]]:
    scores = Lake(str(lake)).scores()
    alerts = Lake(str(lake)).alerts()
    return [
        row
        for table in (scores, alerts)
        for row in table.sort_by([(name, "ascending") for name in table.column_names]).to_pylist()
    ]


def batch_of(lake: Path, other: Path, *settings: dict[str, Any]) -> list[dict[str, Any]]:
    shutil.copytree(lake / "readings", other / "readings")
    shutil.copytree(lake / "_models", other / "_models")
    list(replay(LakeSpec(path=str(other)), order_of(other, *settings), MIDNIGHT // HOUR, MIDNIGHT // HOUR))
    return told(other)


@pytest.mark.parametrize("units", [7, 1, 40])
def test_live_is_batch_over_a_change_of_versions_and_restarts(
    units: int, tmp_path: Path, request: pytest.FixtureRequest
):
    if units != 7 and not request.config.getoption("--long"):
        pytest.skip("the same law for other cuts: --long")
    lake, other = tmp_path / "lake", tmp_path / "other"
    put(lake)
    second = put(lake, 2, SWITCH)
    settings = [{}, {"version": second.version, "shadow": True}]
    batch = fleet(300, 4, devices=2, hours=0.25)
    times = times_of(batch)
    batch = batch.take(pa.array(times.argsort(kind="stable")))
    feed, spec = Partition(LakeSpec(path=str(lake))), LakeSpec(path=str(lake))
    work = LiveOrder(spec, order_of(lake, *settings), WINDOWS)
    size = -(-batch.num_rows // units)
    for number, begin in enumerate(range(0, batch.num_rows, size)):
        unit = batch.slice(begin, size)
        notice = heard(feed.file(unit, clock=int(times_of(unit).max()) - 10_000_000))
        if number % 3 == 2:
            work = LiveOrder(spec, order_of(lake, *settings), WINDOWS)
        work.settle(notice)
        work.write_down(notice)
    last = heard(feed.finish())
    work.settle(last)
    work.write_down(last)
    found = told(lake)
    scores = [row for row in found if "anomaly_score" in row]
    assert len(scores) == 2 * batch.num_rows
    assert max(row["anomaly_score"] for row in scores) > 0.5
    assert {row["detector"] for row in scores} == {"fleet", f"fleet@{second.version}:shadow"}
    assert len(found) > len(scores)
    assert found == batch_of(lake, other, *settings)


def test_a_version_published_ahead_of_time_swaps_a_running_job_as_a_backfill_does(tmp_path: Path):
    lake, other = tmp_path / "lake", tmp_path / "other"
    put(lake)
    batch = fleet(300, 4, devices=2, hours=0.25)
    batch = batch.take(pa.array(times_of(batch).argsort(kind="stable")))
    half = batch.num_rows // 2 - 30
    assert times_of(batch)[half] < SWITCH
    spec, order = LakeSpec(path=str(lake)), order_of(lake, {})
    now = [0.0]
    order.detectors[0].models.clock = lambda: now[0]  # type: ignore[union-attr]
    feed, work = Partition(spec), LiveOrder(spec, order, WINDOWS)
    for number, part in enumerate((batch.slice(0, half), batch.slice(half))):
        if number:
            put(lake, 2, SWITCH)
            now[0] += 60.0
        work.settle(heard(feed.file(part, clock=int(times_of(part).max()) - 10_000_000)))
    work.settle(heard(feed.finish()))
    assert told(lake) == batch_of(lake, other, {})
