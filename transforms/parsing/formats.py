"""Which format a message has, and its records by it.

Configuration comes first, then the message's content type, then its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.parsing.binary import cbor_groups, msgpack_groups
from telebeam.transforms.parsing.compression import unpack
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

_BRACES = (ord("{"), ord("["))
_COMPRESSED = (0x1F, 0x28)


def _json(messages: Messages) -> Iterator[Found]:
    yield json_groups(messages.payloads, messages.spec)


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
    "unknown": _unknown,
}
"""What reads the messages of a format; ``unknown`` refuses them."""


def read_records(batch: pa.RecordBatch, spec: ParseSpec, known: Known) -> Iterator[Found]:
    """The records of a batch of ``ENVELOPES``; there is always one part at least.

    Args:
        batch: The messages.
        spec: What they look like.
        known: What else is known.
    """
    messages = messages_of(batch, spec, known)
    metadata = batch.schema.metadata or {}
    if CSV_HEADER in metadata and spec.format in ("auto", "csv"):
        groups, refused = csv_groups(messages.payloads, metadata, spec)
        yield Found(Records(messages.payloads, np.arange(len(messages))), groups, refused)
        return
    declared = _content_types(batch, spec)
    first = _first_bytes(messages.payloads)
    if not np.isin(first, _COMPRESSED).any() and _all_json(first, declared, spec):
        yield json_groups(messages.payloads, spec)
        return
    yield from _by_format(messages, declared)


def _all_json(first: npt.NDArray[np.int16], declared: npt.NDArray[np.object_] | None, spec: ParseSpec) -> bool:
    if spec.format in ("json", "ndjson"):
        return True
    return spec.format == "auto" and declared is None and bool(np.isin(first, _BRACES).all())


def _first_bytes(payloads: pa.LargeBinaryArray) -> npt.NDArray[np.int16]:
    """int16[n]: each payload's first byte; -1 where it is empty."""
    data, offsets = buffers(payloads)
    found = np.full(len(payloads), -1, np.int16)
    filled = np.diff(offsets) > 0
    found[filled] = data[offsets[:-1][filled]]
    return found


def _content_types(batch: pa.RecordBatch, spec: ParseSpec) -> npt.NDArray[np.object_] | None:
    """The format that each message's content type names, None where it names none; None if no message has one."""
    if spec.format != "auto" or "content_type" not in batch.schema.names:
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


def _by_format(messages: Messages, declared: npt.NDArray[np.object_] | None) -> Iterator[Found]:
    spec = messages.spec
    cap = spec.max_payload_bytes * spec.max_expansion
    large = pc.greater(pc.binary_length(messages.payloads), spec.max_payload_bytes).to_numpy(zero_copy_only=False)
    small = np.flatnonzero(~large)
    if large.any():
        why = RefusedRecord("too_large", f"larger than parse.max_payload_bytes = {spec.max_payload_bytes}")
        rows = np.flatnonzero(large)
        yield _of_rows(refused_all(messages.take(rows), why), rows)
        messages, declared = messages.take(small), None if declared is None else declared[small]
    content = unpack(messages.payloads, cap)
    inside = Messages(content.payloads, messages.keys, messages.published,
                      spec.model_copy(update={"max_payload_bytes": cap}), messages.known)  # fmt: skip
    for row, why in content.refused.items():
        yield _of_rows(refused_all(messages.take(np.array([row])), why), small[[row]])
    formats = _formats_of(inside, declared)
    formats[list(content.refused)] = ""
    for name in dict.fromkeys(formats.tolist()):
        if name:
            rows = np.flatnonzero(formats == name)
            for found in FORMATS[name](inside if len(rows) == len(inside) else inside.take(rows)):
                yield _of_rows(_as_delivered(found, rows, messages, content.packed), small[rows])
    if not len(messages) and not large.any():
        yield json_groups(messages.payloads, spec)


def _formats_of(messages: Messages, declared: npt.NDArray[np.object_] | None) -> npt.NDArray[np.object_]:
    if messages.spec.format != "auto":
        return np.full(len(messages), messages.spec.format, object)
    found = sniff(messages, _first_bytes(messages.payloads))
    return (
        found
        if declared is None
        else np.where(pc.is_null(pa.array(declared, pa.string())).to_numpy(zero_copy_only=False), found, declared)
    )


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
