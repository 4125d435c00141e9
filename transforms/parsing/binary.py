"""Records in CBOR and MessagePack: by skeleton where one matches, one by one where none does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.transforms.parsing import cbor, msgpack
from telebeam.transforms.parsing.columns import group_values
from telebeam.transforms.parsing.found import Found, Messages
from telebeam.transforms.parsing.heads import Heads
from telebeam.transforms.parsing.nodes import Group
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.parsing.singly import inner_paths
from telebeam.transforms.parsing.skeleton import Skeleton, learn
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.walking import SkeletonGroup, Walker

MAX_DEPTH = 256
"""Levels that the binary formats allow at most: a level takes two frames of Python's stack, which has a thousand."""
_MAX_SKELETONS = 64
"""Skeletons a batch; what has none of so many is read singly."""
_SLICE_ROWS = 16_384
"""Rows that walk together: their bytes are read once for each slot, and these stay in the cache."""


class Codec(NamedTuple):
    """A binary format of maps, arrays, texts and numbers."""

    heads: Heads
    decode: Callable[[bytes, int], Any]
    elements: Callable[[bytes, int], list[tuple[bytes, Any]] | None]


CBOR = Codec(cbor.HEADS, cbor.decode, cbor.elements)
MSGPACK = Codec(msgpack.HEADS, msgpack.decode, msgpack.elements)


def cbor_groups(messages: Messages) -> Found:
    """The records of CBOR payloads: a map each, or an array of maps."""
    return binary_groups(messages.payloads, CBOR, messages.spec)


def msgpack_groups(messages: Messages) -> Found:
    """The records of MessagePack payloads: a map each, or an array of maps."""
    return binary_groups(messages.payloads, MSGPACK, messages.spec)


def binary_groups(payloads: pa.LargeBinaryArray, codec: Codec, spec: ParseSpec) -> Found:
    """The records of payloads, by outline, and those that are refused.

    Args:
        payloads: large_binary[n] without nulls, none of them too large.
        codec: Their format.
        spec: Its depth and its mapped fields.
    """
    unmatched = np.ones(len(payloads), bool)
    groups: list[Group] = list(_by_skeleton(payloads, unmatched, codec))
    inside: list[bytes] = []
    owners: list[int] = []
    values: list[tuple[int, Any]] = []
    refused: list[tuple[int, RefusedRecord]] = []
    for row in np.flatnonzero(unmatched).tolist():
        payload = payloads[row].as_py()
        try:
            value, elements = _read(payload, codec, min(spec.max_depth, MAX_DEPTH))
        except RefusedRecord as refusal:
            refused.append((row, refusal))
            continue
        if elements is None:
            values.append((row, value))
        for content, element in elements or ():
            values.append((len(payloads) + len(inside), element))
            inside.append(content)
            owners.append(row)
    objects = [(row, value) for row, value in values if type(value) is dict]
    refused += [(row, _no_object(value)) for row, value in values if type(value) is not dict]
    groups += group_values(sorted(objects, key=lambda pair: pair[0]), inner_paths(spec))
    records = Records(payloads, np.arange(len(payloads)))
    return Found(records.followed_by(Records(pa.array(inside, pa.large_binary()), np.array(owners, np.int64))),
                 groups, refused)  # fmt: skip


def _read(payload: bytes, codec: Codec, depth: int) -> tuple[Any, list[tuple[bytes, Any]] | None]:
    value = codec.decode(payload, depth)
    if type(value) is not list:
        return value, None
    if not value:
        raise RefusedRecord("missing_value", "an empty array")
    return value, codec.elements(payload, depth)


def _no_object(value: Any) -> RefusedRecord:
    return RefusedRecord("not_an_object", f"expected a map, found {str(value)[:20]!r}")


def _by_skeleton(payloads: pa.LargeBinaryArray, unmatched: np.ndarray, codec: Codec) -> Iterator[SkeletonGroup]:
    skeletons: list[Skeleton] = []
    for first in range(0, len(payloads), _SLICE_ROWS):
        walker = Walker(payloads[first : first + _SLICE_ROWS], codec.heads, first)
        for group in _walk(walker, skeletons, codec):
            unmatched[group.rows] = False
            yield group


def _walk(walker: Walker, skeletons: list[Skeleton], codec: Codec) -> Iterator[SkeletonGroup]:
    """Groups by the skeletons that are known, and by those of records that have none, which then are known too."""
    for known in skeletons:
        group = walker.match(known)
        if group is not None:
            yield group
    while len(skeletons) < _MAX_SKELETONS and walker.open.any():
        place, payload = walker.next_open()
        skeleton = learn(payload, codec.heads)
        group = None if skeleton is None else walker.match(skeleton)
        walker.open[place] = False
        if skeleton is not None and group is not None:
            skeletons.append(skeleton)
            yield group
