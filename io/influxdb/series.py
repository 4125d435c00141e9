"""The part of a line that names its series — measurement and tags — computed once for each distinct series.

Line protocol: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/.  A tag's key and value escape
comma, equals sign and space by a backslash, a measurement comma and space; a backslash itself is never escaped, so one
at a value's end would escape the separator that follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.influxdb.spec import TAGS, Dataset, InfluxSpec
from telebeam.io.influxdb.tokens import EMPTY, TEXT, Codes, Tokens
from telebeam.transforms.schema import DICTIONARY, cast

MAX_KEY_BYTES = 65_535 - len("#!~#") - len("trend_per_second")
"""The longest measurement and tags: the storage engine's keys end in a separator and the field's name."""
_MAX_CODE = 2**62
_SMALL_DICTIONARY = 1024


@dataclass(frozen=True)
class Tag:
    """One tag of a batch.

    Args:
        codes: For each row which of the fragments is its own.
        fragments: ``,tag=value`` for each distinct value, escaped; empty where the tag is left out.
        faults: For each fragment why line protocol can't carry it, or null.
    """

    codes: Codes
    fragments: pa.LargeStringArray
    faults: pa.StringArray


@dataclass(frozen=True)
class Series:
    """The distinct series of some rows.

    Args:
        codes: For each row the index of its series.
        keys: For each series ``measurement,tag=value,…``, escaped.
        problems: For each series why it can't be represented, or null.
    """

    codes: Codes
    keys: pa.LargeStringArray
    problems: pa.StringArray


def tags_of(batch: pa.RecordBatch, dataset: Dataset, spec: InfluxSpec) -> list[Tag]:
    """The tags of a batch in the order of their names, as InfluxDB sorts them.

    Empty and null tags are left out, and so is the tenant ``default``.
    """
    named = sorted(((spec.tags.get(name, name), name) for name in TAGS[dataset]), key=lambda pair: pair[0].encode())
    return [_tag(batch.column(name), tag, "default" if name == "tenant" else "") for tag, name in named]


def series_of(tags: list[Tag], measurement: str, start: int, stop: int) -> Series:
    """The series of the rows from ``start`` to before ``stop``."""
    codes, representatives = _combine(tags, start, stop)
    tokens = Tokens(len(representatives))
    tokens.columns.append(tokens.add(pa.array([escape_measurement(measurement)], TEXT)))
    problems: Any = pa.nulls(len(representatives), pa.string())
    for tag in tags:
        of_series = tag.codes[representatives]
        tokens.columns.append(tokens.add(tag.fragments) + of_series)
        if tag.faults.null_count < len(tag.faults):
            problems = pc.coalesce(problems, tag.faults.take(pa.array(of_series)))
    keys = tokens.joined()
    too_long = pc.greater(pc.binary_length(keys), MAX_KEY_BYTES)
    if pc.any(too_long).as_py():
        words = pa.scalar(f"measurement and tags together are longer than {MAX_KEY_BYTES} bytes")
        problems = pc.if_else(pc.and_(too_long, pc.is_null(problems)), words, problems)
    return Series(codes, keys, problems)


def escape_measurement(name: str) -> str:
    r"""A measurement's name as line protocol writes it.

    >>> print(escape_measurement("plant 1,hall=2"))
    plant\ 1\,hall=2
    """
    return name.replace(",", r"\,").replace(" ", r"\ ")


def escape_tag(text: str) -> str:
    r"""A tag's key or value as line protocol writes it.

    >>> print(escape_tag("a b,c=d"))
    a\ b\,c\=d
    """
    return escape_measurement(text).replace("=", r"\=")


def _combine(tags: list[Tag], start: int, stop: int) -> tuple[Codes, Codes]:
    """For each row the number of its combination of tags, and for each combination one row that has it."""
    codes: Codes = np.zeros(stop - start, np.int64)
    combinations = 1
    for tag in tags:
        if combinations * len(tag.fragments) > _MAX_CODE:
            codes, combinations = _dense(codes)
        codes = codes * len(tag.fragments) + tag.codes[start:stop]
        combinations *= len(tag.fragments)
    codes, combinations = _dense(codes)
    representatives: Codes = np.zeros(combinations, np.int64)
    representatives[codes] = np.arange(start, stop)
    return codes, representatives


def _dense(codes: Codes) -> tuple[Codes, int]:
    encoded = pa.array(codes).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def _tag(column: Any, tag: str, left_out: str) -> Tag:
    encoded = _encoded(column)
    # One more fragment, for rows that have no value.
    values = pa.concat_arrays([pc.cast(encoded.dictionary, TEXT), pa.array([""], TEXT)])
    fragments, faults = _fragments(pc.fill_null(values, ""), tag, left_out)
    codes = pc.fill_null(encoded.indices, pa.scalar(len(values) - 1, encoded.indices.type))
    return Tag(codes.to_numpy().astype(np.int64), fragments, faults)


def _encoded(column: Any) -> pa.DictionaryArray:
    # A slice keeps its parent's dictionary: one much larger than the slice costs more to escape than to build anew.
    if pa.types.is_dictionary(column.type) and len(column.dictionary) > max(len(column), _SMALL_DICTIONARY):
        column = column.dictionary_decode()
    if not pa.types.is_dictionary(column.type):
        column = pc.cast(column, pa.string())
    return cast(column, DICTIONARY)


def _fragments(texts: Any, tag: str, left_out: str) -> tuple[pa.LargeStringArray, pa.StringArray]:
    """``,tag=value`` for each text, empty for those left out, and what is wrong with each, or null."""
    kept = pc.and_(pc.not_equal(texts, ""), pc.not_equal(texts, left_out))
    faults = _faults(texts, tag)
    held = _bytes_in(texts)
    for character in ",= ":
        if held[ord(character)]:
            texts = pc.replace_substring(texts, character, "\\" + character)
    lead = pa.scalar(f",{escape_tag(tag)}=", TEXT)
    return pc.if_else(kept, pc.binary_join_element_wise(lead, texts, EMPTY), EMPTY), faults


def _faults(texts: Any, tag: str) -> pa.StringArray:
    faults: Any = pa.nulls(len(texts), pa.string())
    held = _bytes_in(texts)
    if held[ord("\\")]:
        faults = pc.if_else(
            pc.match_substring_regex(texts, r"\\$"), pa.scalar(f"tag {tag} ends in a backslash"), faults
        )
    # U+0080 to U+009F begin with the byte C2 in UTF-8.
    if held[:0x20].any() or held[0x7F] or held[0xC2]:
        words = pa.scalar(f"tag {tag} holds a control character")
        faults = pc.if_else(pc.match_substring_regex(texts, r"\p{Cc}"), words, faults)
    return faults


def _bytes_in(texts: pa.LargeStringArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of the 256 bytes occur: a tenth of what a regular expression over all texts costs."""
    held = np.zeros(256, np.bool_)
    _, offsets, values = texts.buffers()
    if values is not None:
        first, *_, last = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
        held[np.frombuffer(values, np.uint8)[first:last]] = True
    return held
