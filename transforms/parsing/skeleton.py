"""The literal bytes and the slots of a record in CBOR or MessagePack, learned from one of them.

It is what :mod:`.templates` is for JSON: the heads of maps and arrays, the names, and what is true, false or null are
literals; texts, numbers and times are slots.
"""

from __future__ import annotations

from dataclasses import dataclass

from telebeam.transforms.parsing.heads import (
    ARRAY,
    FALSE,
    MAP,
    MOMENT,
    NULL,
    TAG,
    TEXT,
    TRUE,
    Heads,
)  # fmt: skip
from telebeam.transforms.parsing.nodes import Node

_MAX_SLOTS = 256
_MAX_LEVELS = 16
_EPOCH_TAG = 0xC1
_MOMENT_TYPE = 0xFF
_CONSTANTS = {TRUE: "true", FALSE: "false", NULL: "null"}


@dataclass(frozen=True)
class Skeleton:
    """Literals with slots between them: ``literals[i]`` stands before ``slots[i]``; there is one literal more.

    A slot is a ``text``, a ``number`` with its head, or a ``moment4`` or ``moment8`` of so many bytes.  In the outline
    a leaf's place is its slot's number, an array's its elements' nodes.
    """

    literals: tuple[bytes, ...]
    slots: tuple[str, ...]
    outline: Node


class _NoSkeletonError(ValueError):
    """A record that is left to the slow way."""


def learn(payload: bytes, heads: Heads) -> Skeleton | None:
    """The skeleton of a record; None where it is no map with names of text, or not what devices send."""
    learner = _Learner(payload, heads)
    try:
        node = learner.node(0)
    except (_NoSkeletonError, IndexError, UnicodeDecodeError):
        return None
    if node.kind != "object" or learner.at != len(payload) or len(learner.slots) > _MAX_SLOTS:
        return None
    learner.literals.append(payload[learner.cut :])
    return Skeleton(tuple(learner.literals), tuple(learner.slots), node)


class _Learner:
    def __init__(self, payload: bytes, heads: Heads) -> None:
        self.payload = payload
        self.heads = heads
        self.at = 0
        self.cut = 0  # where the literal under way begins
        self.literals: list[bytes] = []
        self.slots: list[str] = []

    def _head(self) -> tuple[int, int]:
        """(kind, argument); the place is behind them then."""
        head = self.payload[self.at]
        size = int(self.heads.sizes[head])
        self.at += 1 + size
        argument = (
            int.from_bytes(self.payload[self.at - size : self.at], "big") if size else int(self.heads.bases[head])
        )
        return int(self.heads.kinds[head]), argument

    def _slot(self, kind: str, start: int, end: int) -> int:
        self.literals.append(self.payload[self.cut : start])
        self.slots.append(kind)
        self.cut = self.at = end
        return len(self.slots) - 1

    def node(self, depth: int) -> Node:
        start = self.at
        kind, argument = self._head()
        if kind in _CONSTANTS:
            return Node(_CONSTANTS[kind])
        if kind == TEXT:
            return Node("string", place=self._slot("text", start, self.at + argument))
        if kind == MOMENT:
            return self._moment(start)
        if kind == TAG:
            return self._epoch(start)
        if self.heads.is_number[self.payload[start]]:
            return Node("number", place=self._slot("number", start, self.at))
        if kind not in (MAP, ARRAY) or depth == _MAX_LEVELS or argument > len(self.payload):
            raise _NoSkeletonError
        return self._map(argument, depth) if kind == MAP else self._array(argument, depth)

    def _moment(self, start: int) -> Node:
        size = int(self.heads.sizes[self.payload[start]])
        if self.payload[start + 1] != _MOMENT_TYPE:
            raise _NoSkeletonError
        return Node("timestamp", place=self._slot(f"moment{size}", start + 2, start + 2 + size))

    def _epoch(self, start: int) -> Node:
        if self.payload[start] != _EPOCH_TAG or not self.heads.is_number[self.payload[self.at]]:
            raise _NoSkeletonError
        inner = self.at
        self._head()
        return Node("timestamp", place=self._slot("number", inner, self.at))

    def _map(self, length: int, depth: int) -> Node:
        children: dict[str, Node] = {}
        for _ in range(length):
            kind, size = self._head()
            name = self.payload[self.at : self.at + size].decode()
            if kind != TEXT or name in children:
                raise _NoSkeletonError
            self.at += size
            children[name] = self.node(depth + 1)
        return Node("object", tuple(children.items()))

    def _array(self, length: int, depth: int) -> Node:
        return Node("array", place=tuple(self.node(depth + 1) for _ in range(length)))
