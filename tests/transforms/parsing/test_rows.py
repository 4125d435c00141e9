"""A row of a table is again what it was, from the text that a reject holds of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.rows import rows_of_tables
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.rejects import payloads_as_bytes
from telebeam.transforms.schema import READINGS, conform

NOW = 1_767_225_600_000_000
AT = datetime(2026, 1, 1, 12, 30, 0, 123456, UTC)


def with_origin(table: pa.RecordBatch) -> pa.RecordBatch:
    rows = table.num_rows
    columns = {
        "source": pa.array(["a"] * rows), "source_partition": pa.array(np.zeros(rows, np.int32)),
        "source_offset": pa.array(np.arange(rows)),
    }  # fmt: skip
    return pa.RecordBatch.from_pydict({**dict(zip(table.schema.names, table.columns, strict=True)), **columns})


def back(rows: list[dict[str, Any]], spec: ParseSpec) -> list[dict[str, Any]]:
    """The rows' readings by way of their texts."""
    table = pa.RecordBatch.from_pylist(rows)
    texts = payloads_as_bytes(table.to_struct_array())
    found: list[dict[str, Any]] = []
    for places, part in rows_of_tables(texts, spec):
        readings = conform(parse(with_origin(part), spec, NOW).readings, READINGS).to_pylist()
        found += [{**row, "source_offset": int(places[row["source_offset"]])} for row in readings]
    return sorted(found, key=lambda row: (row["source_offset"], row["measurement_type"]))


@pytest.mark.parametrize(
    ("rows", "fields"),
    [
        ([{"device_id": "dev-1", "timestamp": AT, "sensor_type": "temperature", "value": 1.5}], {}),
        ([{"device_id": "dev-1", "timestamp": 1_767_225_600, "temperature": 1, "humidity": -0.0}], {}),
        ([{"device_id": "NaN", "timestamp": AT, "sensor_type": "Infinity", "value": 1e308, "unit": "1"}], {}),
        ([{"device_id": "dev-1", "timestamp": AT, "value": 1.0, "metadata": '{"a": "NaN"}', "location": None}], {}),
        ([{"id": "dev-1", "at": "2026-01-01T00:00:00Z", "v": 2}], {"device_id": "id", "timestamp": "at", "value": "v"}),
        ([{"d": {"id": "dev-1"}, "timestamp": AT, "value": 2.5}], {"device_id": "d.id"}),
        (
            [
                {"device_id": "dev-1", "timestamp": AT, "sensor_type": "temperature", "value": 1.5, "tenant": "t",
                 "issues": ["out_of_range"], "quality_score": 0.8},
                {"device_id": "dev-2", "timestamp": AT, "sensor_type": None, "value": 2.5, "tenant": "t",
                 "issues": [], "quality_score": 1.0},
            ],
            {},
        ),
    ],
    ids=["plain", "wide", "words", "metadata", "mapped", "nested", "ours"],
)  # fmt: skip
def test_a_row_reads_from_its_text_as_from_its_table(rows: list[dict[str, Any]], fields: dict[str, str]):
    spec = ParseSpec(fields=fields)
    direct = conform(parse(with_origin(pa.RecordBatch.from_pylist(rows)), spec, NOW).readings, READINGS).to_pylist()
    assert direct
    assert back(rows, spec) == sorted(direct, key=lambda row: (row["source_offset"], row["measurement_type"]))


def test_numbers_that_json_has_no_form_for_are_numbers_again():
    texts = pa.array(
        [b'{"value":"NaN","device_id":"NaN"}', b'{"value":"-Infinity","device_id":"x"}'], pa.large_binary()
    )
    ((places, table),) = rows_of_tables(texts, ParseSpec())
    assert places.tolist() == [0, 1]
    assert np.isnan(table["value"][0].as_py())
    assert table["value"][1].as_py() == float("-inf")
    assert table["device_id"].to_pylist() == ["NaN", "x"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"1", b"\xff", b'{"a": [1, "x"]}', b"[" * 100_000])
def test_what_is_no_row_is_in_no_table(text: bytes):
    assert list(rows_of_tables(pa.array([text], pa.large_binary()), ParseSpec())) == []


def test_whole_numbers_beyond_64_bits_are_doubles():
    ((_, table),) = rows_of_tables(pa.array([b'{"value": 36893488147419103232}'], pa.large_binary()), ParseSpec())
    assert table["value"].to_pylist() == [2.0**65]
