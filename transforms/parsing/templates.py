"""The fast way through JSON: records that differ in nothing but their values, read a column at a time.

A device writes every record with the same members in the same order and the same white space.  A *template* is
learned from one record: literal bytes with slots for strings and numbers between them.  A batch's records with as
many quotes are then cut at the places that the template says, and those whose literal bytes are the template's to
the last one, and whose number slots hold numbers of RFC 8259, are proven to be valid JSON of the same outline: their
strings hold no quote, no backslash and no control character, the batch was checked to be UTF-8, and everything else
was compared.  What matches no template goes the record's way (:mod:`.singly`), which gives the same rows.

The idea of parsing by guessed structure is Mison's (Li et al., VLDB 2017); cutting at quotes is simdjson's first stage
(Langdale and Lemire, VLDB Journal 2019).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from telebeam.transforms.batches import cut
from telebeam.transforms.parsing.nodes import Form, Node, Times
from telebeam.transforms.parsing.numbers import are_json_numbers, buffers, to_doubles
from telebeam.transforms.parsing.timestamps import epochs_from_text, parse_naive_timestamps, parse_timestamps

_TOKEN = re.compile(rb'"([^"\\]*)"|(-?[0-9][0-9.eE+-]*)|(true|false|null)|([{}\[\]:,])| +')
_QUOTE, _BACKSLASH, _SPACE = 34, 92, 32
_MAX_SLOTS = 256


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

    def __init__(self, payload: bytes) -> None:
        self.tokens = [match for match in _TOKEN.finditer(payload) if match.group(0).strip()]
        self.payload = payload
        self.position = 0
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
        if token.group(0) == b"{":
            return self._object(first)
        if token.group(0) == b"[":
            return self._array(first)
        if token.group(1) is not None:
            self._slot("string", token.start() + 1, token.end() - 1)
            return Node("string", place=Span(first, self._here(token.end())))
        if token.group(2) is not None:
            self._slot("number", *token.span())
            return Node("number", place=Span(first, self._here(token.end())))
        return Node(token.group(0).decode(), place=Span(first, self._here(token.end())))

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


def learn(payload: bytes) -> Template | None:
    """The template of a record that is valid JSON; None where it has escapes, equal names or no fitting structure."""
    if _BACKSLASH in payload or min(payload, default=0) < _SPACE:
        return None
    return _Learner(payload).template()


class TemplateGroup:
    """The records of a batch that match a template: see :class:`.nodes.Group`."""

    form: Form = "json"

    def __init__(self, template: Template, rows: np.ndarray, data: pa.Buffer, places: list[np.ndarray]) -> None:
        self.outline = template.outline
        self.rows = rows
        self._data = data
        self._places = places  # of each literal: its first byte in the data, a row each

    def _cut(self, span: Span, trim: int) -> pa.Array:
        start = self._places[span.start[0]] + (span.start[1] + trim)
        end = self._places[span.end[0]] + (span.end[1] - trim)
        return cut(self._data, start, end)

    def text(self, node: Node) -> pa.Array:
        """String members without their quotes."""
        return self._cut(node.place, 1) if node.kind == "string" else pa.nulls(len(self.rows), pa.large_string())

    def raw(self, node: Node) -> pa.Array:
        """Members as they stood."""
        return self._cut(node.place, 0)

    def doubles(self, node: Node) -> tuple[np.ndarray, np.ndarray | None]:
        """Number members."""
        return to_doubles(self._cut(node.place, 0)), None

    def times(self, node: Node, zone: str | None) -> Times:
        """String or number members as event times."""
        if node.kind == "number":
            return epochs_from_text(self._cut(node.place, 0))
        return parse_naive_timestamps(self.text(node), zone) if zone else parse_timestamps(self.text(node))


class Matcher:
    """Some records, prepared for the matching of templates.

    Args:
        payloads: large_binary[n].
        first: The first one's row, from which the groups' rows count.
    """

    def __init__(self, payloads: pa.LargeBinaryArray, first: int = 0) -> None:
        data, offsets = buffers(payloads)
        self._payloads = payloads
        self._first = first
        self._buffer = payloads.buffers()[2]
        self._data = data
        self._starts, self._ends = offsets[:-1], offsets[1:]
        low, high = int(offsets[0]), int(offsets[-1])
        self._quotes = np.flatnonzero(data[low:high] == _QUOTE) + low
        self._first_quote, self._counts = self._quotes_of_rows()
        self.open = ~self._irregular(payloads, low, high)
        """bool[n]: which records no template has matched yet, though one might."""

    def _quotes_of_rows(self) -> tuple[np.ndarray, np.ndarray]:
        rows = len(self._starts)
        even, rest = divmod(len(self._quotes), rows)
        if not rest and even:
            table = self._quotes.reshape(rows, even)
            if (table[:, 0] >= self._starts).all() and (table[:, -1] < self._ends).all():
                return np.arange(rows) * even, np.full(rows, even)
        first = np.searchsorted(self._quotes, self._starts)
        return first, np.searchsorted(self._quotes, self._ends) - first

    def _irregular(self, payloads: pa.Array, low: int, high: int) -> np.ndarray:
        """Records with a backslash or a control character, and all but ASCII where the batch is not UTF-8."""
        part = self._data[low:high]
        odd = np.zeros(len(self._starts), bool)
        for strange in (part < _SPACE, part == _BACKSLASH):
            self._mark(odd, np.flatnonzero(strange) + low if strange.any() else ())
        try:
            payloads.cast(pa.large_string())
        except pa.ArrowInvalid:
            self._mark(odd, np.flatnonzero(part > 127) + low)
        return odd

    def _mark(self, odd: np.ndarray, places: np.ndarray | tuple[()]) -> None:
        if len(places):
            odd[np.searchsorted(self._starts, places, side="right") - 1] = True

    def next_open(self) -> bytes:
        """The first record that is open; there is one."""
        found: bytes = self._payloads[int(np.argmax(self.open))].as_py()
        return found

    def give_up(self) -> None:
        """Closes the first record that is open: it gives no template."""
        self.open[int(np.argmax(self.open))] = False

    def match(self, template: Template) -> TemplateGroup | None:
        """The open records that are of the template, which are then no longer open; None where there are none."""
        rows = np.flatnonzero(self.open & (self._counts == template.quotes))
        places, rows = self._place(template, rows)
        if not len(rows):
            return None
        same = self._literals_equal(template, places)
        for number, kind in enumerate(template.slots):
            if kind == "number":
                start = places[number] + len(template.literals[number])
                same &= are_json_numbers(cut(self._buffer, start, places[number + 1]))
        if not same.all():
            rows, places = rows[same], [place[same] for place in places]
        self.open[rows] = False
        return TemplateGroup(template, rows + self._first, self._buffer, places) if len(rows) else None

    def _place(self, template: Template, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Each literal's place, a row each, and the rows in which the places are in order and within the record."""
        starts, ends = self._starts[rows], self._ends[rows]
        first = self._first_quote[rows]
        places, passed = [starts], template.literals[0].count(b'"')
        for kind, literal in zip(template.slots, template.literals[1:], strict=True):
            if kind == "string":
                places.append(self._quotes[first + passed])
            elif literal is template.literals[-1] and len(places) == len(template.slots):
                places.append(ends - len(literal))
            else:
                places.append(self._quotes[first + passed] - literal.index(b'"'))
            passed += literal.count(b'"')
        fits = places[-1] + len(template.literals[-1]) == ends
        for before, literal, place in zip(places, template.literals, places[1:], strict=False):
            fits &= before + len(literal) <= place
        return ([place[fits] for place in places], rows[fits]) if not fits.all() else (places, rows)

    def _literals_equal(self, template: Template, places: list[np.ndarray]) -> np.ndarray:
        """bool[rows]: whether the bytes at the places are the template's."""
        rows = len(places[0])
        starts = np.stack(places, axis=1)
        ends = starts + np.array([len(literal) for literal in template.literals])
        literals, ends = buffers(cut(self._buffer, starts.reshape(-1), ends.reshape(-1), pa.large_binary()))
        table = literals[ends[0] : ends[-1]].reshape(rows, -1)
        return (table == np.frombuffer(b"".join(template.literals), np.uint8)).all(axis=1)
