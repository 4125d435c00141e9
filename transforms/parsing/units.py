"""The units of SenML (RFC 8428, section 12.1, and RFC 8798) by our names."""

from __future__ import annotations

SENML_UNITS = {
    "Cel": "celsius", "K": "kelvin", "%RH": "percent", "%": "percent", "%EL": "percent", "/": "1", "count": "1",
    "V": "volts", "mV": "millivolts", "A": "amperes", "mA": "milliamperes", "W": "watts", "mW": "milliwatts",
    "kW": "kilowatts", "kWh": "kilowatt_hours", "Wh": "watt_hours", "J": "joules", "VA": "volt_amperes",
    "kVA": "kilovolt_amperes", "var": "vars", "kvar": "kilovars", "Ohm": "ohms", "Ah": "ampere_hours",
    "Pa": "pascals", "hPa": "hpa", "bar": "bar", "lx": "lux", "Hz": "hertz", "MHz": "megahertz", "s": "seconds",
    "ms": "milliseconds", "min": "minutes", "h": "hours", "m": "meters", "mm": "millimeters", "cm": "centimeters",
    "km": "kilometers", "m/s": "meters_per_second", "mm/s": "millimeters_per_second", "km/h": "kilometers_per_hour",
    "m/s2": "meters_per_second_squared", "N": "newtons", "dB": "decibels", "dBm": "dbm", "pH": "ph", "ppm": "ppm",
    "ppb": "ppb", "ppt": "permille",
}  # fmt: skip
"""Units that our names differ from, or that should not be guessed; others are left as they are."""

WITHOUT_NAME = {
    "Cel": "temperature", "K": "temperature", "%RH": "humidity", "%EL": "battery", "EL": "battery", "V": "voltage",
    "mV": "voltage", "A": "current", "mA": "current", "W": "power", "mW": "power", "kW": "power", "J": "energy",
    "Wh": "energy", "kWh": "energy", "Pa": "pressure", "hPa": "pressure", "bar": "pressure", "lx": "illuminance",
    "m/s": "velocity", "m/s2": "acceleration", "lat": "latitude", "lon": "longitude", "pH": "ph", "dBm": "rssi",
    "count": "count", "Hz": "frequency", "beat/min": "heart_rate", "beats": "heart_beats", "l": "volume",
    "m3": "volume", "l/s": "flow", "m3/s": "flow", "kg": "mass", "g": "mass", "rad": "angle", "N": "force",
}  # fmt: skip
"""What a value measures of which nothing but its unit is known."""
