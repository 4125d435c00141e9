"""Which unit each sensor type's values are kept in."""

from __future__ import annotations

from pydantic import Field, field_validator

from telebeam.transforms.cleansing.units import SENSOR_UNITS, require_unit
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.spec import Spec


class CleanseSpec(Spec):
    """How readings are brought to one form."""

    units: dict[str, str] = Field(default_factory=dict)
    """Sensor type → the unit that its values are converted to, where it isn't the built-in one."""

    @field_validator("units")
    @classmethod
    def _known_units(cls, value: dict[str, str]) -> dict[str, str]:
        return {sensor_type.strip().lower(): require_unit(unit) for sensor_type, unit in value.items()}

    def unit_of(self, sensor_type: str) -> str | None:
        """The canonical unit of a sensor type, or ``None`` where any unit will do.

        >>> CleanseSpec(units={"temperature": "F"}).unit_of("temperature")
        'fahrenheit'
        """
        return self.units.get(sensor_type) or SENSOR_UNITS.get(sensor_type)


def cleanse_spec(quality: QualitySpec) -> CleanseSpec:
    """The cleansing that the quality limits ask for: values are converted to the units of their limits.

    >>> cleanse_spec(QualitySpec(limits={"boiler": {"max": 9, "unit": "bar"}})).unit_of("boiler")
    'bar'
    """
    return CleanseSpec(units={name: limit.unit for name, limit in quality.limits.items() if limit.unit})
