"""The fast way through JSON: records that differ in nothing but their values, read a column at a time.

A device writes every record with the same members in the same order and the same white space.  A *template* is
learned from one record: literal bytes with slots for strings and numbers between them.  A batch's records with as
many quotes are then cut at the places that the template says, and those whose literal bytes are the template's to
the last one, and whose number slots hold numbers of RFC 8259, are proven to be valid JSON of the same outline: their
strings hold no quote, no backslash and no control character, the batch was checked to be UTF-8, and everything else
was compared.  Strings that seem to be the same in all records, such as a unit, become part of the literals: one long
comparison costs what a short one does.  What matches no template goes the record's way (:mod:`.singly`), which gives
the same rows.

The idea of parsing by guessed structure is Mison's (Li et al., VLDB 2017); cutting at quotes is simdjson's first stage
(Langdale and Lemire, VLDB Journal 2019).
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from telebeam.transforms.parsing.nodes import Node

_TOKEN = re.compile(rb'"([^"\\]*)"|(-?[0-9][0-9.eE+-]*)|(true|false|null)|([{}\[\]:,])| +')
_BACKSLASH, _SPACE = 92, 32
_MAX_SLOTS = 256
MAX_LEVELS = 16
"""Of a record with a template: nobody's are deeper, and the descent takes two frames a level of Python's stack."""


@dataclass(frozen=True)
class Span:
    """A member's JSON text: from (literal, byte in it) to (literal, byte in it)."""

    start: tuple[int, int]
    end: tuple[int, int]


@dataclass(frozen=True)
class Template:
    """Literals with slots between them: ``literals[i]`` stands before ``slots[i]``; there is one literal more."""

    literals: tuple[bytes, ...]
    slots: tuple[str, ...]  # string | number
    outline: Node

    @property
    def quotes(self) -> int:
        """How many quotes each record has."""
        return sum(literal.count(b'"') for literal in self.literals)


class _Learner:
    """Recursive descent over the tokens of a record that was found valid."""

    def __init__(self, payload: bytes, fixed: Container[int]) -> None:
        self.tokens = [match for match in _TOKEN.finditer(payload) if match.group(0).strip()]
        self.payload = payload
        self.position = 0
        self.levels = 0
        self.strings = 0
        self.fixed = fixed
        self.cut = 0  # where the literal under way begins
        self.literals: list[bytes] = []
        self.slots: list[str] = []

    def template(self) -> Template | None:
        """The record's template; None where its structure can't be one."""
        if sum(len(match.group(0)) for match in self.tokens) + self.payload.count(b" ") < len(self.payload):
            return None
        outline = self._value()
        if outline is None or outline.kind != "object" or len(self.slots) > _MAX_SLOTS:
            return None
        self.literals.append(self.payload[self.cut :])
        ends_at_quote = all(
            kind == "string" or b'"' in self.literals[i + 1] or i + 2 == len(self.literals)
            for i, kind in enumerate(self.slots)
        )
        return Template(tuple(self.literals), tuple(self.slots), outline) if ends_at_quote else None

    def _next(self) -> re.Match[bytes]:
        self.position += 1
        return self.tokens[self.position - 1]

    def _here(self, byte: int) -> tuple[int, int]:
        return len(self.literals), byte - self.cut

    def _slot(self, kind: str, start: int, end: int) -> None:
        self.literals.append(self.payload[self.cut : start])
        self.slots.append(kind)
        self.cut = end

    def _value(self) -> Node | None:
        token = self._next()
        first = self._here(token.start())
        if token.group(0) in (b"{", b"["):
            return self._nested(token.group(0), first)
        if token.group(1) is not None:
            return self._string(token)
        if token.group(2) is not None:
            self._slot("number", *token.span())
            return Node("number", place=Span(first, self._here(token.end())))
        return Node(token.group(0).decode(), place=Span(first, self._here(token.end())))

    def _string(self, token: re.Match[bytes]) -> Node:
        first = self._here(token.start())
        if self.strings not in self.fixed:
            self._slot("string", token.start() + 1, token.end() - 1)
        self.strings += 1
        return Node("string", place=Span(first, self._here(token.end())))

    def _nested(self, bracket: bytes, first: tuple[int, int]) -> Node | None:
        if self.levels == MAX_LEVELS:
            return None
        self.levels += 1
        node = self._object(first) if bracket == b"{" else self._array(first)
        self.levels -= 1
        return node

    def _object(self, first: tuple[int, int]) -> Node | None:
        children: dict[str, Node] = {}
        token = self._next()
        while token.group(0) != b"}":
            if token.group(0) == b",":
                token = self._next()
            name = token.group(1).decode()
            self._next()
            child = self._value()
            if child is None or name in children:
                return None
            children[name] = child
            token = self._next()
        return Node("object", tuple(children.items()), Span(first, self._here(token.end())))

    def _array(self, first: tuple[int, int]) -> Node | None:
        while self.tokens[self.position].group(0) != b"]":
            if self.tokens[self.position].group(0) == b",":
                self.position += 1
            if self._value() is None:
                return None
        return Node("array", place=Span(first, self._here(self._next().end())))


def learn(payload: bytes, fixed: Container[int] = ()) -> Template | None:
    """The template of a record that is valid JSON; None where it has escapes, equal names or no fitting structure.

    Args:
        payload: The record.
        fixed: Which of its strings that are values, by number, are part of the literals.
    """
    if _BACKSLASH in payload or min(payload, default=0) < _SPACE:
        return None
    return _Learner(payload, fixed).template()
