"""A proxy before InfluxDB that answers as servers in trouble do."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HUNG_SECONDS = 20.0


class MoodyProxy(ThreadingHTTPServer):
    """Passes requests on, unless it has a mood.

    ``mood`` is a status that writes are answered with, such as 503; ``hung`` lets them wait; None passes them on.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = urlsplit(url).netloc
        self.mood: int | str | None = None
        self.awake = threading.Event()
        self.answers: Counter[int] = Counter()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MoodyProxy

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mood = self.server.mood
        if mood == "hung":
            self.server.awake.wait(HUNG_SECONDS)
            self.close_connection = True
            return
        if isinstance(mood, int):
            self._say(mood, {"Retry-After": "1", "Content-Type": "application/json"}, b'{"message": "not now"}')
            return
        try:
            connection = http.client.HTTPConnection(self.server.server, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            kept = {
                name: value for name, value in answer.getheaders() if name.lower() in ("content-type", "retry-after")
            }
            self._say(answer.status, kept, content)
            connection.close()
        except OSError:
            self.close_connection = True  # as if there were nothing behind this address

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.server.answers[status] += 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def moody_proxy(url: str) -> Iterator[MoodyProxy]:
    """A proxy before a server, until the ``with`` is left."""
    with MoodyProxy(url) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.awake.set()
            proxy.shutdown()
            thread.join()
