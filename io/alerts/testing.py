"""For tests of alerts: a webhook's receiver on this machine that remembers, and fails as it is told.

::

    with WebhookServer(secret="only-for-tests") as server:
        server.answer(status=500, times=2)  # the next two calls; then it takes all again
        ...
        assert server.wait_for(1)
        assert server.alerts[0]["state"] == "firing"
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from telebeam.io.alerts.signing import SENT_AT, SIGNATURE, is_signed

_HOLD_SECONDS = 0.02


@dataclass(frozen=True)
class Call:
    """One call as it came.

    Args:
        path: The path that was called.
        headers: Its headers, with names in lower case.
        body: Its body, byte for byte.
        signed: Whether the signature is right and of now; None where the server knows no secret.
        status: What was answered; 0 where nothing was.
        at: When it came, seconds of ``time.monotonic``.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes
    signed: bool | None
    status: int
    at: float

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The alerts or commands in it."""
        (rows,) = json.loads(self.body).values()
        return list(rows)


@dataclass(frozen=True)
class Answer:
    """How calls are answered.

    Args:
        status: The status; 0 for a connection that is closed without an answer.
        headers: More headers.
        body: What it says.
        seconds: How long it takes before it answers; a server that is closed stops waiting.
    """

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0


class WebhookServer:
    """A receiver of webhooks on 127.0.0.1; a context manager.  It takes every call unless told otherwise.

    Args:
        secret: Signatures are checked with it.
        certificate: A file with a certificate and its key (PEM): the server then speaks TLS.
        port: Where it listens; any free port where nothing is given.
    """

    def __init__(self, secret: str | None = None, certificate: Path | None = None, port: int = 0) -> None:
        self._secret = secret
        self._changed = threading.Condition()
        self._planned: list[Answer] = []
        self._usual = Answer()
        self._calls: list[Call] = []
        self._closing = threading.Event()
        self._server = _server(self, port)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/alerts"
        """Where it is called."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _HOLD_SECONDS}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Ends it; calls that hang are let go without an answer."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(
        self,
        status: int = 204,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        seconds: float = 0.0,
        times: int | None = None,
    ) -> None:
        """Says how calls are answered from now on, or how the next ones are."""
        given = Answer(status, dict(headers or {}), body, seconds)
        with self._changed:
            if times is None:
                self._usual, self._planned = given, []
            else:
                self._planned += [given] * times

    def hang(self, times: int | None = None) -> None:
        """Leaves calls without an answer until the server is closed."""
        self.answer(0, seconds=3600.0, times=times)

    def redirect(self, to: str, status: int = 302, times: int | None = None) -> None:
        """Answers with another address."""
        self.answer(status, headers={"Location": to}, times=times)

    @property
    def calls(self) -> list[Call]:
        """All calls so far, in their order."""
        with self._changed:
            return list(self._calls)

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts, or commands, of all calls that were answered with success."""
        return [row for call in self.calls if 200 <= call.status < 300 for row in call.rows]

    def wait_for(self, rows: int, seconds: float = 10.0) -> bool:
        """Waits until so many alerts have been taken; returns whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.alerts) >= rows, seconds)

    def wait_for_calls(self, calls: int, seconds: float = 10.0) -> bool:
        """Waits until it was called so often; returns whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._calls) >= calls, seconds)

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        lower = {name.lower(): text for name, text in headers.items()}
        with self._changed:
            answer = self._planned.pop(0) if self._planned else self._usual
            self._calls.append(Call(path, lower, body, self._is_signed(lower, body), answer.status, time.monotonic()))
            self._changed.notify_all()
        self._closing.wait(answer.seconds)
        return answer

    def _is_signed(self, headers: Mapping[str, str], body: bytes) -> bool | None:
        if self._secret is None:
            return None
        sent_at, given = headers.get(SENT_AT.lower(), ""), headers.get(SIGNATURE.lower(), "")
        return is_signed(self._secret, sent_at, body, given, time.time())


def _server(owner: WebhookServer, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for an acknowledgement

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = owner._take(self.path, dict(self.headers.items()), body)
            if not answer.status:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # callers that go away, and handshakes that fail, are what tests are about

    return Server(("127.0.0.1", port), Handler)
