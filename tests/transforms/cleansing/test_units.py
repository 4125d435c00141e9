"""What unit texts mean, and what never reaches the unit library."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pint
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.cleansing import conversion, units
from telebeam.transforms.cleansing.conversion import IDENTITY, Conversion, compile_pair, convert, is_product, is_unit
from telebeam.transforms.cleansing.units import SENSOR_UNITS, UNITS, converter, require_unit, unit_name

SPELLINGS = {
    "celsius": ["C", "°C", "degC", "celsius", "Celsius", "℃", "º C", " deg C ", "degrees_celsius"],
    "fahrenheit": ["F", "°F", "degF", "Fahrenheit", "℉"],
    "kelvin": ["K", "kelvin", "\u212a"],
    "percent": ["%", "percent", "pct", "%RH", "% rh", "PERCENT"],
    "hpa": ["hPa", "hpa", "HPA", "mbar", "millibar", "mb"],
    "volts": ["V", "v", "volt", "volts", "Volts", "VDC"],
    "millivolts": ["mV", "mv", "millivolts"],
    "megavolts": ["MV"],
    "milliwatts": ["mW"],
    "megawatts": ["MW"],
    "kilowatt_hours": ["kWh", "KWH", "kwh", "kilowatt hours"],
    "micrograms_per_cubic_meter": ["µg/m³", "μg/m³", "ug/m3", "µg / m^3"],
    "ohms": ["Ω", "\u2126", "ohm"],
    "newton_meters": ["N·m", "Nm"],
    "1": ["1", "count", "unitless"],
}


def apply(conversion: Conversion, value: float) -> float:
    return float(convert(np.array([value]), *(np.array([part]) for part in conversion))[0])


@pytest.mark.parametrize(("name", "texts"), SPELLINGS.items())
def test_every_spelling_of_a_unit_is_that_unit(name: str, texts: list[str]):
    assert {text: unit_name(text) for text in texts} == dict.fromkeys(texts, name)


def test_no_text_stands_for_two_units():
    symbols = [(units._squeezed(t), name) for name, unit in UNITS.items() for t in (*unit.symbols.split(), name)]
    words = [(units._squeezed(t).casefold(), n) for n, unit in UNITS.items() for t in (*unit.words.split(), n)]
    assert len({text for text, _ in set(symbols)}) == len(set(symbols))
    assert len({text for text, _ in set(words)}) == len(set(words))
    meant = dict(words)
    assert all(meant.get(text.casefold(), name) == name for text, name in symbols)


def test_a_canonical_name_is_its_own_name():
    assert {name: unit_name(name) for name in UNITS} == {name: name for name in UNITS}


def test_the_unit_library_knows_every_unit_of_the_table():
    known = {name: unit.expression for name, unit in UNITS.items() if unit.expression}
    assert {name: compile_pair(text, text) for name, text in known.items()} == dict.fromkeys(known, IDENTITY)


def test_every_sensor_type_has_a_unit_of_the_table():
    assert set(SENSOR_UNITS.values()) <= set(UNITS)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (212.0, "fahrenheit", "celsius", 100.0),
        (32.0, "fahrenheit", "celsius", 0.0),
        (300.1, "kelvin", "celsius", 26.95),
        (3300.0, "millivolts", "volts", 3.3),
        (1.0, "bar", "hpa", 1000.0),
        (14.5, "psi", "hpa", 999.7398075094),
        (3_600_000.0, "joules", "kilowatt_hours", 1.0),
        (0.45, "1", "percent", 45.0),
        (36.0, "kilometers_per_hour", "meters_per_second", 10.0),
        (1.0, "standard_gravities", "meters_per_second_squared", 9.80665),
        (30.0, "inhg", "hpa", 1015.9165921023),
    ],
)
def test_a_conversion_gives_the_textbooks_number(value: float, source: str, target: str, expected: float):
    conversion = converter(source, target)
    assert conversion is not None
    assert apply(conversion, value) == pytest.approx(expected, rel=1e-12, abs=0)
    assert conversion.invert(expected) == pytest.approx(value, rel=1e-12)


@given(st.integers(-1_000_000, 1_000_000))
def test_decimal_prefixes_give_the_nearest_double(thousandths: int):
    conversion = converter("millivolts", "volts")
    assert conversion is not None
    assert apply(conversion, float(thousandths)) == thousandths / 1000


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("volts", "celsius"),
        ("degrees", "percent"),
        ("radians", "1"),
        ("revolutions_per_minute", "hertz"),
        ("dbm", "milliwatts"),
        ("decibels", "percent"),
        ("vars", "watts"),
        ("micrograms_per_cubic_meter", "ppm"),
        ("neper", "percent"),
        ("bit", "1"),
    ],
)
def test_what_no_factor_connects_is_not_converted(source: str, target: str):
    assert converter(source, target) is None
    assert converter(target, source) is None


def test_g_is_gravity_where_acceleration_is_measured_and_grams_elsewhere():
    assert unit_name("g", "meters_per_second_squared") == "standard_gravities"
    assert unit_name("g", "kilograms") == unit_name("g") == "grams"


@pytest.mark.parametrize("text", ["slug/ft^3", "furlong/fortnight", "kg*m/s^2", "reaumur"])
def test_a_unit_outside_the_table_is_known_under_its_own_text(text: str):
    assert unit_name(f" {text} ") == text


REGISTRY = pint.UnitRegistry()
HOSTILE = [
    *("10**10**10", "9" * 10_000, "m" * 41, "m^99999999", "m^9^9", "m**2**9", "*m", "m/0", "1/0"),
    *("__import__('os').system('true')", "lambda:0", "(m)", "[m]", "m;s", "a.b", "a_b__c", "_m", "m " * 30),
    *("nan", "inf", "N/A", "n/a", "null", "none", "unknown", "\x00", "m\n", "\u202em"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_unknown_and_cost_nothing(text: str):
    started = time.process_time()
    assert not is_unit(text)
    assert unit_name(text) in (None, "meters")  # the blanks around a text are not a part of it
    assert time.process_time() - started < 5


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_unit_or_none_and_names_are_stable(text: str):
    name = unit_name(text)
    assert name is None or unit_name(name) == name


def test_only_products_of_names_reach_the_unit_library():
    assert {text for text in HOSTILE if is_product(text)} == {"none", "null", "unknown"}


@given(st.text("µnkMcdamuest", max_size=5), st.sampled_from(["meter", "grams", "furlong", "slugs", "inHg", "psi"]))
@settings(deadline=None)
def test_every_prefix_that_the_unit_library_takes_is_taken(prefix: str, name: str):
    text = prefix + name
    try:
        REGISTRY.parse_units(text)
    except pint.errors.PintError:
        assert not is_unit(text)
    else:
        assert is_unit(text)


def test_remembered_texts_are_bounded():
    caches = [unit_name, conversion._is_known, compile_pair, conversion._registry]
    assert all(cache.cache_info().maxsize for cache in caches)


def test_an_unknown_unit_of_the_configuration_gets_a_hint():
    with pytest.raises(ValueError, match=r"'celcius' is not a unit that telebeam knows; did you mean celsius"):
        require_unit("celcius")


def test_units_of_the_table_need_no_unit_library(tmp_path: Path):
    program = (
        "import sys\n"
        "from telebeam.transforms.cleansing.kernel import resolve\n"
        "from telebeam.transforms.quality.spec import QualitySpec\n"
        "QualitySpec(); resolve('°C', 'celsius'); resolve('', 'percent'); resolve('V', None)\n"
        "assert 'pint' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
