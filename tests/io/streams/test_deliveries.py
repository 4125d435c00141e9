"""What InfluxDB is owed is delivered, in order, and then stands in the receipt."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline  # pytest would collect a name in Test
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.io.influxdb.live import LivePoints, live_points
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams import receipts
from telebeam.io.streams.deliveries import LIVE_FIRST_SECONDS, LIVE_WAITING, Delivered, DeliverToInfluxDB, deliveries
from telebeam.io.streams.notices import Owed, OwedWindows, WindowsOwed
from telebeam.io.streams.receipts import InfluxReceipt
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.metrics import counts_of
from tests.io.influxdb.test_client import TAKEN, Answer, Border
from tests.io.streams.owing import (
    Clock,
    file_readings,
    file_windows,
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


def test_what_is_owed_is_delivered_in_order_and_once(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    owed = [Owed(10 * n + 10, (file_readings(lake, 10 * n, 6), file_readings(lake, 10 * n + 6, 4))) for n in range(3)]
    sink = made(lake, spec, Clock())
    assert sink.deliver(notice({0: owed})) == Delivered(30, 0)
    assert values(border.requests) == list(range(30))
    assert receipt(lake) == InfluxReceipt(readings={"topic/0": 30})
    assert sink.deliver(notice({0: owed})) == Delivered()
    assert made(lake, spec, Clock()).deliver(notice({0: owed})) == Delivered()
    assert len(border.requests) == 6


def test_an_older_notice_after_a_newer_one_does_nothing(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    owed = [Owed(n + 1, (file_readings(lake, n, 1),)) for n in range(4)]
    sink = made(lake, spec, Clock())
    assert sink.deliver(notice({0: owed[:2]})).points == 2
    assert sink.deliver(notice({0: owed})).points == 2
    assert sink.deliver(notice({0: owed[:3]})).points == 0
    assert values(border.requests) == [0, 1, 2, 3]


def test_windows_come_before_readings(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    readings_owed = [Owed(n + 1, (file_readings(lake, n, 1),)) for n in range(3)]
    windows_owed = tuple(OwedWindows(n + 1, file_windows(lake, n, 1)) for n in range(3))
    sink = made(lake, spec, Clock())
    sink._hear(notice({0: readings_owed}))
    assert sink.deliver(WindowsOwed(60, windows_owed)).points == 6
    kinds = ["windows" if "iot_windows" in lines[0] else "readings" for lines in border.requests]
    assert kinds == ["windows"] * 3 + ["readings"] * 3
    assert receipt(lake) == InfluxReceipt(readings={"topic/0": 3}, windows={60: 3})


def test_readings_on_the_direct_path_wait_while_windows_are_sent_and_only_then(
    border: Border, lake: LakeSpec, spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    monkeypatch.setattr(LivePoints, "give_way", lambda live: held.append("windows"))
    monkeypatch.setattr(LivePoints, "go_on", lambda live: held.clear())
    seen: list[tuple[str, bool]] = []

    def rule(lines: list[str]) -> Answer:
        seen.append(("windows" if "iot_windows" in lines[0] else "readings", bool(held)))
        return TAKEN

    border.rule = rule
    with closing(live_points(spec)):
        sink = made(lake, spec, Clock())
        sink._hear(notice({0: [Owed(1, (file_readings(lake, 0, 1),))]}))
        assert sink.deliver(WindowsOwed(60, (OwedWindows(1, file_windows(lake, 0, 1)),))).points == 2
    assert seen == [("windows", True), ("readings", False)]


def test_what_was_missed_lets_the_direct_path_pass_and_gets_through_all_the_same(
    border: Border, lake: LakeSpec, spec: InfluxSpec
) -> None:
    owed = [Owed(n + 1, (file_readings(lake, n, 1),)) for n in range(3)]
    clock, begun = Clock(), Clock().now
    sink = made(lake, spec, clock, lambda: LIVE_WAITING + 1)
    assert sink.deliver(notice({0: owed})).points == 3
    assert clock.now - begun == pytest.approx(3 * LIVE_FIRST_SECONDS, abs=0.3)
    idle = Clock()
    made(lake, spec, idle, lambda: LIVE_WAITING).deliver(notice({1: owed}))
    assert idle.now == begun


def test_a_large_file_is_left_for_windows_and_gone_on_with(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    rows = 5 * lake.row_group_rows
    readings_path, windows_path = file_readings(lake, 0, rows), file_windows(lake, 0, 1)
    sink = made(lake, spec, Clock())

    def rule(lines: list[str]) -> Answer:
        if len(border.requests) == 1:
            sink._hear(WindowsOwed(60, (OwedWindows(1, windows_path),)))
        return TAKEN

    border.rule = rule
    assert sink.deliver(notice({0: [Owed(1, (readings_path,))]})).points == rows + 1
    kinds = ["iot_windows" in lines[0] for lines in border.requests]
    assert kinds.index(True) == 2  # behind the two requests that were on their way
    assert sum(len(lines) for lines in border.requests) == rows + 1  # none is sent twice
    assert receipt(lake) == InfluxReceipt(readings={"topic/0": 1}, windows={60: 1})


def test_windows_that_are_told_during_the_work_come_next(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    owed = [Owed(n + 1, (file_readings(lake, n, 1),)) for n in range(5)]
    path = file_windows(lake, 0, 1)
    reached, go_on = threading.Event(), threading.Event()

    def rule(lines: list[str]) -> Answer:
        if len(border.requests) == 2:
            reached.set()
            go_on.wait(10)
        return TAKEN

    border.rule = rule
    sink = made(lake, spec, Clock())
    worker = threading.Thread(target=sink.deliver, args=(notice({0: owed}),))
    worker.start()
    assert reached.wait(10)
    told: list[Any] = []
    other = threading.Thread(target=lambda: told.append(sink.deliver(WindowsOwed(60, (OwedWindows(1, path),)))))
    other.start()
    while 60 not in sink._windows:
        time.sleep(0.01)
    go_on.set()
    other.join(10)
    worker.join(10)
    assert ["iot_windows" in lines[0] for lines in border.requests] == [False, False, True, False, False, False]
    assert told == [Delivered()]
    assert receipt(lake).windows == {60: 1}


def test_partitions_take_turns(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    owed = {part: [Owed(n + 1, (file_readings(lake, 100 * part + n, 1),)) for n in range(3)] for part in range(3)}
    made(lake, spec, Clock()).deliver(notice(owed))
    assert [value // 100 for value in values(border.requests)] == [0, 1, 2] * 3


def test_a_file_that_was_taken_away_is_skipped(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    owed = [Owed(1, ("readings/gone.parquet", file_readings(lake, 0, 1))), Owed(2, ("readings/gone.parquet",))]
    assert made(lake, spec, Clock()).deliver(notice({0: owed})).points == 1
    assert receipt(lake).readings == {"topic/0": 2}


def test_two_workers_do_not_forget_what_the_other_has_delivered(
    border: Border, lake: LakeSpec, spec: InfluxSpec
) -> None:
    one, other = made(lake, spec, Clock()), made(lake, spec, Clock())
    owed = [Owed(n + 1, (file_readings(lake, n, 1),)) for n in range(2)]
    one.deliver(notice({0: owed[:1]}))
    other.deliver(WindowsOwed(60, (OwedWindows(1, file_windows(lake, 0, 1)),)))
    one.deliver(notice({0: owed}))
    assert receipt(lake) == InfluxReceipt(readings={"topic/0": 2}, windows={60: 1})


def test_a_receipt_that_is_damaged_is_written_anew(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    storage.publish(storage.locate(lake.path), receipts.influxdb_path("fleet"), pa.py_buffer(b"{"))
    assert made(lake, spec, Clock()).deliver(told).points == 3
    assert receipt(lake).readings == {"topic/0": 3}


def test_a_receipt_that_the_lake_does_not_take_is_written_later(
    border: Border, lake: LakeSpec, spec: InfluxSpec
) -> None:
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})
    blocker = Path(lake.path) / "_commits"
    blocker.write_text("a file where a folder should be")
    sink = made(lake, spec, Clock())
    assert sink.deliver(told).points == 3
    blocker.unlink()
    assert sink.deliver(told).points == 0
    assert receipt(lake).readings == {"topic/0": 3}


def test_only_what_is_to_be_written_is_delivered(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    sink = made(lake, spec.model_copy(update={"write": ("windows",)}), Clock())
    assert sink.deliver(notice({0: [Owed(3, (file_readings(lake, 0, 3),))]})).points == 0
    assert sink.deliver(WindowsOwed(60, (OwedWindows(1, file_windows(lake, 0, 4)),))).points == 4


Moves = st.lists(st.tuples(st.sampled_from(["tell", "tell", "kill"]), st.integers(0, 1), st.integers(0, 4)), max_size=8)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(moves=Moves, statuses=st.lists(st.sampled_from([204, 204, 503, 401, 422]), max_size=12))
def test_whatever_happens_before_everything_owed_arrives_in_the_end(
    border: Border, spec: InfluxSpec, tmp_path_factory: pytest.TempPathFactory, moves: Any, statuses: list[int]
) -> None:
    lake = LakeSpec(path=str(tmp_path_factory.mktemp("lake")), row_group_rows=1024)
    owed = {part: [Owed(5 * n + 5, (file_readings(lake, 100 * part + 5 * n, 5),)) for n in range(4)] for part in (0, 1)}
    stored: set[int] = set()
    answers = iter(statuses)

    def rule(lines: list[str]) -> Answer:
        status = next(answers, 204)
        if status != 204 and not (status == 422 and len(lines) == 1):  # parted until each line is taken
            return status, {}, "no"
        stored.update(values([lines]))
        return TAKEN

    border.rule = rule
    clock = Clock()
    logging.getLogger("telebeam").setLevel(logging.CRITICAL)
    sink = made(lake, spec, clock)
    for move, part, count in moves:
        if move == "tell":
            sink.deliver(notice({part: owed[part][:count]}))
        else:
            sink = made(lake, spec, clock)
        clock.now += 10
    for _ in range(20):
        clock.now += 60
        sink.deliver(notice(owed))
    logging.getLogger("telebeam").setLevel(logging.NOTSET)
    assert stored == {*range(20), *range(100, 120)}
    assert receipt(lake).readings == {"topic/0": 20, "topic/1": 20}


def test_the_transform_delivers_what_its_elements_say(border: Border, lake: LakeSpec, spec: InfluxSpec) -> None:
    told = notice({0: [Owed(3, (file_readings(lake, 0, 3),))]}).encode()
    owed = WindowsOwed(60, (OwedWindows(1, file_windows(lake, 0, 4)),)).encode()
    pipeline = StrictPipeline("FnApiRunner")
    elements = {
        "readings": pipeline | "Notices" >> beam.Create([told, told]),
        "windows": pipeline | "Owed" >> beam.Create([owed]),
    }
    _ = elements | DeliverToInfluxDB(lake, "fleet", spec, "run-1")
    result = pipeline.run()
    result.wait_until_finish()
    assert counts_of(result)["points"] == 7
    assert receipt(lake) == InfluxReceipt(readings={"topic/0": 3}, windows={60: 1})
    assert sum(map(len, border.requests)) == 7


def test_the_transform_fails_at_its_start_where_the_secret_is_missing(
    lake: LakeSpec, spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INFLUX_TEST_TOKEN")
    pipeline = StrictPipeline("FnApiRunner")
    _ = {"readings": pipeline | beam.Create([notice({}).encode()])} | DeliverToInfluxDB(lake, "fleet", spec)
    with pytest.raises((ConfigurationError, RuntimeError), match="INFLUX_TEST_TOKEN"):
        pipeline.run().wait_until_finish()


def test_stages_of_a_process_share_their_deliveries(lake: LakeSpec, spec: InfluxSpec) -> None:
    assert deliveries(lake, "fleet", spec) is deliveries(lake, "fleet", spec)
    assert deliveries(lake, "fleet", spec) is not deliveries(lake, "other", spec)
