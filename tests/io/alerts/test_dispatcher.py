"""Every sink gets every alert once, whatever the others do, and nobody waits for any of them."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from telebeam.io import storage
from telebeam.io.alerts.dispatcher import Dispatcher, shared_dispatcher
from telebeam.io.alerts.messages import COMMAND
from telebeam.io.alerts.sentlog import SentLog, folder
from telebeam.io.alerts.spec import AlertSinkSpec, CommandSinkSpec
from telebeam.io.alerts.testing import WebhookServer
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import ConfigurationError
from tests.io.alerts.samples import FIRST, SECRET, VARIABLE, alerts, commands, eventually, hook, ids, numbered
from tests.io.lake.disks import DiedError, dying_after

Open = Callable[..., Any]


@contextmanager
def dispatching(root: storage.Location, *specs: AlertSinkSpec, **settings: Any) -> Iterator[Dispatcher]:
    made = Dispatcher(specs, root, "fleet", jitter=lambda: 0.0, **settings)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def second() -> Iterator[WebhookServer]:
    with WebhookServer(secret=SECRET) as running:
        yield running


# Once


def test_what_is_offered_many_times_in_any_cut_is_sent_once_and_in_order(server: WebhookServer, root: storage.Location):
    rows = numbered(60)
    draw = random.Random(1)
    with dispatching(root, hook(server.url)) as made:
        for _ in range(30):
            start = draw.randrange(60)
            made.offer(rows.slice(0, draw.randrange(60)))
            made.offer(rows.slice(start, draw.randrange(1, 20)).slice(0))
        made.offer(rows)
        made.offer(pa.concat_batches([rows, rows]))
        assert made.flush(20)
        assert made.settled(rows)
    assert sorted(ids(server.alerts)) == sorted(ids(rows.to_pylist()))


def test_alerts_come_in_the_order_in_which_they_were_offered(server: WebhookServer, root: storage.Location):
    server.answer(503, times=1)
    rows = numbered(40)
    both = [alerts({"alert_id": "x"}), alerts({"alert_id": "x", "state": "resolved"})]
    with dispatching(root, hook(server.url, batch=1)) as made:
        for number in range(40):
            made.offer(rows.slice(number, 1))
        for each in both:
            made.offer(each)
        assert made.flush(20)
    assert ids(server.alerts) == [*(f"a{n}" for n in range(40)), "x", "x"]
    assert [each["state"] for each in server.alerts][-2:] == ["firing", "resolved"]


def test_a_restart_sends_nothing_again(server: WebhookServer, root: storage.Location):
    for count in (10, 10, 15):
        with dispatching(root, hook(server.url)) as made:
            made.offer(numbered(count))
            assert made.flush(10)
    assert ids(server.alerts) == [f"a{n}" for n in range(15)]


def test_what_another_writer_has_sent_is_not_sent_again(server: WebhookServer, root: storage.Location):
    with dispatching(root, hook(server.url), writer="reader") as one, dispatching(root, hook(server.url)) as two:
        one.offer(numbered(5))
        assert one.flush(10)
        two.offer(numbered(7))
        assert two.flush(10)
    assert ids(server.alerts) == [f"a{n}" for n in range(7)]


@pytest.mark.parametrize("operations", [0, 2, 3, 5, 8, 13, 21, 34])
def test_a_kill_at_any_file_operation_loses_nothing_and_repeats_the_last_call_at_most(
    server: WebhookServer, root: storage.Location, operations: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)
    with dying_after(operations, Path(root.path)), suppress(DiedError):
        made = Dispatcher([hook(server.url, batch=1)], root, "fleet")
        made.offer(numbered(12))
        made.flush(10)
        made.close()
    with dispatching(root, hook(server.url, batch=1)) as again:
        again.offer(numbered(12))
        assert again.flush(10)
    assert set(ids(server.alerts)) == {f"a{n}" for n in range(12)}
    assert len(server.alerts) <= 13


def test_a_refusal_is_kept_and_not_tried_again(server: WebhookServer, root: storage.Location):
    server.answer(400, body=b"no such rule")
    with dispatching(root, hook(server.url)) as made:
        made.offer(alerts({}))
        assert made.flush(10)
        ((name, (failed,)),) = made.failures().items()
        assert "no such rule" in failed.reason
        assert made.counts()[name].failed == 1
        assert made.settled(alerts({}))
    server.answer(204)
    with dispatching(root, hook(server.url)) as made:
        made.offer(alerts({}))
        assert made.flush(10)
    assert len(server.calls) == 1
    (kept,) = SentLog(root, "fleet", name).failures()
    assert kept == failed


def test_what_lies_too_far_back_is_not_sent_and_is_said(
    server: WebhookServer, root: storage.Location, caplog: pytest.LogCaptureFixture
):
    with dispatching(root, hook(server.url)) as made:
        made.offer(alerts({"alert_id": "new"}))
        assert made.flush(10)
        # Offered before the log knows: the thread finds it.
    with dispatching(root, hook(server.url)) as made:
        old = alerts({"alert_id": "old", "timestamp": FIRST.replace(year=2025)})
        made.offer(old)
        assert made.flush(10)
        assert made.settled(old)
    assert ids(server.alerts) == ["new"]


# Nobody waits


def test_a_sink_that_hangs_delays_neither_the_other_nor_the_caller(
    server: WebhookServer, second: WebhookServer, root: storage.Location
):
    server.hang()
    with dispatching(root, hook(server.url, timeout=30), hook(second.url)) as made:
        started = time.monotonic()
        for number in range(50):
            assert made.offer(numbered(1, number))
        offered = time.monotonic() - started
        assert second.wait_for(50)
        assert offered < 2.0
        assert eventually(lambda: list(made.owed().values()) == [50, 0])
        assert not made.flush(0.05)
        assert not made.settled(numbered(1))
        started = time.monotonic()
        made.close()
        assert time.monotonic() - started < 3.0


def test_what_does_not_fit_stays_owed_and_is_taken_when_it_is_offered_again(
    server: WebhookServer, root: storage.Location
):
    server.hang(times=1)
    with dispatching(root, hook(server.url, timeout="300ms", batch=1), max_waiting=5) as made:
        assert made.offer(numbered(5))
        assert not made.offer(numbered(20))
        assert list(made.owed().values()) == [5]
        assert eventually(lambda: made.offer(numbered(20)), 20)
        assert made.flush(10)
    assert ids(server.alerts) == [f"a{n}" for n in range(20)]


def test_a_sink_that_comes_back_gets_what_it_has_missed(root: storage.Location, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    port = free_port()
    with dispatching(root, hook(f"http://127.0.0.1:{port}/alerts", sink={"rules": ["overheated"]})) as made:
        made.offer(numbered(10))
        assert not made.flush(0.3)
        with WebhookServer(SECRET, port=port) as server:
            assert server.wait_for(10, 20)
            assert made.flush(5)
    assert ids(server.alerts) == [f"a{n}" for n in range(10)]


def test_a_secret_that_is_set_later_is_seen(root: storage.Location, server: WebhookServer, tmp_path: Path):
    secret = tmp_path / "secret"
    spec = hook(server.url, secret=f"file:{secret}")
    with dispatching(root, spec) as made:
        made.offer(alerts({}))
        assert eventually(lambda: "can't be read" in next(iter(made.counts().values())).trouble)
        secret.write_text(SECRET)
        assert made.flush(10)
    assert server.calls[0].signed


def test_a_log_that_cannot_be_written_repeats_nothing_and_is_made_up_for(server: WebhookServer, root: storage.Location):
    spec = hook(server.url)
    where = Path(root.child(folder("fleet", spec.name)))
    where.parent.mkdir(parents=True)
    with dispatching(root, spec) as made:
        made.offer(alerts({"alert_id": "first"}))
        assert made.flush(10)
        day = next(where.iterdir())
        kept = day.rename(day.with_suffix(".kept"))
        day.write_text("in the way")
        made.offer(alerts({"alert_id": "second"}))
        assert server.wait_for(2)
        made.offer(alerts({"alert_id": "second"}))
        assert not made.flush(0.2)
        assert not made.settled(alerts({"alert_id": "second"}))
        day.unlink()
        kept.rename(day)
        assert made.flush(10)
        assert made.settled(alerts({"alert_id": "second"}))
    assert ids(server.alerts) == ["first", "second"]


def test_the_log_says_at_most_once_a_minute_that_a_sink_is_away(
    server: WebhookServer, root: storage.Location, caplog: pytest.LogCaptureFixture
):
    server.redirect("https://elsewhere.example.org/")
    server.answer(404, times=5)
    with caplog.at_level(logging.WARNING), dispatching(root, hook(server.url, batch=1)) as made:
        made.offer(numbered(6))
        assert server.wait_for_calls(7, 10)
        said = [record.message for record in caplog.records]
        assert len(said) == 2
        assert "answers 404" in said[0]
        assert "redirects are not followed" in said[1]
        assert "1 alerts wait" in said[1]
        server.answer(204)
        assert made.flush(10)
        assert eventually(lambda: caplog.records[-1].message.endswith("is back: it gets what it has missed"))
    assert len(caplog.records) == 3


def test_an_end_in_the_middle_of_a_pause_is_at_once_and_leaves_the_rest_owed(
    server: WebhookServer, root: storage.Location
):
    server.answer(503, headers={"Retry-After": "300"})
    with dispatching(root, hook(server.url)) as made:
        made.offer(numbered(3))
        assert server.wait_for_calls(1)
        started = time.monotonic()
        made.close()
        made.close()
        assert time.monotonic() - started < 1.0
        assert not made.offer(numbered(3))
        assert not made.offer(numbered(4))
        assert list(made.owed().values()) == [3]


def test_retry_after_is_kept_over_many_alerts(server: WebhookServer, root: storage.Location):
    server.answer(429, headers={"Retry-After": "60"})
    with dispatching(root, hook(server.url, batch=1)) as made:
        made.offer(numbered(10))
        assert server.wait_for_calls(1)
        made.offer(numbered(5, 20))
        time.sleep(0.3)
        assert len(server.calls) == 1


# Sinks


def test_each_sink_gets_what_it_asks_for(server: WebhookServer, second: WebhookServer, root: storage.Location):
    rows = alerts({"severity": "info"}, {"rule": "cold"}, {"severity": "warning"}, {})
    specs = hook(server.url, sink={"min_severity": "warning"}), hook(second.url, sink={"rules": ["cold"]})
    with dispatching(root, *specs) as made:
        made.offer(rows)
        made.offer(alerts())
        assert made.flush(10)
        assert made.settled(rows)
    assert (ids(server.alerts), ids(second.alerts)) == (["a1", "a2", "a3"], ["a1"])


def test_commands_are_sent_as_alerts_are(server: WebhookServer, root: storage.Location):
    spec = CommandSinkSpec(webhook={"url": server.url})
    for _ in range(2):
        made = Dispatcher([spec], root, "fleet", COMMAND)
        made.offer(commands({}, {}))
        assert made.flush(10)
        made.close()
    assert [each["command_id"] for each in server.alerts] == ["c0", "c1"]
    assert storage.files_below(root, f"_commits/commands/fleet/{spec.name}", ".json")


def test_no_sinks_take_everything(root: storage.Location):
    with dispatching(root) as made:
        assert made.offer(numbered(3))
        assert made.flush(0)
        assert made.settled(numbered(3))


def test_one_target_given_twice_is_refused(root: storage.Location, server: WebhookServer):
    with pytest.raises(ConfigurationError, match="given twice"):
        Dispatcher([hook(server.url), hook(server.url, batch=1)], root, "fleet")


def test_stages_of_a_process_share_one_dispatcher(tmp_path: Path, server: WebhookServer):
    given = [hook(server.url)], str(tmp_path), "fleet"
    made = shared_dispatcher(*given)
    assert shared_dispatcher(*given) is made
    assert shared_dispatcher(*given, writer="reader-1") is made
    assert shared_dispatcher(given[0], given[1], "other") is not made


def test_rows_of_another_kind_are_an_error_at_once(root: storage.Location, server: WebhookServer):
    with dispatching(root, hook(server.url)) as made, pytest.raises(pa.ArrowInvalid, match="absent"):
        made.offer(commands({}))
