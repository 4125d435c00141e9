"""The fast way through line protocol: lines that differ in nothing but their values, read a column at a time.

A line without backslashes and quotes is cut at its commas, equals signs and spaces.  Lines with the same of these in
the same order, and the same keys between them, hold the same members; their values are what stands between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.parsing.numbers import are_json_numbers, buffers, to_doubles
from telebeam.transforms.parsing.pieces import Places, equal, plain_texts

_MAX_FORMS = 64
"""Forms a batch; what has none of so many is read line by line."""
_SLICE_ROWS = 16_384
_COMMA, _EQUALS, _SPACE, _BACKSLASH, _QUOTE = b',= \\"'
_WHOLE = r"^-?[0-9]{1,18}$"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LineColumns:
    """Lines of the same tags and fields.

    Args:
        rows: Their places, ascending.
        names: Their measurements.
        tags: Text columns by name.
        fields: By name, float64 or int64, or lists of decoded values.
        times: int64[n], as they stand; None where they have none.
    """

    rows: npt.NDArray[np.int64]
    names: pa.Array
    tags: dict[str, pa.Array]
    fields: dict[str, Any]
    times: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Form:
    """The separators of a line and the keys between them.

    ``keys[i]`` stands behind separator ``i``; None where a value does.  ``fields`` are the places of fields' values,
    with ``i`` or ``u`` for whole numbers and an empty suffix for others.
    """

    separators: bytes
    keys: tuple[bytes | None, ...]
    tags: tuple[int, ...]
    fields: tuple[tuple[int, str], ...]
    timed: bool


def match_lines(lines: pa.LargeBinaryArray) -> Iterator[LineColumns]:
    """Lines as columns, those of one form together; lines that are not among them are left to the slow way.

    Args:
        lines: large_binary[n], none empty.
    """
    forms: list[Form] = []
    for first in range(0, len(lines), _SLICE_ROWS):
        cutter = _Cutter(lines[first : first + _SLICE_ROWS], first)
        for form in forms:
            yield from cutter.match(form)
        while len(forms) < _MAX_FORMS and cutter.open.any():
            place = int(np.argmax(cutter.open))
            learned = learn_form(lines[first + place].as_py())
            found = [] if learned is None else list(cutter.match(learned))
            cutter.open[place] = False
            if learned is not None and found:
                forms.append(learned)
                yield from found


def learn_form(line: bytes) -> Form | None:
    """The form of a line; None where it holds more than numbers, or is no point."""
    separators = bytes(byte for byte in line if byte in (_COMMA, _EQUALS, _SPACE))
    pieces = line.replace(b"=", b",").replace(b" ", b",").split(b",")[1:]
    head, _, rest = separators.partition(b" ")
    body, _, tail = rest.partition(b" ")
    tags, fields = len(head) // 2, (len(body) + 1) // 2
    plain = head == b",=" * tags and body == b",".join([b"="] * fields) and fields and b" " not in tail
    timed = rest.endswith(b" ")
    if not plain or tail or not all(pieces) or len(separators) != len(head) + len(body) + 1 + timed:
        return None
    kinds = []
    for place in range(2 * tags + 1, 2 * tags + 1 + 2 * fields, 2):
        last = pieces[place][-1:].decode("latin-1")
        kinds.append((place, last if last in "iu" else ""))
    keys = tuple(
        piece if place % 2 == 0 and place < 2 * (tags + fields) else None for place, piece in enumerate(pieces)
    )
    names = [key for key in keys if key is not None]
    if len(set(names[:tags])) < tags or len(set(names[tags:])) < fields or not _utf8(b"".join(names)):
        return None
    return Form(separators, keys, tuple(range(1, 2 * tags, 2)), tuple(kinds), timed)


def _utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Cutter:
    """Some lines, cut at their separators."""

    def __init__(self, lines: pa.LargeBinaryArray, first: int) -> None:
        data, offsets = buffers(lines)
        low, high = int(offsets[0]), int(offsets[-1])
        self._first = first
        self._buffer = lines.buffers()[2]
        self._data = data
        self._starts, self._ends = offsets[:-1], offsets[1:]
        part = data[low:high]
        self._places = np.flatnonzero((part == _COMMA) | (part == _EQUALS) | (part == _SPACE)) + low
        self._firsts = np.searchsorted(self._places, self._starts)
        self._counts = np.searchsorted(self._places, self._ends) - self._firsts
        self.open: Mask = np.ones(len(lines), bool)
        odd = np.flatnonzero((part == _BACKSLASH) | (part == _QUOTE) | (part < _SPACE)) + low
        self.open[np.searchsorted(self._starts, odd, side="right") - 1] = False
        self._ascii = not len(part) or int(part.max()) < 128

    def match(self, form: Form) -> Iterator[LineColumns]:
        """The open lines of a form, which are then no longer open."""
        rows = np.flatnonzero(self.open & (self._counts == len(form.separators)))
        if not len(rows):
            return
        places = self._places[self._firsts[rows][:, None] + np.arange(len(form.separators))]
        fits = (self._data[places] == np.frombuffer(form.separators, np.uint8)).all(axis=1)
        rows, places = rows[fits], places[fits]
        starts = places + 1
        ends = np.concatenate([places[:, 1:], self._ends[rows][:, None]], axis=1)
        fits = (ends > starts).all(axis=1) & (places[:, 0] > self._starts[rows])
        rows, starts, ends = rows[fits], starts[fits], ends[fits]
        for place, key in enumerate(form.keys):
            if key is not None:
                fits = ends[:, place] - starts[:, place] == len(key)
                rows, starts, ends = rows[fits], starts[fits], ends[fits]
                fits = equal(self._data, starts[:, place], key)
                rows, starts, ends = rows[fits], starts[fits], ends[fits]
        yield from self._columns(form, rows, starts, ends)

    def _columns(self, form: Form, rows: Places, starts: Places, ends: Places) -> Iterator[LineColumns]:
        fits = np.ones(len(rows), bool)
        for place, suffix in form.fields:
            fits &= self._numbers(starts[:, place], ends[:, place], suffix)
        if form.timed:
            fits &= self._numbers(starts[:, -1], ends[:, -1], "time")
        if not self._ascii:
            fits &= self._is_utf8(rows)
        rows, starts, ends = rows[fits], starts[fits], ends[fits]
        if not len(rows):
            return
        self.open[rows] = False

        def text(place: int) -> pa.Array:
            return plain_texts(self._buffer, starts[:, place], ends[:, place])

        values = {
            _name(form, place): to_doubles(text(place)) if not suffix else self._integers(starts, ends, place)
            for place, suffix in form.fields
        }
        yield LineColumns(
            rows + self._first,
            plain_texts(self._buffer, self._starts[rows], starts[:, 0] - 1),
            {_name(form, place): text(place) for place in form.tags},
            values,
            pc.cast(text(-1), pa.int64()).to_numpy(zero_copy_only=False) if form.timed else None,
        )

    def _integers(self, starts: Places, ends: Places, place: int) -> npt.NDArray[np.int64]:
        text = plain_texts(self._buffer, starts[:, place], ends[:, place] - 1)
        whole: npt.NDArray[np.int64] = pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False)
        return whole

    def _numbers(self, starts: Places, ends: Places, suffix: str) -> Mask:
        """Which pieces are numbers of this suffix that both ways read alike."""
        if not suffix:
            return are_json_numbers(plain_texts(self._buffer, starts, ends))
        whole = suffix == "time"
        fits = np.ones(len(starts), bool) if whole else (self._data[ends - 1] == ord(suffix)) & (ends - starts > 1)
        if suffix == "u":
            fits &= self._data[starts] != ord("-")
        text = plain_texts(self._buffer, starts, np.maximum(starts, ends - (not whole)))
        matched: Mask = pc.match_substring_regex(text, _TIME if whole else _WHOLE).to_numpy(zero_copy_only=False)
        return fits & matched

    def _is_utf8(self, rows: Places) -> Mask:
        return np.array([_utf8(self._data[start:end].tobytes()) for start, end in
                         zip(self._starts[rows], self._ends[rows], strict=True)], bool)  # fmt: skip


_TIME = r"^-?([0-9]{1,18}|[0-8][0-9]{18})$"


def _name(form: Form, place: int) -> str:
    key = form.keys[place - 1]
    return "" if key is None else key.decode()
