"""A server that is away, hangs or refuses, and a lake that fails: what is owed waits, and arrives in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from telebeam.io import storage
from telebeam.io.influxdb import refill as refill_module
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams import receipts
from telebeam.io.streams.deliveries import Delivered, Deliveries
from telebeam.io.streams.notices import FOREVER, Owed
from telebeam.io.streams.receipts import InfluxReceipt
from tests.io.influxdb.test_client import TAKEN, Answer, Border
from tests.io.lake.disks import tree
from tests.io.streams.owing import (
    BUSY,
    HOUR,
    Clock,
    answering,
    file_readings,
    made,
    notice,
    receipt,
    values,
)

TOKEN = "a-very-secret-token"


@pytest.fixture
def border() -> Iterator[Border]:
    border = Border()
    border.thread.start()
    yield border
    border.server.shutdown()
    border.thread.join()
    border.server.server_close()


@pytest.fixture
def spec(border: Border, monkeypatch: pytest.MonkeyPatch) -> InfluxSpec:
    monkeypatch.setenv("INFLUX_TEST_TOKEN", TOKEN)
    return InfluxSpec(url=border.url, org="iot", bucket="telemetry", token="env:INFLUX_TEST_TOKEN", timeout=5)


@pytest.fixture
def lake(tmp_path: Path) -> LakeSpec:
    return LakeSpec(path=str(tmp_path / "lake"), row_group_rows=1024)


def test_a_damaged_file_holds_up_its_own_partition_alone_until_it_is_removed(
    border: Border, lake: LakeSpec, spec: InfluxSpec, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Path(lake.path) / file_readings(lake, 0, 50)
    bad.write_bytes(bad.read_bytes()[:-20])
    told = notice(
        {0: [Owed(50, (f"readings/{HOUR}/{bad.name}",)), Owed(60, (file_readings(lake, 50, 10),))],
         1: [Owed(1, (file_readings(lake, 60, 1),)), Owed(2, (file_readings(lake, 61, 1),))]}
    )  # fmt: skip
    sink = made(lake, spec, Clock())
    for _ in range(3):
        sink.deliver(told)
    assert values(border.requests) == [60, 61]
    assert len(caplog.records) == 1
    assert "remove a file" in caplog.text
    bad.unlink()
    assert sink.deliver(told).points == 10
    assert receipt(lake).readings == {"topic/0": 60, "topic/1": 2}


def test_a_refused_point_is_a_reject_of_the_lake_once_however_often_it_is_delivered(
    border: Border, lake: LakeSpec, spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(refill_module.PIECE_ROWS, "readings", 7)

    def rule(lines: list[str]) -> Answer:
        bad = [line for line in lines if "value=13," in line or "value=21," in line]
        return (422, {}, f"partial write: field type conflict dropped={len(bad)}") if bad else TAKEN

    border.rule = rule
    told = notice({0: [Owed(30, (file_readings(lake, 0, 30),))]})
    assert made(lake, spec, Clock()).deliver(told) == Delivered(28, 2)
    before = tree(Path(lake.path))
    storage.remove(storage.locate(lake.path), receipts.influxdb_path("fleet"))
    assert made(lake, spec, Clock()).deliver(told) == Delivered(28, 2)
    assert tree(Path(lake.path)) == before
    rows = [row for path in Path(lake.path).glob("rejects/**/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert sorted((row["source_offset"], row["reason"]) for row in rows) == [
        (13, "refused_by_sink"),
        (21, "refused_by_sink"),
    ]


def test_rejects_that_the_lake_does_not_take_leave_the_file_owed(
    border: Border, lake: LakeSpec, spec: InfluxSpec
) -> None:
    border.rule = lambda lines: (422, {}, f"partial write: dropped={len(lines)}")
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    (Path(lake.path) / "rejects").write_text("a file where a folder should be")
    sink = made(lake, spec, Clock())
    assert sink.deliver(told) == Delivered()
    assert receipt(lake) == InfluxReceipt()
    (Path(lake.path) / "rejects").unlink()
    assert sink.deliver(told) == Delivered(0, 3)


def test_a_server_that_is_back_within_seconds_is_waited_for(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    border.rule = answering(BUSY, BUSY, BUSY)
    clock = Clock()
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    assert made(lake, spec, clock).deliver(told).points == 3
    assert clock.now == pytest.approx(107)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_server_that_stays_away_is_left_after_twenty_seconds_and_tried_again_when_a_try_is_due(
    border: Border, lake: LakeSpec, spec: InfluxSpec, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    border.rule = lambda lines: (status, {}, "no")
    clock = Clock()
    sink = made(lake, spec, clock)
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    assert sink.deliver(told) == Delivered()
    assert 120 <= clock.now <= 121
    tries = len(border.requests)
    assert tries == 5  # at once, after 1, 2, 4, 8 seconds
    for _ in range(20):  # notices that come meanwhile cost nothing
        assert sink.deliver(told) == Delivered()
    assert (len(border.requests), clock.now) == (tries, pytest.approx(120, abs=1))
    clock.now += 30
    assert sink.deliver(told) == Delivered()
    assert len(border.requests) == tries + 1
    border.rule = lambda lines: TAKEN
    clock.now += 30
    assert sink.deliver(told) == Delivered(3, 0)
    said = [record.getMessage() for record in caplog.records]
    assert ["is back:" in text for text in said] == [False, True]
    assert TOKEN not in caplog.text


def test_an_outage_is_said_once_a_minute(
    border: Border, lake: LakeSpec, spec: InfluxSpec, caplog: pytest.LogCaptureFixture
) -> None:
    border.rule = lambda lines: BUSY
    clock = Clock()
    sink = made(lake, spec, clock)
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    for _ in range(60):
        sink.deliver(told)
        clock.now += 5
    assert 4 <= len(caplog.records) <= 6


def test_the_last_notice_of_a_run_waits_longer(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    border.rule = lambda lines: BUSY
    clock = Clock()
    sink = made(lake, spec, clock)
    owed = [Owed(3, (file_readings(lake, 0, 3),))]
    sink.deliver(notice({0: owed}))
    begun = clock.now
    border.rule = answering(BUSY)
    assert sink.deliver(notice({0: owed}, FOREVER)).points == 3
    assert clock.now - begun > 30


def test_a_login_that_was_mended_is_seen_without_a_restart(
    border: Border, lake: LakeSpec, spec: InfluxSpec, tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text("wrong")
    border.rule = lambda lines: TAKEN if border.tokens[-1] == "Token right" else (401, {}, "unauthorized")
    clock = Clock()
    sink = made(lake, spec.model_copy(update={"token": f"file:{secret}"}), clock)
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    assert sink.deliver(told).points == 0
    secret.unlink()
    clock.now += 60
    assert sink.deliver(told).points == 0
    secret.write_text("right")
    clock.now += 60
    assert sink.deliver(told).points == 3


def test_a_job_that_ends_waits_for_no_server(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    border.rule = lambda lines: BUSY
    clock = Clock()
    sink = made(lake, spec, clock)
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    assert sink.deliver(told, lambda: clock.now >= 100.5) == Delivered()
    assert clock.now == pytest.approx(100.6, abs=0.21)
    sink.deliver(told, lambda: True)
    assert clock.now == pytest.approx(100.6, abs=0.21)


def test_a_job_that_ends_leaves_a_server_that_hangs(
    border: Border, lake: LakeSpec, spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill_module, "STOP_SECONDS", 0.3)
    hangs = threading.Event()
    border.rule = lambda lines: (hangs.wait(10), TAKEN)[1]
    sink = Deliveries(lake, "fleet", spec)
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    begun = time.monotonic()
    assert sink.deliver(told, lambda: True) == Delivered()
    assert time.monotonic() - begun < 3
    assert receipt(lake) == InfluxReceipt()
    hangs.set()


def test_a_stretch_of_work_is_bounded_and_the_next_one_goes_on(
    border: Border, lake: LakeSpec, spec: InfluxSpec
) -> None:
    clock = Clock()

    def rule(lines: list[str]) -> Answer:
        clock.now += 8
        return TAKEN

    border.rule = rule
    owed = [Owed(n + 1, (file_readings(lake, n, 1),)) for n in range(5)]
    sink = made(lake, spec, clock)
    assert [sink.deliver(notice({0: owed})).points for _ in range(3)] == [3, 2, 0]


def test_a_file_that_was_left_in_the_middle_goes_on_there(
    border: Border, lake: LakeSpec, spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(refill_module.PIECE_ROWS, "readings", 300)
    stored: list[int] = []
    quota = 4

    def rule(lines: list[str]) -> Answer:
        nonlocal quota
        if not quota:
            return 429, {"Retry-After": "60"}, "over quota"
        quota -= 1
        stored.extend(values([lines]))
        return TAKEN

    border.rule = rule
    clock = Clock()
    sink = made(lake, spec, clock)
    told = notice({0: [Owed(3000, (file_readings(lake, 0, 3000),))]})
    for _ in range(8):
        sink.deliver(told)
        quota = 4
        clock.now += 61
    assert sorted(stored) == list(range(3000))
    assert receipt(lake).readings == {"topic/0": 3000}
