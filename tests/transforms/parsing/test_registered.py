"""Avro, Protobuf and JSON by a registry's schemas, over HTTP; and Protobuf by a descriptor."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2

from telebeam.io.registry.client import SchemaRegistry
from telebeam.io.registry.fakes import FakeRegistry
from telebeam.transforms.errors import ConfigurationError, SourceError
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.protobuf import descriptor_decoder
from telebeam.transforms.parsing.spec import ParseSpec, RegistrySpec

READING = {
    "type": "record", "name": "Reading", "namespace": "iot", "fields": [
        {"name": "device_id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "metric", "type": {"type": "enum", "name": "Metric", "symbols": ["temperature", "humidity"]}},
        {"name": "value", "type": ["null", "double", {"type": "bytes", "logicalType": "decimal", "precision": 9,
        "scale": 2}]},
        {"name": "installed", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
        {"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}},
    ],
}  # fmt: skip
GOOD = {"device_id": "device-1", "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "metric": "temperature", "value": 21.5,
        "installed": date(2025, 1, 1), "tags": {"site": "oslo"}}  # fmt: skip


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def read(registry: FakeRegistry, envelopes) -> Any:
    """Parses payloads by the registry: (payloads…, form=) → (readings, rejects)."""
    client = SchemaRegistry(RegistrySpec(url=registry.url))

    def run(*payloads: bytes, form: str = "avro", **spec: Any) -> Any:
        parsed = parse(envelopes(payloads), ParseSpec(format=form, **spec), 0, Known(client))
        return parsed.readings.drop_columns(["payload"]).to_pylist(), parsed.rejects.to_pylist()

    return run


def framed(number: int, content: bytes) -> bytes:
    return b"\x00" + number.to_bytes(4, "big") + content


def avro(schema: Any, value: Any, number: int = 1) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return framed(number, stream.getvalue())


@pytest.mark.parametrize("form", ["avro", "auto"])
def test_an_avro_message_is_read_by_its_writers_schema(form: str, registry, read):
    number = registry.register("iot-value", json.dumps(READING))
    rows, rejects = read(
        avro(READING, GOOD, number), avro(READING, {**GOOD, "value": Decimal("7.25")}, number), form=form
    )
    assert [(row["device_id"], row["value"], row["sensor_type"], row["timestamp"]) for row in rows] == [
        ("device-1", 21.5, "temperature", GOOD["timestamp"]), ("device-1", 7.25, "temperature", GOOD["timestamp"]),
    ]  # fmt: skip
    assert rows[0]["metadata"] == '{"installed":"2025-01-01","tags":{"site":"oslo"}}'
    assert rejects == []
    read(avro(READING, GOOD, number))
    assert registry.asked == {"/schemas/ids/1": 1}


def test_every_truncation_is_malformed_and_so_is_a_byte_more(registry, read):
    number = registry.register("iot-value", json.dumps(READING))
    data = avro(READING, GOOD, number)
    broken = [*[data[:length] for length in range(len(data))], data + b"\x00", b"\x01" + data[1:]]
    rows, rejects = read(*broken)
    assert rows == []
    assert [(row["reason"], row["payload"]) for row in rejects] == [("malformed", part) for part in broken]


def test_an_id_that_nobody_knows_is_refused_as_schema_and_asked_for_once(registry, read):
    good = registry.register("iot-value", json.dumps(READING))
    rows, rejects = read(framed(77, b"x"), framed(77, b"y"), avro(READING, GOOD, good))
    assert (len(rows), [row["reason"] for row in rejects]) == (1, ["schema", "schema"])
    assert registry.asked["/schemas/ids/77"] == 1


def test_a_registry_that_is_away_loses_no_message(registry, read):
    number = registry.register("iot-value", json.dumps(READING))
    registry.away = True
    with pytest.raises(SourceError, match="503"):
        read(avro(READING, GOOD, number))
    registry.away = False
    assert len(read(avro(READING, GOOD, number))[0]) == 1


def test_a_registry_that_is_not_there_raises_a_source_error(envelopes):
    client = SchemaRegistry(RegistrySpec(url="http://127.0.0.1:9"))
    with pytest.raises(SourceError, match="does not answer"):
        parse(envelopes([framed(1, b"x")]), ParseSpec(format="avro"), 0, Known(client))


def test_messages_with_ids_need_a_registry(envelopes):
    with pytest.raises(ConfigurationError, match="registry"):
        parse(envelopes([framed(1, b"x")]), ParseSpec(format="avro"), 0)


@pytest.mark.parametrize(("secret", "header"), [("user:word", "Basic dXNlcjp3b3Jk"), ("token1", "Bearer token1")])
def test_the_secret_is_resolved_where_it_is_used_and_stays_out_of_texts(secret, header, registry, monkeypatch):
    monkeypatch.setenv("REGISTRY_AUTH", secret)
    registry.authorization = header
    registry.register("iot-value", json.dumps(READING))
    client = SchemaRegistry(RegistrySpec(url=registry.url, auth="env:REGISTRY_AUTH"))
    assert client(1) is not None
    assert secret not in repr(client) + repr(client.__getstate__())
    with pytest.raises(SourceError, match="401"):
        SchemaRegistry(RegistrySpec(url=registry.url))(1)
    with pytest.raises(ValueError, match="reference"):
        RegistrySpec(url=registry.url, auth=secret.replace(":", "-"))


@pytest.mark.parametrize("schema", [
    '{"type":"record","name":"R","fields":[{"name":"next","type":["null","R"]}]}', '{"type":"array","items":"null"}',
    '{"type":"array","items":{"type":"record","name":"E","fields":[{"name":"a","type":{"type":"record","name":"F","fields":[]}}]}}',
    '{"type":"array","items":{"type":"fixed","name":"F","size":0}}', "{", "[]", '"nobody"', "7", '{"type":"record"}',
    "null",
])  # fmt: skip
def test_a_schema_that_is_none_or_that_could_claim_any_length_is_refused(schema: str, registry, read):
    number = registry.register("iot-value", schema)
    assert [row["reason"] for row in read(framed(number, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"))[1]] in (
        ["schema"],
        ["malformed"],
    )


def test_schemas_that_name_others_are_resolved(registry, read):
    registry.register("unit", '{"type":"enum","name":"iot.Unit","symbols":["celsius"]}')
    fields = [*READING["fields"][:2], {"name": "temperature", "type": "double"}, {"name": "unit", "type": "iot.Unit"}]
    text = json.dumps({**READING, "fields": fields})
    number = registry.register("value", text, references=(("iot.Unit", "unit", 1),))
    stream = io.BytesIO()
    named: dict[str, Any] = {}
    fastavro.parse_schema({"type": "enum", "name": "iot.Unit", "symbols": ["celsius"]}, named_schemas=named)
    parsed = fastavro.parse_schema(json.loads(text), named_schemas=named)
    fastavro.schemaless_writer(stream, parsed, {**GOOD, "temperature": 5.0, "unit": "celsius"})
    assert [row["value"] for row in read(framed(number, stream.getvalue()))[0]] == [5.0]


def test_a_json_schemas_messages_are_json(registry, read):
    number = registry.register("value", "{}", "JSON")
    good = b'{"device_id":"device-1","timestamp":1767225600,"temperature":5}'
    rows, rejects = read(
        framed(number, good), framed(number, b"{"), framed(99, good), form="auto", registry={"url": "http://x"}
    )
    assert ([row["source_offset"] for row in rows], [row["reason"] for row in rejects]) == (
        [0],
        ["schema", "malformed"],
    )


def descriptor() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="reading.proto", package="iot", syntax="proto3",
                                              dependency=["google/protobuf/timestamp.proto"])  # fmt: skip
    file.message_type.add(name="Other")
    message = file.message_type.add(name="Reading")
    for number, (name, kind) in enumerate(
        [("device_id", 9), ("timestamp", 11), ("temperature", 1), ("site", 9), ("n", 3)], 1
    ):
        field = message.field.add(name=name, number=number, type=kind, label=1)
        if kind == 11:
            field.type_name = ".google.protobuf.Timestamp"
    nested = message.nested_type.add(name="Inner")
    nested.field.add(name="device_id", number=1, type=9, label=1)
    return file


def protobuf(**members: Any) -> bytes:
    """device_id = 1, timestamp = 2 (seconds = 1), temperature = 3, site = 4."""
    from google.protobuf import descriptor_pool, message_factory, timestamp_pb2

    pool = descriptor_pool.DescriptorPool()
    known = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(known)
    pool.Add(known)
    pool.Add(descriptor())
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("iot.Reading"))
    message = kind(**{name: value for name, value in members.items() if name != "timestamp"})
    if "timestamp" in members:
        message.timestamp.seconds = members["timestamp"]
    return message.SerializeToString()


def test_a_protobuf_message_is_read_by_the_registrys_descriptor(registry, read):
    text = base64.b64encode(descriptor().SerializeToString()).decode()
    number = registry.register("value", 'syntax = "proto3";', "PROTOBUF", serialized=text)
    body = protobuf(device_id="device-1", timestamp=1767225600, temperature=21.5, site="oslo")
    zero = protobuf(device_id="device-1", timestamp=1767225600)
    rows, rejects = read(framed(number, b"\x02\x02" + body), framed(number, b"\x02\x02" + zero),
                         framed(number, b"\x02\x02" + body[:-1]), framed(number, b"\x02\x08" + body), framed(number,
                         b"\x02"),
                         framed(number, b"\x00"), framed(number, b"\xff" * 12), form="protobuf")  # fmt: skip
    values = [(row["measurement_type"], row["value"]) for row in rows]
    # A field without presence that is not on the wire has its default: that is what its writer says.
    assert values == [("n", 0), ("temperature", 21.5), ("n", 0), ("temperature", 0)] or sorted(values) == sorted(
        [("n", 0), ("temperature", 21.5), ("n", 0), ("temperature", 0)]
    )
    assert sorted(row["reason"] for row in rejects) == [
        "malformed",
        "malformed",
        "malformed",
        "missing_device_id",
        "schema",
    ]


def test_a_registry_that_gives_a_protobuf_schema_as_text_is_refused_with_a_hint(registry, read):
    number = registry.register("value", 'syntax = "proto3";', "PROTOBUF", serialized='syntax = "proto3";')
    _, rejects = read(framed(number, b"\x00"))
    assert [(row["reason"], "format=serialized" in row["detail"]) for row in rejects] == [("schema", True)]


def test_protobuf_without_ids_is_read_by_a_descriptor_file(tmp_path: Path, parse_json):
    known = descriptor_pb2.FileDescriptorProto()
    file = tmp_path / "reading.desc"
    file.write_bytes(descriptor_pb2.FileDescriptorSet(file=[descriptor()]).SerializeToString())
    body = protobuf(device_id="device-1", timestamp=1767225600, temperature=21.5)
    found = parse_json(body, body[:-1], format="protobuf", descriptor=str(file), message="iot.Reading")
    assert ([row["value"] for row in found.readings], found.reasons) == ([0.0, 21.5], ["malformed"])
    assert known is not None
    for name, message in (("nowhere.desc", None), ("reading.desc", "iot.Nothing")):
        with pytest.raises(ConfigurationError, match=r"parse\.descriptor"):
            descriptor_decoder(str(tmp_path / name), message)
