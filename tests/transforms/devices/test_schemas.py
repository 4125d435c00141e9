"""A payload that breaks its device type's schema is one reject; all others are untouched."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from telebeam.transforms.devices.cayenne import decode_cayenne_lpp
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.devices.validation import Validator
from telebeam.transforms.parsing.kernel import Parsed, parse
from telebeam.transforms.parsing.spec import ParseSpec
from tests.transforms.records import EUI, envelopes, things_stack

NEEDS_TEMPERATURE = {"required": ["temperature"], "properties": {"temperature": {"type": "number"}}}


def fleet(schema: Any = NEEDS_TEMPERATURE) -> Fleet:
    rows = [{"device_id": "freezer-1", "device_type": "freezer"}, {"device_id": EUI, "device_type": "climate"}]
    registry = Registry.of(pa.RecordBatch.from_pylist(rows, schema=REGISTRY))
    codec = {"climate": lambda messages: decode_cayenne_lpp(messages.payloads)}
    return Fleet(DevicesSpec(), registry, codec, {"freezer": Validator(schema), "climate": Validator(schema)})


def parsed(*payloads: bytes, schema: Any = NEEDS_TEMPERATURE) -> Parsed:
    return parse(envelopes(payloads), ParseSpec(), 0, None, fleet(schema))


def record(device: str, **values: Any) -> bytes:
    return json.dumps({"device_id": device, "timestamp": 1767225600, **values}).encode()


def test_a_payload_is_one_reject_however_many_values_it_has():
    bad, good = record("freezer-1", humidity=30, voltage=4), record("freezer-1", temperature=-18, humidity=30)
    found = parsed(bad, good, record("other-1", humidity=30))
    assert found.rejects.column("payload").to_pylist() == [bad]
    assert found.rejects.column("reason").to_pylist() == ["schema"]
    assert found.rejects.column("detail").to_pylist() == ['the payload: "temperature" is a required property']
    assert found.rejects.column("device_id").to_pylist() == ["freezer-1"]
    assert sorted(found.readings.column("source_offset").to_pylist()) == [1, 1, 2]


def test_the_elements_of_an_array_are_held_against_the_schema_one_by_one():
    records = [record("freezer-1", temperature=-18), record("freezer-1", humidity=30)]
    found = parsed(b"[" + b",".join(records) + b"]")
    assert found.rejects.column("payload").to_pylist() == [records[1]]
    assert found.readings.column("value").to_pylist() == [-18.0]


def test_a_payload_that_was_refused_before_is_refused_once():
    found = parsed(b'{"device_id":"freezer-1"', record("freezer-1", temperature=1e999))
    assert found.rejects.num_rows == 2
    assert "schema" not in found.rejects.column("reason").to_pylist()


def test_a_payload_that_repeats_is_refused_each_time():
    bad = record("freezer-1", humidity=30)
    found = parsed(bad, bad, bad)
    assert found.rejects.column("source_offset").to_pylist() == [0, 1, 2]
    assert found.readings.num_rows == 0


def test_what_a_codec_made_is_held_against_the_schema():
    ok = {"required": ["temperature_3"], "properties": {"temperature_3": {"maximum": 30}}}
    uplink = things_stack()
    assert parsed(uplink, schema=ok).readings.num_rows == 2
    found = parsed(uplink, schema={"properties": {"temperature_3": {"maximum": 20}}})
    assert found.rejects.column("payload").to_pylist() == [uplink]
    assert found.rejects.column("detail").to_pylist() == ["temperature_3: 27.2 is greater than the maximum of 20"]
    assert found.readings.num_rows == 0


def test_metadata_of_the_network_is_nothing_that_a_codec_made():
    assert parsed(things_stack(), schema={"additionalProperties": False, "patternProperties": {"^temp": {}}}).readings
