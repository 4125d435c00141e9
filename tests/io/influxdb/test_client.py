"""The writer against a server on this machine that answers as the law at hand needs."""

from __future__ import annotations

import gzip
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pytest

from telebeam.io.influxdb.client import InfluxWriter, Refused, probe
from telebeam.io.influxdb.lines import Lines
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.transforms.errors import ConfigurationError, SinkError

Answer = tuple[int, dict[str, str], str]
TAKEN: Answer = (204, {}, "")
TOKEN = "a-very-secret-token"


class Border:
    """A server that answers by a rule over the lines of a request, and keeps what it was sent."""

    def __init__(self) -> None:
        self.rule: Callable[[list[str]], Answer] = lambda lines: TAKEN
        self.requests: list[list[str]] = []
        self.queries: list[dict[str, list[str]]] = []
        self.tokens: list[str | None] = []
        border = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for an acknowledgement

            def do_POST(self) -> None:
                assert self.headers["Content-Encoding"] == "gzip"
                body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
                lines = body.decode().split("\n")[:-1]
                border.requests.append(lines)
                border.queries.append(parse_qs(urlsplit(self.path).query))
                border.tokens.append(self.headers["Authorization"])
                status, headers, words = border.rule(lines)
                content = json.dumps({"message": words}).encode() if words else b""
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})


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


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def lines_of(*texts: str) -> Lines:
    rows = np.arange(len(texts))
    return Lines(pa.array([f"{text}\n".encode() for text in texts], pa.large_binary()), rows, rows)


def write(spec: InfluxSpec, lines: Lines, clock: Clock | None = None) -> list[Refused]:
    clock = clock or Clock()
    with InfluxWriter(spec, clock=clock, sleep=clock.sleep) as writer:
        return writer.write(lines)


def refusing(bad: str, status: int = 400) -> Callable[[list[str]], Answer]:
    return lambda lines: (status, {}, "no good") if any(bad in line for line in lines) else TAKEN


def test_every_line_is_sent_once_in_requests_of_the_stated_size(border: Border, spec: InfluxSpec) -> None:
    texts = [f"m f={n} {n}" for n in range(25)]
    assert write(spec.model_copy(update={"batch_points": 10}), lines_of(*texts)) == []
    assert border.requests == [texts[:10], texts[10:20], texts[20:]]
    assert border.queries[0] == {"org": ["iot"], "bucket": ["telemetry"], "precision": ["us"]}
    assert set(border.tokens) == {f"Token {TOKEN}"}


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("bad", [{0}, {7}, {99}, {3, 4, 5}, {0, 50, 99}, set(range(100)), set()])
def test_exactly_the_refused_lines_are_named_and_all_others_are_stored(
    border: Border, spec: InfluxSpec, status: int, bad: set[int]
) -> None:
    stored: set[str] = set()

    def rule(lines: list[str]) -> Answer:
        if any("bad" in line for line in lines):
            return status, {}, "no good"
        stored.update(lines)
        return TAKEN

    border.rule = rule
    texts = [f"m f={'bad' if n in bad else n} {n}" for n in range(100)]
    refused = write(spec.model_copy(update={"batch_points": 40}), lines_of(*texts))
    assert refused == [Refused(n, "no good") for n in sorted(bad)]
    assert stored == {text for n, text in enumerate(texts) if n not in bad}


def test_one_bad_line_costs_logarithmically_many_requests(border: Border, spec: InfluxSpec) -> None:
    border.rule = refusing("bad")
    write(spec, lines_of(*[f"m f={'bad' if n == 333 else n} {n}" for n in range(1024)]))
    assert len(border.requests) == 1 + 2 * 10


def test_a_batch_that_is_dropped_as_a_whole_costs_one_request(border: Border, spec: InfluxSpec) -> None:
    border.rule = lambda lines: (422, {}, f"partial write: field type conflict dropped={len(lines)}")
    assert len(write(spec, lines_of(*[f"m f={n} {n}" for n in range(500)]))) == 500
    assert len(border.requests) == 1


def test_lines_beyond_the_retention_are_parted_in_the_order_of_time(border: Border, spec: InfluxSpec) -> None:
    def rule(lines: list[str]) -> Answer:
        old = sum(int(line.split()[-1]) < 500 for line in lines)
        return (422, {}, f"partial write: dropped {old} points outside retention policy") if old else TAKEN

    border.rule = rule
    texts = [f"m f=1 {n * 7919 % 1024}" for n in range(1024)]
    times = np.array([int(text.split()[-1]) for text in texts])
    lines = lines_of(*texts)
    refused = write(spec, Lines(lines.text, lines.rows, times))
    assert [each.index for each in refused] == list(np.flatnonzero(times < 500))
    assert len(border.requests) < 30


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_comes_back_in_time_loses_nothing(border: Border, spec: InfluxSpec, status: int) -> None:
    answers = iter([(status, {}, "busy"), (status, {}, "busy"), TAKEN])
    border.rule = lambda lines: next(answers)
    clock = Clock()
    assert write(spec, lines_of("m f=1 1"), clock) == []
    assert border.requests == [["m f=1 1"]] * 3
    assert 0.5 <= clock.pauses[0] <= 1 <= clock.pauses[1] <= 2


def test_the_server_says_when_to_come_back(border: Border, spec: InfluxSpec) -> None:
    answers = iter([(429, {"Retry-After": "7"}, "slow down"), TAKEN])
    border.rule = lambda lines: next(answers)
    clock = Clock()
    assert write(spec, lines_of("m f=1 1"), clock) == []
    assert clock.pauses == [7]


def test_a_pause_beyond_the_deadline_is_not_waited_for(border: Border, spec: InfluxSpec) -> None:
    border.rule = lambda lines: (503, {"Retry-After": "3600"}, "maintenance")
    clock = Clock()
    with pytest.raises(SinkError, match=r"answers 503 and asks to come back in 3600 s; tried once"):
        write(spec, lines_of("m f=1 1"), clock)
    assert clock.pauses == []


def test_retries_end_with_their_number(border: Border, spec: InfluxSpec) -> None:
    border.rule = lambda lines: (503, {}, "overloaded")
    with pytest.raises(SinkError, match=r"answers 503: overloaded; tried 3 times"):
        write(spec.model_copy(update={"max_retries": 2}), lines_of("m f=1 1"))
    assert len(border.requests) == 3


def test_retries_end_with_their_time(border: Border, spec: InfluxSpec) -> None:
    border.rule = lambda lines: (503, {}, "overloaded")
    clock = Clock()
    with pytest.raises(SinkError, match="answers 503"):
        write(spec.model_copy(update={"max_retries": 100}), lines_of("m f=1 1"), clock)
    assert sum(clock.pauses) <= spec.max_retry_time.total_seconds()
    assert len(clock.pauses) >= 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_retry_can_mend_stops_at_once_with_a_hint(border: Border, spec: InfluxSpec, status: int) -> None:
    border.rule = lambda lines: (status, {}, "no")
    clock = Clock()
    with pytest.raises(SinkError, match=f"answers {status}: no") as error:
        write(spec, lines_of("m f=1 1"), clock)
    assert error.value.hint
    assert len(border.requests) == 1
    assert clock.pauses == []


def test_no_redirect_takes_the_token_elsewhere(border: Border, spec: InfluxSpec) -> None:
    elsewhere = Border()
    elsewhere.thread.start()
    border.rule = lambda lines: (307, {"Location": f"{elsewhere.url}/api/v2/write"}, "moved")
    with pytest.raises(SinkError, match="answers 307") as error:
        write(spec, lines_of("m f=1 1"))
    elsewhere.server.shutdown()
    elsewhere.thread.join()
    elsewhere.server.server_close()
    assert elsewhere.requests == []
    assert elsewhere.url in error.value.hint


def test_nobody_listening_is_said_after_bounded_retries(spec: InfluxSpec) -> None:
    nowhere = spec.model_copy(update={"url": "http://127.0.0.1:9", "max_retries": 2})
    clock = Clock()
    with pytest.raises(SinkError, match=r"http://127.0.0.1:9 can't be written to: .*tried 3 times in \d") as error:
        write(nowhere, lines_of("m f=1 1"), clock)
    assert len(clock.pauses) == 2
    assert "run the job again" in error.value.hint


def test_the_token_shows_nowhere(border: Border, spec: InfluxSpec, caplog: pytest.LogCaptureFixture) -> None:
    border.rule = lambda lines: (503, {}, "overloaded")
    clock = Clock()
    with InfluxWriter(spec, clock=clock, sleep=clock.sleep) as writer:
        with pytest.raises(TypeError, match="holds a token"):
            pickle.dumps(writer)
        with pytest.raises(SinkError) as error:
            writer.write(lines_of("m f=1 1"))
        shown = [repr(writer), str(writer), str(error.value), repr(error.value), caplog.text]
    assert not [text for text in shown if TOKEN in text]


def test_a_secret_that_is_not_there_is_a_wrong_request(spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFLUX_TEST_TOKEN")
    with pytest.raises(ConfigurationError, match="INFLUX_TEST_TOKEN"):
        InfluxWriter(spec)


def test_a_probe_writes_nothing_and_does_not_retry(border: Border, spec: InfluxSpec) -> None:
    probe(spec)
    assert border.requests == [[]]
    border.rule = lambda lines: (503, {}, "overloaded")
    with pytest.raises(SinkError, match="tried once"):
        probe(spec)
