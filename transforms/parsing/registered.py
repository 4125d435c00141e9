"""Messages that begin with the id of a registry's schema, in Avro, Protobuf or JSON; and Protobuf by a descriptor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.parsing.avro import avro_decoder
from telebeam.transforms.parsing.columns import group_values
from telebeam.transforms.parsing.found import Found, Messages
from telebeam.transforms.parsing.json import json_groups
from telebeam.transforms.parsing.protobuf import descriptor_decoder, protobuf_decoder, split_indexes
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.parsing.singly import inner_paths
from telebeam.transforms.parsing.wire import Schema, SchemaOf, schema_by_id, split_prefix


def avro_groups(messages: Messages) -> Iterator[Found]:
    """The records of messages whose schema a registry holds; the schema says whether it is Avro, Protobuf or JSON.

    Raises:
        ConfigurationError: No registry is declared.
        SourceError: The registry does not answer.
    """
    if messages.known.schema_of is None:
        raise ConfigurationError("messages with a schema's id in front need a registry", "parse: {registry: {url: …}}")
    schemas = _Schemas(messages.known.schema_of)
    values: list[tuple[int, Any]] = []
    texts: list[tuple[int, bytes]] = []
    refused: list[tuple[int, RefusedRecord]] = []
    for row, payload in enumerate(messages.payloads.to_pylist()):
        try:
            number, content = split_prefix(payload)
            schema = schemas.get(number)
            if schema.kind == "json":
                texts.append((row, content))
            else:
                values.append((row, _decoded(schema, content)))
        except RefusedRecord as refusal:
            refused.append((row, refusal))
    yield _found(messages, values, refused)
    if texts:
        rows = np.array([row for row, _ in texts], np.int64)
        found = json_groups(pa.array([text for _, text in texts], pa.large_binary()), messages.spec)
        yield found._replace(records=Records(found.records.payloads, rows[found.records.envelopes]))


def protobuf_groups(messages: Messages) -> Iterator[Found]:
    """The records of Protobuf messages, by ``parse.descriptor`` where it is declared, and else by a registry."""
    spec = messages.spec
    if spec.descriptor is None:
        yield from avro_groups(messages)
        return
    decode = descriptor_decoder(spec.descriptor, spec.message)
    values: list[tuple[int, Any]] = []
    refused: list[tuple[int, RefusedRecord]] = []
    for row, payload in enumerate(messages.payloads.to_pylist()):
        try:
            values.append((row, decode(payload)))
        except RefusedRecord as refusal:
            refused.append((row, refusal))
    yield _found(messages, values, refused)


class _Schemas:
    """A registry's schemas, asked for once a batch: what it does not know now it may know later."""

    def __init__(self, schema_of: SchemaOf) -> None:
        self._schema_of = schema_of
        self._found: dict[int, Schema | RefusedRecord] = {}

    def get(self, number: int) -> Schema:
        if number not in self._found:
            try:
                self._found[number] = schema_by_id(number, self._schema_of)
            except RefusedRecord as refusal:
                self._found[number] = refusal
        found = self._found[number]
        if isinstance(found, RefusedRecord):
            raise found
        return found


def _decoded(schema: Schema, content: bytes) -> Any:
    if schema.kind == "avro":
        return avro_decoder(schema)(content)
    indexes, message = split_indexes(content)
    return protobuf_decoder(schema, indexes)(message)


def _found(messages: Messages, values: list[tuple[int, Any]], refused: list[tuple[int, RefusedRecord]]) -> Found:
    objects = [(row, value) for row, value in values if type(value) is dict]
    refused += [
        (row, RefusedRecord("not_an_object", f"expected a record, found {str(value)[:20]!r}"))
        for row, value in values
        if type(value) is not dict
    ]
    records = Records(messages.payloads, np.arange(len(messages)))
    return Found(records, group_values(objects, inner_paths(messages.spec)), refused)
