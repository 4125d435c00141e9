"""Which records of a batch are of a template, and the columns of those that are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import constant
from telebeam.transforms.parsing.nodes import Form, Node, Times
from telebeam.transforms.parsing.numbers import are_json_numbers, buffers, to_doubles
from telebeam.transforms.parsing.pieces import Places, equal, plain_texts, texts
from telebeam.transforms.parsing.templates import Span, Template
from telebeam.transforms.parsing.timestamps import epochs_from_text, parse_timestamps

_SAMPLE = 32
"""Records that tell which strings seem to be constant; fewer are not worth a template of their own."""
_GOLDEN = 0.6180339887498949
"""Its multiples, taken modulo 1, are spread evenly and keep step with no period: devices often send in turns."""
_QUOTE, _BACKSLASH, _SPACE = 34, 92, 32


def spread(count: int, rows: int) -> Places:
    """So many rows of all, or fewer, that have nothing to do with each other."""
    return np.unique((np.arange(count) * _GOLDEN % 1 * rows).astype(np.int64))


class TemplateGroup:
    """The records of a batch that match a template: see :class:`.nodes.Group`.

    Args:
        template: What they match.
        rows: Their places in the batch that is parsed.
        data: The payloads' bytes.
        places: Of each literal, its first byte in the data, a row each.
    """

    form: Form = "json"

    def __init__(self, template: Template, rows: Places, data: pa.Buffer, places: list[Places]) -> None:
        self.outline = template.outline
        self.template = template
        self.rows = rows
        self.data = data
        self.places = places

    def where(self, mask: npt.NDArray[np.bool_]) -> TemplateGroup:
        """Those of its records at which a mask is true."""
        places = [place[mask] for place in self.places]
        return TemplateGroup(self.template, self.rows[mask], self.data, places)

    def _span(self, span: Span, trim: int = 0) -> tuple[Places, Places]:
        start = self.places[span.start[0]] + (span.start[1] + trim)
        return start, self.places[span.end[0]] + (span.end[1] - trim)

    def text(self, node: Node) -> pa.Array:
        """String members without their quotes."""
        if node.kind != "string":
            return pa.nulls(len(self.rows), pa.large_string())
        return self._texts(node.place, 1)

    def raw(self, node: Node) -> pa.Array:
        """Members as they stood."""
        return self._texts(node.place, 0)

    def _texts(self, span: Span, trim: int) -> pa.Array:
        if span.start[0] == span.end[0]:
            text = self.template.literals[span.start[0]][span.start[1] + trim : span.end[1] - trim]
            return constant(text.decode(), len(self.rows))
        return texts(self.data, *self._span(span, trim))

    def doubles(self, node: Node) -> tuple[npt.NDArray[np.float64], None]:
        """Number members."""
        return to_doubles(plain_texts(self.data, *self._span(node.place))), None

    def times(self, node: Node, zone: str | None) -> Times:
        """String or number members as event times."""
        if node.kind == "number":
            return epochs_from_text(plain_texts(self.data, *self._span(node.place)))
        text = plain_texts(self.data, *self._span(node.place, 1))
        return parse_timestamps(text, zone)


def joined(groups: Iterable[TemplateGroup]) -> Iterator[TemplateGroup]:
    """Groups of the same payloads, those of one template as one."""
    found: dict[int, list[TemplateGroup]] = {}
    for group in groups:
        found.setdefault(id(group.template), []).append(group)
    for several in found.values():
        first = several[0]
        if len(several) == 1:
            yield first
            continue
        rows = np.concatenate([group.rows for group in several])
        order = np.argsort(rows, kind="stable")
        columns = zip(*(group.places for group in several), strict=True)
        places = [np.concatenate(column)[order] for column in columns]
        yield TemplateGroup(first.template, rows[order], first.data, places)


class Matcher:
    """Some records, prepared for the matching of templates.

    Args:
        payloads: large_binary[n].
        rows: Which of them are looked at; all unless given.
    """

    def __init__(self, payloads: pa.LargeBinaryArray, rows: Places | None = None) -> None:
        self._rows = np.arange(len(payloads)) if rows is None else rows
        self._whole = payloads.buffers()[2]
        starts = buffers(payloads)[1][self._rows]
        if len(starts) < len(payloads):
            payloads = payloads.take(pa.array(self._rows))
        data, offsets = buffers(payloads)
        self._shift = starts - offsets[:-1]
        self._payloads = payloads
        self._buffer = payloads.buffers()[2]
        self._data = data
        self._starts, self._ends = offsets[:-1], offsets[1:]
        low, high = int(offsets[0]), int(offsets[-1])
        self._quotes = np.flatnonzero(data[low:high] == _QUOTE) + low
        self._first_quote, self._counts = self._quotes_of_rows()
        self.open = ~self._irregular(payloads, low, high)
        """bool[n]: which records no template has matched yet, though one might."""

    def _quotes_of_rows(self) -> tuple[Places, Places]:
        rows = len(self._starts)
        even, rest = divmod(len(self._quotes), rows)
        if not rest and even:
            table = self._quotes.reshape(rows, even)
            if (table[:, 0] >= self._starts).all() and (table[:, -1] < self._ends).all():
                return np.arange(rows) * even, np.full(rows, even)
        first = np.searchsorted(self._quotes, self._starts)
        return first, np.searchsorted(self._quotes, self._ends) - first

    def _irregular(self, payloads: pa.Array, low: int, high: int) -> npt.NDArray[np.bool_]:
        """Records with a backslash or a control character, and all but ASCII where the batch is not UTF-8."""
        part = self._data[low:high]
        odd = np.zeros(len(self._starts), bool)
        if part.min(initial=_SPACE) < _SPACE:
            self._mark(odd, np.flatnonzero(part < _SPACE) + low)
        slashes = part == _BACKSLASH
        if slashes.any():
            self._mark(odd, np.flatnonzero(slashes) + low)
        if part.max(initial=0) > 127:
            try:
                payloads.cast(pa.large_string())
            except pa.ArrowInvalid:
                self._mark(odd, np.flatnonzero(part > 127) + low)
        return odd

    def _mark(self, odd: npt.NDArray[np.bool_], places: Places) -> None:
        odd[np.searchsorted(self._starts, places, side="right") - 1] = True

    def next_open(self) -> bytes:
        """The first record that is open; there is one."""
        found: bytes = self._payloads[int(np.argmax(self.open))].as_py()
        return found

    def give_up(self) -> None:
        """Closes the first record that is open: it gives no template."""
        self.open[int(np.argmax(self.open))] = False

    def constant_strings(self, template: Template) -> frozenset[int]:
        """The numbers of the strings that are the same in a sample of the records that may be of the template."""
        rows = self._candidates(template)
        if len(rows) < _SAMPLE:
            return frozenset()
        places, _ = self._place(template, rows[spread(_SAMPLE, len(rows))])
        strings = [number for number, kind in enumerate(template.slots) if kind == "string"]
        found = set()
        for number, slot in enumerate(strings):
            starts, ends = places[slot] + len(template.literals[slot]), places[slot + 1]
            if len({self._data[start:end].tobytes() for start, end in zip(starts, ends, strict=True)}) == 1:
                found.add(number)
        return frozenset(found)

    def _candidates(self, template: Template) -> Places:
        return np.flatnonzero(self.open & (self._counts == template.quotes))

    def match(self, template: Template) -> TemplateGroup | None:
        """The open records that are of the template, which are then no longer open; None where there are none."""
        places, rows = self._place(template, self._candidates(template))
        if not len(rows):
            return None
        same = np.ones(len(rows), bool)
        for place, literal in zip(places, template.literals, strict=True):
            same &= equal(self._data, place, literal)
        for number, kind in enumerate(template.slots):
            if kind == "number":
                start = places[number] + len(template.literals[number])
                same &= are_json_numbers(plain_texts(self._buffer, start, places[number + 1]))
        if not same.all():
            rows, places = rows[same], [place[same] for place in places]
        self.open[rows] = False
        if not len(rows):
            return None
        shift = self._shift[rows]
        return TemplateGroup(template, self._rows[rows], self._whole, [place + shift for place in places])

    def _place(self, template: Template, rows: Places) -> tuple[list[Places], Places]:
        """Each literal's place, a row each, and the rows in which the places are in order and within the record."""
        starts, ends = self._starts[rows], self._ends[rows]
        first = self._first_quote[rows]
        places, passed = [starts], template.literals[0].count(b'"')
        for kind, literal in zip(template.slots, template.literals[1:], strict=True):
            if kind == "string":
                places.append(self._quotes[first + passed])
            elif len(places) == len(template.slots):
                places.append(ends - len(literal))
            else:
                places.append(self._quotes[first + passed] - literal.index(b'"'))
            passed += literal.count(b'"')
        fits = places[-1] + len(template.literals[-1]) == ends
        for before, literal, place in zip(places, template.literals, places[1:], strict=False):
            fits &= before + len(literal) <= place
        return ([place[fits] for place in places], rows[fits]) if not fits.all() else (places, rows)
