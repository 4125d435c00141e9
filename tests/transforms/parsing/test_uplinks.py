"""Payloads that a device type's codec reads: uplinks, and bytes whose key names the device."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from telebeam.transforms.devices.cayenne import decode_cayenne_lpp
from telebeam.transforms.devices.decoded import Decoded, Payloads
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.parsing.kernel import Parsed, parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.schema import TIMESTAMP
from tests.transforms.records import CLIMATE, EUI, chirpstack, things_stack

SILENT, UNKNOWN = "0004a30b001c0531", "0004a30b001c0999"
RECEIVED = datetime(2026, 1, 1, 12, tzinfo=UTC)
READING = {"device_id": "boiler-1", "timestamp": 1767225600, "metric": "temperature", "value": 21.5}
KEY = f"devices/{EUI}/telemetry"


def fleet(decode: Any = lambda messages: decode_cayenne_lpp(messages.payloads)) -> Fleet:
    rows = [
        {"device_id": EUI, "device_type": "climate"},
        {"device_id": SILENT, "device_type": "door"},
        {"device_id": "untyped-1"},
        {"device_id": "packed-1", "device_type": "packed"},
    ]
    types = {"climate": {"codec": "cayenne_lpp"}, "door": {}, "packed": {"format": "msgpack"}}
    registry = Registry.of(pa.RecordBatch.from_pylist(rows, schema=REGISTRY))
    return Fleet(DevicesSpec.model_validate({"types": types}), registry, {"climate": decode})


def parsed(batch: pa.RecordBatch, known: Fleet | None = None, **settings: Any) -> Parsed:
    return parse(batch, ParseSpec(**settings), 0, None, fleet() if known is None else known)


def values(found: Parsed) -> list[tuple[str, str, float]]:
    columns = (found.readings.column(name).to_pylist() for name in ("device_id", "measurement_type", "value"))
    return sorted(zip(*columns, strict=True))


CLIMATES = [(EUI, "temperature_3", 27.2), (EUI, "temperature_5", 25.5)]


@pytest.mark.parametrize("payload", [things_stack(), chirpstack(), gzip.compress(things_stack())])
@pytest.mark.parametrize("form", ["auto", "lorawan"])
def test_an_uplink_becomes_readings_by_its_devices_codec(payload: bytes, form: str, envelopes):
    found = parsed(envelopes([payload]), format=form)
    assert values(found) == CLIMATES
    assert found.rejects.num_rows == 0
    assert found.readings.column("timestamp").to_pylist() == [RECEIVED, RECEIVED]
    assert found.readings.column("sensor_type").to_pylist() == ["temperature", "temperature"]


def test_uplinks_and_plain_records_may_stand_in_one_batch(envelopes):
    batch = envelopes([json.dumps(READING).encode(), things_stack(), b"{", chirpstack()])
    found = parsed(batch)
    assert values(found) == sorted([*CLIMATES, *CLIMATES, ("boiler-1", "temperature", 21.5)])
    assert found.rejects.column("source_offset").to_pylist() == [2]
    alone = [parsed(batch.slice(row, 1)) for row in range(4)]
    assert values(found) == sorted(row for each in alone for row in values(each))


def test_how_it_was_received_and_the_codecs_texts_are_one_object(envelopes):
    def decode(messages: Payloads) -> Decoded:
        made = decode_cayenne_lpp(messages.payloads)
        return made._replace(metadata=pa.array(['{"model":"D1"}']), warnings=pa.array(["low"]))

    found = parsed(envelopes([things_stack()]), fleet(decode))
    assert found.readings.column("metadata").to_pylist() == ['{"rssi":-90.0,"gateways":1,"model":"D1"}'] * 2
    assert found.readings.column("issues").to_pylist() == [["codec_warning"]] * 2


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (things_stack(UNKNOWN), "unknown_device", "not in the registry"),
        (things_stack(SILENT), "unknown_format", "type door, which has no codec"),
        (things_stack(payload=b"\x03\x67\x01"), "malformed", "cut off"),
        (things_stack().replace(b"AWcB", b"!!!!").replace(b"A2cB", b"!!!!"), "malformed", "no base64"),
        (b'{"end_device_ids":1}', "schema", ""),
        (b'{"deviceInfo"', "malformed", ""),
    ],
)
def test_what_no_codec_reads_is_one_reject_with_its_bytes(payload: bytes, reason: str, detail: str, envelopes):
    found = parsed(envelopes([payload, things_stack()]))
    assert found.rejects.column("reason").to_pylist() == [reason]
    assert detail in found.rejects.column("detail").to_pylist()[0]
    assert found.rejects.column("payload").to_pylist() == [payload]
    assert values(found) == CLIMATES


def test_a_networks_other_events_are_neither_readings_nor_rejects(envelopes):
    join = {"end_device_ids": {"dev_eui": EUI}, "join_accept": {}}
    found = parsed(envelopes([json.dumps(join).encode()]), format="lorawan")
    assert (found.readings.num_rows, found.rejects.num_rows) == (0, 0)


def at(batch: pa.RecordBatch, *moments: datetime | None) -> pa.RecordBatch:
    return batch.append_column("published_at", pa.array(moments, TIMESTAMP))


def test_bytes_whose_key_names_a_device_with_a_codec_are_read_by_it(envelopes):
    batch = at(envelopes([CLIMATE, CLIMATE], [KEY, KEY]), RECEIVED, None)
    found = parsed(batch)
    assert values(found) == CLIMATES
    assert found.readings.column("timestamp").to_pylist() == [RECEIVED, RECEIVED]
    assert found.rejects.column("reason").to_pylist() == ["missing_timestamp"]
    assert found.rejects.column("source_offset").to_pylist() == [1]


def test_a_devices_type_says_its_format(envelopes):
    import msgspec

    payload = msgspec.msgpack.encode([{**READING, "device_id": "packed-1"}])
    keys = ["devices/packed-1/telemetry", "devices/untyped-1/telemetry", "elsewhere"]
    found = parsed(envelopes([payload, json.dumps(READING).encode(), json.dumps(READING).encode()], keys))
    assert [device for device, _, _ in values(found)] == ["boiler-1", "boiler-1", "packed-1"]


def test_a_content_type_comes_before_the_devices_type(envelopes):
    batch = envelopes([json.dumps(READING).encode()], ["devices/packed-1/telemetry"])
    batch = batch.append_column("content_type", pa.array(["application/json"]))
    assert values(parsed(batch)) == [("boiler-1", "temperature", 21.5)]


def test_the_configured_format_comes_before_all(envelopes):
    found = parsed(envelopes([things_stack()]), format="json")
    assert found.rejects.column("reason").to_pylist() == ["missing_device_id"]


def test_uplinks_without_a_registry_are_refused_with_what_to_do(envelopes):
    with pytest.raises(ConfigurationError) as caught:
        parse(envelopes([things_stack()]), ParseSpec(format="lorawan"), 0)
    assert "devices: {registry:" in caught.value.hint
