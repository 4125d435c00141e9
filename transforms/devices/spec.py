"""What is known of devices, and where it is read from."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from telebeam.transforms.parsing.spec import Format
from telebeam.transforms.quality.spec import Limit
from telebeam.transforms.spec import Duration, Spec

CAYENNE_LPP = "cayenne_lpp"
"""The codec that is built in."""

_ALIASED = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)


class DeviceType(Spec):
    """What devices of one type have in common."""

    model_config = _ALIASED

    data_schema: str | None = Field(None, alias="schema", min_length=1)
    """A file with the JSON Schema of the type's payloads; one that breaks it is a reject with reason ``schema``."""
    codec: str | None = None
    """What makes readings of the type's bytes: ``cayenne_lpp``, or a ``.js`` file with a TS013 codec."""
    format: Format | None = None
    """What the type's payloads are, where the message's key names the device, ``parse.format`` is ``auto`` and no
    content type says it."""
    interval: Duration | None = None
    """How often a device of the type sends; one that has been silent for longer is overdue."""
    limits: dict[str, Limit] = Field(default_factory=dict)
    """Sensor type → plausible range, for devices of the type in place of ``quality.limits``."""

    @field_validator("codec")
    @classmethod
    def _known_codec(cls, value: str | None) -> str | None:
        if value is None or value == CAYENNE_LPP or (value.endswith(".js") and len(value) > len(".js")):
            return value
        raise ValueError(f"{value!r} is no codec", f"write {CAYENNE_LPP}, or the path of a .js file")

    @field_validator("interval")
    @classmethod
    def _positive(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value <= timedelta(0):
            raise ValueError("an interval is longer than 0")
        return value

    @field_validator("limits")
    @classmethod
    def _clean_names(cls, value: dict[str, Limit]) -> dict[str, Limit]:
        clean = {name.strip().lower(): limit for name, limit in value.items()}
        if "" in clean or len(clean) < len(value):
            raise ValueError("limits are given once for each sensor type, under its name in lower case")
        return clean


class DevicesSpec(Spec):
    """The device registry and the types of devices."""

    registry: str | None = Field(None, min_length=1)
    """A YAML or Parquet file with one row for each device, or for each change of one."""
    unknown: Literal["accept", "flag", "reject"] = "accept"
    """What becomes of a reading whose device is not in the registry: nothing, the issue ``unknown_device``, or a reject
    with the reason of that name."""
    types: dict[str, DeviceType] = Field(default_factory=dict)
    """The types that ``device_type`` names."""
    refresh: Duration = timedelta(seconds=60)
    """How often a stream looks whether the registry has changed."""

    @field_validator("refresh")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("refresh is longer than 0")
        return value
