"""Payloads of every format, changed at random: none crashes, each gives a row, and none costs another one its rows."""

from __future__ import annotations

import gzip
import io
import json
import resource
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import cbor2
import fastavro
import msgspec
import numpy as np
import pyarrow as pa
import pytest
import zstandard

from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import Parsed, parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.tahu import payload_class
from telebeam.transforms.parsing.wire import Schema

PAYLOADS = 50_000
LONG_PAYLOADS = 1_000_000
BATCH = 500
GOOD_EVERY = 10
MEMORY_BYTES = 400_000_000

RECORDS: list[dict[str, Any]] = [
    {"device_id": f"device-{n}", "timestamp": 1767225600 + n, **values}
    for n, values in enumerate([
        {"metric": "temperature", "value": 21.5, "unit": "celsius"},
        {"data": {"temperature": 21.5, "humidity": 40}},
        {"temperature": -3, "battery": 87, "site": "oslo", "nested": {"a": [1, 2.5, None, True, "x"]}},
        {"sensor_type": "pressure", "value": 1013, "quality_score": 0.5, "metadata": {"fw": "1.2"}, "location": "høll"},
    ])
]  # fmt: skip
LINES = [
    b"room,device_id=device-1,location=hall temperature=21.5,humidity=40i 1767225600000000000",
    b'my\\ room,device_id=device-1 on=t,note="a \\"b\\"\nc",f=1e5 1767225600000000000\n# x\nm,device_id=d-1 value=1u 5',
]
PACKS = [
    [{"bn": "urn:dev:ow:1:", "bt": 1.276020076e9, "bu": "A", "n": "voltage", "u": "V", "v": 120.1}, {"n": "current",
    "t": -5, "v": 1.2},
     {"n": "x", "vb": True, "s": 5}, {"n": "label", "vs": "y"}],
]  # fmt: skip
AVRO = {"type": "record", "name": "R", "fields": [
    {"name": "device_id", "type": "string"}, {"name": "timestamp", "type": {"type": "long",
    "logicalType": "timestamp-micros"}},
    {"name": "temperature", "type": ["null", "double", "int"]}, {"name": "tags", "type": {"type": "map",
    "values": "string"}},
    {"name": "list", "type": {"type": "array", "items": "long"}}, {"name": "price", "type": {"type": "bytes",
    "logicalType": "decimal", "precision": 9, "scale": 2}},
]}  # fmt: skip


def streams() -> list[bytes]:
    table = pa.table({
        "device_id": ["device-1", "device-2"], "timestamp": pa.array([1767225600, 1767225601], pa.timestamp("s",
        "UTC")),
        "temperature": [21.5, None], "kind": pa.array(["a", "b"]).dictionary_encode(), "s": pa.array([{"x": 1}, None]),
    })  # fmt: skip
    found = []
    for options, make in (({}, pa.ipc.new_stream), ({}, pa.ipc.new_file), ({"compression": "zstd"}, pa.ipc.new_stream)):
        sink = pa.BufferOutputStream()
        with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table)
        found.append(sink.getvalue().to_pybytes())
    return found


def avros() -> list[bytes]:
    stream = io.BytesIO()
    record = {
        **RECORDS[2],
        "timestamp": 1767225600000000,
        "tags": {"a": "b"},
        "list": [1, 2, 3],
        "price": Decimal("7.25"),
    }
    fastavro.schemaless_writer(stream, fastavro.parse_schema(AVRO), {**record, "temperature": 1.5})
    return [b"\x00\x00\x00\x00\x01" + stream.getvalue()]


def sparkplugs() -> list[bytes]:
    birth = payload_class()(timestamp=1767225600000)
    birth.metrics.add(name="Temperature", alias=1, datatype=10, double_value=1.5)
    birth.metrics.add(name="Name", alias=2, datatype=12, string_value="x")
    data = payload_class()(timestamp=1767225600000)
    data.metrics.add(alias=1, double_value=2.5, datatype=3)
    return [birth.SerializeToString(), data.SerializeToString()]


def packed(payloads: list[bytes]) -> list[bytes]:
    return [pack(payload) for payload in payloads for pack in (gzip.compress, zstandard.ZstdCompressor().compress)]


JSON = [json.dumps(record).encode() for record in RECORDS]
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "json": lambda: [*JSON, b"[" + b",".join(JSON) + b"]", b"\n".join(JSON)],
    "cbor": lambda: [*map(cbor2.dumps, RECORDS), cbor2.dumps(RECORDS), b"\xbf" + cbor2.dumps(RECORDS[2])[1:] + b"\xff"],
    "msgpack": lambda: [*map(msgspec.msgpack.encode, RECORDS), msgspec.msgpack.encode(RECORDS)],
    "line_protocol": lambda: LINES,
    "arrow": streams,
    "senml": lambda: [json.dumps(pack).encode() for pack in PACKS],
    "senml_cbor": lambda: [cbor2.dumps(pack) for pack in PACKS],
    "avro": avros,
    "sparkplug": sparkplugs,
    "auto": lambda: packed(JSON[:2]) + JSON + LINES + [*map(cbor2.dumps, RECORDS), *map(msgspec.msgpack.encode,
    RECORDS)],
}  # fmt: skip
KEYS = [
    "spBv1.0/g/NBIRTH/n",
    "spBv1.0/g/NDATA/n",
    "spBv1.0/g/NDEATH/n",
    "spBv1.0/g/DDATA/n/d",
    "devices/dev-1/telemetry",
]


def mutated(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 4)):
        kind, at = rng.integers(6), int(rng.integers(len(data) + 1))
        if kind == 0:
            data[at : at + 1] = bytes([rng.integers(256)])
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 4:
            data[at:at] = data[: int(rng.integers(1, 20))]
        else:
            other = seeds[rng.integers(len(seeds))]
            data[at:] = other[int(rng.integers(len(other))) :]
    return bytes(data)


def known() -> Known:
    return Known({1: Schema("avro", json.dumps(AVRO))}.get)


@pytest.mark.parametrize("form", SEEDS)
def test_whatever_comes_is_readings_or_rejects_with_its_exact_bytes(
    form: str, envelopes, request: pytest.FixtureRequest
):
    total = (LONG_PAYLOADS if request.config.getoption("--long") else PAYLOADS) // len(SEEDS)
    rng = np.random.default_rng(list(SEEDS).index(form))
    seeds = SEEDS[form]()
    spec = ParseSpec(format="auto" if form == "auto" else form)
    for number in range(total // BATCH):
        payloads = [
            mutated(rng, seeds) if n % GOOD_EVERY else seeds[n // GOOD_EVERY % len(seeds)] for n in range(BATCH)
        ]
        keys = (
            [KEYS[n % len(KEYS)] for n in rng.integers(len(KEYS), size=BATCH)]
            if form == "sparkplug"
            else [KEYS[4]] * BATCH
        )
        batch = envelopes(payloads, keys=keys)
        parsed = parse(batch, spec, 0, known())
        hold(parsed, payloads, form)
        if number == 0:
            again = parse(batch, spec, 0, known())
            assert again.readings.equals(parsed.readings)
            assert again.rejects.equals(parsed.rejects)
            first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first) * 1024 < MEMORY_BYTES


def hold(parsed: Parsed, payloads: list[bytes], form: str) -> None:
    parsed.readings.validate(full=True)
    parsed.rejects.validate(full=True)
    offsets = np.concatenate([parsed.readings["source_offset"].to_numpy(), parsed.rejects["source_offset"].to_numpy()])
    assert set(offsets.tolist()) == set(range(len(payloads)))
    assert np.isfinite(parsed.readings["value"].to_numpy()).all()
    if form == "arrow":
        return
    for place, content in zip(
        parsed.rejects["source_offset"].to_pylist(), parsed.rejects["payload"].to_pylist(), strict=True
    ):
        whole = payloads[place]
        # A record within a payload is a part of it, unless that came compressed.
        assert content in whole or whole[:2] in (b"\x1f\x8b", b"\x28\xb5")


@pytest.mark.parametrize("form", [form for form in SEEDS if form != "sparkplug"])
def test_good_records_give_the_same_rows_among_broken_ones(form: str, envelopes):
    rng = np.random.default_rng(1000)
    seeds = SEEDS[form]()
    spec = ParseSpec(format="auto" if form == "auto" else form)
    alone = parse(envelopes(seeds, keys=[KEYS[4]] * len(seeds)), spec, 0, known())
    broken = [mutated(rng, seeds) for _ in range(300)]
    mixed = [*broken[:150], *seeds, *broken[150:]]
    found = parse(envelopes(mixed, keys=[KEYS[4]] * len(mixed)), spec, 0, known())
    assert rows(found, 150, len(seeds)) == rows(alone, 0, len(seeds))


def rows(parsed: Parsed, first: int, count: int) -> list[str]:
    found = []
    for batch in (parsed.readings.drop_columns(["payload"]), parsed.rejects):
        for row in batch.to_pylist():
            if first <= row["source_offset"] < first + count:
                found.append(repr({**row, "source_offset": row["source_offset"] - first}))
    return sorted(found)
