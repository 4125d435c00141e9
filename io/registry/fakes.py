"""A schema registry that runs in this process and speaks the real one's HTTP: for tests of pipelines."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


class FakeRegistry:
    """Schemas over HTTP on a free port, while it is entered.

    >>> with FakeRegistry() as registry:
    ...     number = registry.register("reading-value", '{"type":"record","name":"R","fields":[]}')
    ...     number, registry.url.startswith("http://127.0.0.1:")
    (1, True)
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        """How often each path was asked for."""
        self.away = False
        """While true every question is answered with 503."""
        self.authorization: str | None = None
        """What requests must bring as their header of that name; else they are answered with 401."""
        self._schemas: dict[int, dict[str, Any]] = {}
        self._subjects: dict[tuple[str, int], int] = {}
        self._serialized: dict[int, str] = {}
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Its address."""
        if self._server is None:
            raise RuntimeError("the registry is not running; enter it first")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def register(
        self, subject: str, text: str, kind: str = "AVRO", serialized: str = "", references: tuple[Any, ...] = ()
    ) -> int:
        """Adds a subject's next version; its id.

        Args:
            subject: Its name.
            text: The schema as its author wrote it.
            kind: AVRO, PROTOBUF or JSON.
            serialized: What ``format=serialized`` gives of a Protobuf schema: a descriptor in base64.
            references: (name, subject, version) of the schemas that it names.
        """
        number = len(self._schemas) + 1
        version = 1 + sum(name == subject for name, _ in self._subjects)
        names = [{"name": name, "subject": of, "version": at} for name, of, at in references]
        self._schemas[number] = {"schema": text, "schemaType": kind, "references": names}
        self._subjects[subject, version] = number
        self._serialized[number] = serialized
        return number

    def __enter__(self) -> Self:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = registry.answer(self.path, self.headers.get("Authorization"))
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Nothing: a test's output is its own."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, target: str, authorization: str | None) -> tuple[int, dict[str, Any]]:
        """Status and body for a path."""
        self.asked[target] += 1
        if self.away:
            return 503, {"error_code": 50003, "message": "away"}
        if self.authorization is not None and authorization != self.authorization:
            return 401, {"error_code": 40101, "message": "Unauthorized"}
        parts = urlsplit(target)
        names = [unquote(part) for part in parts.path.strip("/").split("/")]
        by_id = names[:2] == ["schemas", "ids"]
        number = int(names[2]) if by_id else self._subjects.get((names[1], int(names[3])), 0)
        if number not in self._schemas:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        found = dict(self._schemas[number])
        if parse_qs(parts.query).get("format") == ["serialized"]:
            found["schema"] = self._serialized[number]
        return 200, found
