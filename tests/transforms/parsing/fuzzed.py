"""Devices, their uplinks, and messages of other formats that the fuzz changes at random."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from telebeam.io.devices.codecs import Codec, Codecs
from telebeam.transforms.devices.cayenne import decode_cayenne_lpp
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.parsing.wire import Schema

EUIS = [f"{n:016x}" for n in range(1, 5)]
"""Of a device that CayenneLPP reads, one that a codec of JavaScript reads, one without a codec, and an unknown one."""
CODEC_KEYS = ["devices/lpp-device/telemetry", "devices/door-device/telemetry"]
CSV_NAMES = ["device_id", "timestamp", "sensor_type", "value", "note"]

_CAYENNE = [bytes.fromhex(text) for text in ("0367011001670105", "01880622E1DBF2E6BF0003E8", "0573265906000164000101")]
_DOORS = [bytes.fromhex("FF385A960301"), bytes.fromhex("00645A640001"), struct.pack(">hBBBB", -500, 90, 10, 255, 9)]


def make_fleet(codecs: Codecs, source: str) -> Fleet:
    """The devices, with CayenneLPP for one type and a codec for another."""
    devices = zip([*EUIS[:3], "lpp-device", "door-device"], ["lpp", "door", None, "lpp", "door"], strict=True)
    rows = [{"device_id": name, "device_type": kind} for name, kind in devices]
    registry = Registry.of(pa.RecordBatch.from_pylist(rows, schema=REGISTRY))
    decoders = {
        "lpp": lambda messages: decode_cayenne_lpp(messages.payloads),
        "door": partial(codecs.decode, Codec(source)),
    }
    return Fleet(DevicesSpec(), registry, decoders)


def uplinks() -> list[bytes]:
    """Uplinks of The Things Stack and of ChirpStack, of each device."""
    found: list[dict[str, Any]] = []
    for eui, payloads in zip(EUIS, (_CAYENNE, _DOORS, _DOORS[:1], _DOORS[:1]), strict=True):
        for port, payload in enumerate(payloads, 1):
            text = base64.b64encode(payload).decode()
            found.append({
                "end_device_ids": {"device_id": "d", "dev_eui": eui.upper()},
                "received_at": "2026-01-01T00:00:00.787123456Z",
                "uplink_message": {"f_port": port, "f_cnt": 5, "frm_payload": text,
                    "rx_metadata": [{"gateway_ids": {"gateway_id": "g"}, "rssi": -35, "snr": 5.25}]},
            })  # fmt: skip
            found.append({
                "time": "2026-01-01T00:00:00+00:00", "deviceInfo": {"devEui": eui}, "fCnt": 4, "fPort": port,
                "data": text, "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -36, "snr": 10.5}],
            })  # fmt: skip
    return [json.dumps(record).encode() for record in found]


def bare_payloads() -> list[bytes]:
    """What devices send, without a network's record around it."""
    return [*_CAYENNE, *_DOORS]


def csv_records() -> list[bytes]:
    """Records below a header of :data:`CSV_NAMES`."""
    return [
        b"device-1,2026-01-01T00:00:00Z,temperature,21.5,fine", b'device-2,1767225600,"humidity",40,"a ""b"", c"',
        b"device-3, 1767225600123 , pressure , 1013 ,", b'"device-4",2026-01-01 00:00:00+01:00,,-3e2,"x\ny"',
    ]  # fmt: skip


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="reading.proto", package="iot", syntax="proto3")
    message = file.message_type.add(name="Reading")
    kinds = {"device_id": 9, "timestamp": 3, "temperature": 1, "battery": 2, "note": 12}
    for number, (name, kind) in enumerate(kinds.items(), 1):
        message.field.add(name=name, number=number, type=kind, label=1)  # type: ignore[arg-type]
    message.field.add(name="children", number=9, type=11, type_name=".iot.Reading", label=3)
    message.field.add(name="counts", number=10, type=4, label=3)
    return file


def protobuf_messages() -> list[bytes]:
    """Messages of :func:`protobuf_schema`, with the id 2 in front."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())  # type: ignore[no-untyped-call]
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("iot.Reading"))  # type: ignore[no-untyped-call]
    plain = kind(device_id="device-1", timestamp=1767225600, temperature=21.5, battery=3.5, note=b"\xff")
    deep = kind(device_id="device-2", timestamp=1767225600, children=[plain, plain], counts=[1, 2, 300])
    return [b"\x00\x00\x00\x00\x02\x00" + message.SerializeToString() for message in (plain, deep)]


def protobuf_schema() -> Schema:
    return Schema("protobuf", base64.b64encode(_file().SerializeToString()).decode())


SEEDS: Mapping[str, Callable[[], list[bytes]]] = {
    "csv": csv_records, "protobuf": protobuf_messages, "lorawan": uplinks, "codec": bare_payloads,
}  # fmt: skip
"""Format → whole messages of it; ``codec`` is what a device's key names."""


def mutated(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """One of some messages after one to three changes: of bytes and bits, cut short, spliced with another."""
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
