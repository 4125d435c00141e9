"""Which format a message has, and its records by it.

Configuration comes first, then the message's content type, then the type of the device that its key names, then its
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.parsing.binary import cbor_groups, msgpack_groups
from telebeam.transforms.parsing.compression import GZIP, Unpacked, unpack
from telebeam.transforms.parsing.csv import CSV_HEADER, csv_groups
from telebeam.transforms.parsing.found import Found, Known, Messages, messages_of
from telebeam.transforms.parsing.ipc import arrow_groups
from telebeam.transforms.parsing.json import json_groups
from telebeam.transforms.parsing.lines import line_groups
from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.parsing.registered import avro_groups, protobuf_groups
from telebeam.transforms.parsing.senml import senml_cbor_groups, senml_groups
from telebeam.transforms.parsing.sniffing import sniff
from telebeam.transforms.parsing.sparkplug import sparkplug_groups
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.uplinks import are_uplinks, codec_groups, formats_by_device, uplink_groups

CONTENT_TYPES = {
    "application/json": "json",
    "application/x-ndjson": "json",
    "application/jsonl": "json",
    "text/json": "json",
    "text/csv": "csv",
    "application/cbor": "cbor",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    "application/senml+json": "senml",
    "application/senml+cbor": "senml_cbor",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.arrow.file": "arrow",
    "application/avro": "avro",
    "avro/binary": "avro",
    "application/vnd.confluent.avro": "avro",
    "application/protobuf": "protobuf",
    "application/x-protobuf": "protobuf",
    "application/vnd.google.protobuf": "protobuf",
}
"""Content types that name a format; parameters and case don't count."""

_FOREIGN = r"^(image|audio|video|font)/|^text/(html|xml)|^application/(xml|pdf|zip)"
"""Content types of what is no telemetry."""

CONFIGURATION, CONTENT_TYPE, DEVICE_TYPE, KEY, BYTES, NOTHING, HEADER = (
    "configuration", "content type", "device type", "key", "bytes", "nothing", "header line",
)  # fmt: skip
"""What may decide on a message's format."""

_BRACES = (ord("{"), ord("["))
_COMPRESSED = (0x1F, 0x28)


def _json(messages: Messages) -> Iterator[Found]:
    yield json_groups(messages.payloads, messages.spec, messages.known.json)


def _unknown(messages: Messages) -> Iterator[Found]:
    yield refused_all(messages, RefusedRecord("unknown_format", "its content type is none of telemetry"))


def _headless(messages: Messages) -> Iterator[Found]:
    groups, refused = csv_groups(messages.payloads, {}, messages.spec)
    yield Found(Records(messages.payloads, np.arange(len(messages))), groups, refused)


def _one(read: Callable[[Messages], Found]) -> Callable[[Messages], Iterator[Found]]:
    return lambda messages: iter([read(messages)])


FORMATS: dict[str, Callable[[Messages], Iterator[Found]]] = {
    "json": _json,
    "ndjson": _json,
    "csv": _headless,
    "cbor": _one(cbor_groups),
    "msgpack": _one(msgpack_groups),
    "senml": _one(senml_groups),
    "senml_cbor": _one(senml_cbor_groups),
    "line_protocol": _one(line_groups),
    "arrow": arrow_groups,
    "avro": avro_groups,
    "protobuf": protobuf_groups,
    "sparkplug": _one(sparkplug_groups),
    "lorawan": _one(uplink_groups),
    "codec": _one(codec_groups),
    "unknown": _unknown,
}
"""What reads the messages of a format; ``codec`` is their device's own, ``unknown`` refuses them."""


class Choice(NamedTuple):
    """The format of each message, and what decided on it."""

    formats: npt.NDArray[np.object_]
    by: npt.NDArray[np.object_]


class Decision(NamedTuple):
    """What is decided of a message before it is read."""

    format: str | None
    """A key of :data:`FORMATS`; None where the message is refused before that."""
    by: str | None
    """What decided on it."""
    compression: str | None
    """gzip | zstd."""
    content: bytes
    """The payload, out of its compression."""


_Declared = list[tuple[str, npt.NDArray[np.object_]]]
"""What is said of messages beside their bytes, the first to be heard first: who says it, and each one's format or
None."""


def decide(batch: pa.RecordBatch, spec: ParseSpec, known: Known, fleet: Fleet | None = None) -> Decision:
    """What :func:`read_records` decides of a batch of one message; arguments as there."""
    messages = messages_of(batch, spec, known, fleet)
    payload = messages.payloads[0].as_py()
    if _has_header(batch, spec):
        return Decision("csv", CONFIGURATION if spec.format == "csv" else HEADER, None, payload)
    if _too_large(messages).any():
        return Decision(None, None, None, payload)
    inside, content = _unpacked(messages)
    compression = ("gzip" if payload.startswith(GZIP) else "zstd") if content.packed[0] else None
    if content.refused:
        return Decision(None, None, compression, payload)
    choice = _choose(inside, _declared(batch, messages))
    return Decision(choice.formats[0], choice.by[0], compression, inside.payloads[0].as_py())


def read_records(batch: pa.RecordBatch, spec: ParseSpec, known: Known, fleet: Fleet | None = None) -> Iterator[Found]:
    """The records of a batch of ``ENVELOPES``; there is always one part at least.

    Args:
        batch: The messages.
        spec: What they look like.
        known: What else is known.
        fleet: What is known of devices, where a registry of them is declared.
    """
    messages = messages_of(batch, spec, known, fleet)
    if _has_header(batch, spec):
        groups, refused = csv_groups(messages.payloads, batch.schema.metadata, spec)
        yield Found(Records(messages.payloads, np.arange(len(messages))), groups, refused)
        return
    declared = _declared(batch, messages)
    first = _first_bytes(messages.payloads)
    if not np.isin(first, _COMPRESSED).any() and _all_json(first, declared, messages):
        yield json_groups(messages.payloads, spec, known.json)
        return
    yield from _by_format(messages, declared)


def _has_header(batch: pa.RecordBatch, spec: ParseSpec) -> bool:
    return CSV_HEADER in (batch.schema.metadata or {}) and spec.format in ("auto", "csv")


def _all_json(first: npt.NDArray[np.int16], declared: _Declared, messages: Messages) -> bool:
    if messages.spec.format in ("json", "ndjson"):
        return True
    if messages.spec.format != "auto" or declared or _may_be_uplinks(messages):
        return False
    return bool(np.isin(first, _BRACES).all())


def _may_be_uplinks(messages: Messages) -> bool:
    return messages.fleet is not None and bool(messages.fleet.codecs)


def _first_bytes(payloads: pa.LargeBinaryArray) -> npt.NDArray[np.int16]:
    """int16[n]: each payload's first byte; -1 where it is empty."""
    data, offsets = buffers(payloads)
    found = np.full(len(payloads), -1, np.int16)
    filled = np.diff(offsets) > 0
    found[filled] = data[offsets[:-1][filled]]
    return found


def _declared(batch: pa.RecordBatch, messages: Messages) -> _Declared:
    """What content types say, and then the types of the devices that keys name; empty if nobody says of any."""
    if messages.spec.format != "auto":
        return []
    by_device = None if messages.fleet is None else formats_by_device(messages, messages.fleet)
    said = ((CONTENT_TYPE, _content_types(batch)), (DEVICE_TYPE, by_device))
    return [(who, formats) for who, formats in said if formats is not None]


def _content_types(batch: pa.RecordBatch) -> npt.NDArray[np.object_] | None:
    """The format that each message's content type names, None where it names none; None if no message has one."""
    if "content_type" not in batch.schema.names:
        return None
    column = batch.column("content_type").cast(pa.string()).dictionary_encode()
    words = pc.utf8_lower(pc.utf8_trim_whitespace(pc.replace_substring_regex(column.dictionary, r";.*$", "")))
    foreign = pc.match_substring_regex(words, _FOREIGN).to_pylist()
    named = [
        "unknown" if other else CONTENT_TYPES.get(word) for word, other in zip(words.to_pylist(), foreign, strict=True)
    ]
    if not any(named):
        return None
    codes = column.indices.fill_null(len(named)).to_numpy(zero_copy_only=False)
    return np.array([*named, None], object)[codes]


def _too_large(messages: Messages) -> npt.NDArray[np.bool_]:
    lengths = pc.binary_length(messages.payloads)
    large: npt.NDArray[np.bool_] = pc.greater(lengths, messages.spec.max_payload_bytes).to_numpy(zero_copy_only=False)
    return large


def _unpacked(messages: Messages) -> tuple[Messages, Unpacked]:
    """The messages out of their compression, with the limit that they have then."""
    cap = messages.spec.max_payload_bytes * messages.spec.max_expansion
    content = unpack(messages.payloads, cap)
    larger = messages.spec.model_copy(update={"max_payload_bytes": cap})
    return replace(messages, payloads=content.payloads, spec=larger), content


def _by_format(messages: Messages, declared: _Declared) -> Iterator[Found]:
    spec = messages.spec
    large = _too_large(messages)
    small = np.flatnonzero(~large)
    if large.any():
        why = RefusedRecord("too_large", f"larger than parse.max_payload_bytes = {spec.max_payload_bytes}")
        rows = np.flatnonzero(large)
        yield _of_rows(refused_all(messages.take(rows), why), rows)
        messages, declared = messages.take(small), [(who, formats[small]) for who, formats in declared]
    inside, content = _unpacked(messages)
    for row, why in content.refused.items():
        yield _of_rows(refused_all(messages.take(np.array([row])), why), small[[row]])
    formats = _choose(inside, declared).formats
    formats[list(content.refused)] = ""
    for name in dict.fromkeys(formats.tolist()):
        if name:
            rows = np.flatnonzero(formats == name)
            for found in FORMATS[name](inside if len(rows) == len(inside) else inside.take(rows)):
                yield _of_rows(_as_delivered(found, rows, messages, content.packed), small[rows])
    if not len(messages) and not large.any():
        yield json_groups(messages.payloads, spec, messages.known.json)


def _choose(messages: Messages, declared: _Declared) -> Choice:
    """The format of each message, out of its compression."""
    if messages.spec.format != "auto":
        return Choice(np.full(len(messages), messages.spec.format, object), _by(CONFIGURATION, messages))
    first = _first_bytes(messages.payloads)
    formats, by = sniff(messages, first), _by(BYTES, messages)
    by[formats == "sparkplug"], by[(formats == "json") & ~np.isin(first, _BRACES)] = KEY, NOTHING
    for who, said in reversed(declared):
        heard = said != None  # noqa: E711 - element by element
        formats[heard], by[heard] = said[heard], who
    if _may_be_uplinks(messages):
        uplinks = (formats == "json") & are_uplinks(messages.payloads)
        formats[uplinks], by[uplinks] = "lorawan", BYTES
    return Choice(formats, by)


def _by(who: str, messages: Messages) -> npt.NDArray[np.object_]:
    return np.full(len(messages), who, object)


def refused_all(messages: Messages, why: RefusedRecord) -> Found:
    """Messages that are all refused for one reason."""
    rows = np.arange(len(messages))
    return Found(Records(messages.payloads, rows), [], [(row, why) for row in rows.tolist()])


def _of_rows(found: Found, rows: npt.NDArray[np.int64]) -> Found:
    """The same, its envelopes counted from where the messages were taken from."""
    if len(rows) and rows[-1] == len(rows) - 1:  # they ascend: these are all
        return found
    return found._replace(records=Records(found.records.payloads, rows[found.records.envelopes]))


def _as_delivered(
    found: Found, rows: npt.NDArray[np.int64], messages: Messages, packed: npt.NDArray[np.bool_]
) -> Found:
    """The same, with the compressed bytes for the record of a payload that holds but one."""
    if not packed.any():
        return found
    records = found.records
    owners = rows[records.envelopes]
    if not packed[owners].any() or not pa.types.is_large_binary(records.payloads.type):
        return found
    single = np.bincount(owners, minlength=len(packed))[owners] == 1
    originals = messages.payloads.take(pa.array(owners))
    payloads = pc.if_else(pa.array(single & packed[owners]), originals, records.payloads)
    return found._replace(records=Records(payloads, records.envelopes))
