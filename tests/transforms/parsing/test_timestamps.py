"""Event times: texts of RFC 3339, local texts, and epochs by bands; each value by itself is the reference."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.parsing.timestamps import Times, epochs, epochs_from_text, parse_timestamps

FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)  # RFC 3339, section 5.6; the note there allows a space for the T
FIRST = -62_135_596_800_000_000
LAST = 253_402_300_799_999_999


def reference(text: str, zone: str | None = None) -> int | None:
    """A timestamp text in µs by the letter of the document."""
    match = FORM.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    offset = match[8]
    if offset is None:
        shift = local_shift(datetime(year, month, day, hour, minute, min(second, 59)), zone)
        if shift is None:
            return None
        seconds -= shift
    elif offset not in ("Z", "z"):
        if int(offset[1:3]) > 23 or int(offset[4:]) > 59:
            return None
        seconds -= (1 if offset[0] == "+" else -1) * (int(offset[1:3]) * 3600 + int(offset[4:]) * 60)
    if second == 60 and seconds % 86_400:
        return None
    micros = seconds * 1_000_000 + int(((match[7] or "") + "000000")[:6])
    return micros if FIRST <= micros <= LAST else None


def local_shift(naive: datetime, zone: str | None) -> int | None:
    """What a zone's clocks are ahead of UTC by, in seconds, at a local time that they show."""
    if zone is None:
        return None
    for shift in range(14 * 4, -12 * 4 - 1, -1):  # the largest shift is the earliest instant
        try:
            shifted = (naive - timedelta(minutes=15 * shift)).replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
        except OverflowError:
            continue
        if shifted.replace(tzinfo=None) == naive:
            return shift * 900
    return None


def values(times: Times) -> list[int | None]:
    return [
        None if bad else micros for micros, bad in zip(times.microseconds.tolist(), times.bad.tolist(), strict=True)
    ]


def micros(iso: str) -> int:
    return (datetime.fromisoformat(iso) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


GOOD = {
    "2026-01-01T00:00:00Z": "2026-01-01T00:00:00Z",
    "2026-01-01 00:00:00Z": "2026-01-01T00:00:00Z",
    "2026-01-01t00:00:00z": "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00z": "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00+00:00": "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00-00:00": "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00+23:59": "2025-12-31T00:01:00Z",
    "2026-01-01T00:00:00-23:59": "2026-01-01T23:59:00Z",
    "2026-01-01T05:30:00+05:30": "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00.1Z": "2026-01-01T00:00:00.100000Z",
    "2026-01-01T00:00:00.12Z": "2026-01-01T00:00:00.120000Z",
    "2026-01-01T00:00:00.123456Z": "2026-01-01T00:00:00.123456Z",
    "2026-01-01T00:00:00.1234567Z": "2026-01-01T00:00:00.123456Z",
    "2026-01-01T00:00:00.123456789Z": "2026-01-01T00:00:00.123456Z",
    "2026-01-01T00:00:00.1234569999999999999999+01:00": "2025-12-31T23:00:00.123456Z",
    "1969-12-31T23:59:59.9999999Z": "1969-12-31T23:59:59.999999Z",
    "2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z",
    "2016-12-31T23:59:60.5Z": "2017-01-01T00:00:00.500000Z",
    "2017-01-01T00:59:60+01:00": "2017-01-01T00:00:00Z",
    "2016-12-31T15:59:60-08:00": "2017-01-01T00:00:00Z",
    "2024-02-29T12:00:00Z": "2024-02-29T12:00:00Z",
    "2000-02-29T12:00:00Z": "2000-02-29T12:00:00Z",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999Z",
    "2263-01-01T00:00:00.123456789Z": "2263-01-01T00:00:00.123456Z",
}
BAD = [
    "", " ", "now", "2026", "2026-01-01", "2026-01-01T", "2026-01-01T00:00Z", "2026-01-01T00Z", "20260101T000000Z",
    "2026-01-01T000000Z",
    "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00,5Z", "2026-01-01T00:00:00.5 Z",
    "2026-01-01T00:00:00ZZ",
    "2026-01-01T00:00:00+0100", "2026-01-01T00:00:00+01", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00+01:00:00", "2026-01-01T00:00:00 +01:00", "2026-01-01T00:00:00UTC",
    "2026-01-01T24:00:00Z", "2026-01-01T24:00:01Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z",
    "2026-01-01T12:00:60Z",
    "2016-12-31T23:59:60+01:00", "2026-02-29T00:00:00Z", "2024-02-30T00:00:00Z", "1900-02-29T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01",
    "10000-01-01T00:00:00Z",
    "-2026-01-01T00:00:00Z", "+2026-01-01T00:00:00Z", " 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z ",
    "2026-01-01T00:00:00Z\n",
    "2026-01-01\n00:00:00Z", "2026-01-01_00:00:00Z", "２０２６-01-01T00:00:00Z",
    "2026-01-01T00:00:00-2026-01-01T00:00:00Z", "2026-W01-1T00:00:00Z",
    "2026-001T00:00:00Z", "2026-01-01T00:00:00Z\x00", "1767225600", "2026-01-01T00:00:00.123456Z+01:00",
    "2026-01-01T00:00:00-:00",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GOOD.items())
def test_what_rfc_3339_allows_is_that_instant(text: str, expected: str):
    assert values(parse_timestamps(pa.array([text]))) == [micros(expected)] == [reference(text)]


@pytest.mark.parametrize("text", BAD)
def test_what_rfc_3339_does_not_allow_is_bad(text: str):
    assert values(parse_timestamps(pa.array([text]))) == [None] == [reference(text)]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Oslo", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("seed", range(12))
def test_a_column_of_any_mix_gives_what_each_text_gives_alone(zone: str | None, seed: int):
    rng = np.random.default_rng(seed)
    # Zones of the year 1 are local mean times, of odd seconds.
    naive = [text.rstrip("Zz") for text in GOOD if text[-1] in "Zz" and text[:4] not in ("0001", "9999")]
    pool = [*GOOD, *naive, *BAD] if seed % 3 else [*GOOD, *naive]
    texts = [str(text) for text in rng.choice(pool, rng.integers(1, 60))]
    expected = [reference(text, zone) for text in texts]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        assert values(parse_timestamps(pa.array(texts, pa.string()).cast(kind), zone)) == expected


MUTATED = st.tuples(
    st.sampled_from([*GOOD, "2026-03-29T01:30:00", "2026-10-25T02:30:00.123456"]),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([*"0123456789TtZz:.+- ,", ""])), max_size=3),
)


def mutate(text: str, changes: list[tuple[int, str]]) -> str:
    for place, letter in changes:
        text = text[:place] + letter + text[place + 1 :]
    return text


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.lists(MUTATED.map(lambda pair: mutate(*pair)), min_size=1, max_size=3),
    st.sampled_from([None, "UTC", "Europe/Oslo"]),
)
def test_any_text_is_what_the_reference_says(texts: list[str], zone: str | None):
    assert values(parse_timestamps(pa.array(texts), zone)) == [reference(text, zone) for text in texts]


def test_nulls_are_bad_and_no_rows_are_none():
    assert values(parse_timestamps(pa.array([None, "2026-01-01T00:00:00Z", None], pa.string()))) == [
        None,
        micros("2026-01-01T00:00:00Z"),
        None,
    ]
    assert values(parse_timestamps(pa.array([None, "x", None], pa.string()).dictionary_encode())) == [None] * 3
    assert values(parse_timestamps(pa.array([], pa.string()))) == []
    assert values(epochs_from_text(pa.array([], pa.string()))) == []


def test_local_text_is_bad_without_a_zone_and_that_zones_with_one():
    text = pa.array(["2026-07-01T12:00:00", "2026-01-01 12:00:00.5"])
    assert values(parse_timestamps(text)) == [None, None]
    assert values(parse_timestamps(text, "UTC")) == [micros("2026-07-01T12:00:00Z"), micros("2026-01-01T12:00:00.5Z")]
    assert values(parse_timestamps(text, "Europe/Oslo")) == [
        micros("2026-07-01T10:00:00Z"),
        micros("2026-01-01T11:00:00.5Z"),
    ]


def test_text_with_an_offset_keeps_it_whatever_the_zone():
    text = pa.array(["2026-07-01T12:00:00Z", "2026-07-01T12:00:00-03:00", "2026-07-01T12:00:00"])
    assert values(parse_timestamps(text, "Asia/Tokyo")) == [
        micros(f"2026-07-01T{hour}:00:00Z") for hour in ("12", "15", "03")
    ]


@pytest.mark.parametrize("others", [0, 1])
def test_what_clocks_skip_is_bad_and_of_two_instants_the_earlier_counts(others: int):
    text = ["2026-03-29T02:30:00", "2026-03-29T01:59:59", "2026-03-29T03:00:00", "2026-10-25T02:30:00"] + [
        "bad"
    ] * others
    oslo = [None, micros("2026-03-29T00:59:59Z"), micros("2026-03-29T01:00:00Z"), micros("2026-10-25T00:30:00Z")] + [
        None
    ] * others
    assert values(parse_timestamps(pa.array(text), "Europe/Oslo")) == oslo


LOCAL = [
    # An hour at night, half an hour, an hour at midnight, a day left out, a zone that moved without summer time
    ("America/New_York", "2026-03-08T02:30:00", None), ("America/New_York", "2026-11-01T01:30:00", "05:30:00"),
    ("America/New_York", "2026-11-01T02:00:00", "07:00:00"), ("Australia/Lord_Howe", "2026-10-04T02:15:00", None),
    ("Australia/Lord_Howe", "2026-10-04T02:30:00", "2026-10-03T15:30:00"),
    ("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-04T14:45:00"),
    ("America/Sao_Paulo", "2018-11-04T00:30:00", None),
    ("America/Sao_Paulo", "2018-02-17T23:30:00", "2018-02-18T01:30:00"), ("Pacific/Apia", "2011-12-30T12:00:00", None),
    ("Pacific/Apia", "2011-12-31T00:00:00", "2011-12-30T10:00:00"), ("Asia/Pyongyang", "2018-05-04T23:45:00", None),
    ("Europe/Lisbon", "1992-09-27T01:30:00", "00:30:00"), ("Africa/Casablanca", "2026-02-15T02:30:00", "01:30:00"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "text", "utc"), LOCAL)
def test_what_a_zones_clocks_skip_or_show_twice_is_that_zones(zone: str, text: str, utc: str | None):
    expected = None if utc is None else micros(f"{utc if len(utc) > 8 else f'{text[:10]}T{utc}'}Z")
    assert reference(text, zone) == expected
    for column in ([text], [text, "bad"], [text, "2026-07-01T12:00:00"]):
        assert values(parse_timestamps(pa.array(column), zone))[0] == expected


@pytest.mark.parametrize("zone", ["Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
def test_each_quarter_of_an_hour_around_a_change_is_what_the_clocks_show(zone: str):
    days = [datetime(*day) for day in ((2026, 3, 7), (2026, 3, 28), (2026, 4, 4), (2026, 10, 3), (2026, 10, 24), (2026,
            10, 31), (2011, 12, 29))]  # fmt: skip
    texts = [(day + timedelta(minutes=15 * n)).isoformat() for day in days for n in range(4 * 48)]
    assert values(parse_timestamps(pa.array(texts), zone)) == [reference(text, zone) for text in texts]


@pytest.mark.parametrize(
    "text", ["0000-06-01T00:00:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "9999-12-31T24:00:00"]
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_a_zone_leads_no_time_out_of_the_years_1_to_9999(text: str, zone: str):
    found = values(parse_timestamps(pa.array([text]), zone))
    assert found == [None] or FIRST <= found[0] <= LAST
    if zone == "UTC":
        assert found == [reference(text, zone)]


BORDERS = {
    "0": 0, "-1": -1_000_000, "1": 1_000_000, "99999999999": 99_999_999_999_000_000,
    "100000000000": 100_000_000_000_000,
    "99999999999999": 99_999_999_999_999_000, "100000000000000": 100_000_000_000_000,
    "99999999999999999": 99_999_999_999_999_999,
    "100000000000000000": 100_000_000_000_000, "9223372036854775807": 9_223_372_036_854_775,
    "-99999999999": None, "-62135596800": FIRST, "-62135596801": None, "-100000000000": -100_000_000_000_000,
    "-1767225600000": -1_767_225_600_000_000, "253402300799": 253_402_300_799_000,
    "9223372036854775808": None, "-9223372036854775807": -9_223_372_036_854_776, "-9223372036854775808": None,
    "1e19": None,
    "18446744073709551616": None, "1e400": None, "-1e400": None, "1180591620717411303424": None, "-0": 0, "-0.0": 0,
    "0.0": 0,
    "1767225600.5": 1_767_225_600_500_000, "1767225600.123456": 1_767_225_600_123_456,
    "1.7672256e9": 1_767_225_600_000_000,
    "1767225600123.4": 1_767_225_600_123_400, "1767225600123456.7": 1_767_225_600_123_457,
    "1767225600123456789": 1_767_225_600_123_456,
    "1767225600123456999": 1_767_225_600_123_456, "1.5E3": 1_500_000_000, "0.0000001": 0, "1e-400": 0,
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BORDERS.items())
def test_an_epochs_unit_is_told_by_its_size(text: str, expected: int | None):
    assert values(epochs_from_text(pa.array([text]))) == [expected]


@pytest.mark.parametrize("seed", range(20))
def test_epochs_of_any_mix_give_what_each_gives_alone(seed: int):
    texts = [str(text) for text in np.random.default_rng(seed).choice(list(BORDERS), 30)]
    assert values(epochs_from_text(pa.array(texts))) == [BORDERS[text] for text in texts]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4))
def test_a_whole_epoch_is_exact_and_cut_to_the_microsecond(numbers: list[int]):
    def slowly(number: int) -> int | None:
        size = abs(number)
        per_micro = next(
            (Fraction(scale) for border, scale in ((10**11, 10**6), (10**14, 1000), (10**17, 1)) if size < border),
            Fraction(1, 1000),
        )
        found = number * per_micro // 1
        return found if FIRST <= found <= LAST and number != -(2**63) else None

    expected = [slowly(number) for number in numbers]
    assert values(epochs(np.array(numbers, np.int64))) == expected
    assert values(epochs_from_text(pa.array([*map(str, numbers), "0.5"]))) == [*expected, 500_000]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2.0**63, -(2.0**63), 1e300])
def test_a_float_that_is_no_instant_is_bad(number: float):
    assert values(epochs(np.array([number]))) == [None]


def test_one_impossible_date_does_not_slow_its_column():
    good = [f"2026-01-01T00:00:00.{n:06d}Z" for n in range(20_000)]
    for place in range(0, 20_000, 1000):
        good[place] = "2026-02-30T00:00:00Z"
    found = parse_timestamps(pa.array(good))
    assert np.flatnonzero(found.bad).tolist() == list(range(0, 20_000, 1000))
