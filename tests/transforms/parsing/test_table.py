"""Rows of tables: every type that Parquet has for a column of ours, shapes, and archives of our own readings."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from telebeam.transforms.rejects import row_as_json
from telebeam.transforms.schema import READINGS

MOMENT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
MICROS = int(MOMENT.timestamp() * 1e6)

ParseTable = Callable[..., Any]


@pytest.fixture(scope="session")
def parse_table(parse_batch) -> ParseTable:
    """Parses columns: (columns, **spec) → outcome; what isn't given of the origin is file, 0, row."""

    def run(columns: dict[str, Any], **spec: Any) -> Any:
        arrays = {
            name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()
        }
        rows = len(next(iter(arrays.values())))
        origin = {
            "source": pa.array(["file"] * rows), "source_partition": pa.array(np.zeros(rows, np.int32)),
            "source_offset": pa.array(np.arange(rows)),
        }  # fmt: skip
        return parse_batch(pa.RecordBatch.from_pydict({**origin, **arrays}), **spec)

    return run


def table(rows: int = 2, **changed: Any) -> dict[str, Any]:
    columns = {
        "device_id": [f"dev-{n}" for n in range(rows)], "timestamp": pa.array([MOMENT] * rows, pa.timestamp("us",
        "UTC")),
        "sensor_type": ["temperature"] * rows, "value": [21.5] * rows,
    } | changed  # fmt: skip
    return {name: column for name, column in columns.items() if column is not None}


TEXTS = [
    pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(),
    pa.large_string()),
    pa.dictionary(pa.uint16(), pa.string()), pa.dictionary(pa.int64(), pa.string()),
]  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_text_of_any_type_is_text(kind: pa.DataType, parse_table):
    def column(*words: str | None) -> pa.Array:
        return (
            pa.array(words, pa.string()).dictionary_encode().cast(kind)
            if pa.types.is_dictionary(kind)
            else pa.array(words, kind)
        )

    times = column("2026-01-01T12:00:00.123456Z", "2026-01-01T13:00:00.123456+01:00", None, "x")
    columns = {"device_id": column("dev-0", " dev-1 ", "dev-2", "dev-3"), "timestamp": times, "unit": column("c", None,
    "", "k"),
               "sensor_type": column("temperature", " ", "t", "t"), "location": column(None, "hall", None, None),
               "value": [1, 2, 3, 4]}  # fmt: skip
    found = parse_table(columns)
    assert [(row["device_id"], row["timestamp"], row["unit"], row["sensor_type"],
    row["location"]) for row in found.readings] == [
        ("dev-0", MOMENT, "c", "temperature", None), ("dev-1", MOMENT, None, "unknown", "hall"),
    ]  # fmt: skip
    assert found.reasons == ["missing_timestamp", "bad_timestamp"]


INSTANTS = [pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in ("UTC", "Europe/Oslo", "+05:30")]


@pytest.mark.parametrize("kind", INSTANTS, ids=str)
def test_timestamps_of_any_unit_and_zone_are_instants_cut_to_the_microsecond(kind: pa.DataType, parse_table):
    scale = {"s": 10**-6, "ms": 10**-3, "us": 1, "ns": 1000}[kind.unit]
    numbers = [int(MICROS * scale) if scale < 1 else MICROS * scale + (scale > 1) * 999, -1, None]
    found = parse_table(table(3, timestamp=pa.array(numbers, pa.int64()).cast(kind)))
    step = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[kind.unit]
    first = MICROS // step * step
    assert [round(row["timestamp"].timestamp() * 1e6) for row in found.readings] == [first, -step]
    assert found.reasons == ["missing_timestamp"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_without_a_zone_are_bad_unless_one_is_declared(unit: str, parse_table):
    naive = [datetime(2026, 7, 1, 12, 0, 1), datetime(2026, 3, 29, 2, 30), datetime(2026, 10, 25, 2, 30), None]
    columns = table(4, timestamp=pa.array(naive, pa.timestamp(unit)))
    assert parse_table(columns).reasons == ["bad_timestamp"] * 3 + ["missing_timestamp"]
    utc = parse_table(columns, timezone="UTC")
    assert [row["timestamp"].replace(tzinfo=None) for row in utc.readings] == naive[:3]
    oslo = parse_table(columns, timezone="Europe/Oslo")
    assert [row["timestamp"].isoformat() for row in oslo.readings] == [
        "2026-07-01T10:00:01+00:00",
        "2026-10-25T00:30:00+00:00",
    ]
    assert oslo.reasons == ["bad_timestamp", "missing_timestamp"]


def test_the_fraction_of_a_local_timestamp_is_kept(parse_table):
    naive = pa.array([datetime(2026, 7, 1, 12, 0, 1, 123456)], pa.timestamp("ns"))
    assert parse_table(table(1, timestamp=naive), timezone="Europe/Oslo").readings[0]["timestamp"].microsecond == 123456


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_timestamps_beyond_the_year_9999_are_bad_rows_and_no_crash(unit: str, zone: str | None, parse_table):
    numbers = pa.array([2**62, -(2**62), 0], pa.int64()).cast(pa.timestamp(unit, zone))
    found = parse_table(table(3, timestamp=numbers), timezone="UTC")
    assert (len(found.readings), found.reasons) == (1, ["bad_timestamp"] * 2)
    assert [json.loads(row["payload"])["timestamp"] for row in found.rejects] == [2**62, -(2**62)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo"])
def test_local_timestamps_beyond_the_year_9999_are_bad_rows_in_any_zone(zone: str, parse_table):
    numbers = pa.array([2**62, -(2**62), 0], pa.int64()).cast(pa.timestamp("us"))
    assert parse_table(table(3, timestamp=numbers), timezone=zone).reasons == ["bad_timestamp"] * 2


EPOCHS = {
    "int64": pa.array([MICROS, MICROS // 1000, MICROS // 10**6, None, 2**63 - 1]),
    "uint64": pa.array([MICROS, MICROS // 1000, MICROS // 10**6, None, 2**64 - 1], pa.uint64()),
    "int32": pa.array([MICROS // 10**6] * 3 + [None, -(2**31)], pa.int32()),
    "double": pa.array([MICROS / 1e6, MICROS / 1e3, float(MICROS), None, float("nan")]),
    "decimal": pa.array(
        [Decimal(MICROS) / 10**6, Decimal(MICROS // 10**6), Decimal(1), None, Decimal(-1)], pa.decimal128(38, 6)
    ),
}


@pytest.mark.parametrize("kind", EPOCHS)
def test_numbers_of_any_type_are_epochs(kind: str, parse_table):
    found = parse_table(table(5, timestamp=EPOCHS[kind]))
    assert found.readings[0]["timestamp"].replace(microsecond=0) == MOMENT.replace(microsecond=0)
    assert "missing_timestamp" in found.reasons
    assert len(found.readings) + len(found.rejects) == 5
    bad = {"uint64", "double"}
    assert ("bad_timestamp" in found.reasons) == (kind in bad)


VALUES = {
    "int8": (pa.array([1, -2, None], pa.int8()), [1, -2]), "uint64": (pa.array([2**64 - 1, 0, None], pa.uint64()),
    [2.0**64, 0]),
    "int64": (pa.array([2**53 + 1, -1, None]), [2.0**53, -1]), "float": (pa.array([0.5, -0.0, None], pa.float32()),
    [0.5, -0.0]),
    "half": (pa.array(np.array([0.5, 2], np.float16)), [0.5, 2]), "double": (pa.array([1e308, 5e-324, None]), [1e308,
    5e-324]),
    "decimal": (pa.array([Decimal("21.50"), Decimal("-0.01"), None], pa.decimal128(10, 2)), [21.5, -0.01]),
    "wide decimal": (pa.array([Decimal("21.50"), Decimal("-0.01"), None], pa.decimal256(50, 2)), [21.5, -0.01]),
    "encoded": (pa.array([1.5, 2.5, None]).dictionary_encode(), [1.5, 2.5]),
}  # fmt: skip


@pytest.mark.parametrize(("column", "expected"), VALUES.values(), ids=VALUES)
def test_numbers_of_any_type_are_doubles_and_nulls_are_missing(column: pa.Array, expected: list[float], parse_table):
    found = parse_table(table(len(column), value=column))
    assert [row["value"] for row in found.readings] == expected
    assert found.reasons == ["missing_value"] * column.null_count


def test_what_is_not_finite_is_a_reject_with_its_row_as_json(parse_table):
    found = parse_table(
        table(5, value=[1.0, float("nan"), float("inf"), float("-inf"), None], note=["é", None, 'q"', "x", "y"])
    )
    assert found.reasons == ["bad_value"] * 3 + ["missing_value"]
    rows = [json.loads(row["payload"]) for row in found.rejects]
    assert [row["value"] for row in rows] == ["NaN", "Infinity", "-Infinity", None]
    assert {row["timestamp"] for row in rows} == {"2026-01-01T12:00:00.123456Z"}
    assert [row["source_offset"] for row in found.rejects] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "column",
    [pa.array(["21.5"]), pa.array([True]), pa.array([[1.0]]), pa.array([b"x"]), pa.array([date(2026, 1, 1)])],
    ids=lambda c: str(c.type),
)
def test_a_value_column_of_another_type_gives_bad_values_and_no_crash(column: pa.Array, parse_table):
    found = parse_table(table(1, value=column))
    assert (found.readings, found.reasons) == ([], ["bad_value"])
    assert json.loads(found.rejects[0]["payload"])["device_id"] == "dev-0"


def test_columns_that_are_absent_say_nothing_and_more_of_them_disturb_nothing(parse_table):
    found = parse_table(table(quality_score=[0.5, None], firmware=["1.2", "1.3"], payload=["x", "y"], key=[1, 2]))
    assert [(row["unit"], row["location"], row["metadata"], row["quality_score"]) for row in found.readings] == [
        (None, None, None, 0.5),
        (None, None, None, 1.0),
    ]
    assert found.rejects == []
    assert [row["issues"] for row in found.readings] == [[], []]


def test_a_column_that_is_named_payload_is_a_column(parse_table):
    wide = {"device_id": ["dev-0"], "timestamp": [MICROS], "payload": [7.5], "temperature": [21.5]}
    assert [(row["sensor_type"], row["value"]) for row in parse_table(wide).readings] == [
        ("payload", 7.5),
        ("temperature", 21.5),
    ]
    nested = {"payload": pa.array([{"id": "dev-0", "v": 7.5}]), "timestamp": [MICROS]}
    fields = {"device_id": "payload.id", "value": "payload.v"}
    assert [row["value"] for row in parse_table(nested, fields=fields).readings] == [7.5]
    binary = {"payload": pa.array([b"x"]), **table(1)}
    assert len(parse_table(binary, format="columns").readings) == 1


def test_views_within_structs_are_text(parse_table):
    kind = pa.struct([("id", pa.string_view()), ("raw", pa.binary_view())])
    device = pa.array([{"id": "dev-0", "raw": b"x"}, {"id": "dev-1", "raw": None}], kind)
    found = parse_table(table(2, device_id=device, value=[1.0, None]), fields={"device_id": "device_id.id"})
    assert [row["device_id"] for row in [*found.readings, *found.rejects]] == ["dev-0", "dev-1"]


def test_a_wide_tables_nulls_were_not_measured(parse_table):
    columns = {
        "device_id": ["dev-0", "dev-1", "dev-2"],
        "timestamp": [MICROS] * 3,
        "temperature": [21.5, None, None],
        "humidity": [40, 41, None],
    }
    found = parse_table(columns)
    assert [(row["device_id"], row["sensor_type"], row["value"]) for row in found.readings] == [
        ("dev-0", "humidity", 40), ("dev-0", "temperature", 21.5), ("dev-1", "humidity", 41),
    ]  # fmt: skip
    assert [(row["reason"], row["device_id"]) for row in found.rejects] == [("missing_value", "dev-2")]


def test_struct_columns_are_reached_by_paths_nulls_in_them_too(parse_table):
    device = pa.array([{"id": "dev-0", "site": "oslo"}, {"id": None, "site": "x"}, None, {"id": "dev-3", "site": "y"}])
    reading = pa.array(
        [{"t": MICROS, "v": 1.5}, {"t": MICROS, "v": 2.5}, {"t": MICROS, "v": 3.5}, {"t": None, "v": 4.5}]
    )
    fields = {"device_id": "device.id", "timestamp": "reading.t", "value": "reading.v", "location": "device.site"}
    found = parse_table({"device": device, "reading": reading}, fields=fields)
    assert [(row["device_id"], row["value"], row["location"]) for row in found.readings] == [("dev-0", 1.5, "oslo")]
    assert found.reasons == ["missing_device_id", "missing_device_id", "missing_timestamp"]


def test_a_struct_named_data_holds_a_value_a_member(parse_table):
    data = pa.array([{"temperature": 21.5, "humidity": 40}, {"temperature": None, "humidity": 41}, None])
    columns = {"device_id": ["dev-0", "dev-1", "dev-2"], "timestamp": [MICROS] * 3, "data": data}
    found = parse_table(columns)
    assert [(row["device_id"], row["value"]) for row in found.readings] == [
        ("dev-0", 40),
        ("dev-0", 21.5),
        ("dev-1", 41),
    ]
    assert found.reasons == ["missing_value"]


def test_metadata_is_taken_as_json_text_or_as_a_struct(parse_table):
    text = parse_table(table(2, metadata=['{"a": 1}', None]))
    assert [row["metadata"] for row in text.readings] == ['{"a": 1}', None]
    encoded = parse_table(table(2, metadata=pa.array(['{"a": 1}', None]).dictionary_encode()))
    assert encoded.readings == text.readings
    struct = parse_table(table(2, metadata=pa.array([{"a": 1}, None])))
    assert [row["metadata"] and json.loads(row["metadata"]) for row in struct.readings] == [{"a": 1}, None]


def own_readings(rows: int = 3) -> dict[str, Any]:
    issues = [["out_of_range"], [], ["wrong_type", "unknown_unit"]][:rows]
    columns = {
        "tenant": [f"tenant-{n}" for n in range(rows)], "device_id": [f"dev-{n}" for n in range(rows)],
        "timestamp": [MOMENT] * rows,
        "sensor_type": ["t"] * rows, "measurement_type": ["supply", "t", "t"][:rows], "value": [1.5, 2.5, 3.5][:rows],
        "unit": ["c"] * rows,
        "location": ["hall", None, ""][:rows], "quality_score": [0.8, 1.0, 0.6][:rows], "issues": issues,
        "metadata": ['{"a":1}', None, None][:rows],
        "is_late": [False] * rows, "source": ["a", "b", "c"][:rows], "source_partition": [3, 4, 5][:rows],
        "source_offset": [30, 40, 50][:rows],
    }  # fmt: skip
    return {name: pa.array(column, READINGS.field(name).type) for name, column in columns.items()}


def test_an_archive_of_our_own_readings_comes_back_as_it_was(parse_table):
    found = parse_table(own_readings())
    expected = pa.RecordBatch.from_pydict(own_readings(), schema=READINGS).to_pylist()
    expected[2]["location"] = None
    assert found == (expected, [])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_order_of_columns_does_not_matter(reverse: bool, parse_table):
    columns = own_readings()
    assert parse_table(dict(sorted(columns.items(), reverse=reverse))) == parse_table(columns)


def test_rows_of_our_own_that_are_refused_keep_their_origin(parse_table):
    columns = own_readings() | {"value": pa.array([1.5, None, float("nan")])}
    found = parse_table(columns)
    assert [(row["reason"], row["source"], row["source_partition"], row["source_offset"]) for row in found.rejects] == [
        ("missing_value", "b", 4, 40), ("bad_value", "c", 5, 50),
    ]  # fmt: skip
    assert [(row["tenant"], row["issues"]) for row in found.readings] == [("tenant-0", ["out_of_range"])]


def test_a_table_without_rows_is_empty(parse_table):
    assert parse_table(
        table(
            0,
            sensor_type=pa.array([], pa.string()),
            value=pa.array([], pa.float64()),
            device_id=pa.array([], pa.string()),
        )
    ) == ([], [])


def test_a_slice_of_a_table_gives_its_own_rows(parse_batch):
    columns = table(6, value=[1.0, None, 3.0, float("nan"), 5.0, 6.0], metadata=pa.array([{"n": n} for n in range(6)]))
    origin = {"source": ["f"] * 6, "source_partition": pa.array([0] * 6, pa.int32()), "source_offset": range(6)}
    batch = pa.RecordBatch.from_pydict(
        {name: pa.array(c) if not isinstance(c, pa.Array) else c for name, c in {**origin, **columns}.items()}
    )
    whole = parse_batch(batch)
    for first in range(6):
        part = parse_batch(batch.slice(first, 2))
        within = range(first, min(first + 2, 6))
        assert part.readings == [row for row in whole.readings if row["source_offset"] in within]
        assert part.rejects == [row for row in whole.rejects if row["source_offset"] in within]


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"\xff\x00", '"\\\\xff\\u0000"'), (Decimal("1.50"), '"1.50"'), (date(2026, 1, 1), '"2026-01-01"'), (MOMENT,
    '"2026-01-01T12:00:00.123456Z"'),
     ({"a": [float("nan"), (1,)]}, '{"a":["NaN",[1]]}'), (None, "null"), ("\ud800", None), (2**70, str(2**70))],
)  # fmt: skip
def test_a_rows_json_is_json_whatever_the_row_holds(value: Any, text: str | None):
    found = row_as_json({"a": value}).decode("utf-8")
    json.loads(found)
    assert text is None or found == f'{{"a":{text}}}'
