"""Columns of timestamp texts and epoch numbers to microseconds since 1970-01-01T00:00:00Z.

Texts are RFC 3339 with any offset.  ``23:59:60`` UTC, a leap second, is the first instant of the next day, as in Unix
time; what is finer than a microsecond is cut off.  Text without an offset is refused unless a zone is declared; then
the earlier of two possible instants is taken where clocks go back, and what clocks skip is refused.

Numbers are epochs, their unit by size, so that any time from 1973 to 5138 is read rightly:

===================  ============
absolute value       unit
===================  ============
below 1e11           seconds
below 1e14           milliseconds
below 1e17           microseconds
up to the int64 end  nanoseconds
===================  ============
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.parsing.nodes import Times
from telebeam.transforms.parsing.numbers import buffers

_NAIVE = pa.timestamp("us")
_UTC = pa.timestamp("us", tz="UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
FIRST = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z

_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{1,6})?"
_WITHOUT_OFFSET = rf"^{_DATE}[T ]{_TIME}$"
_WITH_OFFSET = rf"^{_DATE}[T ]{_TIME}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
_TOO_FINE = r"(\.[0-9]{6})[0-9]+"
_PARTS = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
_LARGEST = str(np.iinfo(np.int64).max)
_SHORTEST = len("2026-01-01T00:00:00")
_OFFSET = len("+01:00")
_FEW = 16
"""Texts that are not worth another try as a column."""

Convert = Callable[[pa.Array], tuple[np.ndarray, np.ndarray] | None]
"""Texts → their microseconds and which of them are none; None where one of them is no text for a conversion."""


def parse_timestamps(text: pa.Array, zone: str | None = None) -> Times:
    """Event times of a column of timestamp texts, encoded or plain; nulls count as bad.

    >>> times = parse_timestamps(pa.array(["1970-01-01T00:00:01Z", "1970-01-01T01:00:01.5+01:00", "1970-01-01"]))
    >>> times.microseconds.tolist(), times.bad.tolist()
    ([1000000, 1500000, 0], [False, False, True])
    """
    if pa.types.is_dictionary(text.type):
        return _of_dictionary(text, zone)
    whole = _whole(text, zone)
    if whole is not None:
        return _within(*whole)
    tidy = pc.ascii_upper(pc.replace_substring_regex(text, _TOO_FINE, r"\1"))
    micros, bad = np.zeros(len(text), np.int64), np.ones(len(text), bool)
    open_ = np.ones(len(text), bool)
    forms: list[tuple[str, Convert]] = [(_WITH_OFFSET, _in_utc)]
    if zone is not None:
        forms.append((_WITHOUT_OFFSET, partial(_local, zone)))
    for pattern, convert in forms:
        of_form = pc.fill_null(pc.match_substring_regex(tidy, pattern), False).to_numpy(zero_copy_only=False)
        for rows, (found, none) in _piecewise(tidy, np.flatnonzero(of_form), convert):
            micros[rows], bad[rows], open_[rows] = found, none, False
    for row in np.flatnonzero(open_).tolist():
        value = parse_one(text[row].as_py(), zone)
        micros[row], bad[row] = (0, True) if value is None else (value, False)
    return _within(micros, bad)


def _of_dictionary(text: pa.DictionaryArray, zone: str | None) -> Times:
    words = pa.concat_arrays([text.dictionary, pa.nulls(1, text.dictionary.type)])
    times = parse_timestamps(words, zone)
    place = pc.fill_null(text.indices.cast(pa.int64()), len(text.dictionary)).to_numpy(zero_copy_only=False)
    return Times(times.microseconds[place], times.bad[place])


def _within(micros: np.ndarray, bad: np.ndarray) -> Times:
    """Times of the years 1 to 9999: an offset or a leap second may lead out of them."""
    bad = bad | (micros < FIRST) | (micros > LAST)
    return Times(np.where(bad, 0, micros), bad)


def _whole(text: pa.Array, zone: str | None) -> tuple[np.ndarray, np.ndarray] | None:
    """The column at once, where all its texts are of one form and Arrow's cast, which is lenient, can't be mistaken."""
    if not len(text) or text.null_count:
        return None
    data, offsets = buffers(text)
    lengths, ends = np.diff(offsets), offsets[1:]
    if (lengths > _SHORTEST).all() and (data[ends - 1] == ord("Z")).all():
        return _in_utc(text)
    if (lengths >= _SHORTEST + _OFFSET).all() and (data[ends - 3] == ord(":")).all():
        sign = data[ends - _OFFSET]
        return _in_utc(text) if ((sign == ord("+")) | (sign == ord("-"))).all() else None
    return _local(zone, text) if zone is not None and (lengths >= _SHORTEST).all() else None


def _in_utc(text: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        found = pc.cast(pc.cast(text, _UTC), pa.int64())
    except pa.ArrowInvalid:
        return None
    return found.to_numpy(zero_copy_only=False), np.zeros(len(text), bool)


def _local(zone: str, text: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        times = local_instants(pc.cast(text, _NAIVE), zone)
    except pa.ArrowInvalid:
        return None
    return times.microseconds, times.bad


def local_instants(naive: pa.Array, zone: str) -> Times:
    """The instants of local times, timestamp[us] without nulls, by the rules above.

    Raises:
        pyarrow.ArrowInvalid: The machine has no database of time zones.
    """
    moments = pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="earliest")
    # A local time that clocks skip does not survive the way to UTC and back.
    skipped = pc.not_equal(pc.local_timestamp(moments), naive).to_numpy(zero_copy_only=False)
    return _within(moments.cast(pa.int64()).to_numpy(zero_copy_only=False), skipped)


def instants(column: pa.Array, zone: str | None) -> Times:
    """Event times of timestamps of any unit, nulls as 0; without a zone of their own they are local to ``zone``."""
    numbers = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    if column.type.tz is None and zone is None:
        return Times(np.zeros(len(numbers), np.int64), np.ones(len(numbers), bool))
    if column.type.unit == "ns":
        times = _within(numbers // 1_000, np.zeros(len(numbers), bool))
    else:
        scale = {"s": 1_000_000, "ms": 1_000, "us": 1}[column.type.unit]
        beyond = (numbers < FIRST // scale) | (numbers > LAST // scale)
        times = _within(np.where(beyond, 0, numbers) * scale, beyond)
    if column.type.tz is not None or zone is None:
        return times
    local = local_instants(pa.array(times.microseconds).cast(_NAIVE), zone)
    return Times(local.microseconds, local.bad | times.bad)


def _piecewise(
    text: pa.Array, rows: np.ndarray, convert: Convert
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """What can be converted, by halves where one text refuses: a February 30th costs few others their speed."""
    found = convert(text.take(pa.array(rows)))
    if found is not None:
        yield rows, found
    elif len(rows) > _FEW:
        middle = len(rows) // 2
        yield from _piecewise(text, rows[:middle], convert)
        yield from _piecewise(text, rows[middle:], convert)


def parse_one(text: str | None, zone: str | None) -> int | None:
    """One text in µs since the epoch, by the rules above; None where it is none."""
    match = _PARTS.fullmatch(text or "")
    if match is None:
        return None
    date, minutes, seconds, fraction, offset = match.groups()
    leap = seconds == "60"
    try:
        naive = datetime.fromisoformat(f"{date}T{minutes}:{'59' if leap else seconds}")
        moment = _localize(naive, zone) if offset is None else naive.replace(tzinfo=_offset(offset))
    except (ValueError, OverflowError):
        return None
    if moment is None:
        return None
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    if leap:
        micros += 1_000_000
        if micros % 86_400_000_000:
            return None
    return micros + int((fraction or "0")[:6].ljust(6, "0"))


def _offset(text: str) -> tzinfo | None:
    return UTC if text in ("Z", "z") else datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo


def _localize(naive: datetime, zone: str | None) -> datetime | None:
    if zone is None:
        return None
    local = naive.replace(tzinfo=ZoneInfo(zone))
    # A local time that clocks skip does not survive the way to UTC and back.
    return local if local.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == naive else None


def epochs_from_text(text: pa.Array) -> Times:
    """Event times of a column of JSON number texts.

    >>> epochs_from_text(pa.array(["1700000000", "1700000000123", "1.7e9"])).microseconds.tolist()
    [1700000000000000, 1700000000123000, 1700000000000000]
    """
    try:
        return epochs(pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        pass
    digits = pc.utf8_ltrim(text, "-")
    size = pc.if_else(pc.match_substring_regex(digits, r"^[0-9]+$"), pc.binary_length(digits), 99)
    # Of as many digits, texts compare as numbers do.
    fits = pc.or_(pc.less(size, 19), pc.and_(pc.equal(size, 19), pc.less_equal(digits, _LARGEST)))
    micros, bad = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    for mask, kind in ((fits, pa.int64()), (pc.invert(fits), pa.float64())):
        part = epochs(pc.cast(text.filter(mask), kind).to_numpy(zero_copy_only=False))
        place = mask.to_numpy(zero_copy_only=False)
        micros[place], bad[place] = part.microseconds, part.bad
    return Times(micros, bad)


def epochs(numbers: np.ndarray) -> Times:
    """Event times of int64 or float64 epochs by the bands above; what is not within years 1 to 9999 is bad."""
    if numbers.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(numbers)
            scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
            micros = np.rint(numbers * scale)
            bad = ~((micros >= FIRST) & (micros <= LAST) & (size < 2.0**63))
        return Times(np.where(bad, 0, micros).astype(np.int64), bad)
    size = np.abs(numbers)
    bands = [size < 10**11, size < 10**14, size < 10**17]
    seconds = np.where(bands[0], numbers, 0)
    micros = np.select(bands, [seconds * 1_000_000, np.where(bands[1], numbers, 0) * 1_000, numbers], numbers // 1_000)
    bad = (micros < FIRST) | (micros > LAST) | (numbers == np.iinfo(np.int64).min)
    return Times(np.where(bad, 0, micros), bad)
