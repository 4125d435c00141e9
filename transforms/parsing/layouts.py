"""Records that are alike to the byte: of one template, of one length, with every slot at the same place.

A fleet writes numbers and names of few widths, so a batch has few layouts.  Records of one layout are a table of bytes
with a column each place: its literal columns are compared in one pass and no quote is looked for, which takes a quarter
of the time that cutting at quotes does (:mod:`.matching`).  A slot is held to a narrower rule than JSON's: strings are
ASCII, numbers have their digits where the layout's first record has them.  What breaks it is left to the sure ways.

Where few words take turns, such as the names of units, each makes layouts of its own, in which it is *fixed*: a column
of these is read off the layouts, and no row is looked at again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.parsing.matching import TemplateGroup
from telebeam.transforms.parsing.nodes import Node
from telebeam.transforms.parsing.numbers import buffers, to_doubles
from telebeam.transforms.parsing.pieces import Places, items
from telebeam.transforms.parsing.templates import Span, Template

_MOST = 24
"""Layouts that are learned at a time."""
_A_LENGTH = 6
"""Of these, layouts of one length: each is held against all records of that length that are open."""
_FEW = 8
"""Words that take turns in a slot, at most, where they are fixed."""
_ENOUGH = 32
"""Records that show what takes turns."""
_LONGEST = 2048
"""Bytes of a record that has a layout: a slice's table of longer ones would take more room than a batch should."""
_SHORT = 4
"""Bytes of a number that may be fixed: times are longer."""
_DIGITS = re.compile(rb"[0-9]+")
_LEADING = re.compile(rb"-?([0-9])[0-9]")
_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_QUOTE, _BACKSLASH, _SPACE, _ZERO, _DELETE = 34, 92, 32, 48, 127

Mask = npt.NDArray[np.bool_]
_Key = tuple[int, tuple[int, ...], int, bytes]
_Slots = list[tuple[str, slice]]


@dataclass(frozen=True)
class Layout:
    """Where a template's literals stand in records of one length."""

    template: Template
    places: tuple[int, ...]
    """Of each literal, from the record's first byte on."""
    record: bytes
    """One that has it."""
    fixed: frozenset[int] = frozenset()
    """The slots, by number, that hold the same in all records."""

    def fits(self, data: npt.NDArray[np.uint8], starts: Places) -> Mask:
        """bool[n]: which records of its length, given their first bytes' places, have it."""
        length = len(self.record)
        table = items(data, starts, length).view(np.uint8).reshape(-1, length)
        bad = np.zeros(len(table), bool)
        if self._strings:
            text = np.concatenate([table[:, part] for part in self._strings], axis=1)
            # Whether any is bad costs a tenth of finding out which.
            if text.min() < _SPACE or text.max() > _DELETE or (text == _QUOTE).any() or (text == _BACKSLASH).any():
                odd = (text < _SPACE) | (text > _DELETE) | (text == _QUOTE) | (text == _BACKSLASH)
                bad |= odd.any(axis=1)
        if self._digits:
            digits = np.concatenate([table[:, part] for part in self._digits], axis=1)
            digits -= _ZERO  # unsigned: everything below "0" becomes large
            if digits.max() > 9:
                bad |= (digits > 9).any(axis=1)
            for place in self._leading:
                bad |= table[:, place] == _ZERO
        np.bitwise_xor(table, np.frombuffer(self.record, np.uint8), out=table)
        table &= self._literal
        if table.any():
            bad |= table.any(axis=1)
        return ~bad

    def text(self, span: Span, trim: int) -> str:
        """What its record has there, without so many bytes at both ends."""
        start, end = (self.places[literal] + byte for literal, byte in (span.start, span.end))
        return self.record[start + trim : end - trim].decode()

    @cached_property
    def _open(self) -> _Slots:
        """Those that are not fixed."""
        slots = enumerate(_slots(self.template, self.places))
        return [slot for number, slot in slots if number not in self.fixed]

    @cached_property
    def _strings(self) -> list[slice]:
        return [part for kind, part in self._open if kind == "string" and part.start < part.stop]

    @cached_property
    def _digits(self) -> list[slice]:
        return [
            slice(part.start + run.start(), part.start + run.end())
            for kind, part in self._open
            if kind == "number"
            for run in _DIGITS.finditer(self.record[part])
        ]

    @cached_property
    def _leading(self) -> list[int]:
        """The first digits of numbers with several before their point: none of these may be 0."""
        numbers = [part.start for kind, part in self._open if kind == "number"]
        found = [_LEADING.match(self.record, start) for start in numbers]
        return [match.start(1) for match in found if match]

    @cached_property
    def _literal(self) -> npt.NDArray[np.uint8]:
        """All bits of the bytes that are the same in all records: literals, and what is no digit in a number."""
        mask = np.full(len(self.record), 255, np.uint8)
        for part in (*self._strings, *self._digits):
            mask[part] = 0
        return mask


def _slots(template: Template, places: tuple[int, ...]) -> _Slots:
    """The kind and the span of each slot."""
    ends = [place + len(literal) for place, literal in zip(places, template.literals, strict=True)]
    return [(kind, slice(*span)) for kind, *span in zip(template.slots, ends[:-1], places[1:], strict=True)]


def layouts_of(groups: Iterable[TemplateGroup], known: Sequence[Layout] = ()) -> list[Layout]:
    """The layouts that most records of the groups have, the most frequent first.

    Args:
        groups: Not many records.
        known: Layouts that tell what is fixed in records of which there are too few.
    """
    counts: Counter[_Key] = Counter()
    found: dict[_Key, Layout] = {}
    for group in groups:
        template = group.template
        records = list(_records(group))
        fixed = next((layout.fixed for layout in known if layout.template is template), frozenset[int]())
        if len(records) >= _ENOUGH:
            fixed = _fixed(template, records)
        for record, places in records:
            slots = list(enumerate(_slots(template, places)))
            # What is not ASCII in a slot that is open would not have its own layout.
            if len(record) > _LONGEST or not all(n in fixed or record[part].isascii() for n, (_, part) in slots):
                continue
            words = [
                record[part] if number in fixed else record[part].translate(_ALIKE)
                for number, (kind, part) in slots
                if kind == "number" or number in fixed
            ]
            key = (id(template), places, len(record), b" ".join(words))
            counts[key] += 1
            if key not in found:
                found[key] = Layout(template, places, record, fixed)
    lengths: Counter[int] = Counter()
    chosen = []
    for key, _ in counts.most_common(_MOST):
        length = len(found[key].record)
        lengths[length] += 1
        if lengths[length] <= _A_LENGTH:
            chosen.append(found[key])
    return chosen


def _records(group: TemplateGroup) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """Each record's bytes, and the places of the literals in it."""
    starts = group.places[0]
    ends = group.places[-1] + len(group.template.literals[-1])
    table = np.stack(group.places, axis=1) - starts[:, None]
    data = memoryview(group.data)
    for start, end, places in zip(starts.tolist(), ends.tolist(), table.tolist(), strict=True):
        yield bytes(data[start:end]), tuple(places)


def _fixed(template: Template, records: list[tuple[bytes, tuple[int, ...]]]) -> frozenset[int]:
    """The slots in which few words take turns: no names of devices and no times, which have digits."""
    words = [[record[part] for _, part in _slots(template, places)] for record, places in records]
    found = set()
    for number, kind in enumerate(template.slots):
        few = {row[number] for row in words}
        lasting = all(len(word) <= _SHORT if kind == "number" else not _DIGITS.search(word) for word in few)
        if len(few) <= _FEW and lasting:
            found.add(number)
    return frozenset(found)


class LayoutGroup(TemplateGroup):
    """Records that layouts of one template match.

    Args:
        template: What they match.
        rows: Their places in the batch that is parsed.
        data: The payloads' bytes.
        places: Of each literal, its first byte in the data, a row each.
        layouts: Those that they have.
        codes: int64[n]: which one each has.
    """

    def __init__(
        self,
        template: Template,
        rows: Places,
        data: pa.Buffer,
        places: list[Places],
        layouts: list[Layout],
        codes: Places,
    ) -> None:
        super().__init__(template, rows, data, places)
        self._layouts, self._codes = layouts, codes

    def _texts(self, span: Span, trim: int) -> pa.Array:
        words = self._words(span, trim)
        if words is None:
            return super()._texts(span, trim)
        distinct = list(dict.fromkeys(words))
        codes = np.array([distinct.index(word) for word in words], np.int32)[self._codes]
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(distinct, pa.string()))

    def doubles(self, node: Node) -> tuple[npt.NDArray[np.float64], None]:
        """Number members."""
        words = self._words(node.place, 0)
        return super().doubles(node) if words is None else (to_doubles(pa.array(words))[self._codes], None)

    def _words(self, span: Span, trim: int) -> list[str] | None:
        """What each layout has there; None where it is not fixed."""
        slots = set(range(span.start[0], span.end[0]))
        if not all(slots <= layout.fixed for layout in self._layouts):
            return None
        return [layout.text(span, trim) for layout in self._layouts]


class Tables:
    """Some records, as tables by their layouts.

    Args:
        payloads: large_binary[n].
        unmatched: bool[n]: which of them are to be matched.
    """

    def __init__(self, payloads: pa.LargeBinaryArray, unmatched: Mask) -> None:
        self._data, offsets = buffers(payloads)
        self._buffer = payloads.buffers()[2]
        self._starts, self._lengths = offsets[:-1], np.diff(offsets)
        self._layout = np.full(len(payloads), -1)
        self.layouts: list[Layout] = []
        """Those that some of the records have."""
        self.open = unmatched.copy()
        """bool[n]: which records no layout has matched yet."""

    def match(self, layouts: Iterable[Layout]) -> None:
        """Finds the open records that have one of the layouts; they are then no longer open."""
        for layout in layouts:
            rows = np.flatnonzero(self.open & (self._lengths == len(layout.record)))
            if len(rows):
                rows = rows[layout.fits(self._data, self._starts[rows])]
            if len(rows):
                self.open[rows] = False
                self._layout[rows] = len(self.layouts)
                self.layouts.append(layout)

    def groups(self) -> Iterator[TemplateGroup]:
        """What was matched, by template."""
        templates = {id(layout.template): layout.template for layout in self.layouts}
        # One more, which stands for the rows without a layout: they have the number -1.
        owners = np.array([*(id(layout.template) for layout in self.layouts), 0])
        for owner, template in templates.items():
            rows = np.flatnonzero(owners[self._layout] == owner)
            numbers = np.flatnonzero(owners == owner)
            layouts = [self.layouts[number] for number in numbers.tolist()]
            starts, codes = self._starts[rows], np.searchsorted(numbers, self._layout[rows])
            table = np.array([layout.places for layout in layouts]).T
            places = [starts + place[codes] for place in table.copy()]
            yield LayoutGroup(template, rows, self._buffer, places, layouts, codes)
