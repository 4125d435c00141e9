"""CBOR: the examples of RFC 8949, what is not well-formed, and records of devices by both ways."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.transforms.parsing import binary
from telebeam.transforms.parsing.cbor import Simple, decode
from telebeam.transforms.parsing.columns import Instant
from telebeam.transforms.parsing.records import RefusedRecord

A_TIME = Instant(1_363_896_240_000_000)
APPENDIX_A: list[tuple[str, Any]] = [
    ("00", 0), ("01", 1), ("0a", 10), ("17", 23), ("1818", 24), ("1819", 25), ("1864", 100), ("1903e8", 1000),
    ("1a000f4240", 1000000), ("1b000000e8d4a51000", 1000000000000), ("1bffffffffffffffff", 18446744073709551615),
    ("c249010000000000000000", 18446744073709551616), ("3bffffffffffffffff", -18446744073709551616),
    ("c349010000000000000000", -18446744073709551617), ("20", -1), ("29", -10), ("3863", -100), ("3903e7", -1000),
    ("f90000", 0.0), ("f98000", -0.0), ("f93c00", 1.0), ("fb3ff199999999999a", 1.1), ("f93e00", 1.5),
    ("f97bff", 65504.0), ("fa47c35000", 100000.0), ("fa7f7fffff", 3.4028234663852886e38),
    ("fb7e37e43c8800759c", 1.0e300), ("f90001", 5.960464477539063e-8), ("f90400", 0.00006103515625), ("f9c400", -4.0),
    ("fbc010666666666666", -4.1), ("f97c00", math.inf), ("f97e00", math.nan), ("f9fc00", -math.inf),
    ("fa7f800000", math.inf), ("fa7fc00000", math.nan), ("faff800000", -math.inf), ("fb7ff0000000000000", math.inf),
    ("fb7ff8000000000000", math.nan), ("fbfff0000000000000", -math.inf), ("f4", False), ("f5", True), ("f6", None),
    ("f7", None), ("f0", Simple(16)), ("f8ff", Simple(255)),
    ("c074323031332d30332d32315432303a30343a30305a", A_TIME), ("c11a514b67b0", A_TIME),
    ("c1fb41d452d9ec200000", Instant(1_363_896_240_500_000)), ("d74401020304", b"\x01\x02\x03\x04"),
    ("d818456449455446", b"dIETF"),
    ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", "http://www.example.com"), ("40", b""),
    ("4401020304", b"\x01\x02\x03\x04"), ("60", ""), ("6161", "a"), ("6449455446", "IETF"), ("62225c", '"\\'),
    ("62c3bc", "\u00fc"), ("63e6b0b4", "\u6c34"), ("64f0908591", "\U00010151"), ("80", []), ("83010203", [1, 2, 3]),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", list(range(1, 26))), ("a0", {}),
    ("a201020304", {"1": 2, "3": 4}), ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("826161a161626163", ["a", {"b": "c"}]),
    ("a56161614161626142616361436164614461656145", {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}),
    ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"), ("7f657374726561646d696e67ff", "streaming"), ("9fff", []),
    ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]), ("9f01820203820405ff", [1, [2, 3], [4, 5]]),
    ("83018202039f0405ff", [1, [2, 3], [4, 5]]), ("83019f0203ff820405", [1, [2, 3], [4, 5]]),
    ("9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", list(range(1, 26))),
    ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}), ("826161bf61626163ff", ["a", {"b": "c"}]),
    ("bf6346756ef563416d7421ff", {"Fun": True, "Amt": -2}),
]  # fmt: skip

NOT_WELL_FORMED = [
    # Appendix F: ends early; reserved additional information; breaks where there are none; chunks of other types
    "", "18", "19", "1a", "1b", "1901", "1a0102", "1b01020304050607", "38", "58", "78", "98", "9a01ff00", "b8", "d8",
    "f8", "f900", "fa0000", "fb000000", "41", "61", "5affffffff00", "5bffffffffffffffff010203", "7affffffff00",
    "7b7fffffffffffffff010203", "81", "818181818181818181", "8200", "a1", "a20102", "a100", "a2000000", "c0", "5f4100",
    "7f6100", "9f", "9f0102", "bf", "bf01020102", "819f", "9f8000", "9f9f9f9f9fffffffff", "9f819f819f9fffffff", "1c",
    "1d", "1e", "3c", "3d", "3e", "5c", "5d", "5e", "7c", "7d", "7e", "9c", "9d", "9e", "bc", "bd", "be", "dc", "dd",
    "de", "fc", "fd", "fe", "f800", "f801", "f818", "f81f", "5f00ff", "5f21ff", "5f6100ff", "5f80ff", "5fa0ff",
    "5fc000ff",
    "5fe0ff", "7f4100ff", "5f5f4100ffff", "7f7f6100ffff", "ff", "81ff", "8200ff", "a1ff", "a1ff00", "a100ff",
    "a20000ff", "9f81ff", "9f829f819f9fffffffff", "bf00ff", "bf000000ff", "1f", "3f", "df", "0000", "a0a0", "62c328",
    "9bffffffffffffffff", "bbffffffffffffffff00", "7f61c361bcff",
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), APPENDIX_A, ids=[text for text, _ in APPENDIX_A])
def test_an_example_of_the_rfc_is_that_value(text: str, value: Any):
    found = decode(bytes.fromhex(text), 128)
    assert repr(found) == repr(value)
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [text for text, _ in APPENDIX_A])
def test_every_truncation_is_malformed_and_so_is_a_byte_more(text: str):
    data = bytes.fromhex(text)
    for broken in [*(data[:length] for length in range(len(data))), data + b"\x00"]:
        with pytest.raises(RefusedRecord) as refusal:
            decode(broken, 128)
        assert refusal.value.reason == "malformed"


@pytest.mark.parametrize("text", NOT_WELL_FORMED)
def test_what_is_not_well_formed_is_malformed(text: str, parse_json):
    found = parse_json(bytes.fromhex(text), format="cbor")
    assert [(row["reason"], row["payload"]) for row in found.rejects] == [("malformed", bytes.fromhex(text))]


RECORD = {"device_id": "device-1", "timestamp": 1767225600, "metric": "temperature", "value": 21.5, "unit": "celsius"}


def test_a_map_is_a_record_of_the_shapes_of_json(parse_json):
    records = [
        RECORD,
        {"device_id": "device-1", "timestamp": 1767225600123, "data": {"temperature": 21.5, "humidity": 40}},
        {"device_id": "device-1", "timestamp": "2026-01-01T00:00:00Z", "temperature": 21.5, "site": "oslo"},
    ]
    found = parse_json(*map(cbor2.dumps, records), format="cbor")
    in_json = parse_json(*[json.dumps(record) for record in records])
    assert found == in_json
    assert len(found.readings) == 4


def test_an_array_of_maps_gives_its_records_each_with_its_own_bytes(parse_json):
    bad = {"device_id": "device-1", "timestamp": 1767225600, "metric": "t", "value": "x"}
    found = parse_json(cbor2.dumps([RECORD, bad, 7]), b"\x9f" + cbor2.dumps(RECORD) + b"\xff", b"\x80", format="cbor")
    assert len(found.readings) == 2
    assert [(row["reason"], row["payload"]) for row in found.rejects] == [
        ("bad_value", cbor2.dumps(bad)), ("not_an_object", b"\x07"), ("missing_value", b"\x80"),
    ]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), [
    (math.nan, "bad_value"), (math.inf, "bad_value"), (-math.inf, "bad_value"), (2**2000, "bad_value"),
    (2**70, 2.0**70), (-(2**64), -(2.0**64)), (-(2**63) - 1, -(2.0**63)), (1e308, 1e308), (-0.0, -0.0),
    (None, "missing_value"), ("21.5", "bad_value"), (True, "bad_value"), (b"1", "bad_value"), ([1], "bad_value"),
    (cbor2.CBORTag(4, [-2, 27315]), 273.15), (cbor2.CBORTag(5, [-1, 3]), 1.5), (cbor2.CBORTag(4, [9999, 1]),
    "bad_value"),
    (cbor2.CBORTag(4, [-(10**30), 1]), 0.0), (cbor2.CBORTag(5, [10**30, 1]), "bad_value"),
])  # fmt: skip
def test_a_number_is_the_nearest_double_and_no_number_costs_itself(value: Any, expected: Any, parse_json):
    found = parse_json(cbor2.dumps({**RECORD, "value": value}), *[cbor2.dumps(RECORD)] * 9, format="cbor")
    given = [repr(row["value"]) for row in found.readings] + found.reasons
    assert given == [*([repr(expected)] if isinstance(expected, float) else []), *["21.5"] * 9,
                     *([expected] if isinstance(expected, str) else [])]  # fmt: skip


@pytest.mark.parametrize(("moment", "expected"), [
    (cbor2.CBORTag(1, 1767225600), "2026-01-01T00:00:00"), (cbor2.CBORTag(1, 1767225600.25),
    "2026-01-01T00:00:00.250000"),
    (cbor2.CBORTag(0, "2026-01-01T01:00:00+01:00"), "2026-01-01T00:00:00"), (cbor2.CBORTag(1, 0),
    "1970-01-01T00:00:00"),
    (cbor2.CBORTag(1, -1), "1969-12-31T23:59:59"), (cbor2.CBORTag(1, math.nan), None), (cbor2.CBORTag(1, 1e300), None),
    (cbor2.CBORTag(1, 2**63), None), (cbor2.CBORTag(1, 10**12), None), (cbor2.CBORTag(1, "x"), None),
    (cbor2.CBORTag(0, "2026-01-01T01:00:00"), None), (cbor2.CBORTag(0, 5), None), (2**64 - 1, None), (math.inf, None),
    (1767225600123456789, "2026-01-01T00:00:00.123456"),
])  # fmt: skip
def test_tagged_times_are_instants_and_others_epochs_by_their_size(moment: Any, expected: str | None, parse_json):
    found = parse_json(*[cbor2.dumps({**RECORD, "timestamp": moment})] * 3, format="cbor")
    assert [row["timestamp"].replace(tzinfo=None).isoformat() for row in found.readings] == [expected] * 3 * bool(
        expected
    )
    assert found.reasons == ["bad_timestamp"] * 3 * (not expected)


def test_nesting_beyond_what_is_allowed_is_malformed_and_nothing_worse(parse_json):
    deep = [b"\x81" * 100_000, b"\xc6" * 100_000, b"\x9f" * 100_000, b"\xa1\x00" * 100_000, b"\x81" * 200 + b"\x00"]
    assert parse_json(*deep, format="cbor", max_depth=512).reasons[:4] == ["malformed"] * 4
    assert parse_json(*deep, format="cbor").reasons == ["malformed"] * 5


def test_of_equal_names_the_last_counts_and_a_name_may_be_a_number(parse_json):
    twice = cbor2.dumps(RECORD).replace(b"dunit", b"evalue")
    body = cbor2.dumps({**RECORD, 7: {1: [2, None, b"x"]}})
    found = parse_json(body, format="cbor")
    assert found.readings[0]["metadata"] == '{"7":{"1":[2,null,"eA=="]}}'
    assert parse_json(twice, format="cbor").reasons == ["bad_value"]


SCALARS = st.one_of(
    st.integers(-(2**66), 2**66), st.floats(), st.text(max_size=6), st.booleans(), st.none(), st.binary(max_size=4),
    st.floats(width=16), st.floats(width=32), st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, 2**32, 2**63,
    -(2**63)]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "device_id": draw(st.one_of(st.sampled_from(["device-1", "d-22", " x ", ""]), SCALARS)),
        "timestamp": draw(st.one_of(st.sampled_from([1767225600, 1767225600.5, "2026-01-01T00:00:00Z"]), SCALARS)),
        draw(st.sampled_from(["value", "temperature", "data"])): draw(st.one_of(SCALARS, VALUES)),
        "sensor_type": "temperature",
        "site": draw(VALUES),
        "metadata": draw(VALUES),
    }


def by_outcome(payloads: list[bytes], parse_json: Callable[..., Any], form: str) -> list[str]:
    found = parse_json(*payloads, format=form)
    return sorted(map(repr, [*found.readings, *found.rejects]))


@pytest.mark.parametrize("form", ["cbor", "msgpack"])
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_records_give_the_same_rows_together_and_singly(form: str, data: st.DataObject, parse_json):
    made = data.draw(st.lists(records(), min_size=1, max_size=4))
    payloads = [encoded(record, form) for record in made]
    payloads = [data.draw(st.sampled_from(payloads)) for _ in range(data.draw(st.integers(0, 4)))] + payloads
    if data.draw(st.booleans()):
        broken = bytearray(payloads[0])
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
        payloads.append(bytes(broken))
    together = by_outcome(payloads, parse_json, form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary, "_MAX_SKELETONS", 0)
        assert by_outcome(payloads, parse_json, form) == together


def encoded(value: Any, form: str) -> bytes:
    if form == "cbor":
        return cbor2.dumps(value)
    return msgpack_bytes(value)


def msgpack_bytes(value: Any) -> bytes:
    """The value as MessagePack; integers that it has no form for as doubles."""

    def fitting(item: Any) -> Any:
        if isinstance(item, dict):
            return {name: fitting(inner) for name, inner in item.items()}
        if isinstance(item, list):
            return [fitting(inner) for inner in item]
        return float(item) if type(item) is int and not -(2**63) <= item < 2**64 else item

    return msgspec.msgpack.encode(fitting(value))


def test_as_many_bytes_as_are_claimed_must_be_there_and_are_never_made(parse_json):
    claims = [bytes([head]) + np.uint64(2**62).tobytes() for head in (0x5B, 0x7B, 0x9B, 0xBB)]
    assert parse_json(*claims, format="cbor").reasons == ["malformed"] * 4
