"""Records as bytes: a column of payloads, and the records that stand in arrays and on lines within one payload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.spec import ParseSpec

_WHITE = b" \t\n\r"
_RAW_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW = msgspec.json.Decoder(msgspec.Raw)


class RefusedRecord(ValueError):  # noqa: N818 - a record's fate, not a program's error
    """A record that can't be used: ``reason`` and ``detail`` as the rejects have them."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Records:
    """Payloads and the envelope that each came in.

    Args:
        payloads: large_binary[n] without nulls.
        envelopes: int64[n]: each one's row in the envelope batch.
    """

    payloads: pa.LargeBinaryArray
    envelopes: np.ndarray

    def __len__(self) -> int:
        return len(self.payloads)


def check_json(payload: bytes, max_depth: int) -> None:
    """Refuses what is no text of RFC 8259.

    Raises:
        RefusedRecord: ``malformed``, with the cause and its place.
    """
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedRecord("malformed", f"not UTF-8: {error.reason} at byte {error.start}") from error
    if payload.count(b"[") + payload.count(b"{") > max_depth and _depth(payload) > max_depth:
        raise RefusedRecord("malformed", f"nested deeper than {max_depth} levels")
    try:
        _RAW.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedRecord("malformed", "empty" if not payload.strip(_WHITE) else _cause(error)) from error


def _cause(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")[:200]


def _depth(payload: bytes) -> int:
    """The deepest nesting of brackets outside of strings."""
    data = np.frombuffer(payload, np.uint8)
    quotes = np.flatnonzero(data == 34)
    if len(quotes):
        quotes = quotes[[not _escaped(payload, position) for position in quotes.tolist()]]
    opening = np.flatnonzero((data == 91) | (data == 123))
    closing = np.flatnonzero((data == 93) | (data == 125))
    places = np.concatenate([opening, closing])
    steps = np.concatenate([np.ones(len(opening), np.int64), -np.ones(len(closing), np.int64)])
    outside = np.searchsorted(quotes, places) % 2 == 0
    order = np.argsort(places[outside], kind="stable")
    return int(np.cumsum(steps[outside][order]).max(initial=0))


def _escaped(payload: bytes, position: int) -> bool:
    slashes = 0
    while position > slashes and payload[position - slashes - 1] == 0x5C:
        slashes += 1
    return slashes % 2 == 1


def object_members(payload: bytes) -> dict[str, bytes]:
    """The members of a JSON object as the bytes that stood there; of equal names the last one counts.

    Raises:
        RefusedRecord: ``not_an_object``.
    """
    try:
        members = _RAW_OBJECT.decode(payload)
    except msgspec.DecodeError as error:
        raise RefusedRecord("not_an_object", f"expected an object, found {payload.lstrip(_WHITE)[:20]!r}") from error
    return {name: bytes(raw) for name, raw in members.items()}


def array_elements(payload: bytes) -> list[bytes] | None:
    """The elements of a JSON array as the bytes that stood there; None where the payload is no array."""
    try:
        return [bytes(raw).strip(_WHITE) for raw in _RAW_ARRAY.decode(payload)]
    except msgspec.DecodeError:
        return None


def inner_records(payload: bytes, max_depth: int) -> Iterator[tuple[bytes, RefusedRecord | None]]:
    """The records within one payload, each with why it is refused or None.

    A payload is one JSON text, an array of records, or several of either on lines of their own.  Where not even one
    line is JSON the payload is refused as a whole.
    """
    try:
        check_json(payload, max_depth)
    except RefusedRecord as refusal:
        yield from _lines(payload, refusal, max_depth)
        return
    elements = array_elements(payload)
    if elements is None:
        yield payload, None
    elif not elements:
        yield payload, RefusedRecord("missing_value", "an empty array")
    else:
        for element in elements:
            yield element, None


def _lines(payload: bytes, refusal: RefusedRecord, max_depth: int) -> Iterator[tuple[bytes, RefusedRecord | None]]:
    lines = [line.rstrip(b"\r") for line in payload.split(b"\n") if line.strip(_WHITE)]
    if len(lines) < 2:
        yield payload, refusal
        return
    found = [list(inner_records(line, max_depth)) for line in lines]
    if all(why is not None for records in found for _, why in records):
        yield payload, refusal
        return
    for records in found:
        yield from records


def split_payloads(payloads: pa.LargeBinaryArray, spec: ParseSpec) -> tuple[Records, list[tuple[int, RefusedRecord]]]:
    """The records within a column of payloads, and those among them that are refused already, by row.

    A payload on one line that begins with a brace is taken for one record without a further look.
    """
    data, offsets = buffers(payloads)
    lengths = np.diff(offsets)
    large = lengths > spec.max_payload_bytes
    whole = lengths > 0
    whole[whole] = data[offsets[:-1][whole]] == ord("{")
    if (data == ord("\n")).any():
        whole[np.searchsorted(offsets, np.flatnonzero(data == ord("\n")), side="right") - 1] = False
    kept = np.flatnonzero(whole | large)
    too_large = RefusedRecord("too_large", f"larger than parse.max_payload_bytes = {spec.max_payload_bytes}")
    refused = [(row, too_large) for row in np.flatnonzero(large[kept]).tolist()]
    if len(kept) == len(payloads):
        return Records(payloads, kept), refused
    texts: list[bytes] = []
    owners: list[int] = []
    for owner in np.flatnonzero(~(whole | large)).tolist():
        for text, why in inner_records(payloads[owner].as_py(), spec.max_depth):
            if why is not None:
                refused.append((len(kept) + len(texts), why))
            texts.append(text)
            owners.append(owner)
    everything = pa.concat_arrays([payloads.take(pa.array(kept)), pa.array(texts, pa.large_binary())])
    return Records(everything, np.concatenate([kept, np.array(owners, np.int64)])), refused
