"""What a webhook's receiver gets, and what becomes of alerts however it behaves."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from telebeam.io.alerts.messages import ALERT, COMMAND
from telebeam.io.alerts.senders import probe
from telebeam.io.alerts.signing import is_signed, signature
from telebeam.io.alerts.spec import AlertSinkSpec
from telebeam.io.alerts.testing import WebhookServer
from telebeam.io.alerts.webhook import ANSWER_BYTES, WebhookSender
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import ConfigurationError, SinkError, UnreachableError
from tests.io.alerts.certificates import certificate
from tests.io.alerts.samples import FIRST, SECRET, VARIABLE, alerts, commands, hook, ids, keys, numbered


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def sender(url: str, clock: Clock | None = None, kind: Any = ALERT, **changes: Any) -> WebhookSender:
    spec = hook(url, **changes).webhook
    assert spec is not None
    clock = clock or Clock()
    return WebhookSender(spec, kind, clock=clock, sleep=clock.sleep, jitter=lambda: 0.0)


# What is sent


def test_a_call_is_the_documented_one(server: WebhookServer):
    sent = sender(server.url, headers={"X-Team": "boilers"}).send(alerts({"message": 'a "b"\n\u2028é'}))
    (call,) = server.calls
    assert (sent.delivered, sent.failed, sent.trouble) == (tuple(keys(alerts({}))), (), None)
    assert call.rows == [
        {
            "alert_id": "a0", "rule": "overheated", "tenant": "default", "device_id": "boiler-1",
            "sensor_type": "temperature", "measurement_type": "temperature",
            "timestamp": "2026-01-01T00:00:00.000000Z", "alert_type": "threshold", "severity": "critical",
            "state": "firing", "message": 'a "b"\n\u2028é', "value": 81.5, "expected": 80.0,
        }
    ]  # fmt: skip
    assert call.signed
    assert call.headers["idempotency-key"] == "a0-firing"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["x-team"] == "boilers"
    assert abs(int(call.headers["x-telebeam-timestamp"]) - time.time()) < 60


@pytest.mark.parametrize("value", [1e308, -1e308, -0.0, 5e-324, 0.1])
def test_every_number_arrives_bit_by_bit(server: WebhookServer, value: float):
    sender(server.url).send(alerts({"value": value}))
    text = server.calls[0].body.partition(b'"value":')[2].partition(b",")[0]
    assert repr(float(text)) == repr(value)


def test_a_command_carries_its_payload_as_json(server: WebhookServer):
    rows = commands(
        {"payload": '{"level": [1, 2]}'}, {"payload": "{broken"}, {"payload": None}, {"payload": "[" * 9999}
    )
    sender(server.url, kind=COMMAND).send(rows)
    (call,) = server.calls
    assert list(json.loads(call.body)) == ["commands"]
    assert [row.get("payload") for row in call.rows] == [{"level": [1, 2]}, "{broken", None, "[" * 9999]
    assert [row["command_id"] for row in call.rows] == ["c0", "c1", "c2", "c3"]


def test_alerts_of_one_rule_at_one_instant_share_a_call_up_to_the_batch(server: WebhookServer):
    rows = alerts(*[{}] * 5, {"rule": "cold"}, {"rule": "cold", "timestamp": FIRST + timedelta(seconds=1)}, {})
    sender(server.url, batch=3).send(rows)
    assert [ids(call.rows) for call in server.calls] == [["a0", "a1", "a2"], ["a3", "a4"], ["a5"], ["a6"], ["a7"]]
    assert ids(server.alerts) == [f"a{n}" for n in range(8)]


def test_the_same_alerts_have_the_same_idempotency_key_and_others_another(server: WebhookServer):
    calls = sender(server.url, batch=10)
    for rows in (
        alerts({}, {}),
        alerts({}, {}),
        alerts({}),
        alerts({"state": "resolved"}),
        alerts({"alert_id": "ä\n"}),
    ):
        calls.send(rows)
    found = [call.headers["idempotency-key"] for call in server.calls]
    assert found[0] == found[1]
    assert len(set(found)) == 4
    assert all(key.isascii() and key.isprintable() for key in found)


def test_a_signature_is_of_this_secret_this_body_and_this_time():
    given = signature("key", "1000", b"{}")
    assert is_signed("key", "1000", b"{}", given, 1299.0)
    assert not is_signed("other", "1000", b"{}", given, 1000.0)
    assert not is_signed("key", "1000", b"{ }", given, 1000.0)
    assert not is_signed("key", "1001", b"{}", given, 1000.0)
    assert not is_signed("key", "1000", b"{}", given, 1301.0)
    assert not is_signed("key", "1000", b"{}", "sha256=é", 1000.0)
    assert not is_signed("key", "", b"{}", signature("key", "", b"{}"), 0.0)


# What becomes of it


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429])
def test_a_server_that_fails_twice_gets_the_call_a_third_time(server: WebhookServer, status: int):
    server.answer(status, times=2)
    clock = Clock()
    sent = sender(server.url, clock).send(alerts({}))
    assert (len(sent.delivered), len(server.calls), clock.pauses) == (1, 3, [0.5, 1.0])
    assert len({call.headers["idempotency-key"] for call in server.calls}) == 1
    assert all(call.signed for call in server.calls)


def test_a_server_that_goes_on_failing_is_left_alone_and_keeps_nobody(server: WebhookServer):
    server.answer(503, body=b"maintenance")
    sent = sender(server.url).send(alerts({}, {"rule": "cold"}))
    assert isinstance(sent.trouble, UnreachableError)
    assert "answers 503: maintenance; tried 4 times" in sent.trouble.message
    assert (sent.delivered, sent.failed, len(server.calls)) == ((), (), 4)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for_and_what_is_too_long_is_left_for_later(server: WebhookServer, as_date: bool):
    def after(seconds: int) -> dict[str, str]:
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds + 1), usegmt=True)
        return {"Retry-After": at if as_date else str(seconds)}

    server.answer(429, headers=after(7), times=1)
    clock = Clock()
    assert sender(server.url, clock).send(alerts({})).delivered
    assert clock.pauses[0] == pytest.approx(7.0, abs=1.5)
    server.answer(429, headers=after(3600))
    sent = sender(server.url).send(alerts({}))
    assert (sent.pause_seconds, len(server.calls)) == (pytest.approx(3600, abs=2), 3)


@pytest.mark.parametrize("text", ["soon", "-3", "1e9", "", "²", "9" * 5000])
def test_a_retry_after_that_is_none_is_not_waited_for_without_end(server: WebhookServer, text: str):
    server.answer(503, headers={"Retry-After": text.encode("latin-1").decode("latin-1")}, times=1)
    sender(server.url).send(alerts({}))
    assert len(server.calls) >= 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422])
def test_a_refusal_is_final_and_its_reason_is_kept(server: WebhookServer, status: int):
    server.answer(status, body=b'{"error":"no such thing"}')
    sent = sender(server.url).send(alerts({}))
    (failed,) = sent.failed
    assert (failed.key.id, sent.trouble, len(server.calls)) == ("a0", None, 1)
    assert f"answers {status}: " in failed.reason
    assert "no such thing" in failed.reason


def test_one_alert_that_is_refused_condemns_no_others(server: WebhookServer):
    server.answer(422, times=1)
    server.answer(204, times=1)
    server.answer(422, times=1)
    sent = sender(server.url).send(alerts({}, {}, {}))
    assert [key.id for key in sent.delivered] == ["a0", "a2"]
    assert [failed.key.id for failed in sent.failed] == ["a1"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_not_followed_and_says_so(server: WebhookServer, status: int):
    with WebhookServer() as other:
        server.redirect(other.url + "?token=very-secret", status)
        sent = sender(server.url).send(alerts({}))
        assert not other.calls
    assert len(server.calls) == 1
    assert isinstance(sent.trouble, SinkError)
    assert f"answers {status}: it redirects to http://127.0.0.1:{other.port}" in sent.trouble.message
    assert "very-secret" not in str(sent.trouble)
    assert "not followed" in sent.trouble.hint


def test_a_server_that_hangs_costs_the_timeout_and_no_more(server: WebhookServer):
    server.hang()
    started = time.monotonic()
    sent = sender(server.url, timeout="200ms").send(alerts({}))
    assert isinstance(sent.trouble, UnreachableError)
    assert len(server.calls) == 4
    assert time.monotonic() - started < 5


def test_a_slow_server_is_waited_for(server: WebhookServer):
    server.answer(200, seconds=0.3, body=b"ok")
    assert sender(server.url, timeout=5).send(alerts({})).delivered


def test_nobody_there_is_trouble_and_the_address_stays_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    sent = sender(f"http://127.0.0.1:{free_port()}/very-secret").send(alerts({}))
    assert "refused" in str(sent.trouble)
    assert "very-secret" not in str(sent.trouble)


def test_a_connection_that_breaks_is_tried_again(server: WebhookServer):
    server.answer(0, times=2)
    assert sender(server.url).send(alerts({})).delivered
    assert len(server.calls) == 3


def test_an_answer_without_end_is_not_read_to_its_end(server: WebhookServer):
    server.answer(500, body=b"x" * 50_000_000)
    started = time.monotonic()
    sent = sender(server.url).send(alerts({}))
    assert "xxx…" in str(sent.trouble)
    assert len(str(sent.trouble)) < 1000
    server.answer(200, body=b"x" * 50_000_000)
    assert sender(server.url).send(alerts({})).delivered
    assert time.monotonic() - started < 10
    assert ANSWER_BYTES < 100_000


def raw_server(answer: bytes, drip: float = 0.0) -> tuple[str, socket.socket]:
    """A server that says these bytes to whoever comes, one at a time where it drips."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    for byte in [answer[n : n + 1] for n in range(len(answer))] if drip else [answer]:
                        connection.sendall(byte)
                        time.sleep(drip)
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/", listener


@pytest.mark.parametrize(
    ("answer", "delivered"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", True),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 204\r\n\r\n", True),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", False),
        (b"nonsense\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", False),
        (b"", False),
    ],
)
def test_an_odd_answer_is_an_answer_or_trouble(monkeypatch: pytest.MonkeyPatch, answer: bytes, delivered: bool):
    monkeypatch.setenv(VARIABLE, SECRET)
    url, listener = raw_server(answer)
    with listener:
        sent = sender(url, timeout=1).send(alerts({}))
    assert bool(sent.delivered) == delivered
    assert (sent.trouble is None) == delivered


def test_an_answer_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    url, listener = raw_server(b"HTTP/1.1 400 No\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, drip=0.01)
    with listener:
        started = time.monotonic()
        spec = hook(url, timeout=1).webhook
        assert spec is not None
        sent = WebhookSender(spec, ALERT).send(alerts({}))
    assert sent.failed
    assert time.monotonic() - started < 5


# TLS


def test_a_certificate_that_is_not_trusted_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    mine, other = (certificate(tmp_path / name) for name in ("mine.pem", "other.pem"))
    with WebhookServer(SECRET, certificate=mine) as server:
        for trusted in ({}, {"ca_file": str(other)}, {"ca_file": str(tmp_path / "absent.pem")}):
            sent = sender(server.url, **trusted).send(alerts({}))
            assert isinstance(sent.trouble, UnreachableError)
        assert "CERTIFICATE_VERIFY_FAILED" in str(sender(server.url).send(alerts({})).trouble)
        assert not server.calls
        assert sender(server.url, ca_file=str(mine)).send(alerts({})).delivered
        assert server.calls[0].signed


def test_a_certificate_of_another_host_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    wrong = certificate(tmp_path / "wrong.pem", address="127.0.0.2")
    with WebhookServer(certificate=wrong) as server:
        sent = sender(server.url, ca_file=str(wrong)).send(alerts({}))
        assert isinstance(sent.trouble, UnreachableError)
        with pytest.raises(UnreachableError, match="can't be reached"):
            probe(hook(server.url, ca_file=str(wrong)))
        assert not server.calls


# Secrets


def test_a_secret_is_neither_printed_nor_pickled(server: WebhookServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_URL", server.url + "/very-secret")
    monkeypatch.setenv("HOOK_TOKEN", "Bearer very-secret")
    made = sender("env:HOOK_URL", headers={"Authorization": "env:HOOK_TOKEN"})
    assert repr(made) == "WebhookSender(env:HOOK_URL)"
    with pytest.raises(TypeError, match="holds secrets"):
        pickle.dumps(made)
    server.answer(400, body=b"who is Bearer very-secret at /alerts/very-secret with " + SECRET.encode())
    (failed,) = made.send(alerts({})).failed
    assert "secret" not in failed.reason
    assert SECRET not in failed.reason
    assert server.calls[0].path == "/alerts/very-secret"
    assert server.calls[0].headers["authorization"] == "Bearer very-secret"


@pytest.mark.parametrize(
    ("name", "text"), [("HOOK_URL", "http://elsewhere.example.org/x"), ("HOOK_URL", ""), ("HOOK_HEADER", "a\nb")]
)
def test_a_secret_that_cannot_be_used_is_a_wrong_configuration(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch, server: WebhookServer
):
    monkeypatch.setenv("HOOK_URL", server.url)
    monkeypatch.setenv("HOOK_HEADER", "fine")
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigurationError, match=name) as refused:
        sender("env:HOOK_URL", headers={"X-A": "env:HOOK_HEADER"})
    assert "elsewhere.example.org/x" not in str(refused.value)


def test_a_probe_reaches_the_server_without_calling_it(server: WebhookServer):
    assert probe(hook(server.url)) == f"http://127.0.0.1:{server.port} answers"
    assert not server.calls
    with pytest.raises(UnreachableError, match="can't be reached"):
        probe(hook(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(ConfigurationError, match="NO_SUCH_VARIABLE"):
        probe(AlertSinkSpec(webhook={"url": server.url, "secret": "env:NO_SUCH_VARIABLE"}))


def test_a_thousand_alerts_arrive_in_their_order(server: WebhookServer):
    sent = sender(server.url, batch=100).send(numbered(1000, timestamp=FIRST))
    assert [key.id for key in sent.delivered] == ids(server.alerts) == [f"a{n}" for n in range(1000)]
    assert len(server.calls) == 10
