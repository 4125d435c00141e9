"""Which format a message has: by configuration, content type, and bytes, whatever comes beside it."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import msgspec
import pyarrow as pa
import pytest

from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.parsing.formats import CONTENT_TYPES, FORMATS
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec

RECORD = {"device_id": "device-1", "timestamp": 1767225600, "metric": "temperature", "value": 21.5}
LINE = b"room,device_id=device-1 temperature=21.5 1767225600000000000"
FORMS = {
    "json": json.dumps(RECORD).encode(),
    "cbor": cbor2.dumps(RECORD),
    "cbor, described": b"\xd9\xd9\xf7" + cbor2.dumps(RECORD),
    "cbor, a list": cbor2.dumps([RECORD]),
    "cbor, without length": b"\xbf" + cbor2.dumps(RECORD)[1:] + b"\xff",
    "msgpack": msgspec.msgpack.encode(RECORD),
    "msgpack, a list": msgspec.msgpack.encode([RECORD]),
    "msgpack, many members": msgspec.msgpack.encode({**RECORD, **{f"x{n}": n for n in range(20)}}),
    "line protocol": LINE,
    "line protocol, escaped": b"my\\ room,device_id=device-1,a\\=b=c\\,d temperature=21.5 1767225600000000000",
    "line protocol, commented": b"# comment\n" + LINE,
}


@pytest.mark.parametrize("name", FORMS)
def test_bytes_that_say_their_format_are_read_by_it(name: str, parse_json):
    found = parse_json(FORMS[name])
    assert [(row["sensor_type"], row["value"]) for row in found.readings] == [("temperature", 21.5)]


def test_a_batch_may_hold_all_formats_and_each_record_gives_what_it_gives_alone(parse_json):
    payloads = [*FORMS.values(), b"\x00", b"\x80", b"\xff", b"", b"a,b", b"x y", b"\xa1", b"\x81\xa1", b"{", b"(("]
    together = parse_json(*payloads)
    alone = [parse_json(payload, offsets=[place]) for place, payload in enumerate(payloads)]
    assert together.readings == [row for found in alone for row in found.readings]
    assert together.rejects == [row for found in alone for row in found.rejects]
    # An empty map is MessagePack: as a list it would hold no map.
    assert together.reasons == ["malformed", "missing_device_id", *["malformed"] * 8]


def typed(envelopes: Any, payloads: list[bytes], kinds: list[str | None]) -> pa.RecordBatch:
    return envelopes(payloads).append_column("content_type", pa.array(kinds, pa.string()))


@pytest.mark.parametrize(("kind", "payload"), [
    ("application/cbor", FORMS["cbor"]), ("Application/CBOR; x=y", FORMS["cbor, a list"]), ("application/msgpack",
    FORMS["msgpack"]),
    ("application/json;charset=utf-8", FORMS["json"]), ("text/plain", LINE), (None, FORMS["cbor"]), ("", FORMS["json"]),
    ("application/octet-stream", FORMS["msgpack"]),
    ("application/senml+json", b'[{"bn":"device-1:","n":"temperature","bt":1767225600,"v":21.5}]'),
])  # fmt: skip
def test_a_content_type_names_the_format_and_bytes_do_where_it_does_not(kind, payload, envelopes, parse_batch):
    found = parse_batch(typed(envelopes, [payload, FORMS["json"]], [kind, None]))
    assert [row["value"] for row in found.readings] == [21.5, 21.5]


def test_a_content_type_of_something_else_is_of_unknown_format(envelopes, parse_batch):
    found = parse_batch(typed(envelopes, [b"\x89PNG", FORMS["json"], b"<a/>"], ["image/png", "text/json", "text/html"]))
    assert (len(found.readings), found.reasons) == (1, ["unknown_format", "unknown_format"])


def test_configuration_comes_before_a_content_type(envelopes, parse_batch):
    found = parse_batch(typed(envelopes, [FORMS["json"]], ["application/cbor"]), format="json")
    assert len(found.readings) == 1


def test_every_content_type_names_a_format_that_is_read():
    assert set(CONTENT_TYPES.values()) <= set(FORMATS)


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"avro", "protobuf", "unknown", "codec"}))
def test_no_messages_give_nothing_and_too_large_ones_are_refused(form: str, envelopes):
    fleet = Fleet(DevicesSpec(), Registry.empty())
    empty = parse(envelopes([]), ParseSpec(format=form), 0, None, fleet)
    assert (empty.readings.num_rows, empty.rejects.num_rows) == (0, 0)
    large = parse(envelopes([b"x" * 101, None]), ParseSpec(format=form, max_payload_bytes=100), 0, None, fleet)
    assert large.rejects.column("reason").to_pylist()[0] == "too_large" or form == "csv"
    assert large.rejects.num_rows == 2
