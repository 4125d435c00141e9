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
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.parsing.nodes import Times
from telebeam.transforms.parsing.numbers import buffers

_MICROSECONDS = pa.timestamp("us")
_UTC = pa.timestamp("us", tz="UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_FIRST = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z

_DATE_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}"
_PLAIN = rf"^{_DATE_TIME}(\.[0-9]{{1,6}})?(Z|[+-][0-9]{{2}}:[0-9]{{2}})$"
_PARTS = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_SHORTEST_UTC = len("2026-01-01T00:00:00Z")


def parse_timestamps(text: pa.Array, zone: str | None = None) -> Times:
    """Event times of a column of timestamp texts; nulls count as bad.

    >>> times = parse_timestamps(pa.array(["1970-01-01T00:00:01Z", "1970-01-01T01:00:01.5+01:00", "1970-01-01"]))
    >>> times.microseconds.tolist(), times.bad.tolist()
    ([1000000, 1500000, 0], [False, False, True])
    """
    if _all_in_utc(text):
        whole = _cast(text)
        if whole is not None:
            return Times(whole, whole < _FIRST)
    plain = pc.fill_null(pc.match_substring_regex(text, _PLAIN), False).to_numpy(zero_copy_only=False)
    micros = np.zeros(len(text), np.int64)
    bad = np.zeros(len(text), bool)
    fast = _cast(text.filter(pa.array(plain)))
    if fast is not None:
        micros[plain] = fast
    for row in np.flatnonzero(~plain if fast is not None else np.ones(len(text), bool)).tolist():
        value = _parse_one(text[row].as_py(), zone)
        micros[row], bad[row] = (0, True) if value is None else (value, False)
    return Times(micros, bad | (micros < _FIRST))


def _all_in_utc(text: pa.Array) -> bool:
    """Whether every text ends in Z and is long enough to hold seconds, which Arrow's cast does not ask for."""
    if not len(text) or text.null_count:
        return False
    data, offsets = buffers(text)
    return bool((np.diff(offsets) >= _SHORTEST_UTC).all() and (data[offsets[1:] - 1] == ord("Z")).all())


def _cast(text: pa.Array) -> np.ndarray | None:
    try:
        return pc.cast(pc.cast(text, _UTC), pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None


def _parse_one(text: str | None, zone: str | None) -> int | None:
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


def _offset(text: str) -> ZoneInfo | object:
    return UTC if text in ("Z", "z") else datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo


def _localize(naive: datetime, zone: str | None) -> datetime | None:
    if zone is None:
        return None
    local = naive.replace(tzinfo=ZoneInfo(zone))
    # A local time that clocks skip does not survive the way to UTC and back.
    return local if local.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == naive else None


def parse_naive_timestamps(text: pa.Array, zone: str) -> Times:
    """Like :func:`parse_timestamps`, where most texts name no offset and the zone is UTC."""
    if zone == "UTC" and len(text) and not text.null_count:
        try:
            naive = pc.cast(text, _MICROSECONDS)
        except pa.ArrowInvalid:
            return parse_timestamps(text, zone)
        _, offsets = buffers(text)
        if (np.diff(offsets) >= _SHORTEST_UTC - 1).all():
            return Times(naive.cast(pa.int64()).to_numpy(zero_copy_only=False), np.zeros(len(text), bool))
    return parse_timestamps(text, zone)


def epochs_from_text(text: pa.Array) -> Times:
    """Event times of a column of JSON number texts.

    >>> epochs_from_text(pa.array(["1700000000", "1700000000123", "1.7e9"])).microseconds.tolist()
    [1700000000000000, 1700000000123000, 1700000000000000]
    """
    try:
        return epochs(pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        pass
    whole = pc.match_substring_regex(text, r"^-?[0-9]{1,18}$").to_numpy(zero_copy_only=False)
    micros, bad = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    for mask, numbers in (
        (whole, pc.cast(text.filter(pa.array(whole)), pa.int64())),
        (~whole, pc.cast(text.filter(pa.array(~whole)), pa.float64())),
    ):
        part = epochs(numbers.to_numpy(zero_copy_only=False))
        micros[mask], bad[mask] = part.microseconds, part.bad
    return Times(micros, bad)


def epochs(numbers: np.ndarray) -> Times:
    """Event times of int64 or float64 epochs by the bands above; what is not within years 1 to 9999 is bad."""
    if numbers.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(numbers)
            scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
            micros = np.rint(numbers * scale)
            bad = ~((micros >= _FIRST) & (micros <= _LAST))
        return Times(np.where(bad, 0, micros).astype(np.int64), bad)
    size = np.abs(numbers)
    bands = [size < 10**11, size < 10**14, size < 10**17]
    seconds = np.where(bands[0], numbers, 0)
    micros = np.select(bands, [seconds * 1_000_000, np.where(bands[1], numbers, 0) * 1_000, numbers], numbers // 1_000)
    bad = (micros < _FIRST) | (micros > _LAST) | (numbers == np.iinfo(np.int64).min)
    return Times(np.where(bad, 0, micros), bad)
