"""What becomes of names, units and values."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms import schema
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import CleanseSpec, cleanse_spec
from telebeam.transforms.cleansing.units import converter, unit_name
from telebeam.transforms.quality.spec import Limit, QualitySpec

SPEC = CleanseSpec()
Make = Callable[..., pa.RecordBatch]
CHANGED = ("sensor_type", "measurement_type", "value", "unit", "issues")


def outcome(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """The columns that cleansing may change, with values as bits."""
    rows = [[row[name] for name in CHANGED] for row in batch.to_pylist()]
    return [(s, m, None if v is None else struct.pack("d", v), u, tuple(i)) for s, m, v, u, i in rows]


def slowly(row: dict[str, Any], spec: CleanseSpec) -> dict[str, Any]:
    """One row cleansed by the letter of the contract."""
    sensor = (row["sensor_type"] or "").strip().lower() or "unknown"
    measurement = (row["measurement_type"] or "").strip().lower() or sensor
    text, value, found = (row["unit"] or "").strip(), row["value"], []
    if sensor == "unknown":
        found.append("unknown_sensor_type")
    canonical = spec.unit_of(sensor)
    unit = text
    if not text:
        unit = canonical or "1"
    elif (name := unit_name(text, canonical)) is None:
        found.append("unknown_unit")
    elif (conversion := converter(name, canonical or name)) is None:
        found.append("wrong_dimension")
    else:
        unit = canonical or name
        if value is not None and math.isfinite(value) and conversion != (1, 0, 1):
            converted = (value * conversion.scale + conversion.offset) / conversion.divisor
            if math.isfinite(converted):
                value = converted
            else:
                unit = text
                found.append("out_of_range")
    issues = list(dict.fromkeys([*row["issues"], *found]))
    return row | {
        "sensor_type": sensor, "measurement_type": measurement, "value": value, "unit": unit, "issues": issues,
    }  # fmt: skip


SENSOR_TYPES = ["temperature", " Temperature", "HUMIDITY", "", "  ", None, "unknown", "weird", "energy", "voltage"]
UNIT_TEXTS = ["C", "°C", "F", "K ", "mV", "MV", "V", "", None, "bananas", " % ", "Wh", "hPa", "furlong", "1"]
ROWS = st.fixed_dictionaries(
    {
        "sensor_type": st.sampled_from(SENSOR_TYPES),
        "measurement_type": st.sampled_from(["temperature", " Inlet ", "", None]),
        "unit": st.sampled_from(UNIT_TEXTS),
        "value": st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 1e308, -1e308, 212.0])),
        "issues": st.lists(st.sampled_from(["wrong_type", "unknown_unit"]), unique=True, max_size=2),
    }
)


@given(rows=st.lists(ROWS, max_size=30))
@settings(max_examples=150, deadline=None)
def test_the_kernel_does_what_the_contract_says_row_by_row(rows: list[dict[str, Any]], readings: Make):
    batch = readings(*rows)
    expected = readings(*[slowly(row, SPEC) for row in batch.to_pylist()])
    assert outcome(cleanse(batch, SPEC)) == outcome(expected)


@given(rows=st.lists(ROWS, min_size=1, max_size=30), data=st.data())
@settings(max_examples=60, deadline=None)
def test_neither_order_nor_split_changes_a_rows_result(rows: list[dict[str, Any]], data: st.DataObject, readings: Make):
    batch = readings(*rows)
    whole = outcome(cleanse(batch, SPEC))
    cut = data.draw(st.integers(0, len(rows)))
    assert outcome(cleanse(batch.slice(0, cut), SPEC)) + outcome(cleanse(batch.slice(cut), SPEC)) == whole
    order = data.draw(st.permutations(range(len(rows))))
    assert outcome(cleanse(batch.take(pa.array(order, pa.int64())), SPEC)) == [whole[i] for i in order]


@given(rows=st.lists(ROWS, max_size=30))
@settings(max_examples=60, deadline=None)
def test_cleansing_twice_is_cleansing_once(rows: list[dict[str, Any]], readings: Make):
    once = cleanse(readings(*rows), SPEC)
    assert outcome(cleanse(once, SPEC)) == outcome(once)


def test_a_unit_of_another_dimension_keeps_its_number(readings: Make):
    row = cleanse(readings({"value": 3.3, "unit": " V "}), SPEC).to_pylist()[0]
    assert (row["value"], row["unit"], row["issues"]) == (3.3, "V", ["wrong_dimension"])


def test_a_value_that_no_double_holds_after_conversion_is_out_of_range(readings: Make):
    row = cleanse(readings({"sensor_type": "voltage", "value": 1e306, "unit": "kV"}), SPEC).to_pylist()[0]
    assert (row["value"], row["unit"], row["issues"]) == (1e306, "kV", ["out_of_range"])


def test_a_reading_without_a_unit_has_its_sensor_types(readings: Make):
    rows = [{"unit": u, "sensor_type": s} for u, s in (("", "humidity"), (None, "motion"), (" ", "weird"))]
    assert cleanse(readings(*rows), SPEC).column("unit").to_pylist() == ["percent", "1", "1"]


def test_the_limits_unit_wins_over_the_built_in_one(readings: Make):
    spec = cleanse_spec(QualitySpec(limits={"Temperature": Limit(max=212, unit="°F"), "weird": Limit(max=1)}))
    batch = cleanse(readings({"value": 100.0}, {"sensor_type": "weird", "value": 5.0}), spec)
    assert batch.column("value").to_pylist() == [212.0, 5.0]
    assert batch.column("unit").to_pylist() == ["fahrenheit", "celsius"]


def test_a_sensor_type_without_a_canonical_unit_keeps_a_known_one_by_its_name(readings: Make):
    row = cleanse(readings({"sensor_type": "Melting Point", "unit": "degF", "value": 7.0}), SPEC).to_pylist()[0]
    assert (row["sensor_type"], row["unit"], row["value"], row["issues"]) == ("melting point", "fahrenheit", 7.0, [])


def test_a_nan_keeps_its_bits_and_a_null_stays_null(readings: Make):
    odd = struct.unpack("d", struct.pack("Q", 0x7FF8_0000_0000_1234))[0]
    values = pa.array(np.array([odd, 50.0, 0.0]), mask=np.array([False, False, True]))
    batch = readings({"unit": "F"}, {"unit": "F"}, {"unit": "F"})
    cleansed = cleanse(batch.set_column(5, batch.schema.field("value"), values), SPEC).column("value")
    assert [struct.pack("d", v.as_py()) for v in cleansed[:2]] == [struct.pack("d", odd), struct.pack("d", 10.0)]
    assert cleansed.null_count == 1


def test_columns_that_are_none_of_a_readings_pass_untouched(readings: Make):
    payload = pa.array([b"\x00\xff", None], pa.large_binary())
    batch = readings({"unit": "F"}, {}).append_column("payload", payload)
    assert cleanse(batch, SPEC).column("payload").equals(payload)


def test_plain_text_columns_come_out_in_flight(readings: Make):
    plain = schema.conform(readings({"unit": "F"}, {"unit": None}), schema.READINGS)
    assert cleanse(plain, SPEC).schema.equals(schema.READINGS_IN_FLIGHT)


def test_a_slice_of_a_large_batch_is_read_by_its_own_rows_only(readings: Make):
    batch = readings(*[{"unit": f"unit {i}"} for i in range(500)])
    assert cleanse(batch.slice(7, 1), SPEC).column("unit").to_pylist() == ["unit 7"]


def test_many_texts_take_no_table_of_all_combinations(readings: Make):
    batch = readings(*[{"sensor_type": f"type {i}", "unit": f"unit {i}"} for i in range(3000)])
    cleansed = cleanse(batch, SPEC)
    assert cleansed.column("unit").to_pylist() == [f"unit {i}" for i in range(3000)]
    assert cleansed.column("sensor_type").to_pylist() == [f"type {i}" for i in range(3000)]


def test_an_empty_batch_is_cleansed_to_an_empty_batch(readings: Make):
    assert cleanse(readings(), SPEC).num_rows == 0


@pytest.mark.parametrize("unit", ["celcius", "10**10**10", ""])
def test_a_limit_in_no_known_unit_is_refused(unit: str):
    with pytest.raises(ValueError, match="is not a unit that telebeam knows"):
        QualitySpec.model_validate({"limits": {"temperature": {"max": 1, "unit": unit}}})


def test_equal_settings_in_other_spellings_are_equal():
    assert CleanseSpec(units={"Boiler ": "°C"}) == CleanseSpec(units={"boiler": "celsius"})
