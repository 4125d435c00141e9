"""MessagePack: as msgspec writes it, its timestamps, and what is none."""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.parsing.columns import NO_INSTANT, Instant
from telebeam.transforms.parsing.msgpack import decode
from telebeam.transforms.parsing.records import RefusedRecord

RECORD = {"device_id": "device-1", "timestamp": 1767225600, "metric": "temperature", "value": 21.5, "unit": "celsius"}
VALUES = st.recursive(
    st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=40), st.booleans(),
              st.none(), st.binary(max_size=300)),
    lambda inner: st.one_of(st.lists(inner, max_size=20), st.dictionaries(st.text(max_size=5), inner, max_size=20)),
    max_leaves=40,
)  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(value=VALUES)
def test_what_an_encoder_writes_is_read_back_and_every_truncation_refused(value: Any):
    data = msgspec.msgpack.encode(value)
    assert decode(data, 128) == value
    for length in {0, 1, len(data) // 2, len(data) - 1} - {len(data)}:
        with pytest.raises(RefusedRecord):
            decode(data[:length], 128)
    with pytest.raises(RefusedRecord):
        decode(data + b"\x00", 128)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.binary(max_size=12))
def test_any_bytes_are_read_as_another_decoder_reads_them_or_refused(data: bytes):
    try:
        found = decode(data, 128)
    except RefusedRecord:
        with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
            msgspec.msgpack.decode(data)
        return
    assert found is None or type(found) in (bool, int, float, str, bytes, list, dict, Instant)


@pytest.mark.parametrize(("content", "micros"), [
    (b"\xd6\xff" + struct.pack(">I", 1767225600), 1767225600_000_000),
    (b"\xd7\xff" + struct.pack(">Q", (5_999 << 34) | 1767225600), 1767225600_000_005),
    (b"\xd7\xff" + struct.pack(">Q", (1_000_000_000 << 34) | 1767225600), None),
    (b"\xc7\x0c\xff" + struct.pack(">Iq", 999_999_999, -1), -1), (b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**60), None),
    (b"\xc7\x03\xff" + b"abc", None),
])  # fmt: skip
def test_the_timestamp_extension_is_an_instant(content: bytes, micros: int | None, parse_json):
    assert decode(content, 128) == (NO_INSTANT if micros is None else micros)
    data = msgspec.msgpack.encode(RECORD).replace(b"\xce" + struct.pack(">I", 1767225600), content)
    found = parse_json(*[data] * 3, format="msgpack")
    assert found.reasons == (["bad_timestamp"] * 3 if micros is None else [])


@pytest.mark.parametrize("value", [math.nan, math.inf, "x", None, True, [1], b"1"])
def test_no_number_costs_itself_only(value: Any, parse_json):
    good = msgspec.msgpack.encode(RECORD)
    bad = struct.pack(">d", value) if isinstance(value, float) else b""
    payload = good.replace(struct.pack(">d", 21.5), bad) if bad else msgspec.msgpack.encode({**RECORD, "value": value})
    found = parse_json(good, payload, good, format="msgpack")
    assert (len(found.readings), found.reasons) == (2, ["missing_value" if value is None else "bad_value"])


def test_an_array_of_maps_gives_its_records(parse_json):
    found = parse_json(msgspec.msgpack.encode([RECORD, 5, RECORD]), b"\x90", b"\xdc\x00\x00", b"\xc1", format="msgpack")
    assert (len(found.readings), found.reasons) == (2, ["not_an_object", "missing_value", "missing_value", "malformed"])


def test_nesting_beyond_what_is_allowed_is_malformed_and_nothing_worse(parse_json):
    deep = [b"\x91" * 100_000, b"\x81\xa0" * 100_000, b"\x91" * 300 + b"\x00"]
    assert parse_json(*deep, format="msgpack", max_depth=512).reasons == ["malformed"] * 3


def test_what_is_claimed_and_not_there_is_malformed(parse_json):
    claims = [
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
    ]
    assert parse_json(*claims, format="msgpack").reasons == ["malformed"] * 5
