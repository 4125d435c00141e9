"""Uplinks of LoRaWAN network servers, The Things Stack v3 and ChirpStack v4, as columns."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from telebeam.transforms.devices.decoded import Refusal
from telebeam.transforms.parsing.timestamps import parse_timestamps
from telebeam.transforms.schema import DICTIONARY, TEXT, TIMESTAMP, Reason

UPLINKS = pa.schema(
    [
        pa.field("record", pa.int64(), nullable=False),
        pa.field("device_id", DICTIONARY, nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("port", pa.int64(), nullable=False),
        pa.field("payload", pa.large_binary(), nullable=False),
        pa.field("metadata", TEXT, nullable=False),
    ]
)
"""One row is one uplink: the place of its record in the batch, ``dev_eui`` in lower case, the time at which the network
got it, fPort (0 for a message of the network's own), the device's bytes, and how it was received as JSON."""

TTS_EVENTS = (
    "join_accept", "downlink_ack", "downlink_nack", "downlink_sent", "downlink_failed", "downlink_queued",
    "downlink_queue_invalidated", "location_solved", "service_data", "uplink_normalized",
)  # fmt: skip
"""Members by which The Things Stack's other messages are told."""

CHIRPSTACK_EVENTS = {
    "batteryLevel": "status",
    "margin": "status",
    "acknowledged": "ack",
    "downlinkId": "txack",
    "description": "log",
    "location": "location",
    "integrationName": "integration",
    "devAddr": "join",
}
"""A member → the kind of ChirpStack's event that has it, where nothing of an uplink is there; the first one counts."""


Count = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
"""A frame counter of LoRaWAN: 32 bits."""


class _GatewayIds(msgspec.Struct):
    gateway_id: str | None = None
    eui: str | None = None


class _RxMetadata(msgspec.Struct):
    gateway_ids: _GatewayIds | None = None
    rssi: float | None = None
    channel_rssi: float | None = None
    snr: float | None = None


class _UplinkMessage(msgspec.Struct):
    frm_payload: str | None = None
    f_port: int | None = None
    f_cnt: Count | None = None
    received_at: str | None = None
    rx_metadata: list[_RxMetadata] | None = None


class _EndDevice(msgspec.Struct):
    dev_eui: str | None = None


class _RxInfo(msgspec.Struct, rename="camel"):
    gateway_id: str | None = None
    rssi: float | None = None
    snr: float | None = None


class _DeviceInfo(msgspec.Struct, rename="camel"):
    dev_eui: str | None = None


class _Record(msgspec.Struct):
    """What is read of a record of either server; ``data`` is ChirpStack's payload, or the data of a webhook's event."""

    end_device_ids: _EndDevice | None = None
    uplink_message: _UplinkMessage | None = None
    received_at: str | None = None
    device_info: _DeviceInfo | None = msgspec.field(name="deviceInfo", default=None)
    time: str | None = None
    data: str | None = None
    f_port: int | None = msgspec.field(name="fPort", default=None)
    f_cnt: Count | None = msgspec.field(name="fCnt", default=None)
    rx_info: list[_RxInfo] | None = msgspec.field(name="rxInfo", default=None)


class _Uplink(NamedTuple):
    dev_eui: str
    time: str
    port: int
    payload: bytes
    metadata: bytes


class Event(NamedTuple):
    """A record that is no uplink: a join, a device's status, an acknowledgement."""

    record: int
    kind: str


class Uplinks(NamedTuple):
    """What a batch of n records held; each record is in one of the three."""

    rows: pa.RecordBatch
    """:data:`UPLINKS`, in the order of the records."""
    events: Sequence[Event]
    refused: Sequence[Refusal]
    """By their records' places: what is no JSON or of no server's form."""


_DECODER = msgspec.json.Decoder(_Record)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_HEX = set("0123456789abcdef")


class _NoUplinkError(ValueError):
    """A record's fate: its kind as an event, or why it is refused."""

    def __init__(self, kind: str = "", reason: Reason = Reason.SCHEMA, detail: str = "") -> None:
        super().__init__(kind, reason, detail)
        self.kind, self.reason, self.detail = kind, reason, detail


def read_uplinks(records: pa.LargeBinaryArray) -> Uplinks:
    """The uplinks of a batch of records, each one JSON object as the network server sends it.

    Args:
        records: binary or large_binary[n] without nulls.

    >>> record = {"deviceInfo": {"devEui": "01A1010101010101"}, "time": "2026-01-01T00:00:00Z", "data": "QUI="}
    >>> text = msgspec.json.encode(record | {"fPort": 2})
    >>> row = read_uplinks(pa.array([text])).rows.to_pylist()[0]
    >>> row["device_id"], row["port"], row["payload"], row["metadata"]
    ('01a1010101010101', 2, b'AB', '{}')
    """
    found: list[_Uplink] = []
    rows: list[int] = []
    events: list[Event] = []
    refused: list[Refusal] = []
    for row, record in enumerate(records.to_pylist()):
        try:
            found.append(_read(record))
            rows.append(row)
        except _NoUplinkError as fate:
            if fate.kind:
                events.append(Event(row, fate.kind))
            else:
                refused.append(Refusal(row, fate.reason.value, fate.detail))
    batch = _columns(found, np.array(rows, np.int64))
    times = parse_timestamps(pa.array([uplink.time for uplink in found], TEXT))
    bad = np.flatnonzero(times.bad)
    for place in bad.tolist():
        detail = f"{found[place].time[:60]!r} is no time"
        refused.append(Refusal(rows[place], Reason.BAD_TIMESTAMP.value, detail))
    batch = batch.set_column(2, UPLINKS.field(2), pa.array(times.microseconds).cast(TIMESTAMP))
    return Uplinks(batch.filter(pa.array(~times.bad)) if len(bad) else batch, events, sorted(refused))


def _columns(found: list[_Uplink], rows: np.ndarray) -> pa.RecordBatch:
    """:data:`UPLINKS` with times yet to come."""
    columns = [
        pa.array(rows),
        pa.array([uplink.dev_eui for uplink in found], TEXT).dictionary_encode().cast(DICTIONARY),
        pa.array(np.zeros(len(found), np.int64)).cast(TIMESTAMP),
        pa.array([uplink.port for uplink in found], pa.int64()),
        pa.array([uplink.payload for uplink in found], pa.large_binary()),
        pa.array([uplink.metadata for uplink in found], pa.binary()).cast(TEXT),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=UPLINKS)


def _read(text: bytes) -> _Uplink:
    try:
        text.decode("utf-8")  # what the decoder skips it does not look at
        record = _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise _NoUplinkError(reason=Reason.SCHEMA, detail=str(error)[:200]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = str(error).removeprefix("JSON is malformed: ")[:200]
        raise _NoUplinkError(reason=Reason.MALFORMED, detail=detail) from error
    if record.uplink_message is not None:
        return _of_things_stack(record, record.uplink_message)
    if record.device_info is not None and (record.f_port is not None or record.data is not None or record.rx_info):
        return _of_chirpstack(record)
    raise _event(text, record)


def _of_things_stack(record: _Record, message: _UplinkMessage) -> _Uplink:
    best = max(message.rx_metadata or (), key=lambda each: _strength(each.rssi, each.channel_rssi), default=None)
    ids = best.gateway_ids if best is not None else None
    return _Uplink(
        dev_eui=_eui(record.end_device_ids.dev_eui if record.end_device_ids else None, "end_device_ids.dev_eui"),
        # What the network server got first, before the application server had it.
        time=_time(message.received_at or record.received_at, "received_at"),
        port=_port(message.f_port, "f_port"),
        payload=_payload(message.frm_payload, "frm_payload"),
        metadata=_metadata(
            (best.rssi if best.rssi is not None else best.channel_rssi) if best is not None else None,
            best.snr if best is not None else None,
            (ids.gateway_id or ids.eui) if ids is not None else None,
            len(message.rx_metadata or ()),
            message.f_cnt,
        ),
    )


def _of_chirpstack(record: _Record) -> _Uplink:
    best = max(record.rx_info or (), key=lambda each: _strength(each.rssi), default=None)
    return _Uplink(
        dev_eui=_eui(record.device_info.dev_eui if record.device_info else None, "deviceInfo.devEui"),
        time=_time(record.time, "time"),
        port=_port(record.f_port, "fPort"),
        payload=_payload(record.data, "data"),
        metadata=_metadata(
            best.rssi if best is not None else None,
            best.snr if best is not None else None,
            best.gateway_id if best is not None else None,
            len(record.rx_info or ()),
            record.f_cnt,
        ),
    )


def _strength(*rssi: float | None) -> float:
    """The signal strength in dBm; of a gateway that names none, the least."""
    return next((each for each in rssi if each is not None), -1e9)


def _eui(text: str | None, name: str) -> str:
    if not text:
        raise _NoUplinkError(reason=Reason.MISSING_DEVICE_ID, detail=f"{name} is absent")
    eui = text.strip().lower()
    if len(eui) != 16 or not _HEX.issuperset(eui):
        detail = f"{name}: {text[:60]!r}; expected 16 hexadecimal digits"
        raise _NoUplinkError(reason=Reason.BAD_DEVICE_ID, detail=detail)
    return eui


def _time(text: str | None, name: str) -> str:
    if not text:
        raise _NoUplinkError(reason=Reason.MISSING_TIMESTAMP, detail=f"{name} is absent")
    return text


def _port(port: int | None, name: str) -> int:
    if port is not None and not 0 <= port <= 255:
        raise _NoUplinkError(reason=Reason.SCHEMA, detail=f"{name}: {str(port)[:60]}; expected 0 to 255")
    return port or 0


def _payload(text: str | None, name: str) -> bytes:
    try:
        return binascii.a2b_base64(text or "", strict_mode=True)
    except ValueError as error:
        raise _NoUplinkError(reason=Reason.MALFORMED, detail=f"{name}: no base64: {error}") from error


def _metadata(rssi: float | None, snr: float | None, gateway: str | None, gateways: int, count: int | None) -> bytes:
    """How the best of the gateways received it, as JSON without what is not known."""
    given = {"rssi": rssi, "snr": snr, "gateway": gateway, "gateways": gateways or None, "f_cnt": count}
    return _ENCODER.encode({name: value for name, value in given.items() if value is not None})


def _event(text: bytes, record: _Record) -> _NoUplinkError:
    """What a record is that is no uplink."""
    members = _MEMBERS.decode(text)
    known: Callable[[str], bool] = members.__contains__
    if record.end_device_ids is not None:
        kind = next((name for name in TTS_EVENTS if known(name)), "")
    elif record.device_info is not None:
        kind = next((name for member, name in CHIRPSTACK_EVENTS.items() if known(member)), "")
    else:
        kind = ""
    detail = f"neither The Things Stack's nor ChirpStack's: members {', '.join(members)[:100] or 'none'}"
    return _NoUplinkError(kind, Reason.SCHEMA, "" if kind else detail)
