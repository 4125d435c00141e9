"""What counts as a good reading."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from telebeam.transforms.cleansing.units import require_unit
from telebeam.transforms.spec import Spec


class Limit(Spec):
    """The plausible range of one sensor type, in its canonical unit."""

    min: float | None = None
    """Smaller values are flagged ``out_of_range``."""
    max: float | None = None
    """Larger values are flagged ``out_of_range``."""
    unit: str | None = None
    """The unit of the limits, and the one that readings are converted to; without it the sensor type's built-in one."""

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, value: str | None) -> str | None:
        return None if value is None else require_unit(value)

    @model_validator(mode="after")
    def _ordered(self) -> Limit:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is greater than max {self.max}")
        return self


DEFAULT_LIMITS = {
    "temperature": Limit(min=-50, max=100, unit="celsius"),
    "humidity": Limit(min=0, max=100, unit="percent"),
    "pressure": Limit(min=800, max=1200, unit="hpa"),
    "voltage": Limit(min=0, max=50, unit="volts"),
}


class QualitySpec(Spec):
    """The rules that a reading is held against."""

    max_future_seconds: float = Field(300, ge=0)
    """An event time further ahead of now is a reject with reason ``future``."""
    max_age_days: float | None = Field(365, gt=0)
    """An older event time is a reject with reason ``too_old``; ``null`` for old archives."""
    limits: dict[str, Limit] = Field(default_factory=lambda: dict(DEFAULT_LIMITS))
    """Sensor type → plausible range.  What is given here replaces the defaults as a whole."""

    @field_validator("limits")
    @classmethod
    def _clean_names(cls, value: dict[str, Limit]) -> dict[str, Limit]:
        clean = {name.strip().lower(): limit for name, limit in value.items()}
        if "" in clean or len(clean) < len(value):
            raise ValueError("limits are given once for each sensor type, under its name in lower case")
        return clean
