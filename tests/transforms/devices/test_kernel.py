"""What the registry says of a reading's device, row by row and as a column."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.devices.asof import AsOf
from telebeam.transforms.devices.kernel import enrich, groups_of, overdue, quality_by_type, types_of
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.quality.spec import QualitySpec

Make = Callable[..., pa.RecordBatch]
START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = settings(max_examples=50, deadline=None, derandomize=True)


def registry(*rows: dict[str, Any]) -> Registry:
    return Registry.of(pa.RecordBatch.from_pylist(list(rows), schema=REGISTRY))


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


IDS = ["dev-1", "dev-2", "dév-3", "dev-4"]
ROW = st.fixed_dictionaries(
    {
        "device_id": st.sampled_from(IDS[:3]),
        "sensor_type": st.sampled_from([None, None, "temperature", "humidity"]),
        "device_type": st.sampled_from([None, "freezer", "door"]),
        "tenant": st.sampled_from([None, "acme", "default"]),
        "location": st.sampled_from([None, "hall 1", "hall 2"]),
        "group": st.sampled_from([None, "north"]),
        "unit": st.sampled_from([None, "celsius", "volts"]),
        "scale": st.sampled_from([None, 1.0, -2.5, 1e300]),
        "offset": st.sampled_from([None, 0.0, -0.5]),
        "status": st.sampled_from([None, "active", "provisioned", "decommissioned"]),
        "valid_from": st.one_of(st.none(), st.integers(0, 5).map(at)),
    }
)


def consistent(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what the registry would refuse."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    owners = {row["device_id"] for row in rows if row["sensor_type"] is None}
    for row in rows:
        if row["sensor_type"] is not None:
            row = row | dict.fromkeys(("device_type", "tenant", "location", "group", "status"))
        if row["device_id"] in owners:
            kept.setdefault((row["device_id"], row["sensor_type"], row["valid_from"]), row)
    return list(kept.values())


ROWS = st.lists(ROW, max_size=12).map(consistent)
READING = st.fixed_dictionaries(
    {
        "device_id": st.sampled_from(IDS),
        "timestamp": st.integers(-1, 6).map(at),
        "sensor_type": st.sampled_from(["temperature", " Humidity ", "voltage"]),
        "value": st.sampled_from([0.0, -0.0, 21.5, 1e308, -1e308, 5e-324]),
        "unit": st.sampled_from(["celsius", "fahrenheit", ""]),
        "tenant": st.sampled_from(["default", "acme"]),
        "location": st.sampled_from([None, "hall 1", "roof"]),
        "issues": st.sampled_from([[], ["out_of_range"], ["wrong_type"]]),
    }
)


def in_force(rows: list[dict[str, Any]], device: str, sensor: str | None, time: datetime) -> dict[str, Any] | None:
    oldest = datetime(1, 1, 1, tzinfo=UTC)
    of_key = [row for row in rows if (row["device_id"], row["sensor_type"]) == (device, sensor)]
    held = [row for row in of_key if (row["valid_from"] or oldest) <= time]
    return max(held, key=lambda row: row["valid_from"] or oldest, default=None)


def slowly(reading: dict[str, Any], rows: list[dict[str, Any]], unknown: str) -> dict[str, Any] | None:
    """One reading enriched by the letter of the contract; None for a reject."""
    time, device = reading["timestamp"], reading["device_id"]
    row = in_force(rows, device, None, time)
    issues = list(reading["issues"])
    if row is None:
        issues += ["unknown_device"] * (unknown == "flag" and "unknown_device" not in issues)
        return None if unknown == "reject" else reading | {"issues": issues}
    if row["status"] == "decommissioned":
        issues.append("decommissioned_device")
    by = in_force(rows, device, reading["sensor_type"].strip().lower(), time) or row
    scale, offset = (by[name] if by[name] is not None else default for name, default in (("scale", 1.0), ("offset", 0)))
    value, unit = reading["value"], by["unit"] or reading["unit"]
    if (scale, offset) != (1.0, 0):
        value = value * scale + offset
    if not math.isfinite(value):
        value, unit = reading["value"], reading["unit"]
        issues += ["out_of_range"] * ("out_of_range" not in issues)
    given = {name: row[name] or reading[name] for name in ("tenant", "location")}
    return reading | given | {"value": value, "unit": unit, "issues": issues}


def bits(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    rows = batch.to_pylist()
    return [row | {"value": struct.pack("d", row["value"]), "issues": sorted(row["issues"])} for row in rows]


@given(rows=ROWS, read=st.lists(READING, max_size=20), unknown=st.sampled_from(["accept", "flag", "reject"]))
@LIMITS
def test_the_kernel_does_what_the_contract_says_row_by_row(
    rows: list[dict[str, Any]], read: list[dict[str, Any]], unknown: str, readings: Make
):
    batch = readings(*read)
    found = enrich(batch, registry(*rows), DevicesSpec(unknown=unknown))
    expected = [slowly(row, rows, unknown) for row in batch.to_pylist()]
    assert bits(found.readings) == bits(readings(*[row for row in expected if row is not None]))
    refused = [row for row, kept in zip(batch.to_pylist(), expected, strict=True) if kept is None]
    assert bits(found.rejected.drop_columns(["reason", "detail"])) == bits(readings(*refused))
    assert set(found.rejected.column("reason").to_pylist()) <= {"unknown_device"}


@given(rows=ROWS, read=st.lists(READING, min_size=1, max_size=12), data=st.data())
@LIMITS
def test_neither_order_nor_split_changes_a_rows_result(
    rows: list[dict[str, Any]], read: list[dict[str, Any]], data: st.DataObject, readings: Make
):
    batch = readings(*[row | {"source_offset": i} for i, row in enumerate(read)])
    known, spec = registry(*rows), DevicesSpec(unknown="flag")

    def by_offset(*batches: pa.RecordBatch) -> list[Any]:
        parts = [row for each in batches for row in bits(enrich(each, known, spec).readings)]
        return sorted(parts, key=lambda row: row["source_offset"])

    cut = data.draw(st.integers(0, len(read)))
    order = pa.array(data.draw(st.permutations(range(len(read)))), pa.int64())
    whole = by_offset(batch)
    assert by_offset(batch.slice(0, cut), batch.slice(cut)) == whole
    assert by_offset(batch.take(order)) == whole


@given(rows=ROWS, data=st.data())
@LIMITS
def test_the_order_of_the_registrys_rows_means_nothing(rows: list[dict[str, Any]], data: st.DataObject):
    shuffled = data.draw(st.permutations(rows))
    assert registry(*shuffled).fingerprint == registry(*rows).fingerprint
    assert Registry.from_bytes(registry(*rows).to_bytes()).fingerprint == registry(*rows).fingerprint


@given(
    rows=st.sets(st.tuples(st.integers(0, 5), st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)), max_size=20),
    asked=st.lists(st.tuples(st.integers(-2, 8), st.integers(-(2**63), 2**63 - 1) | st.integers(-4, 4)), max_size=20),
)
@LIMITS
def test_an_as_of_lookup_finds_the_last_row_that_is_not_later(rows: set[tuple[int, int]], asked: list[tuple[int, int]]):
    ordered = sorted(rows)
    keys, since = np.array(ordered, np.int64).reshape(-1, 2).T
    wanted, times = np.array(asked, np.int64).reshape(-1, 2).T
    found = AsOf(keys.copy(), since.copy()).find(wanted.copy(), times.copy())

    def slow(key: int, time: int) -> int:
        return max((place for place, (k, s) in enumerate(ordered) if k == key and s <= time), default=-1)

    assert found.tolist() == [slow(*each) for each in asked]


def test_a_move_is_seen_from_its_moment_on(readings: Make):
    known = registry(
        {"device_id": "dev-1", "location": "hall 1"},
        {"device_id": "dev-1", "location": "hall 2", "valid_from": at(2)},
    )
    moments = [at(2) - timedelta(microseconds=1), at(2), at(9)]
    found = enrich(readings(*[{"device_id": "dev-1", "timestamp": t} for t in moments]), known, DevicesSpec())
    assert found.readings.column("location").to_pylist() == ["hall 1", "hall 2", "hall 2"]


def test_a_value_without_calibration_keeps_its_bits(readings: Make):
    known = registry({"device_id": "dev-1", "scale": 1.0, "offset": 0.0})
    found = enrich(readings({"device_id": "dev-1", "value": -0.0}), known, DevicesSpec())
    assert math.copysign(1, found.readings.column("value")[0].as_py()) == -1


def test_readings_of_the_lake_are_not_calibrated_twice(readings: Make):
    known = registry({"device_id": "dev-1", "scale": 2.0, "unit": "volts", "location": "roof"})
    once = enrich(readings({"device_id": "dev-1"}), known, DevicesSpec()).readings
    again = enrich(once, known, DevicesSpec(), calibrate=False).readings
    assert again.equals(once)


def test_what_is_beside_the_readings_goes_with_them(readings: Make):
    batch = readings({"device_id": "dev-1"}, {"device_id": "dev-9"})
    batch = batch.append_column("payload", pa.array([b"one", b"two"], pa.large_binary()))
    found = enrich(
        batch.replace_schema_metadata({b"k": b"v"}), registry({"device_id": "dev-1"}), DevicesSpec(unknown="reject")
    )
    assert found.readings.column("payload").to_pylist() == [b"one"]
    assert found.rejected.column("payload").to_pylist() == [b"two"]
    assert found.readings.schema.metadata == found.rejected.schema.metadata == {b"k": b"v"}


def test_missing_ids_times_and_values_are_left_to_who_checks_them(readings: Make):
    known = registry({"device_id": "dev-1", "scale": 2.0})
    batch = readings({"device_id": None}, {"device_id": "dev-1", "timestamp": None, "value": None})
    found = enrich(batch, known, DevicesSpec(unknown="flag")).readings
    assert found.column("value").to_pylist() == [20.0, None]
    assert found.column("issues").to_pylist() == [["unknown_device"], []]


@pytest.mark.parametrize("unknown", ["accept", "flag", "reject"])
def test_an_empty_batch_and_an_empty_registry_are_fine(unknown: str, readings: Make):
    for known in (Registry.empty(), registry({"device_id": "dev-1"})):
        for batch in (readings(), readings({})):
            found = enrich(batch, known, DevicesSpec(unknown=unknown))
            assert found.readings.num_rows + found.rejected.num_rows == batch.num_rows


def test_type_and_group_are_looked_up_as_of_the_reading(readings: Make):
    known = registry(
        {"device_id": "dev-1", "device_type": "freezer", "group": "north"},
        {"device_id": "dev-1", "device_type": "door", "valid_from": at(1)},
    )
    batch = readings({"device_id": "dev-1"}, {"device_id": "dev-1", "timestamp": at(1)}, {"device_id": "dev-2"})
    assert types_of(batch, known).to_pylist() == ["freezer", "door", None]
    assert groups_of(batch, known).to_pylist() == ["north", None, None]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"device_id": "a"}, "row 2: device_id: 'a' is no device id"),
        ({"device_id": "a\x00bc"}, "no device id"),
        ({"device_id": "dev-2", "status": "actve"}, "expected provisioned, active, decommissioned"),
        ({"device_id": "dev-2", "unit": "bananas"}, "'bananas' is not a unit"),
        ({"device_id": "dev-2", "scale": math.inf}, "scale: inf; expected a finite number"),
        ({"device_id": "dev-2", "scale": 0.0}, "scale: 0 makes every value the same"),
        ({"device_id": "dev-2", "offset": math.nan}, "offset: nan"),
        ({"device_id": "dev-1"}, "has two rows from the same time on"),
        ({"device_id": "dev-1", "sensor_type": "x", "location": "y"}, "unit, scale and offset only"),
        ({"device_id": "dev-2", "sensor_type": "x", "scale": 2.0}, "has no row of its own"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], words: str):
    with pytest.raises(ConfigurationError) as error:
        registry({"device_id": "dev-1"}, row)
    assert words in error.value.message


def test_limits_of_a_type_replace_those_of_the_sensor_type_only():
    types = {"freezer": {"limits": {"temperature": {"max": -5}}}, "plain": {}}
    found = quality_by_type(DevicesSpec.model_validate({"types": types}), QualitySpec())
    assert list(found) == ["freezer"]
    assert found["freezer"].limits["temperature"].max == -5
    assert found["freezer"].limits["humidity"] == QualitySpec().limits["humidity"]


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_a_device_is_overdue_when_it_is_silent_for_longer_than_its_interval():
    spec = DevicesSpec.model_validate({"types": {"meter": {"interval": "1h"}, "door": {}}})
    known = registry(
        {"device_id": "in-time", "device_type": "meter"},
        {"device_id": "silent", "device_type": "meter", "location": "roof"},
        {"device_id": "never", "device_type": "meter", "valid_from": at(0)},
        {"device_id": "since-ever", "device_type": "meter"},
        {"device_id": "door", "device_type": "door"},
        {"device_id": "gone", "device_type": "meter", "status": "decommissioned"},
        {"device_id": "stored", "device_type": "meter", "status": "provisioned"},
        {"device_id": "to-come", "device_type": "meter", "valid_from": at(9)},
    )
    seen = pa.RecordBatch.from_pylist(
        [
            {"device_id": "in-time", "timestamp": at(3)},
            {"device_id": "silent", "timestamp": at(2)},
            {"device_id": "silent", "timestamp": at(1)},
            {"device_id": "silent", "timestamp": at(5)},  # later than the instant that is asked for
            {"device_id": "stranger", "timestamp": at(1)},
        ],
        schema=pa.schema([("device_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC"))]),
    )
    found = overdue(known, spec, seen, micros(at(4))).to_pylist()
    assert [(row["device_id"], row["last_seen"], row["silent_seconds"]) for row in found] == [
        ("never", None, 4 * 3600.0),
        ("silent", at(2), 2 * 3600.0),
        ("since-ever", None, None),
    ]
    assert found[1]["location"] == "roof"
    assert overdue(Registry.empty(), spec, seen, micros(at(4))).num_rows == 0
    assert overdue(known, spec, seen.slice(0, 0), micros(at(0))).num_rows == 3
