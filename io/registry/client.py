"""A registry that speaks Confluent's HTTP interface: schemas by their ids, asked for once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from telebeam.io.secrets import resolve_secret
from telebeam.transforms.errors import ConfigurationError, SourceError
from telebeam.transforms.parsing.spec import RegistrySpec
from telebeam.transforms.parsing.wire import Schema

UNKNOWN_SECONDS = 60.0
"""How long it is believed that a registry does not know an id: a writer registers before it writes."""
_TIMEOUT = urllib3.Timeout(connect=5, read=10)
_RETRIES = urllib3.Retry(
    3, redirect=False, status_forcelist=(429, 502, 503, 504), backoff_factor=0.2, raise_on_status=False
)
_KINDS: dict[str, Literal["avro", "protobuf", "json"]] = {"AVRO": "avro", "PROTOBUF": "protobuf", "JSON": "json"}
_MAX_REFERENCES = 64
_HINTS = {401: "parse.registry.auth names user:password, or a token", 403: "that user may not read schemas there"}


@dataclass
class SchemaRegistry:
    """Schemas by their ids: what :class:`~telebeam.transforms.parsing.found.Known` asks.

    A schema never changes, so that it is asked for once.  The connection and what was learned stay in this process; the
    settings travel.

    Args:
        spec: Where it is; its secret is resolved at the first question.
        clock: Monotonic seconds.
    """

    spec: RegistrySpec
    clock: Callable[[], float] = time.monotonic
    _schemas: dict[int, Schema] = field(default_factory=dict, repr=False)
    _unknown: dict[int, float] = field(default_factory=dict, repr=False)
    _pool: Any = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "clock": self.clock, "_schemas": {}, "_unknown": {}, "_pool": None}

    def __call__(self, number: int) -> Schema | None:
        """The schema of an id; None where the registry has none.

        Raises:
            SourceError: The registry does not answer, or not as one does.
            ConfigurationError: Its secret is not there.
        """
        if number in self._schemas:
            return self._schemas[number]
        if self._unknown.get(number, self.clock()) > self.clock():
            return None
        answer = self._get(f"/schemas/ids/{number}")
        if answer is None:
            self._unknown[number] = self.clock() + UNKNOWN_SECONDS
            return None
        self._schemas[number] = self._schema(answer, f"/schemas/ids/{number}")
        return self._schemas[number]

    def _schema(self, answer: dict[str, Any], path: str) -> Schema:
        kind = _KINDS.get(answer.get("schemaType", "AVRO"))
        if kind is None:
            raise SourceError(f"{self.spec.url}{path} is of type {answer['schemaType']}, expected {', '.join(_KINDS)}")
        found: dict[str, str] = {}
        self._collect(answer, kind, found)
        if kind == "protobuf":
            answer = self._get(f"{path}?format=serialized") or answer
        return Schema(kind, _text(answer), tuple(found.items()))

    def _collect(self, answer: dict[str, Any], kind: str, found: dict[str, str]) -> None:
        """The schemas that one names, each behind those that it names itself."""
        for reference in answer.get("references") or ():
            name = str(reference["name"])
            if name in found or len(found) >= _MAX_REFERENCES:
                continue
            path = f"/subjects/{quote(str(reference['subject']), safe='')}/versions/{int(reference['version'])}"
            inner = self._get(path)
            if inner is None:
                raise SourceError(f"{self.spec.url} does not have {name}, which one of its schemas names")
            self._collect(inner, kind, found)
            if kind == "protobuf":
                inner = self._get(f"{path}?format=serialized") or inner
            found[name] = _text(inner)

    def _get(self, path: str) -> dict[str, Any] | None:
        """The answer's object; None for 404."""
        if self._pool is None:
            self._pool = urllib3.PoolManager(timeout=_TIMEOUT, headers=self._headers())
        try:
            answer = self._pool.request("GET", self.spec.url + path, retries=_RETRIES)
        except HTTPError as error:
            raise SourceError(f"the schema registry {self.spec.url} does not answer: {error}") from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise SourceError(f"the schema registry {self.spec.url} answers {answer.status} to {path}",
                              _HINTS.get(answer.status, ""))  # fmt: skip
        try:
            found = json.loads(answer.data)
        except ValueError as error:
            raise SourceError(f"{self.spec.url}{path} gives no JSON; is it a schema registry?") from error
        if not isinstance(found, dict):
            raise SourceError(f"{self.spec.url}{path} gives no object; is it a schema registry?")
        return found

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/vnd.schemaregistry.v1+json"}
        if self.spec.auth is None:
            return headers
        secret = resolve_secret(self.spec.auth)
        if ":" in secret:
            return {**headers, **urllib3.make_headers(basic_auth=secret)}
        if not secret.isascii() or any(character.isspace() for character in secret):
            raise ConfigurationError("parse.registry.auth names neither user:password nor a token")
        return {**headers, "Authorization": f"Bearer {secret}"}


def _text(answer: dict[str, Any]) -> str:
    text = answer.get("schema")
    if not isinstance(text, str):
        raise SourceError("a schema registry gives a schema without its text")
    return text
