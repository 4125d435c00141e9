"""Payloads that a device type's codec reads: uplinks of LoRaWAN networks, and bare bytes whose key names the device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import codes
from telebeam.transforms.devices.decoded import Decoded, Payloads, sensor_types
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.kernel import known_devices, types_of
from telebeam.transforms.devices.lorawan import UPLINKS, read_uplinks
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.parsing.assemble import Columns, devices_in
from telebeam.transforms.parsing.found import NO_TIME, Found, Messages
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.schema import DICTIONARY, TEXT, TIMESTAMP, Issue, Reason

_NETWORKS = ('"end_device_ids"', '"deviceInfo"')
"""Members of every uplink of The Things Stack, and of ChirpStack."""

Refusals = list[tuple[int, RefusedRecord]]


def uplink_groups(messages: Messages) -> Found:
    """The readings of uplinks by their devices' codecs; a network's other events hold none, and are no rejects.

    Raises:
        ConfigurationError: No registry of devices is declared.
    """
    fleet = _fleet(messages)
    uplinks = read_uplinks(messages.payloads)
    columns, refused = _decode(uplinks.rows, fleet)
    refused += [(each.message, RefusedRecord(each.reason, each.detail)) for each in uplinks.refused]
    return _found(messages, columns, refused)


def codec_groups(messages: Messages) -> Found:
    """The readings of bytes as devices sent them: the key names the device, and the time is when the broker took them.

    Raises:
        ConfigurationError: No registry of devices is declared.
    """
    fleet = _fleet(messages)
    timed = messages.published != NO_TIME
    rows = np.flatnonzero(timed)
    ids = pc.utf8_trim_whitespace(devices_in(messages.keys)).take(pa.array(rows))
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(rows),
            ids.dictionary_encode().cast(DICTIONARY),
            pa.array(messages.published[rows]).cast(TIMESTAMP),
            pa.array(np.zeros(len(rows), np.int64)),
            messages.payloads.take(pa.array(rows)),
            pa.array(["{}"] * len(rows), TEXT),
        ],
        schema=UPLINKS,
    )
    columns, refused = _decode(batch, fleet)
    why = RefusedRecord(Reason.MISSING_TIMESTAMP, "the source does not say when it took the message")
    refused += [(row, why) for row in np.flatnonzero(~timed).tolist()]
    return _found(messages, columns, refused)


def are_uplinks(payloads: pa.LargeBinaryArray) -> npt.NDArray[np.bool_]:
    """bool[n]: which JSON texts look like a network's uplinks."""
    found = [pc.match_substring(payloads, member).to_numpy(zero_copy_only=False) for member in _NETWORKS]
    return np.logical_or(*found)


def formats_by_device(messages: Messages, fleet: Fleet) -> npt.NDArray[np.object_] | None:
    """The format of each message whose key names a device of a type with one, None elsewhere; None if there is none."""
    if not fleet.formats or messages.keys.null_count == len(messages):
        return None
    times = pa.array(messages.published, mask=messages.published == NO_TIME).cast(TIMESTAMP)
    ids = pc.utf8_trim_whitespace(devices_in(messages.keys)).dictionary_encode().cast(DICTIONARY)
    types = types_of(pa.RecordBatch.from_arrays([ids, times], names=["device_id", "timestamp"]), fleet.registry)
    names = np.array([*(fleet.formats.get(name) for name in types.dictionary.to_pylist()), None], object)
    return names[codes(types)]


def _fleet(messages: Messages) -> Fleet:
    if messages.fleet is None:
        raise ConfigurationError(
            "parse.format: lorawan needs a registry of devices: their types say how bytes are read",
            "devices: {registry: devices.yaml, types: {…: {codec: cayenne_lpp}}}; see docs/codecs.md",
        )
    return messages.fleet


def _found(messages: Messages, columns: list[Columns], refused: Refusals) -> Found:
    refused = sorted(refused, key=lambda each: each[0])
    return Found(Records(messages.payloads, np.arange(len(messages))), [], refused, tuple(columns))


def _decode(uplinks: pa.RecordBatch, fleet: Fleet) -> tuple[list[Columns], Refusals]:
    """The readings of :data:`UPLINKS` by codecs, and the records that have none."""
    types = types_of(uplinks, fleet.registry)
    names, numbers = types.dictionary.to_pylist(), codes(types)
    records = uplinks.column("record").to_numpy()
    columns: list[Columns] = []
    refused: Refusals = []
    undecoded = np.ones(len(records), bool)
    for code, name in enumerate(names):
        places = np.flatnonzero(numbers == code)
        if name not in fleet.codecs or not len(places):
            continue
        undecoded[places] = False
        part = uplinks.take(pa.array(places))
        times = part.column("timestamp").cast(pa.int64()).to_numpy()
        decoded = fleet.codecs[name](Payloads(part.column("payload"), part.column("port").to_numpy(), times))
        columns.append(_columns(part, decoded))
        refused += [(int(records[places[e.message]]), RefusedRecord(e.reason, e.detail)) for e in decoded.refused]
    if undecoded.any():
        rows = np.flatnonzero(undecoded)
        refused += _without_codec(uplinks.take(pa.array(rows)), [names[code] if code >= 0 else None
                                                                for code in numbers[rows].tolist()], fleet)  # fmt: skip
    return columns, refused


def _columns(part: pa.RecordBatch, decoded: Decoded) -> Columns:
    owner = pa.array(decoded.message)
    columns = {
        "device_id": part.column("device_id").take(owner),
        "timestamp": pc.coalesce(decoded.timestamp, part.column("timestamp").take(owner)),
        "sensor_type": sensor_types(decoded.name),
        "measurement_type": decoded.name,
        "value": pa.array(decoded.value),
        "unit": decoded.unit,
        "location": pa.nulls(len(decoded.message), DICTIONARY),
        "quality_score": pa.array(np.ones(len(decoded.message))),
        "metadata": _merged(part.column("metadata"), decoded.metadata).take(owner),
    }
    warned = decoded.warnings.is_valid().to_numpy(zero_copy_only=False)[decoded.message]
    return Columns(part.column("record").to_numpy()[decoded.message], columns, {Issue.CODEC_WARNING: warned})


def _merged(received: pa.StringArray, texts: pa.StringArray) -> pa.StringArray:
    """JSON objects of two sources as one, null where both are empty."""
    inner = [pc.utf8_slice_codeunits(pc.fill_null(each, "{}"), 1, -1) for each in (received, texts)]
    comma = pc.if_else(pc.or_(pc.equal(inner[0], ""), pc.equal(inner[1], "")), "", ",")
    members = pc.binary_join_element_wise(inner[0], comma, inner[1], "")
    return pc.if_else(pc.equal(members, ""), None, pc.binary_join_element_wise("{", members, "}", ""))


def _without_codec(uplinks: pa.RecordBatch, types: list[str | None], fleet: Fleet) -> Refusals:
    known = known_devices(uplinks, fleet.registry).tolist()
    rows = zip(uplinks.column("record").to_pylist(), uplinks.column("device_id").to_pylist(), types, known, strict=True)
    return [(record, _why(device, kind, is_known)) for record, device, kind, is_known in rows]


def _why(device: str, kind: str | None, is_known: bool) -> RefusedRecord:
    if not is_known:
        return RefusedRecord(Reason.UNKNOWN_DEVICE, f"{device} is not in the registry, so that nobody knows its codec")
    if kind is None:
        return RefusedRecord(Reason.UNKNOWN_FORMAT, f"the registry gives {device} no device_type")
    return RefusedRecord(Reason.UNKNOWN_FORMAT, f"{device} is of the type {kind}, which has no codec")
