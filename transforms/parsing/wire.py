"""Messages with the id of a registry's schema in front, as Confluent's serializers write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from telebeam.transforms.parsing.records import RefusedRecord

MAGIC = 0
PREFIX_BYTES = 5
"""The magic byte, and the schema's id as four bytes, the first one counting most."""

Kind = Literal["avro", "protobuf", "json"]


class Schema(NamedTuple):
    """A schema that a registry holds.

    Args:
        kind: Its language.
        text: Avro's JSON; Protobuf's ``FileDescriptorProto`` in base64; a JSON Schema.
        references: The schemas that it names, by the names that it uses, each before those that name it.
    """

    kind: Kind
    text: str
    references: tuple[tuple[str, str], ...] = ()


SchemaOf = Callable[[int], Schema | None]
"""A schema by its id; None where the registry knows none of that id.

It raises :class:`~telebeam.transforms.errors.SourceError` where the registry does not answer: a message must not be
refused for that.
"""


def split_prefix(payload: bytes) -> tuple[int, bytes]:
    """The schema's id and the message behind it.

    Raises:
        RefusedRecord: ``malformed``.
    """
    if len(payload) < PREFIX_BYTES or payload[0] != MAGIC:
        raise RefusedRecord("malformed", "no schema id in front: expected a zero byte and four bytes of an id")
    return int.from_bytes(payload[1:PREFIX_BYTES], "big"), payload[PREFIX_BYTES:]


def schema_by_id(number: int, schema_of: SchemaOf) -> Schema:
    """The schema of an id.

    Raises:
        RefusedRecord: ``schema``: the registry knows none.
        SourceError: The registry does not answer.
    """
    schema = schema_of(number)
    if schema is None:
        raise RefusedRecord("schema", f"the registry has no schema of id {number}")
    return schema
