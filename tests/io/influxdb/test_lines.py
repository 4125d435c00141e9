"""Line protocol: what is written reads back as it was, and what can't be written is said."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.influxdb import lines as lines_module
from telebeam.io.influxdb.lines import MAX_MICROSECONDS, Lines, reading_lines, window_lines
from telebeam.io.influxdb.series import MAX_KEY_BYTES
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.transforms.schema import AGGREGATES, READINGS, WINDOWS, conform, in_flight

SPEC = InfluxSpec(url="http://localhost:8086", org="iot", bucket="telemetry", token="env:TOKEN")
READING = {
    "tenant": "default", "device_id": "boiler-1", "timestamp": datetime(2024, 3, 1, 12, 0, 0, 250_001, tzinfo=UTC),
    "sensor_type": "temperature", "measurement_type": "temperature", "value": 21.5, "unit": "celsius",
    "location": "hall 2", "quality_score": 1.0, "issues": [], "metadata": None, "is_late": False,
    "source": "a.parquet", "source_partition": 0, "source_offset": 0,
}  # fmt: skip
WINDOW = {
    **{name: READING[name] for name in ("tenant", "device_id", "sensor_type", "measurement_type", "unit", "location")},
    "window_start": datetime(2024, 3, 1, 12, tzinfo=UTC), "window_end": datetime(2024, 3, 1, 12, 1, tzinfo=UTC),
    "window_seconds": 60, "count": 3, **{name: float(n) + 0.5 for n, name in enumerate(AGGREGATES)}, "revision": 0,
}  # fmt: skip


def readings(*changes: dict[str, Any]) -> pa.RecordBatch:
    return conform(pa.RecordBatch.from_pylist([{**READING, **each} for each in changes], schema=READINGS), READINGS)


def windows(*changes: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{**WINDOW, **each} for each in changes], schema=WINDOWS)


def written(lines: Lines) -> list[str]:
    return lines.body().decode().split("\n")[:-1]


# --- a reader of line protocol that takes nothing but what the specification allows ---------------------------------


def read_until(text: str, ends: str, escapable: str) -> tuple[str, str]:
    """The unescaped text up to one of the ends, and the rest beginning with that end."""
    out, at = "", 0
    while at < len(text) and text[at] not in ends:
        if text[at] == "\\" and text[at + 1 : at + 2] and text[at + 1] in escapable:
            at += 1
        elif text[at] in escapable:
            raise AssertionError(f"unescaped {text[at]!r} in {text!r}")
        out, at = out + text[at], at + 1
    assert out
    assert not out.endswith("\\")
    assert at < len(text)
    return out, text[at:]


def read_line(line: str) -> tuple[str, dict[str, str], dict[str, str], int]:
    """Measurement, tags, fields as text, time."""
    assert not line.startswith("#")
    tags: dict[str, str] = {}
    name, rest = read_until(line, ", ", ", ")
    while rest[0] == ",":
        key, rest = read_until(rest[1:], "=", ",= ")
        assert key not in tags
        tags[key], rest = read_until(rest[1:], ", ", ",= ")
    assert list(tags) == sorted(tags, key=str.encode)
    fields_text, time = rest[1:].split(" ")
    fields = dict(part.split("=") for part in fields_text.split(","))
    assert fields
    return name, tags, fields, int(time)


# --- laws ------------------------------------------------------------------------------------------------------------

hostile = st.text(st.sampled_from("ab ,=\\\"#'é😀\n\x00\x7f\x85\u2028"), max_size=6) | st.text(max_size=8)
floats = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e21, 0.1, math.nan, math.inf])
times = st.datetimes(datetime(1960, 1, 1), datetime(2300, 1, 1), timezones=st.just(UTC))
rows = st.fixed_dictionaries(
    {
        "tenant": st.just("default") | hostile,
        "device_id": hostile,
        "timestamp": times,
        "sensor_type": hostile,
        "measurement_type": hostile,
        "value": floats,
        "unit": hostile,
        "location": st.none() | hostile,
        "quality_score": floats,
    }
)
TAGS = ("tenant", "device_id", "sensor_type", "measurement_type", "unit", "location")


def microseconds(time: datetime) -> int:
    return pa.scalar(time, pa.timestamp("us", "UTC")).value


def representable(row: dict[str, Any]) -> bool:
    texts = [row[name] or "" for name in TAGS]
    clean = not any(text.endswith("\\") or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text) for text in texts)
    finite = math.isfinite(row["value"]) or math.isfinite(row["quality_score"])
    return clean and finite and abs(microseconds(row["timestamp"])) <= MAX_MICROSECONDS


@given(st.lists(rows, max_size=12))
def test_each_row_is_either_a_line_that_reads_back_or_is_refused(changes: list[dict[str, Any]]) -> None:
    lines, refused = reading_lines(readings(*changes), SPEC)
    assert sorted([*lines.rows, *refused.rows]) == list(range(len(changes)))
    assert set(refused.rows) == {n for n, row in enumerate(changes) if not representable(row)}
    assert all(refused.details.to_pylist())
    for line, place in zip(written(lines), lines.rows, strict=True):
        row = changes[place]
        name, tags, fields, time = read_line(line)
        assert name == "iot_measurements"
        expected = {tag: row[tag] for tag in TAGS if row[tag] and (tag, row[tag]) != ("tenant", "default")}
        assert tags == expected
        assert time == microseconds(row["timestamp"])
        finite = {key: row[key] for key in ("value", "quality_score") if math.isfinite(row[key])}
        assert {key: repr(float(text)) for key, text in fields.items()} == {k: repr(v) for k, v in finite.items()}


@given(st.lists(rows, max_size=8))
def test_encoded_text_gives_the_same_lines_as_plain_text(changes: list[dict[str, Any]]) -> None:
    plain, encoded = readings(*changes), conform(readings(*changes), in_flight(READINGS))
    assert reading_lines(plain, SPEC)[0].text == reading_lines(encoded, SPEC)[0].text


@given(st.lists(rows, max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_lines_of_a_slice_are_a_slice_of_the_lines(changes: list[dict[str, Any]], start: int, count: int) -> None:
    batch = conform(readings(*changes), in_flight(READINGS))
    whole, _ = reading_lines(batch, SPEC)
    part, _ = reading_lines(batch.slice(start, count), SPEC)
    kept = np.flatnonzero((whole.rows >= start) & (whole.rows < start + count))
    assert part.body() == whole.take(kept).body()
    assert list(part.rows + start) == list(whole.rows[kept])


def test_blocks_join_to_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [
        {"device_id": f"device-{n % 3}", "value": n / 7, "location": "bad\n" if n == 5 else None} for n in range(9)
    ]
    whole, whole_refused = reading_lines(readings(*changes), SPEC)
    monkeypatch.setattr(lines_module, "BLOCK_ROWS", 4)
    blocks, refused = reading_lines(readings(*changes), SPEC)
    assert blocks.body() == whole.body()
    assert list(refused.rows) == list(whole_refused.rows) == [5]


def test_a_chunk_is_the_bytes_of_its_lines() -> None:
    lines, _ = reading_lines(readings(*[{"value": float(n)} for n in range(5)]), SPEC)
    assert lines.slice(1, 3).body() + lines.slice(3, 9).body() == lines.body()[len(lines.slice(0, 1).body()) :]
    assert lines.slice(2, 2).body() == b""
    assert lines.slice(1, 4).slice(1, 2).body() == lines.take(np.array([2])).body()


def test_no_rows_give_no_lines() -> None:
    lines, refused = reading_lines(readings(), SPEC)
    assert (len(lines), len(refused), lines.body()) == (0, 0, b"")


# --- single cases ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a b", r"a\ b"),
        ("a,b", r"a\,b"),
        ("a=b", r"a\=b"),
        (r"a\b", r"a\b"),
        (r"a\,b", r"a\\,b"),
        ('"', '"'),
        ("#", "#"),
    ],
)
def test_a_tag_value_is_escaped_by_the_specification(text: str, escaped: str) -> None:
    line = written(reading_lines(readings({"location": text}), SPEC)[0])[0]
    assert f",location={escaped},measurement_type=" in line
    assert read_line(line)[1]["location"] == text


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"device_id": "boiler\\"}, "tag device_id ends in a backslash"),
        ({"location": "a\nmine value=1"}, "tag location holds a control character"),
        ({"unit": "\x85"}, "tag unit holds a control character"),
        ({"location": "x" * 70_000}, f"measurement and tags together are longer than {MAX_KEY_BYTES} bytes"),
        ({"value": math.nan, "quality_score": math.inf}, "point has no finite field"),
        ({"timestamp": MAX_MICROSECONDS + 1}, "time is outside of what int64 nanoseconds hold (years 1677 to 2262)"),
    ],
)
def test_a_point_that_cannot_be_represented_says_why(change: dict[str, Any], detail: str) -> None:
    lines, refused = reading_lines(readings({}, change, {}), SPEC)
    assert (list(lines.rows), list(refused.rows), refused.details.to_pylist()) == ([0, 2], [1], [detail])


def test_a_tag_named_anew_is_named_so_in_lines_and_reasons() -> None:
    spec = SPEC.model_copy(update={"measurements": {"readings": "sensor data"}, "tags": {"device_id": "the id"}})
    lines, refused = reading_lines(readings({}, {"device_id": "a\n"}), spec)
    assert written(lines)[0].startswith(r"sensor\ data,location=hall\ 2,")
    assert read_line(written(lines)[0])[1]["the id"] == "boiler-1"
    assert refused.details.to_pylist() == ["tag the id holds a control character"]


def test_a_tenant_is_a_tag_unless_it_is_the_default_one() -> None:
    lines, _ = reading_lines(readings({}, {"tenant": "acme"}), SPEC)
    assert ["tenant" in read_line(line)[1] for line in written(lines)] == [False, True]


def test_a_window_has_its_count_as_integer_and_all_else_as_float() -> None:
    name, tags, fields, time = read_line(written(window_lines(windows({}), SPEC)[0])[0])
    assert (name, tags["window_seconds"], time) == ("iot_windows", "60", 1_709_294_400_000_000)
    assert fields == {"count": "3i", **{aggregate: repr(WINDOW[aggregate]) for aggregate in AGGREGATES}}


def test_a_window_leaves_out_what_is_null_or_not_finite() -> None:
    line = written(window_lines(windows({"trend_per_second": None, "mean": math.nan, "max": -math.inf}), SPEC)[0])[0]
    assert read_line(line)[2].keys() == {"count", *AGGREGATES} - {"trend_per_second", "mean", "max"}


def test_many_distinct_values_print_as_few_do() -> None:
    values = np.random.default_rng(1).normal(size=6000)
    many, _ = reading_lines(readings(*[{"value": float(value)} for value in values]), SPEC)
    assert [float(read_line(line)[2]["value"]) for line in written(many)] == list(values)
