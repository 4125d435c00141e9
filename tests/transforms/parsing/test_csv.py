"""CSV records: quotes, odd records among good ones, empty fields, wide rows; alone and together they give the same."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.transforms.parsing.csv import CSV_HEADER

LONG = ["device_id", "timestamp", "sensor_type", "value", "unit", "location", "note"]
WIDE = ["device_id", "timestamp", "temperature", "humidity", "site"]

ParseCsv = Callable[..., Any]


@pytest.fixture(scope="session")
def parse_csv(envelopes, parse_batch) -> ParseCsv:
    """Parses records under a header: (header, records…, offsets=, **spec) → outcome."""

    def run(header: list[str], *records: str | bytes, offsets: Any = None, **spec: Any) -> Any:
        batch = envelopes(
            [record.encode() if isinstance(record, str) else record for record in records], offsets=offsets
        )
        return parse_batch(batch.replace_schema_metadata({CSV_HEADER: json.dumps(header).encode()}), **spec)

    return run


def line(*fields: str) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(fields)
    return text.getvalue().removesuffix("\r\n")


def test_a_record_is_a_reading(parse_csv):
    found = parse_csv(LONG, "device-1,2026-01-01T00:00:00Z,temperature,21.5,celsius,hall,x")
    row = found.readings[0]
    assert (row["device_id"], row["sensor_type"], row["value"], row["unit"], row["location"]) == (
        "device-1",
        "temperature",
        21.5,
        "celsius",
        "hall",
    )
    assert json.loads(row["metadata"]) == {"note": "x"}


@pytest.mark.parametrize(
    "note",
    [
        'say "hi"',
        "a,b",
        "two\nlines",
        "two\r\nlines",
        " padded ",
        "é😀",
        "\t",
        '"',
        '""',
        "'",
        "\\",
        "\\n",
        "{}",
        "a\x7fb",
    ],
)
@pytest.mark.parametrize("odd", [False, True])
def test_a_quoted_field_is_its_text(note: str, odd: bool, parse_csv):
    records = [line(f"device-{n}", "1767225600", "t", "1", "c", "hall", note) for n in range(3)]
    found = parse_csv(LONG, *records, *["device-9,1767225600"] * odd)
    assert [json.loads(row["metadata"]) for row in found.readings] == [{"note": note}] * 3
    assert found.reasons == ["malformed"] * odd


BROKEN = {
    "device-1,1767225600,t,1,c,hall": "6 fields, expected 7",
    "device-1,1767225600,t,1,c,hall,x,y": "8 fields, expected 7",
    "": "empty",
    'device-1,1767225600,t,1,c,hall,"x': "unexpected end of data",
    'device-1,1767225600,t,1,c,hall,"x"y': "',' expected after '\"'",
}


@pytest.mark.parametrize(("record", "detail"), BROKEN.items())
def test_a_broken_record_among_good_ones_is_malformed_and_costs_itself(record: str, detail: str, parse_csv):
    good = "device-1,1767225600,t,1,c,hall,x"
    found = parse_csv(LONG, good, record, good, record)
    assert [row["source_offset"] for row in found.readings] == [0, 2]
    assert [(row["reason"], row["payload"], row["source_offset"]) for row in found.rejects] == [
        ("malformed", record.encode(), n) for n in (1, 3)
    ]
    assert detail in found.rejects[0]["detail"]


@pytest.mark.parametrize(
    "record", [b"device-1,1767225600,t,1,c,hall,\xff", b"device-1,1767225600,t,1,c,hall,\xed\xa0\x80"]
)
def test_what_is_not_utf_8_is_malformed(record: bytes, parse_csv):
    found = parse_csv(LONG, record, "device-1,1767225600,t,1,c,hall,x")
    assert (len(found.readings), found.reasons, found.rejects[0]["payload"]) == (1, ["malformed"], record)


@pytest.mark.parametrize(
    ("value", "reason"),
    [("", "missing_value"), ("x", "bad_value"), ("NaN", "bad_value"), ("inf", "bad_value"), ("1e400", "bad_value"),
    ("01", "bad_value"),
     ("0x1", "bad_value"), ("1,5", "bad_value"), ("+1", "bad_value"), ("NULL", "bad_value"), ("1_000", "bad_value")],
)  # fmt: skip
def test_a_field_that_is_no_number_is_no_value(value: str, reason: str, parse_csv):
    records = [line("device-1", "1767225600", "t", text, "c", "", "") for text in ("1", value, "2")]
    found = parse_csv(LONG, *records)
    assert (len(found.readings), found.reasons) == (2, [reason])


@pytest.mark.parametrize("value", [" 21.5", "21.5 ", "21.5\t", " 21.5 "])
def test_white_space_around_a_number_does_not_count(value: str, parse_csv):
    found = parse_csv(
        LONG,
        line("device-1", " 1767225600 ", "t", value, "c", "", ""),
        line("device-1", "2026-01-01T00:00:00Z ", "t", "1", "c", "", ""),
    )
    assert [row["value"] for row in found.readings] == [21.5, 1]


def test_empty_fields_say_nothing(parse_csv):
    found = parse_csv(
        LONG, "device-1,1767225600,,1,,,", ",1767225600,t,1,,,", "device-1,,t,1,,,", '"",1767225600,t,1,,,'
    )
    assert [(row["sensor_type"], row["unit"], row["location"], row["metadata"]) for row in found.readings] == [
        ("unknown", None, None, None)
    ]
    assert found.reasons == ["missing_device_id", "missing_timestamp", "missing_device_id"]


def test_ids_and_texts_that_look_like_numbers_are_texts(parse_csv):
    found = parse_csv(
        LONG, "00123,1767225600,7,1,2,003,1.50", "1e3,1767225600,7,1,2,3,x", "12345678901234567890,1767225600,7,1,2,3,x"
    )
    assert [row["device_id"] for row in found.readings] == ["00123", "1e3", "12345678901234567890"]
    assert [(row["sensor_type"], row["unit"]) for row in found.readings] == [("7", "2")] * 3
    assert json.loads(found.readings[0]["metadata"]) == {"note": 1.5}


def test_a_wide_row_is_a_reading_for_each_number_and_none_for_an_empty_field(parse_csv):
    found = parse_csv(
        WIDE,
        "dev-1,1767225600,21.5,40,oslo",
        "dev-2,1767225600,,41,",
        "dev-3,1767225600,22,,bergen",
        "dev-4,1767225600,,,oslo",
    )
    assert [(row["device_id"], row["sensor_type"], row["value"]) for row in found.readings] == [
        ("dev-1", "humidity", 40), ("dev-1", "temperature", 21.5), ("dev-2", "humidity", 41), ("dev-3", "temperature",
        22),
    ]  # fmt: skip
    assert [row["metadata"] and json.loads(row["metadata"]) for row in found.readings] == [{"site": "oslo"}] * 2 + [
        None,
        {"site": "bergen"},
    ]
    assert [(row["reason"], row["device_id"]) for row in found.rejects] == [("missing_value", "dev-4")]


def test_times_may_be_texts_and_epochs_by_turns(parse_csv):
    found = parse_csv(
        LONG,
        *[
            line("dev-1", time, "t", "1", "", "", "")
            for time in ("1767225600", "2026-01-01T00:00:00Z", "1767225600000", "x")
        ],
    )
    assert {row["timestamp"].timestamp() for row in found.readings} == {1767225600.0}
    assert found.reasons == ["bad_timestamp"]


def test_foreign_columns_are_mapped(parse_csv):
    found = parse_csv(
        ["id", "at", "kind", "reading"],
        "dev-1,1767225600,t,7",
        fields={"device_id": "id", "timestamp": "at", "sensor_type": "kind", "value": "reading"},
    )
    assert [(row["device_id"], row["sensor_type"], row["value"]) for row in found.readings] == [("dev-1", "t", 7)]


def test_a_record_of_too_many_bytes_is_too_large(parse_csv):
    found = parse_csv(LONG, "dev-1,1767225600,t,1,,,", "dev-1,1767225600,t,1,,," + "x" * 100, max_payload_bytes=100)
    assert (len(found.readings), found.reasons) == (1, ["too_large"])


def test_a_batch_of_no_records_is_empty(parse_csv):
    assert parse_csv(LONG) == ([], [])
    assert parse_csv(["a"], "", "").reasons == ["malformed"] * 2


def test_records_of_which_nothing_names_the_fields_are_of_unknown_format(parse_csv):
    assert parse_csv([], "dev-1,1767225600,t,1", "").reasons == ["unknown_format"] * 2


FIELD = st.sampled_from(
    [
        "",
        "dev-1",
        "1",
        "1.5",
        "01",
        "x",
        '"q"',
        '"a,b"',
        '"a""b"',
        '"a\nb"',
        "2026-01-01T00:00:00Z",
        "1767225600",
        " 7 ",
        "é",
        '"',
        'a"b',
        "\r",
        "a\rb",
        "\\",
        "NaN",
        '""',
        "\ufeff",
        "#",
        "'",
    ]
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    header=st.sampled_from([LONG[:4], WIDE[:4], ["a"], ["device_id", "value"]]),
    records=st.lists(st.lists(FIELD, min_size=1, max_size=5).map(",".join), min_size=1, max_size=6),
)
def test_a_record_gives_the_same_rows_alone_and_together(header: list[str], records: list[str], parse_csv):
    together = parse_csv(header, *records)
    alone = [parse_csv(header, record, offsets=[place]) for place, record in enumerate(records)]
    assert together.readings == [row for found in alone for row in found.readings]
    assert together.rejects == [row for found in alone for row in found.rejects]
    assert {row["source_offset"] for row in [*together.readings, *together.rejects]} == set(range(len(records)))
