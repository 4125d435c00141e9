"""Which records of a batch have a skeleton, and the columns of those that do.

All records walk it together: what the first one has in its k-th slot is read of all of them at once, and each goes on
from where its own value ends.  A record that ends where its bytes end, and whose literals were the skeleton's, is
proven to be well-formed and of the same outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import cut
from telebeam.transforms.parsing.columns import Instant, instants_of, json_strings, json_text, json_texts, mixed_epochs
from telebeam.transforms.parsing.heads import DOUBLE, FLOAT, HALF, NEGATIVE, SIGNED, UNSIGNED, Heads
from telebeam.transforms.parsing.nodes import Form, Node, Times
from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.pieces import Places, equal, items
from telebeam.transforms.parsing.skeleton import Skeleton
from telebeam.transforms.parsing.timestamps import FIRST, LAST, epochs, parse_timestamps

_FLOATS = {HALF: (np.uint16, np.float16), FLOAT: (np.uint32, np.float32), DOUBLE: (np.uint64, np.float64)}
_WORD = 8
_CONSTANTS = {"true": "true", "false": "false", "null": "null"}
_NONE = np.iinfo(np.int64).min

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Numbers:
    """A slot's numbers: kind, argument and its size, of each record."""

    kinds: npt.NDArray[np.uint8]
    arguments: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint8]

    def where(self, mask: Mask) -> Numbers:
        """Those of the records at which a mask is true."""
        return Numbers(self.kinds[mask], self.arguments[mask], self.sizes[mask])

    def doubles(self) -> npt.NDArray[np.float64]:
        """float64[n]: the nearest doubles."""
        found = np.zeros(len(self.kinds))
        for kind in np.unique(self.kinds).tolist():
            mask = self.kinds == kind
            found[mask] = _doubles(kind, self.arguments[mask], self.sizes[mask])
        return found

    def integers(self) -> tuple[npt.NDArray[np.int64], Mask]:
        """int64[n], and which numbers are integers that fit."""
        unsigned, negative, signed = (self.kinds == kind for kind in (UNSIGNED, NEGATIVE, SIGNED))
        plain = self.arguments.view(np.int64)
        fits = ((unsigned | negative) & (plain >= 0)) | signed
        found = np.where(negative, -1 - plain, np.where(signed, _signed(self.arguments, self.sizes), plain))
        return np.where(fits, found, 0), fits

    def values(self) -> list[Any]:
        """The numbers as Python has them."""
        doubles, (integers, fits) = self.doubles().tolist(), self.integers()
        whole = np.isin(self.kinds, (UNSIGNED, NEGATIVE, SIGNED)).tolist()
        found: list[Any] = [integer if fit else double for integer, fit, double in zip(
            integers.tolist(), fits.tolist(), doubles, strict=True
        )]  # fmt: skip
        for row in np.flatnonzero(np.array(whole) & ~fits).tolist():
            argument = int(self.arguments[row])
            found[row] = argument if self.kinds[row] == UNSIGNED else -1 - argument
        return found


def _signed(arguments: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    shift = np.where(sizes == 0, 0, 64 - 8 * sizes.astype(np.int64))
    found: npt.NDArray[np.int64] = (arguments.view(np.int64) << shift) >> shift
    return found


def _doubles(kind: int, arguments: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    if kind in _FLOATS:
        bits, form = _FLOATS[kind]
        # A signalling NaN is one that is refused like any other.
        with np.errstate(invalid="ignore"):
            return arguments.astype(bits).view(form).astype(np.float64)
    if kind == SIGNED:
        return _signed(arguments, sizes).astype(np.float64)
    if kind == NEGATIVE:
        following = arguments + np.uint64(1)
        return np.where(following == 0, -(2.0**64), -following.astype(np.float64))
    return arguments.astype(np.float64)


class SkeletonGroup:
    """The records of a batch that have a skeleton: see :class:`.nodes.Group`."""

    form: Form = "json"

    def __init__(self, skeleton: Skeleton, rows: Places, slots: list[Any]) -> None:
        self.outline = skeleton.outline
        self.rows = rows
        self._slots = slots

    def text(self, node: Node) -> pa.Array:
        """String members."""
        return self._slots[node.place] if node.kind == "string" else pa.nulls(len(self.rows), pa.large_string())

    def raw(self, node: Node) -> pa.Array:
        """Members as JSON text."""
        if node.kind == "string":
            return json_strings(self._slots[node.place])
        if node.kind in _CONSTANTS:
            return pa.array([_CONSTANTS[node.kind]] * len(self.rows), pa.large_string())
        if node.kind in ("number", "timestamp"):
            return json_texts(self._values(node))
        if node.kind == "array":
            members = [self.raw(child).to_pylist() for child in node.place]
            return _joined("[%s]", members, len(self.rows))
        members = [_with_name(name, self.raw(child).to_pylist()) for name, child in node.children]
        return _joined("{%s}", members, len(self.rows))

    def _values(self, node: Node) -> list[Any]:
        if node.kind == "number":
            return list(self._slots[node.place].values())
        times = self.times(node, None)
        return [Instant(_NONE if bad else micros) for micros, bad in
                zip(times.microseconds.tolist(), times.bad.tolist(), strict=True)]  # fmt: skip

    def doubles(self, node: Node) -> tuple[npt.NDArray[np.float64], None]:
        """Number members."""
        return self._slots[node.place].doubles(), None

    def times(self, node: Node, zone: str | None) -> Times:
        """String, number or timestamp members as event times."""
        slot = self._slots[node.place]
        if node.kind == "string":
            return parse_timestamps(slot, zone)
        if isinstance(slot, np.ndarray):
            return instants_of(slot)
        integers, whole = slot.integers()
        if node.kind == "number":
            return epochs(integers) if whole.all() else mixed_epochs(integers, slot.doubles(), whole)
        return _seconds(integers, whole, slot)


def _with_name(name: str, texts: list[str]) -> list[str]:
    begun = json_text(name) + ":"
    return [begun + text for text in texts]


def _joined(form: str, members: list[list[str]], rows: int) -> pa.Array:
    bodies = map(",".join, zip(*members, strict=True)) if members else [""] * rows
    return pa.array([form % body for body in bodies], pa.large_string())


def _seconds(integers: npt.NDArray[np.int64], whole: Mask, slot: Numbers) -> Times:
    """Seconds since 1970, whole or not."""
    large = np.abs(integers) > LAST // 1_000_000
    micros = np.where(large, _NONE, np.where(large, 0, integers) * 1_000_000)
    if not whole.all():
        doubles = slot.doubles()
        fine = np.isfinite(doubles) & (np.abs(np.nan_to_num(doubles)) < 1e12)
        rounded = np.rint(np.where(fine, doubles, 0.0) * 1e6).astype(np.int64)
        parts = np.isin(slot.kinds, list(_FLOATS)) & fine
        micros = np.where(whole, micros, np.where(parts, rounded, _NONE))
    return instants_of(micros)


class Walker:
    """Some records, prepared for walking.

    Args:
        payloads: large_binary[n] without nulls.
        heads: The format's.
        first: The first record's row, from which the groups' rows count.
    """

    def __init__(self, payloads: pa.LargeBinaryArray, heads: Heads, first: int = 0) -> None:
        data, offsets = buffers(payloads)
        low, high = int(offsets[0]), int(offsets[-1])
        self._heads = heads
        self._first = first
        self._payloads = payloads
        self._starts, self._ends = offsets[:-1] - low, offsets[1:] - low
        self._end = high - low
        # Whatever a record claims, reading a literal or a word at its end stays within these bytes.
        self._room = int((self._ends - self._starts).max(initial=0)) + _WORD
        self._data = np.concatenate([data[low:high], np.zeros(self._room, np.uint8)])
        self._buffer = pa.py_buffer(self._data)
        self.open: Mask = np.ones(len(payloads), bool)
        """bool[n]: which records no skeleton has matched yet, though one might."""

    def next_open(self) -> tuple[int, bytes]:
        """The first record that is open, and its place; there is one."""
        place = int(np.argmax(self.open))
        return place, self._payloads[place].as_py()

    def match(self, skeleton: Skeleton) -> SkeletonGroup | None:
        """The open records that have the skeleton, which are then no longer open; None where there are none."""
        if max(map(len, skeleton.literals)) > self._room:
            return None
        rows = np.flatnonzero(self.open)
        rows = rows[equal(self._data, self._starts[rows], skeleton.literals[0])]
        at = self._starts[rows] + len(skeleton.literals[0])
        fits = np.ones(len(rows), bool)
        slots: list[Any] = []
        for kind, literal in zip(skeleton.slots, skeleton.literals[1:], strict=True):
            slot, at, fine = self._slot(kind, np.minimum(at, self._end))
            slots.append(slot)
            at = np.minimum(at, self._end)
            fits &= fine & equal(self._data, at, literal)
            at = at + len(literal)
        fits &= at == self._ends[rows]
        return self._group(skeleton, rows, fits, slots)

    def _slot(self, kind: str, at: Places) -> tuple[Any, Places, Mask]:
        """(the slot's values, where they end, which of them are of the kind)."""
        if kind.startswith("moment"):
            size = int(kind.removeprefix("moment"))
            return _moments(self._word(at), size), at + size, np.ones(len(at), bool)
        head = self._data[at]
        sizes = self._heads.sizes[head]
        arguments = self._word(at + 1) >> (64 - 8 * np.maximum(sizes, 1)).astype(np.uint64)
        arguments = np.where(sizes == 0, self._heads.bases[head].view(np.uint64), arguments)
        start = at + 1 + sizes
        if kind == "number":
            return Numbers(self._heads.kinds[head], arguments, sizes), start, self._heads.is_number[head]
        lengths = np.minimum(arguments, np.uint64(self._end + 1)).astype(np.int64)
        return (start, start + lengths), start + lengths, self._heads.is_text[head]

    def _word(self, at: Places) -> npt.NDArray[np.uint64]:
        """The eight bytes from each place on, the first one counting most."""
        return items(self._data, np.minimum(at, self._end), _WORD).view(">u8").astype(np.uint64)

    def _group(self, skeleton: Skeleton, rows: Places, fits: Mask, slots: list[Any]) -> SkeletonGroup | None:
        rows = rows[fits]
        if not len(rows):
            return None
        columns: list[Any] = []
        texts = np.ones(len(rows), bool)
        for slot in slots:
            if isinstance(slot, tuple):
                column, good = self._texts(slot[0][fits], slot[1][fits])
                columns.append(column)
                texts &= good
            else:
                columns.append(slot.where(fits) if isinstance(slot, Numbers) else slot[fits])
        if not texts.all():
            keep = pa.array(texts)
            columns = [c.filter(keep) if isinstance(c, pa.Array) else c.where(texts) if isinstance(c, Numbers)
                       else c[texts] for c in columns]  # fmt: skip
            rows = rows[texts]
        self.open[rows] = False
        return SkeletonGroup(skeleton, rows + self._first, columns) if len(rows) else None

    def _texts(self, starts: Places, ends: Places) -> tuple[pa.Array, Mask]:
        """The texts, and which of them are UTF-8."""
        pieces = cut(self._buffer, starts, ends, pa.large_binary())
        try:
            return pieces.cast(pa.large_string()), np.ones(len(starts), bool)
        except pa.ArrowInvalid:
            texts = [_utf8(piece) for piece in pieces.to_pylist()]
            return pa.array(texts, pa.large_string()), np.array([text is not None for text in texts])


def _utf8(piece: bytes) -> str | None:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _moments(words: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.int64]:
    """The microseconds of MessagePack's timestamps of four or eight bytes."""
    if size == 4:
        return (words >> np.uint64(32)).astype(np.int64) * 1_000_000
    nanos, seconds = (words >> np.uint64(34)).astype(np.int64), (words & np.uint64(2**34 - 1)).astype(np.int64)
    micros = seconds * 1_000_000 + nanos // 1_000
    return np.where((nanos < 1_000_000_000) & (micros >= FIRST) & (micros <= LAST), micros, _NONE)
