"""CayenneLPP as a column is CayenneLPP message by message."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.devices.cayenne import TYPES, decode_cayenne_lpp
from telebeam.transforms.devices.decoded import Decoded, Refusal

LIMITS = settings(max_examples=60, deadline=None, derandomize=True)


def slowly(payload: bytes) -> list[tuple[str, float, str | None]] | None:
    """One message's values, byte by byte; None for a malformed one."""
    found, at = [], 0
    while at < len(payload):
        parts = TYPES.get(payload[at + 1]) if at + 1 < len(payload) else None
        if parts is None or at + 2 + sum(part.size for part in parts) > len(payload):
            return None
        channel, at = payload[at], at + 2
        for part in parts:
            number = int.from_bytes(payload[at : at + part.size], "big", signed=part.signed)
            found.append((f"{part.name}_{channel}", number / part.divisor, part.unit))
            at += part.size
    return found


def values(decoded: Decoded, message: int) -> list[tuple[str, float, str | None]]:
    rows = zip(decoded.message, decoded.name.to_pylist(), decoded.value, decoded.unit.to_pylist(), strict=True)
    return [(name, value, unit) for row, name, value, unit in rows if row == message]


FIELD = st.sampled_from(sorted(TYPES)).flatmap(
    lambda kind: st.binary(min_size=sum(p.size for p in TYPES[kind]), max_size=sum(p.size for p in TYPES[kind])).map(
        lambda data: bytes([len(data) % 5, kind]) + data
    )
)
PAYLOAD = st.one_of(
    st.lists(FIELD, max_size=8).map(b"".join),
    st.binary(max_size=20),
    st.tuples(st.lists(FIELD, min_size=1, max_size=4).map(b"".join), st.integers(1, 3)).map(lambda x: x[0][: -x[1]]),
)


@given(payloads=st.lists(PAYLOAD, max_size=12))
@LIMITS
def test_a_column_of_messages_is_decoded_as_each_of_them(payloads: list[bytes]):
    found = decode_cayenne_lpp(pa.array(payloads, pa.large_binary()))
    refused = {refusal.message: refusal.reason for refusal in found.refused}
    for row, payload in enumerate(payloads):
        expected = slowly(payload)
        assert values(found, row) == (expected or [])
        assert refused.get(row) == ("malformed" if expected is None else None if payload else "missing_value")
    assert found.message.tolist() == sorted(found.message.tolist())
    assert (len(found.metadata), len(found.warnings)) == (len(payloads), len(payloads))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("03670110056700FF", [("temperature_3", 27.2), ("temperature_5", 25.5)]),
        ("0167FFD7", [("temperature_1", -4.1)]),
        ("067104D2FB2E0000", [("acceleration_x_6", 1.234), ("acceleration_y_6", -1.234), ("acceleration_z_6", 0.0)]),
        ("018806765FF2960A0003E8", [("latitude_1", 42.3519), ("longitude_1", -87.9094), ("gps_altitude_1", 10.0)]),
        ("0002FFFF", [("analog_in_0", -0.01)]),
        ("FF8EFF", [("switch_255", 255.0)]),
    ],
)
def test_the_examples_of_the_description(text: str, expected: list[tuple[str, float]]):
    found = decode_cayenne_lpp(pa.array([bytes.fromhex(text)]))
    assert [each[:2] for each in values(found, 0)] == expected


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b"\x01", "the field at byte 0 is cut off"),
        (b"\x01\x67\x00", "the field at byte 0 is cut off"),
        (b"\x01\x66\x01\x02\xff\x00", "the field at byte 3 has the unknown type 255"),
        (b"\x01\x66\x01\x02\xff", "the field at byte 3 is cut off"),
    ],
)
def test_a_malformed_message_is_refused_as_a_whole(payload: bytes, detail: str):
    good = struct.pack(">BBh", 1, 103, 215)
    found = decode_cayenne_lpp(pa.array([good, payload, good]))
    assert found.refused == [Refusal(1, "malformed", detail)]
    assert found.message.tolist() == [0, 2]


@given(payloads=st.lists(PAYLOAD, min_size=1, max_size=12), data=st.data())
@LIMITS
def test_a_slice_of_a_column_gives_its_own_messages(payloads: list[bytes], data: st.DataObject):
    first = data.draw(st.integers(0, len(payloads)))
    column = pa.array(payloads, pa.large_binary())
    part, alone = decode_cayenne_lpp(column.slice(first)), decode_cayenne_lpp(pa.array(payloads[first:], pa.binary()))
    assert part.refused == alone.refused
    assert [values(part, row) for row in range(len(payloads))] == [values(alone, row) for row in range(len(payloads))]


def test_empty_and_absent_columns_are_fine():
    assert decode_cayenne_lpp(pa.array([], pa.large_binary())).value.tolist() == []
    found = decode_cayenne_lpp(pa.array([None, b""], pa.large_binary()))
    assert [refusal.reason for refusal in found.refused] == ["missing_value"] * 2
