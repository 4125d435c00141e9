"""Work once per distinct text: columns as codes into their distinct texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms import schema

# A table of all combinations of the columns' texts is quicker than sorting the rows up to about this size.
_TABLE_PER_ROW = 4
_TYPES = {field.name: field.type for field in schema.READINGS_IN_FLIGHT}


class Encoded(NamedTuple):
    """A column of text: row *i* holds ``texts[codes[i]]``, and null is the empty text."""

    codes: npt.NDArray[np.signedinteger]
    texts: pa.StringArray


class Combinations(NamedTuple):
    """The combinations of texts that occur in some columns: row *i* holds the one with ``where == codes[i]``."""

    codes: npt.NDArray[np.int64]
    size: int
    """Every code is below it."""
    where: npt.NDArray[np.int64]
    columns: list[Encoded]
    """The text that each combination has in each of the columns."""

    def texts(self) -> list[tuple[str, ...]]:
        """The texts of each combination."""
        lists = [(column.texts.to_pylist(), column.codes.tolist()) for column in self.columns]
        return list(zip(*([texts[code] for code in codes] for texts, codes in lists), strict=True))

    def arrays(self) -> list[pa.StringArray]:
        """For each column the text of each combination."""
        return [column.texts.take(pa.array(column.codes)) for column in self.columns]

    def spread(self, values: Sequence[Any] | npt.NDArray[Any], kind: Any) -> npt.NDArray[Any]:
        """For each row the value of its combination, given one value for each of them."""
        return self.table(values, kind)[self.codes]

    def table(self, values: Sequence[Any] | npt.NDArray[Any], kind: Any) -> npt.NDArray[Any]:
        """An array to gather from by codes, given one value for each combination."""
        table = np.zeros(self.size, kind)
        table[self.where] = values
        return table


def in_flight(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its readings' columns typed as in flight; columns that are none are left as they are."""
    changed = {}
    for place, field in enumerate(batch.schema):
        kind = _TYPES.get(field.name, field.type)
        if field.type != kind:
            changed[field.name] = schema.cast(batch.column(place), kind)
    return replace(batch, changed)


def replace(batch: pa.RecordBatch, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """The batch with other arrays in some of its columns."""
    arrays, fields = batch.columns, batch.schema
    for name, array in columns.items():
        place = fields.get_field_index(name)
        arrays[place] = array
        if fields.field(place).type != array.type:
            fields = fields.set(place, fields.field(place).with_type(array.type))
    return pa.RecordBatch.from_arrays(arrays, schema=fields) if columns else batch


def encode(column: pa.Array, clean: Callable[[pa.Array], pa.Array] | None = None) -> Encoded:
    """The column as codes into its distinct texts.

    Args:
        column: Text, dictionary-encoded or not.
        clean: Applied to the distinct texts; those that become equal get one code.
    """
    column = schema.cast(column, schema.DICTIONARY)
    codes, texts = column.indices, column.dictionary
    if len(texts) > len(codes):
        # A slice of a large batch brings the whole batch's dictionary along.
        used = codes.dictionary_encode()
        codes, texts = used.indices, texts.take(used.dictionary)
    if texts.null_count:
        texts = texts.fill_null("")
    if codes.null_count:
        codes = codes.fill_null(len(texts))
        texts = pa.concat_arrays([texts, pa.array([""], pa.string())])
    numbers = codes.to_numpy()
    if clean is None:
        return Encoded(numbers, texts)
    merged = clean(texts).dictionary_encode()
    if len(merged.dictionary) < len(texts):
        numbers = merged.indices.to_numpy()[numbers]
    return Encoded(numbers, merged.dictionary)


def decode(encoded: Encoded) -> pa.DictionaryArray:
    """The column as it travels in flight."""
    return pa.DictionaryArray.from_arrays(pa.array(encoded.codes), encoded.texts)


def combine(*columns: Encoded) -> Combinations:
    """The combinations of the columns' texts that occur, and which of them each row holds."""
    size = math.prod(len(column.texts) for column in columns)
    varied = [column for column in columns if len(column.texts) > 1] or list(columns[:1])
    codes = varied[0].codes.astype(np.int64)
    for column in varied[1:]:
        codes *= len(column.texts)
        codes += column.codes
    if size <= _TABLE_PER_ROW * len(codes) + 1024:
        where = keys = np.flatnonzero(np.bincount(codes, minlength=size))
    else:
        keys, codes = np.unique(codes, return_inverse=True)
        size, where = len(keys), np.arange(len(keys))
    parts = []
    for column in reversed(columns):
        keys, own = np.divmod(keys, max(len(column.texts), 1))
        parts.append(Encoded(own, column.texts))
    return Combinations(codes, size, where, parts[::-1])


def has_control_bytes(texts: pa.StringArray) -> bool:
    """Whether a text may hold a control character (Unicode's category Cc): without such a byte none does."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return False
    ends = np.frombuffer(offsets, np.int32)
    held = np.frombuffer(data, np.uint8)[ends[texts.offset] : ends[texts.offset + len(texts)]]
    # U+0000 to U+001F and U+007F are bytes of their own; U+0080 to U+009F are C2 and a second byte below A0.
    return bool((held < 0x20).any() or (held == 0x7F).any() or ((held[:-1] == 0xC2) & (held[1:] < 0xA0)).any())
