"""What the live sender says is stored is stored, and nobody ever waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.io.influxdb import live as live_module
from telebeam.io.influxdb.live import LivePoints, live_points
from telebeam.io.influxdb.patience import asked_seconds
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.patience import Patience
from telebeam.transforms.errors import ConfigurationError, TelebeamError
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, conform
from tests.io.influxdb.test_client import TAKEN, Answer, Border

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
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
    return InfluxSpec(url=border.url, org="iot", bucket="telemetry", token="env:INFLUX_TEST_TOKEN")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A server that answers when a test lets it."""

    def __init__(self, border: Border) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        border.rule = self._rule

    def _rule(self, lines: list[str]) -> Answer:
        self.reached.set()
        self.opened.wait(20)
        return TAKEN


def readings(start: int, count: int = 1, device: str = "boiler") -> pa.RecordBatch:
    rows = [
        {
            "tenant": "default", "device_id": device, "timestamp": NOON + timedelta(microseconds=n), "unit": "bar",
            "sensor_type": "pressure", "measurement_type": "pressure", "value": float(n), "quality_score": 1.0,
            "issues": [], "is_late": False, "source": "a", "source_partition": 2, "source_offset": n,
        }
        for n in range(start, start + count)
    ]  # fmt: skip
    return conform(pa.RecordBatch.from_pylist(rows, schema=READINGS), READINGS_IN_FLIGHT)


def values(requests: list[list[str]]) -> list[int]:
    return [int(line.split("value=")[1].split(",")[0]) for lines in requests for line in lines]


def answering(*answers: Answer) -> Callable[[list[str]], Answer]:
    left = iter(answers)
    return lambda lines: next(left, TAKEN)


def test_what_is_settled_is_stored(border: Border, spec: InfluxSpec) -> None:
    with closing(LivePoints(spec)) as live:
        live.offer(readings(0, 5), 1)
        live.offer(readings(5, 5), 1)
        assert live.settled(1, 5)
        assert sorted(values(border.requests)) == list(range(10))
        assert live.settled(1, 0)


def test_a_lone_batch_waits_for_no_other(border: Border, spec: InfluxSpec) -> None:
    with closing(LivePoints(spec)) as live:
        for ticket in range(1, 4):
            live.offer(readings(ticket), ticket)
            assert live.settled(ticket, 5)
        assert [len(lines) for lines in border.requests] == [1, 1, 1]


def test_batches_that_wait_share_requests_of_the_stated_size(border: Border, spec: InfluxSpec) -> None:
    gate = Gate(border)
    with closing(LivePoints(spec.model_copy(update={"batch_points": 10}))) as live:
        live.offer(readings(0), 1)
        assert gate.reached.wait(5)
        for n in range(1, 26):
            live.offer(readings(n), 1)
        gate.opened.set()
        assert live.settled(1, 5)
        assert [len(lines) for lines in border.requests] == [1, 10, 10, 5]


def test_a_ticket_without_offers_is_settled(spec: InfluxSpec) -> None:
    with closing(LivePoints(spec)) as live:
        live.offer(readings(0, 0), 1)
        assert live.settled(1, 0)


def test_offering_never_waits_for_a_server_that_hangs(border: Border, spec: InfluxSpec) -> None:
    gate = Gate(border)
    with closing(LivePoints(spec)) as live:
        live.offer(readings(0), 1)
        assert gate.reached.wait(5)
        batch, begun = readings(0, 100), time.perf_counter()
        for _ in range(1000):
            live.offer(batch, 2)
        assert time.perf_counter() - begun < 1.5  # longer than a hundred times what it takes, shorter than the server
        assert not live.settled(2, 0)
        gate.opened.set()


def test_points_beyond_the_bound_are_dropped_and_said_to_be(
    border: Border, spec: InfluxSpec, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(border)
    with closing(LivePoints(spec, max_points_waiting=10)) as live:
        live.offer(readings(0, 4), 1)
        assert gate.reached.wait(5)
        live.offer(readings(4, 6), 1)
        live.offer(readings(10, 1), 2)
        assert live.lost(2)
        assert not live.lost(1)
        gate.opened.set()
        assert live.settled(1, 5)
        assert not live.settled(2, 0)
        live.offer(readings(11), 3)
        assert live.settled(3, 5)
        assert sorted(values(border.requests)) == [*range(10), 11]
    assert [record.getMessage().partition("takes")[2] for record in caplog.records] == [
        " fewer points than come: some readings will follow from the lake"
    ]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_unsettles_its_ticket_and_costs_one_request(border: Border, spec: InfluxSpec, status: int) -> None:
    border.rule = answering((status, {}, "no good"))
    with closing(LivePoints(spec)) as live:
        live.offer(readings(0, 64), 1)
        assert not live.settled(1, 5)
        assert live.lost(1)
        live.offer(readings(64), 2)
        assert live.settled(2, 5)
        assert len(border.requests) == 2


def test_a_reading_that_no_line_can_hold_unsettles_its_ticket_alone(border: Border, spec: InfluxSpec) -> None:
    gate = Gate(border)
    with closing(LivePoints(spec)) as live:
        live.offer(readings(0), 1)
        assert gate.reached.wait(5)
        live.offer(readings(1), 2)
        live.offer(readings(2, device="ends in \\"), 3)
        live.offer(readings(3), 4)
        gate.opened.set()
        assert [live.settled(ticket, 5) for ticket in range(1, 5)] == [True, True, False, True]
        assert values(border.requests) == [0, 1, 3]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_after_a_failure_nothing_is_sent_until_the_pause_is_over(
    border: Border, spec: InfluxSpec, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    border.rule = answering((status, {}, "no"), (status, {}, "no"))
    clock = Clock()
    with closing(LivePoints(spec, clock=clock, jitter=lambda: 0.0)) as live:
        for ticket, pause in ((1, 1.0), (11, 2.0)):
            requests = len(border.requests)
            live.offer(readings(0), ticket)
            assert not live.settled(ticket, 5)
            clock.now += pause - 0.01
            live.offer(readings(1), ticket + 1)
            assert live.lost(ticket + 1)
            assert len(border.requests) == requests + 1
            clock.now += 0.02
        live.offer(readings(2), 20)
        assert live.settled(20, 5)
    assert len(caplog.records) == 2
    assert "readings will follow from the lake" in caplog.records[0].getMessage()
    assert "is back" in caplog.records[1].getMessage()
    assert TOKEN not in caplog.text


def test_what_waits_behind_a_failure_is_dropped_with_it(border: Border, spec: InfluxSpec) -> None:
    gate = Gate(border)
    with closing(LivePoints(spec.model_copy(update={"batch_points": 1}))) as live:
        live.offer(readings(0), 1)
        assert gate.reached.wait(5)
        live.offer(readings(1), 2)
        border.rule = answering((503, {}, "busy"))
        live.offer(readings(2), 3)
        gate.opened.set()
        assert [live.settled(ticket, 5) for ticket in (1, 2, 3)] == [True, False, False]


def test_the_server_says_when_it_is_tried_again(border: Border, spec: InfluxSpec) -> None:
    border.rule = answering((429, {"Retry-After": "7"}, "slow down"))
    clock = Clock()
    with closing(LivePoints(spec, clock=clock)) as live:
        live.offer(readings(0), 1)
        assert not live.settled(1, 5)
        clock.now += 6.9
        live.offer(readings(1), 2)
        assert live.lost(2)
        clock.now += 0.2
        live.offer(readings(2), 3)
        assert live.settled(3, 5)


def test_a_server_that_is_not_there_at_all_loses_the_ticket(spec: InfluxSpec, border: Border) -> None:
    nobody = spec.model_copy(update={"url": "http://127.0.0.1:9"})
    with closing(LivePoints(nobody)) as live:
        live.offer(readings(0), 1)
        assert not live.settled(1, 5)
        assert live.lost(1)


def test_a_server_slower_than_the_timeout_loses_the_ticket(
    border: Border, spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "TIMEOUT", timedelta(seconds=0.2))
    gate = Gate(border)
    with closing(LivePoints(spec)) as live:
        live.offer(readings(0), 1)
        assert not live.settled(1, 5)
        assert live.lost(1)
        gate.opened.set()


def test_closing_takes_two_seconds_at_most_and_loses_what_waits(border: Border, spec: InfluxSpec) -> None:
    gate = Gate(border)
    live = LivePoints(spec.model_copy(update={"batch_points": 1}))
    live.offer(readings(0), 1)
    assert gate.reached.wait(5)
    live.offer(readings(1), 2)
    begun = time.perf_counter()
    live.close()
    assert time.perf_counter() - begun < 2.5
    assert live.closed
    assert not live.settled(2, 5)
    live.offer(readings(2), 3)
    assert live.lost(3)
    live.close()
    gate.opened.set()


def test_closing_while_idle_is_done_at_once(spec: InfluxSpec) -> None:
    live = LivePoints(spec)
    begun = time.perf_counter()
    live.close()
    assert time.perf_counter() - begun < 1
    assert "telebeam-influxdb-live" not in {thread.name for thread in threading.enumerate()}


def test_lost_tickets_that_nobody_asks_for_are_few_and_never_settled(
    spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "MAX_LOST_TICKETS", 3)
    with closing(LivePoints(spec, max_points_waiting=1)) as live:
        for ticket in range(1, 11):
            live.offer(readings(0, 2), ticket)
        assert not any(live.settled(ticket, 0) for ticket in range(1, 11))
        assert len(live._lost) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_batch_of_another_shape_loses_its_ticket_and_hangs_nobody(spec: InfluxSpec) -> None:
    wrong = readings(0).set_column(5, "value", pa.array(["text"]))
    with closing(LivePoints(spec)) as live:
        live.offer(wrong, 1)
        assert not live.settled(1, 5)
        assert live.lost(1)
        assert live.closed


def test_a_missing_secret_is_said_at_once(spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFLUX_TEST_TOKEN")
    with pytest.raises(ConfigurationError, match="INFLUX_TEST_TOKEN"):
        LivePoints(spec)


def test_all_threads_share_one_sender_until_it_is_closed(spec: InfluxSpec) -> None:
    found: list[LivePoints] = []
    threads = [threading.Thread(target=lambda: found.append(live_points(spec))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(live) for live in found}) == 1
    found[0].close()
    again = live_points(spec)
    assert again is not found[0]
    again.close()


def test_nothing_secret_is_shown(spec: InfluxSpec) -> None:
    with closing(LivePoints(spec)) as live:
        assert TOKEN not in repr(live)


@pytest.mark.parametrize(
    ("failures", "pause"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (100, 30.0), (5000, 30.0)]
)
def test_pauses_double_to_half_a_minute(failures: int, pause: float) -> None:
    patience = Patience(clock=Clock(), jitter=lambda: 0.0)
    for _ in range(failures):
        patience.failed(asked_seconds(TelebeamError("no")))
    assert patience.left() == pause


@given(jitter=st.floats(0, 1, exclude_max=True), failures=st.integers(1, 20))
def test_jitter_is_within_half_a_pause_and_half_a_minute(jitter: float, failures: int) -> None:
    patience = Patience(clock=Clock(), jitter=lambda: jitter)
    for _ in range(failures):
        patience.failed(asked_seconds(TelebeamError("no")))
    base = min(2.0 ** (failures - 1), 30.0)
    assert base <= patience.left() <= min(1.5 * base, 30.0)


@pytest.mark.parametrize("asked", ["soon", "-5", "", "Wed, 99 Foo", "nan", "inf", "1e9"])
def test_a_retry_after_that_says_nothing_is_not_obeyed_for_long(asked: str) -> None:
    from influxdb_client.rest import ApiException

    cause = ApiException(status=503, reason="busy")
    cause.headers = {"Retry-After": asked}
    error = TelebeamError("no")
    error.__cause__ = cause
    patience = Patience(clock=Clock(), jitter=lambda: 0.0)
    patience.failed(asked_seconds(error))
    assert 1.0 <= patience.left() <= 600.0


Step = st.tuples(st.integers(1, 4), st.integers(1, 5))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(Step, max_size=12), statuses=st.lists(st.sampled_from([204, 204, 422, 503]), max_size=12))
def test_whatever_the_server_answers_what_is_settled_is_stored(
    border: Border, spec: InfluxSpec, steps: list[tuple[int, int]], statuses: list[int]
) -> None:
    stored: set[int] = set()
    answers = iter(statuses)

    def rule(lines: list[str]) -> Answer:
        status = next(answers, 204)
        if status != 204:
            return status, {}, "no"
        stored.update(values([lines]))
        return TAKEN

    border.rule = rule
    clock = iter(range(0, 10**9, 1000))  # each look at it ends all pauses
    offered: dict[int, list[int]] = {}
    logging.getLogger(live_module.__name__).disabled = True
    with closing(LivePoints(spec, max_points_waiting=12, clock=lambda: float(next(clock)))) as live:
        start = 0
        for ticket, count in steps:
            live.offer(readings(start, count), ticket)
            offered.setdefault(ticket, []).extend(range(start, start + count))
            start += count
        settled: dict[int, Any] = {ticket: live.settled(ticket, 5) for ticket in offered}
        assert all(live.lost(ticket) != done for ticket, done in settled.items())
    logging.getLogger(live_module.__name__).disabled = False
    assert all(stored >= set(offered[ticket]) for ticket, done in settled.items() if done)
