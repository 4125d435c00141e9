"""Payloads of every format, changed at random: none crashes, each gives a row, and none costs another one its rows."""

from __future__ import annotations

import gzip
import io
import json
import resource
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import fastavro
import msgspec
import numpy as np
import pyarrow as pa
import pytest
import zstandard

from telebeam.io.devices.codecs import Codecs
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.lorawan import read_uplinks
from telebeam.transforms.parsing.csv import CSV_HEADER
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import Parsed, parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.tahu import payload_class
from telebeam.transforms.parsing.wire import Schema
from telebeam.transforms.schema import TIMESTAMP
from tests.transforms.parsing import fuzzed

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
    **fuzzed.SEEDS,
}  # fmt: skip
KEYS = [
    "spBv1.0/g/NBIRTH/n",
    "spBv1.0/g/NDATA/n",
    "spBv1.0/g/NDEATH/n",
    "spBv1.0/g/DDATA/n/d",
    "devices/dev-1/telemetry",
]


def known() -> Known:
    return Known({1: Schema("avro", json.dumps(AVRO)), 2: fuzzed.protobuf_schema()}.get)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Devices whose types CayenneLPP and a codec of JavaScript read."""
    source = Path(__file__).resolve().parents[3] / "examples" / "codecs" / "climate-es5.js"
    with Codecs() as codecs:
        yield fuzzed.make_fleet(codecs, source.read_text(encoding="utf-8"))


@pytest.fixture
def read(envelopes, fleet: Fleet) -> Callable[..., Parsed]:
    """Parses payloads of a format: (form, payloads, keys=) → parsed."""

    def run(form: str, payloads: list[bytes], keys: list[str] | None = None) -> Parsed:
        if form == "codec":
            keys = [fuzzed.CODEC_KEYS[len(payload) % 2] for payload in payloads]
        batch = envelopes(payloads, keys=keys or [KEYS[4]] * len(payloads))
        if form == "csv":
            batch = batch.replace_schema_metadata({CSV_HEADER: json.dumps(fuzzed.CSV_NAMES)})
        if form == "codec":
            batch = batch.append_column("published_at", pa.array([1767225600000000] * len(payloads), TIMESTAMP))
        spec = ParseSpec(format="auto" if form in ("auto", "codec") else form)
        return parse(batch, spec, 0, known(), fleet if form in ("lorawan", "codec") else None)

    return run


@pytest.mark.parametrize("form", SEEDS)
def test_whatever_comes_is_readings_or_rejects_with_its_exact_bytes(
    form: str, read: Callable[..., Parsed], request: pytest.FixtureRequest
):
    total = (LONG_PAYLOADS if request.config.getoption("--long") else PAYLOADS) // len(SEEDS)
    rng = np.random.default_rng(list(SEEDS).index(form))
    seeds = SEEDS[form]()
    for number in range(-(-total // BATCH)):
        payloads = [
            fuzzed.mutated(rng, seeds) if n % GOOD_EVERY else seeds[n // GOOD_EVERY % len(seeds)] for n in range(BATCH)
        ]
        keys = [KEYS[n] for n in rng.integers(len(KEYS), size=BATCH)] if form == "sparkplug" else None
        parsed = read(form, payloads, keys)
        hold(parsed, payloads, form)
        if number == 0:
            again = read(form, payloads, keys)
            assert again.readings.equals(parsed.readings)
            assert again.rejects.equals(parsed.rejects)
            first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first) * 1024 < MEMORY_BYTES


def hold(parsed: Parsed, payloads: list[bytes], form: str) -> None:
    parsed.readings.validate(full=True)
    parsed.rejects.validate(full=True)
    offsets = np.concatenate([parsed.readings["source_offset"].to_numpy(), parsed.rejects["source_offset"].to_numpy()])
    assert set(offsets.tolist()) | events(payloads, form) == set(range(len(payloads)))
    assert np.isfinite(parsed.readings["value"].to_numpy()).all()
    if form == "arrow":
        return
    for place, content in zip(
        parsed.rejects["source_offset"].to_pylist(), parsed.rejects["payload"].to_pylist(), strict=True
    ):
        whole = payloads[place]
        # A record within a payload is a part of it, unless that came compressed.
        assert content in whole or whole[:2] in (b"\x1f\x8b", b"\x28\xb5")


def events(payloads: list[bytes], form: str) -> set[int]:
    """What a network sends beside uplinks, which holds no value; a changed uplink may look like it."""
    if form != "lorawan":
        return set()
    return {event.record for event in read_uplinks(pa.array(payloads, pa.large_binary())).events}


@pytest.mark.parametrize("form", [form for form in SEEDS if form != "sparkplug"])
def test_good_records_give_the_same_rows_among_broken_ones(form: str, read: Callable[..., Parsed]):
    rng = np.random.default_rng(1000)
    seeds = SEEDS[form]()
    alone = read(form, seeds)
    broken = [fuzzed.mutated(rng, seeds) for _ in range(300)]
    found = read(form, [*broken[:150], *seeds, *broken[150:]])
    assert rows(found, 150, len(seeds)) == rows(alone, 0, len(seeds))


@pytest.mark.parametrize("form", [form for form in SEEDS if form != "sparkplug"])
def test_a_broken_payload_gives_the_same_rows_alone(form: str, read: Callable[..., Parsed]):
    rng = np.random.default_rng(2000)
    seeds = SEEDS[form]()
    broken = [fuzzed.mutated(rng, seeds) for _ in range(80)]
    together = read(form, broken)
    for place, payload in enumerate(broken):
        assert rows(read(form, [payload]), 0, 1) == rows(together, place, 1), payload


def rows(parsed: Parsed, first: int, count: int) -> list[str]:
    found = []
    for batch in (parsed.readings.drop_columns(["payload"]), parsed.rejects):
        for row in batch.to_pylist():
            if first <= row["source_offset"] < first + count:
                found.append(repr({**row, "source_offset": row["source_offset"] - first}))
    return sorted(found)
