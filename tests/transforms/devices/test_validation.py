"""Payloads are held against a schema; nothing that a payload or a schema holds costs more than itself."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pytest

from telebeam.transforms.devices.validation import Validator, validate

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["temperature"],
    "properties": {"temperature": {"type": "number", "minimum": -40}, "mode": {"$ref": "#/definitions/mode"}},
    "additionalProperties": False,
    "definitions": {"mode": {"enum": ["a", "b"]}},
}


def column(*payloads: bytes | None) -> pa.Array:
    return pa.array(payloads, pa.large_binary())


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'{"temperature": 21.5, "mode": "a"}', None),
        (b'{"temperature": "x"}', 'temperature: "x" is not of type "number"'),
        (b'{"temperature": -41}', "temperature: -41 is less than the minimum of -40"),
        (b"{}", 'the payload: "temperature" is a required property'),
        (b'{"temperature": 1, "mode": "c"}', 'mode: "c" is not one of'),
        (b'{"temperature": 1, "more": 1}', "Additional properties are not allowed"),
        (b"[]", "is not of type"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (None, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"temperature": 1e400}', "not JSON"),
    ],
)
def test_a_payload_is_valid_or_the_cause_is_named(payload: bytes | None, words: str | None):
    found = validate(column(b'{"temperature": 1}', payload), SCHEMA)
    assert found.valid.tolist() == [True, words is None]
    detail = found.detail.to_pylist()
    assert detail[0] is None
    assert detail[1] is None if words is None else words in detail[1]
    assert len(detail[1] or "") <= 200


@pytest.mark.parametrize(
    "schema",
    [
        7,
        "x",
        {"type": "nonsense"},
        {"pattern": "("},
        {"$ref": "http://example.com/schema.json"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "#/absent"},
        {"minimum": "x"},
    ],
)
def test_what_is_no_schema_or_leads_elsewhere_is_refused(schema: Any):
    with pytest.raises(ValueError, match="JSON Schema"):
        Validator(schema)


def test_no_regular_expression_takes_long():
    begun = time.process_time()
    found = validate(column(b'"' + b"a" * 5000 + b'b"'), {"pattern": "^(a+)+$"})
    assert found.valid.tolist() == [False]
    assert time.process_time() - begun < 1


def test_an_empty_column_is_fine():
    assert len(validate(column(), True).valid) == 0
