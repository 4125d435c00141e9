"""The units of the field: one canonical name each, the ways that devices write it, and each sensor type's own.

A unit is known by its *symbols*, whose case counts (``mW`` is not ``MW``), or by its *words*, whose case doesn't
(``Celsius``).  Blanks and underscores within a text don't count.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import NamedTuple

from telebeam.transforms.cleansing import conversion

DIMENSIONLESS = "1"
"""The unit of what has none: a count, a state, an index."""


class Unit(NamedTuple):
    """How a unit is written and what it is."""

    expression: str | None
    """What pint calls it; ``None`` where no scale and offset leads to any other unit, as for logarithmic ones."""
    symbols: str
    """Texts that stand for it as they are, with blanks between."""
    words: str = ""
    """Texts that stand for it in any case, with blanks between."""


UNITS: dict[str, Unit] = {
    DIMENSIONLESS: Unit(
        "dimensionless", "1", "unitless dimensionless count counts pcs pieces bool boolean state index"
    ),
    # temperature
    "celsius": Unit("degree_Celsius", "℃", "c °c degc celsius centigrade degreecelsius degreescelsius degreesc cel"),
    "fahrenheit": Unit("degree_Fahrenheit", "℉", "f °f degf fahrenheit degreefahrenheit degreesfahrenheit degreesf"),
    "kelvin": Unit("kelvin", "", "k °k degk kelvin kelvins"),
    # shares
    "percent": Unit("percent", "%", "percent percentage pct %rh rh% %r.h."),
    "permille": Unit("permille", "‰", "permille"),
    "ppm": Unit("ppm", "", "ppm partspermillion"),
    "ppb": Unit("ppb", "", "ppb partsperbillion"),
    # pressure
    "pascals": Unit("pascal", "Pa", "pascal pascals"),
    "hpa": Unit("hectopascal", "", "hpa hectopascal hectopascals mbar mb millibar millibars"),
    "kilopascals": Unit("kilopascal", "", "kpa kilopascal kilopascals"),
    "megapascals": Unit("megapascal", "MPa", "megapascal megapascals"),
    "bar": Unit("bar", "", "bar bars"),
    "psi": Unit("psi", "", "psi psia psig lb/in² lb/in^2 lbf/in^2"),
    "atmospheres": Unit("standard_atmosphere", "", "atm atmosphere atmospheres"),
    "mmhg": Unit("millimeter_Hg", "", "mmhg torr"),
    "inhg": Unit("inch_Hg", "", "inhg"),
    # electricity
    "volts": Unit("volt", "", "v volt volts vdc vac"),
    "millivolts": Unit("millivolt", "mV mv", "millivolt millivolts"),
    "microvolts": Unit("microvolt", "µV uV", "microvolt microvolts"),
    "kilovolts": Unit("kilovolt", "", "kv kilovolt kilovolts"),
    "megavolts": Unit("megavolt", "MV", "megavolt megavolts"),
    "amperes": Unit("ampere", "", "a amp amps ampere amperes"),
    "milliamperes": Unit("milliampere", "mA ma", "milliamp milliamps milliampere milliamperes"),
    "microamperes": Unit("microampere", "µA uA", "microamp microamps microampere microamperes"),
    "kiloamperes": Unit("kiloampere", "", "ka kiloampere kiloamperes"),
    "watts": Unit("watt", "", "w watt watts"),
    "milliwatts": Unit("milliwatt", "mW mw", "milliwatt milliwatts"),
    "kilowatts": Unit("kilowatt", "", "kw kilowatt kilowatts"),
    "megawatts": Unit("megawatt", "MW", "megawatt megawatts"),
    "horsepower": Unit("horsepower", "", "hp horsepower"),
    "volt_amperes": Unit("volt_ampere", "", "va voltampere voltamperes"),
    "kilovolt_amperes": Unit("kilovolt_ampere", "", "kva kilovoltampere kilovoltamperes"),
    # Reactive power has the dimension of power and is none: no factor leads from one to the other.
    "vars": Unit(None, "", "var vars voltamperereactive"),
    "kilovars": Unit(None, "", "kvar kilovars"),
    "watt_hours": Unit("watt_hour", "", "wh watthour watthours"),
    "kilowatt_hours": Unit("kilowatt_hour", "", "kwh kilowatthour kilowatthours kw*h"),
    "megawatt_hours": Unit("megawatt_hour", "MWh", "megawatthour megawatthours"),
    "joules": Unit("joule", "", "j joule joules ws"),
    "kilojoules": Unit("kilojoule", "", "kj kilojoule kilojoules"),
    "megajoules": Unit("megajoule", "MJ", "megajoule megajoules"),
    "ohms": Unit("ohm", "Ω", "ohm ohms"),
    "kiloohms": Unit("kiloohm", "kΩ", "kohm kiloohm kiloohms"),
    "megaohms": Unit("megaohm", "MΩ", "megaohm megaohms"),
    "ampere_hours": Unit("ampere_hour", "", "ah amphour amphours amperehour amperehours"),
    "milliampere_hours": Unit("milliampere_hour", "mAh mah", "milliamphours milliamperehours"),
    "microsiemens_per_centimeter": Unit("microsiemens/centimeter", "µS/cm uS/cm us/cm", "microsiemenspercentimeter"),
    "millisiemens_per_centimeter": Unit("millisiemens/centimeter", "mS/cm ms/cm", "millisiemenspercentimeter"),
    # signals and levels: logarithmic
    "dbm": Unit(None, "", "dbm decibelmilliwatt decibelmilliwatts"),
    "decibels": Unit(None, "", "db decibel decibels db(a) dba dbspl"),
    "ph": Unit(None, "", "ph"),
    # time and frequency
    "hertz": Unit("hertz", "", "hz hertz"),
    "kilohertz": Unit("kilohertz", "", "khz kilohertz"),
    "megahertz": Unit("megahertz", "MHz MHZ mhz", "megahertz"),
    "revolutions_per_minute": Unit("revolutions_per_minute", "", "rpm rev/min revolutionsperminute"),
    "seconds": Unit("second", "s", "sec secs second seconds"),
    "milliseconds": Unit("millisecond", "ms", "msec millisecond milliseconds"),
    "microseconds": Unit("microsecond", "µs us", "microsecond microseconds"),
    "minutes": Unit("minute", "", "min mins minute minutes"),
    "hours": Unit("hour", "h", "hr hrs hour hours"),
    "days": Unit("day", "d", "day days"),
    # length, motion, force
    "meters": Unit("meter", "m", "meter meters metre metres"),
    "millimeters": Unit("millimeter", "mm", "millimeter millimeters millimetre millimetres"),
    "micrometers": Unit("micrometer", "µm um", "micrometer micrometers micrometre micrometres micron microns"),
    "centimeters": Unit("centimeter", "cm", "centimeter centimeters centimetre centimetres"),
    "kilometers": Unit("kilometer", "km", "kilometer kilometers kilometre kilometres"),
    "inches": Unit("inch", "", "in inch inches"),
    "feet": Unit("foot", "", "ft foot feet"),
    "miles": Unit("mile", "", "mi mile miles"),
    "meters_per_second": Unit("meter/second", "m/s mps", "meterspersecond metrespersecond meterpersecond"),
    "millimeters_per_second": Unit(
        "millimeter/second", "mm/s", "millimeterspersecond millimetrespersecond millimeterpersecond"
    ),
    "inches_per_second": Unit("inch/second", "", "in/s ips inchespersecond"),
    "kilometers_per_hour": Unit("kilometer/hour", "", "km/h kmh kph kilometersperhour kilometresperhour"),
    "miles_per_hour": Unit("mile/hour", "", "mph mi/h milesperhour"),
    "knots": Unit("knot", "", "kn kt kts knot knots"),
    "meters_per_second_squared": Unit("meter/second**2", "m/s² m/s^2 m/s2", "meterspersecondsquared"),
    "standard_gravities": Unit("standard_gravity", "g_n gn g0", "gee gees gforce standardgravity standardgravities"),
    "newtons": Unit("newton", "N", "newton newtons"),
    "newton_meters": Unit("newton*meter", "Nm N*m N·m", "newtonmeter newtonmeters newtonmetres"),
    "degrees": Unit("degree", "°", "deg degs degree degrees"),
    "radians": Unit("radian", "", "rad radian radians"),
    # mass, volume, flow
    "grams": Unit("gram", "g", "gram grams"),
    "milligrams": Unit("milligram", "mg", "milligram milligrams"),
    "kilograms": Unit("kilogram", "", "kg kgs kilogram kilograms"),
    "tonnes": Unit("metric_ton", "t", "tonne tonnes metricton metrictons"),
    "pounds": Unit("pound", "", "lb lbs pound pounds"),
    "liters": Unit("liter", "", "l liter liters litre litres"),
    "milliliters": Unit("milliliter", "", "ml milliliter milliliters millilitre millilitres"),
    "cubic_meters": Unit("meter**3", "m³ m^3 m3", "cubicmeter cubicmeters cubicmetre cubicmetres"),
    "gallons": Unit("gallon", "", "gal gallon gallons"),
    "liters_per_minute": Unit("liter/minute", "", "l/min lpm litersperminute litresperminute"),
    "liters_per_second": Unit("liter/second", "", "l/s lps literspersecond litrespersecond"),
    "liters_per_hour": Unit("liter/hour", "", "l/h lph litersperhour litresperhour"),
    "cubic_meters_per_hour": Unit("meter**3/hour", "m³/h m^3/h m3/h", "cubicmetersperhour cubicmetresperhour"),
    "gallons_per_minute": Unit("gallon/minute", "", "gpm gal/min gallonsperminute"),
    # light, air, radiation
    "lux": Unit("lux", "", "lx lux"),
    "watts_per_square_meter": Unit("watt/meter**2", "W/m² W/m^2 W/m2", "wattspersquaremeter wattspersquaremetre"),
    "micrograms_per_cubic_meter": Unit(
        "microgram/meter**3",
        "",
        "µg/m³ ug/m³ µg/m^3 ug/m^3 µg/m3 ug/m3 microgramspercubicmeter",
    ),
    "milligrams_per_cubic_meter": Unit("milligram/meter**3", "mg/m³ mg/m^3 mg/m3", "milligramspercubicmeter"),
}
"""Canonical name → how it is written.  Plural words, as the configuration's own ``celsius`` and ``volts``."""

_SENSOR_TYPES = {
    "celsius": "temperature dew_point soil_temperature water_temperature ambient_temperature",
    "percent": "humidity relative_humidity battery battery_level moisture soil_moisture cpu memory",
    "hpa": "pressure air_pressure barometric_pressure",
    "volts": "voltage battery_voltage",
    "amperes": "current",
    "watts": "power active_power",
    "volt_amperes": "apparent_power",
    "vars": "reactive_power",
    "kilowatt_hours": "energy",
    "ohms": "resistance",
    "hertz": "frequency",
    "millimeters_per_second": "vibration",
    "meters_per_second_squared": "acceleration",
    "meters_per_second": "speed wind_speed",
    "revolutions_per_minute": "rpm rotation rotational_speed",
    "degrees": "wind_direction angle tilt",
    "meters": "distance level",
    "millimeters": "rain rainfall precipitation",
    "kilograms": "weight mass",
    "newtons": "force",
    "newton_meters": "torque",
    "liters_per_minute": "flow flow_rate",
    "ppm": "co2 co",
    "ppb": "voc tvoc",
    "micrograms_per_cubic_meter": "pm1 pm25 pm2_5 pm10",
    "lux": "illuminance light luminosity",
    "watts_per_square_meter": "irradiance solar_radiation",
    "decibels": "noise sound sound_level snr",
    "dbm": "signal signal_strength rssi",
    "ph": "ph",
    "microsiemens_per_centimeter": "conductivity",
    DIMENSIONLESS: "motion occupancy presence door contact window_contact smoke leak counter power_factor uv_index",
}
SENSOR_UNITS = {sensor_type: unit for unit, names in _SENSOR_TYPES.items() for sensor_type in names.split()}
"""Sensor type → the canonical unit of its values, unless the configured limits name another."""

# Devices write g for grams and for gravities: what is measured decides.
_MEANT = {("g", "meters_per_second_squared"): "standard_gravities"}
_ONE_SIGN = str.maketrans(
    {
        "\u03bc": "µ",  # Greek mu
        "\u00ba": "°",  # ordinal indicator
        "\u02da": "°",  # ring above
        "\u212a": "K",  # kelvin sign
        "\u2126": "Ω",  # ohm sign
        "\u00b7": "*",  # middle dot
        "\u22c5": "*",  # dot operator
        " ": "",
        "_": "",
    }
)


def _squeezed(text: str) -> str:
    """The text without blanks and underscores, with one sign for each of those that look the same."""
    return text.translate(_ONE_SIGN)


_SYMBOLS = {_squeezed(text): name for name, unit in UNITS.items() for text in (*unit.symbols.split(), name)}
_WORDS = {_squeezed(text).casefold(): name for name, unit in UNITS.items() for text in (*unit.words.split(), name)}


@lru_cache(maxsize=4096)
def unit_name(text: str, canonical: str | None = None) -> str | None:
    """The canonical name of the unit that a text stands for, or ``None`` for one that nobody knows.

    A unit that only pint knows is its own name.  ``canonical`` is the unit that is expected; it decides
    what an ambiguous symbol means.

    >>> [unit_name(text) for text in ("°C", "degC", "mbar", "mV", "%RH", "slug", "bananas")]
    ['celsius', 'celsius', 'hpa', 'millivolts', 'percent', 'slug', None]
    """
    text = text.strip()
    squeezed = _squeezed(text)
    name = _MEANT.get((squeezed, canonical or "")) or _SYMBOLS.get(squeezed) or _WORDS.get(squeezed.casefold())
    if name is not None:
        return name
    return text if conversion.is_unit(text) else None


def require_unit(text: str) -> str:
    """The canonical name of a configured unit.

    Raises:
        ValueError: Nobody knows the unit; the message holds the nearest known ones.
    """
    name = unit_name(text)
    if name is None:
        near = difflib.get_close_matches(_squeezed(text).casefold(), _WORDS, n=3)
        names = ", ".join(dict.fromkeys(_WORDS[word] for word in near)) or "celsius, percent, hpa, volts, …"
        raise ValueError(f"{text!r} is not a unit that telebeam knows; did you mean {names}?")
    return name


def converter(source: str, target: str) -> conversion.Conversion | None:
    """How values in one named unit become values in another; ``None`` where the dimensions differ.

    >>> converter("fahrenheit", "celsius")
    Conversion(scale=5.0, offset=-160.0, divisor=9.0)
    """
    if source == target:
        return conversion.IDENTITY
    first, second = (UNITS[name].expression if name in UNITS else name for name in (source, target))
    return conversion.compile_pair(first, second) if first and second else None
