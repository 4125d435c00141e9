"""What a source's payloads look like."""

from __future__ import annotations

from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from telebeam.transforms.spec import Spec

FIELDS = (
    "device_id", "timestamp", "sensor_type", "measurement_type", "metric", "value", "unit", "location",
    "quality_score", "metadata", "data",
)  # fmt: skip
"""The names that a payload may use; ``parse.fields`` maps foreign ones to them."""


class ParseSpec(Spec):
    """How records become readings."""

    format: Literal["auto", "json", "csv", "columns"] = "auto"
    """What the payloads are; ``auto`` takes what the source says (``columns``: a Parquet archive)."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our name → where a foreign payload keeps it, dotted for nested objects: ``{device_id: device.id}``."""
    defaults: dict[str, str] = Field(default_factory=dict)
    """Our name → the text to take where a payload says nothing: ``{device_id: boiler-1, sensor_type: temperature}``."""
    timezone: str | None = None
    """The zone of timestamps that name none, such as ``UTC`` or ``Europe/Oslo``; without it they are
    ``bad_timestamp``."""
    max_payload_bytes: int = Field(1_048_576, ge=1)
    """A longer record is a reject with reason ``too_large``."""
    max_depth: int = Field(128, ge=1, le=512)
    """Deeper nesting of arrays and objects is ``malformed``."""
    tenant: str = Field("default", min_length=1)
    """The tenant of everything that this source delivers; never taken from a payload."""

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, value: dict[str, str]) -> dict[str, str]:
        for name, path in value.items():
            if name not in FIELDS:
                raise ValueError(f"{name!r} is not one of our columns; expected one of {', '.join(FIELDS)}")
            if not path or any(not part for part in path.split(".")):
                raise ValueError(f"{path!r} is not a path; write names with dots between them, as in device.id")
        return value

    @field_validator("defaults")
    @classmethod
    def _known_defaults(cls, value: dict[str, str]) -> dict[str, str]:
        allowed = ("device_id", "sensor_type", "measurement_type", "unit", "location")
        for name in value:
            if name not in allowed:
                raise ValueError(f"{name!r} can't have a default; expected one of {', '.join(allowed)}")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not a time zone; write a name such as UTC or Europe/Oslo") from error
        return value
