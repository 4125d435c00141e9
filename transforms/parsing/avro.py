"""Avro messages by the schema that their writer registered."""

from __future__ import annotations

import decimal
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from telebeam.transforms.extras import needing
from telebeam.transforms.parsing.columns import Instant
from telebeam.transforms.parsing.records import RefusedRecord
from telebeam.transforms.parsing.wire import Schema

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BROKEN = (EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError, MemoryError,
           RecursionError, StopIteration, decimal.DecimalException)  # fmt: skip
"""What fastavro raises where bytes are not of the schema."""

Decode = Callable[[bytes], Any]


@lru_cache(maxsize=1024)
def avro_decoder(schema: Schema) -> Decode:
    """What reads messages of a schema: bytes → decoded value; it raises RefusedRecord ``malformed``.

    Raises:
        RefusedRecord: ``schema``: it is none, or one whose messages can't be read safely.
    """
    with needing("formats", "Avro"):
        import fastavro
        from fastavro.schema import SchemaParseException, UnknownType
    try:
        named: dict[str, Any] = {}
        for _, text in schema.references:
            fastavro.parse_schema(json.loads(text), named_schemas=named)
        parsed = fastavro.parse_schema(json.loads(schema.text), named_schemas=named)
        _check(parsed, named, ())
    except RefusedRecord:
        raise
    except (
        SchemaParseException,
        UnknownType,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise RefusedRecord("schema", f"no Avro schema: {str(error)[:200]}") from error

    def decode(payload: bytes) -> Any:
        stream = io.BytesIO(payload)
        try:
            value = plain(fastavro.schemaless_reader(stream, parsed, None))
        except OverflowError as error:
            raise RefusedRecord("bad_timestamp", "a time beyond the years 1 to 9999") from error
        except _BROKEN as error:
            # What fastavro says may hold an address in memory: the same message would give other rows.
            raise RefusedRecord("malformed", f"not of its Avro schema ({type(error).__name__})") from error
        if stream.tell() != len(payload):
            raise RefusedRecord("malformed", f"{len(payload) - stream.tell()} bytes behind the message")
        return value

    return decode


def _check(schema: Any, named: dict[str, Any], above: tuple[str, ...]) -> bool:
    """Whether a value may take no bytes at all; a list of such could claim any length.

    Raises:
        RefusedRecord: ``schema``.
    """
    if isinstance(schema, list):
        for branch in schema:
            _check(branch, named, above)
        return False
    if isinstance(schema, str):
        if schema in above:
            raise RefusedRecord("schema", f"{schema} holds itself: readings are not nested without end")
        return _check(named[schema], named, above) if schema in named else schema == "null"
    kind = schema["type"]
    if kind in ("record", "error"):
        if schema["name"] in above:
            raise RefusedRecord("schema", f"{schema['name']} holds itself: readings are not nested without end")
        empty = [_check(field["type"], named, (*above, schema["name"])) for field in schema["fields"]]
        return all(empty)
    if kind in ("array", "map"):
        if kind == "array" and _check(schema["items"], named, above):
            raise RefusedRecord("schema", "an array of what takes no bytes")
        if kind == "map":
            _check(schema["values"], named, above)
        return False
    if kind == "fixed":
        return bool(schema["size"] == 0)
    return False if kind == "enum" else _check(kind, named, above)


def plain(value: Any) -> Any:
    """A decoded value as the other formats give it: times as instants, dates and identifiers as text."""
    kind = type(value)
    if kind is str or kind is float or kind is int or value is None:
        return value
    if kind is dict:
        return {name: plain(item) for name, item in value.items()}
    if kind is list:
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        # A local timestamp is text without an offset, for parse.timezone.
        return value.isoformat() if value.tzinfo is None else Instant((value - _EPOCH) // timedelta(microseconds=1))
    if isinstance(value, (date, time, UUID, timedelta)):
        return str(value)
    if isinstance(value, (bytearray, tuple)):
        return bytes(value) if isinstance(value, bytearray) else [plain(item) for item in value]
    return value
