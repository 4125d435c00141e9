"""Uplinks of both network servers, and everything else that they send."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.devices.lorawan import CHIRPSTACK_EVENTS, TTS_EVENTS, Uplinks, read_uplinks

THINGS_STACK: dict[str, Any] = {
    "end_device_ids": {
        "device_id": "dev1",
        "application_ids": {"application_id": "app1"},
        "dev_eui": "0004A30B001C0530",
        "join_eui": "800000000000000C",
        "dev_addr": "00BCB929",
    },
    "correlation_ids": ["as:up:01"],
    "received_at": "2020-02-12T15:15:45.787Z",
    "uplink_message": {
        "session_key_id": "AXA50yHUG7B1",
        "f_port": 1,
        "f_cnt": 5,
        "frm_payload": "gkHe",
        "decoded_payload": {"temperature": 1.0},
        "rx_metadata": [
            {"gateway_ids": {"gateway_id": "far", "eui": "9C5C8E00001A05C4"}, "rssi": -101, "snr": 2.2},
            {"gateway_ids": {"gateway_id": "near"}, "rssi": -35, "channel_rssi": -35, "snr": 5.25},
        ],
        "settings": {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7}}, "frequency": "868300000"},
        "received_at": "2020-02-12T15:15:45.538Z",
    },
}
CHIRPSTACK: dict[str, Any] = {
    "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
    "time": "2022-07-18T09:34:15.775023242+00:00",
    "deviceInfo": {
        "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
        "applicationName": "app",
        "deviceName": "test",
        "devEui": "0101010101010101",
        "tags": {"key": "value"},
    },
    "devAddr": "00189440",
    "dr": 1,
    "fCnt": 4,
    "fPort": 2,
    "data": "qqo=",
    "rxInfo": [{"gatewayId": "0016c001f153a14c", "uplinkId": 4217106255, "rssi": -36, "snr": 10.5}],
    "txInfo": {"frequency": 867100000},
}


def read(*records: Any) -> Uplinks:
    texts = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return read_uplinks(pa.array(texts, pa.large_binary()))


def without(record: dict[str, Any], *path: str) -> dict[str, Any]:
    if len(path) == 1:
        return {name: value for name, value in record.items() if name != path[0]}
    return record | {path[0]: without(record[path[0]], *path[1:])}


def given_(record: dict[str, Any], value: Any, *path: str) -> dict[str, Any]:
    return record | {path[0]: value if len(path) == 1 else given_(record[path[0]], value, *path[1:])}


def test_an_uplink_of_either_server_is_a_row():
    rows = read(THINGS_STACK, CHIRPSTACK).rows.to_pylist()
    assert [row | {"metadata": json.loads(row["metadata"])} for row in rows] == [
        {
            "record": 0,
            "device_id": "0004a30b001c0530",
            "timestamp": datetime(2020, 2, 12, 15, 15, 45, 538_000, UTC),
            "port": 1,
            "payload": b"\x82\x41\xde",
            "metadata": {"rssi": -35.0, "snr": 5.25, "gateway": "near", "gateways": 2, "f_cnt": 5},
        },
        {
            "record": 1,
            "device_id": "0101010101010101",
            "timestamp": datetime(2022, 7, 18, 9, 34, 15, 775_023, UTC),
            "port": 2,
            "payload": b"\xaa\xaa",
            "metadata": {"rssi": -36.0, "snr": 10.5, "gateway": "0016c001f153a14c", "gateways": 1, "f_cnt": 4},
        },
    ]


def test_what_a_server_leaves_out_because_it_is_zero_is_zero():
    bare = {
        "end_device_ids": THINGS_STACK["end_device_ids"],
        "received_at": "2020-02-12T15:15:45Z",
        "uplink_message": {},
    }
    rows = read(bare, without(without(CHIRPSTACK, "fPort"), "rxInfo")).rows.to_pylist()
    assert [(row["port"], row["payload"], row["metadata"]) for row in rows] == [
        (0, b"", "{}"),
        (0, b"\xaa\xaa", '{"f_cnt":4}'),
    ]
    assert rows[0]["timestamp"] == datetime(2020, 2, 12, 15, 15, 45, tzinfo=UTC)


@pytest.mark.parametrize("kind", TTS_EVENTS)
def test_other_messages_of_the_things_stack_are_events(kind: str):
    assert read(without(THINGS_STACK, "uplink_message") | {kind: {}}).events == [(0, kind)]


@pytest.mark.parametrize(("member", "kind"), CHIRPSTACK_EVENTS.items())
def test_other_messages_of_chirpstack_are_events(member: str, kind: str):
    record = {"deviceInfo": CHIRPSTACK["deviceInfo"], "time": CHIRPSTACK["time"], member: "x"}
    assert read(record).events == [(0, kind)]


@pytest.mark.parametrize(
    ("record", "reason", "words"),
    [
        (b"", "malformed", ""),
        (b"{", "malformed", ""),
        (b"\xff{}", "malformed", ""),
        (b"[" * 100_000, "schema", "Expected `object`"),
        (b'{"more": ' + b"[" * 100_000, "malformed", ""),
        (b"[]", "schema", "Expected `object`"),
        (b"{}", "schema", "members none"),
        ({"hello": 1}, "schema", "neither The Things Stack's nor ChirpStack's: members hello"),
        (without(THINGS_STACK, "uplink_message"), "schema", "members end_device_ids"),
        (without(THINGS_STACK, "end_device_ids"), "missing_device_id", "end_device_ids.dev_eui is absent"),
        (given_(CHIRPSTACK, "xyz", "deviceInfo", "devEui"), "bad_device_id", "'xyz'; expected 16 hexadecimal"),
        (given_(CHIRPSTACK, "0x01010101010101", "deviceInfo", "devEui"), "bad_device_id", "expected 16"),
        (without(CHIRPSTACK, "time"), "missing_timestamp", "time is absent"),
        (given_(CHIRPSTACK, "yesterday", "time"), "bad_timestamp", "'yesterday' is no time"),
        (given_(CHIRPSTACK, "2022-07-18T09:34:15", "time"), "bad_timestamp", "is no time"),
        (given_(CHIRPSTACK, "q*=", "data"), "malformed", "data: no base64"),
        (given_(CHIRPSTACK, "qqo", "data"), "malformed", "data: no base64"),
        (given_(CHIRPSTACK, "é", "data"), "malformed", "data: no base64"),
        (given_(CHIRPSTACK, 256, "fPort"), "schema", "fPort: 256"),
        (given_(CHIRPSTACK, "2", "fPort"), "schema", "Expected `int | null`"),
        (given_(CHIRPSTACK, 2**32, "fCnt"), "schema", "fCnt"),
        (given_(THINGS_STACK, [{"rssi": "loud"}], "uplink_message", "rx_metadata"), "schema", "Expected `float"),
    ],
)
def test_what_is_no_uplink_is_refused_and_costs_no_other(record: Any, reason: str, words: str):
    found = read(CHIRPSTACK, record, THINGS_STACK)
    assert found.rows.column("record").to_pylist() == [0, 2]
    assert [(refusal.message, refusal.reason) for refusal in found.refused] == [(1, reason)]
    assert words in found.refused[0].detail


@given(cut=st.integers(0, 400), noise=st.binary(max_size=6))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_each_record_is_in_one_of_the_three(cut: int, noise: bytes):
    text = json.dumps(THINGS_STACK).encode()
    found = read(text[:cut] + noise + text[cut + len(noise) :], text[:cut], CHIRPSTACK)
    places = [*found.rows.column("record").to_pylist(), *(each[0] for each in [*found.events, *found.refused])]
    assert sorted(places) == [0, 1, 2]


def test_no_records_are_fine():
    assert read().rows.num_rows == 0
