"""Records as bytes: a column of payloads, and the records that stand in arrays and on lines within one payload."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.spec import ParseSpec

_WHITE = b" \t\n\r"
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_UNSTRUCTURED = bytes(set(range(256)) - set(b'[]{}"'))
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

    def followed_by(self, others: Records) -> Records:
        """These records, and others behind them."""
        if not len(self) or not len(others):
            return self if len(self) else others
        payloads = pa.concat_arrays([self.payloads, others.payloads])
        return Records(payloads, np.concatenate([self.envelopes, others.envelopes]))


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
    structure = _ESCAPE.sub(b"", payload).translate(None, _UNSTRUCTURED)
    # Two quotes side by side change for no bracket whether it is in a string; they leave strings with brackets.
    structure = _STRING.sub(b"", structure.replace(b'""', b""))
    brackets = np.frombuffer(structure, np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(np.cumsum(steps).max(initial=0))


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
    """The elements of a valid JSON array as the bytes that stood there; None where the payload is no array."""
    if not payload.lstrip(_WHITE).startswith(b"["):
        return None
    return [bytes(raw) for raw in _RAW_ARRAY.decode(payload)]


Inner = tuple[list[bytes], list[tuple[int, RefusedRecord]]]
"""Records that stand in one payload, and why some of them are refused, by place."""


def inner_records(payload: bytes, max_depth: int) -> Inner:
    """The records within one payload.

    A payload is one JSON text, an array of records, or several of either on lines of their own.  Where not even one
    line is an object or an array the payload is refused as a whole: numbers on lines may be pieces of a broken array.
    """
    try:
        return _json_records(payload, max_depth)
    except RefusedRecord as refusal:
        return _lines(payload, max_depth) or ([payload], [(0, refusal)])


def _json_records(payload: bytes, max_depth: int) -> Inner:
    check_json(payload, max_depth)
    elements = array_elements(payload)
    if elements is None:
        return [payload], []
    if not elements:
        return [payload], [(0, RefusedRecord("missing_value", "an empty array"))]
    return elements, []


def _lines(payload: bytes, max_depth: int) -> Inner | None:
    """The records of the payload's lines; None where it has but one, or none that is an object or an array."""
    lines = [line.rstrip(b"\r") for line in payload.split(b"\n") if line.strip(_WHITE)]
    if len(lines) < 2:
        return None
    texts: list[bytes] = []
    refused: list[tuple[int, RefusedRecord]] = []
    holds_records = False
    for line in lines:
        try:
            inner, empty = _json_records(line, max_depth)
            holds_records |= line.lstrip(_WHITE).startswith((b"{", b"["))
        except RefusedRecord as refusal:
            inner, empty = [line], [(0, refusal)]
        refused += [(len(texts) + place, why) for place, why in empty]
        texts += inner
    return (texts, refused) if holds_records else None


def split_payloads(
    payloads: pa.LargeBinaryArray, envelopes: np.ndarray, spec: ParseSpec
) -> tuple[Records, list[tuple[int, RefusedRecord]]]:
    """The records within a column of payloads, and those among them that are refused already, by row.

    A payload on one line that begins with a brace is taken for one record without a further look.

    Args:
        payloads: large_binary[n] without nulls.
        envelopes: int64[n]: each one's row in the envelope batch.
        spec: Its limits.
    """
    large, whole = _large_and_whole(payloads, spec.max_payload_bytes)
    kept = np.flatnonzero(whole | large)
    too_large = RefusedRecord("too_large", f"larger than parse.max_payload_bytes = {spec.max_payload_bytes}")
    refused = [(row, too_large) for row in np.flatnonzero(large[kept]).tolist()]
    if len(kept) == len(payloads):
        return Records(payloads, envelopes), refused
    others = np.flatnonzero(~(whole | large))
    texts: list[bytes] = []
    counts = []
    for payload in payloads.take(pa.array(others)).to_pylist():
        inner, why = inner_records(payload, spec.max_depth)
        refused += [(len(kept) + len(texts) + place, refusal) for place, refusal in why]
        texts += inner
        counts.append(len(inner))
    inside = pa.array(texts, pa.large_binary())
    everything = pa.concat_arrays([payloads.take(pa.array(kept)), inside]) if len(kept) else inside
    return Records(everything, envelopes[np.concatenate([kept, np.repeat(others, counts)])]), refused


def _large_and_whole(payloads: pa.LargeBinaryArray, max_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """bool[n] twice: the payloads that are too large, and those on one line that begin with a brace."""
    data, offsets = buffers(payloads)
    lengths = np.diff(offsets)
    whole = lengths > 0
    whole[whole] = data[offsets[:-1][whole]] == ord("{")
    low, high = int(offsets[0]), int(offsets[-1])
    feeds = data[low:high] == ord("\n")
    if feeds.any():
        whole[np.searchsorted(offsets, np.flatnonzero(feeds) + low, side="right") - 1] = False
    return lengths > max_bytes, whole
