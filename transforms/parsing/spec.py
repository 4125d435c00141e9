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


Format = Literal[
    "auto", "json", "ndjson", "csv", "columns", "cbor", "msgpack", "senml", "senml_cbor", "line_protocol", "arrow",
    "avro", "protobuf", "sparkplug", "lorawan",
]  # fmt: skip


class RegistrySpec(Spec):
    """A schema registry that speaks Confluent's HTTP interface."""

    url: str
    """Its address: ``https://registry:8081``."""
    auth: str | None = None
    """``env:NAME`` or ``file:PATH`` of ``user:password``, or of a bearer token, which holds no colon."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is not an address", "write http://HOST:PORT or https://HOST:PORT")
        return value.rstrip("/")

    @field_validator("auth")
    @classmethod
    def _reference(cls, value: str | None) -> str | None:
        kind, _, name = (value or "env:x").partition(":")
        if kind not in ("env", "file") or not name:
            # The value itself may be the secret: it is not repeated in the message.
            raise ValueError("a secret is given by reference; expected env:NAME or file:PATH")
        return value


class ParseSpec(Spec):
    """How records become readings."""

    format: Format = "auto"
    """What the payloads are; ``auto`` takes what the source or a message's content type says (``columns``: a Parquet
    archive), or what the bytes themselves say beyond doubt."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our name → where a foreign payload keeps it, dotted for nested objects: ``{device_id: device.id}``."""
    defaults: dict[str, str] = Field(default_factory=dict)
    """Our name → the text to take where a payload says nothing: ``{device_id: boiler-1, sensor_type: temperature}``."""
    timezone: str | None = None
    """The zone of timestamps that name none, such as ``UTC`` or ``Europe/Oslo``; without it they are
    ``bad_timestamp``."""
    max_payload_bytes: int = Field(1_048_576, ge=1)
    """A longer record is a reject with reason ``too_large``."""
    max_expansion: int = Field(16, ge=1, le=1024)
    """A payload within gzip or zstd that unpacks to more than so many times ``max_payload_bytes`` is ``too_large``."""
    max_depth: int = Field(128, ge=1, le=512)
    """Deeper nesting of arrays and objects is ``malformed``."""
    precision: Literal["ns", "us", "ms", "s"] = "ns"
    """The unit of the times in line protocol."""
    registry: RegistrySpec | None = None
    """Where the schemas of Avro and Protobuf messages are that begin with a schema's id."""
    descriptor: str | None = Field(None, min_length=1)
    """A file that holds a ``FileDescriptorSet``, as ``protoc --include_imports -o FILE`` writes it: for Protobuf
    messages without a schema's id."""
    message: str | None = Field(None, min_length=1)
    """The full name of the message in ``descriptor``; without it the first one of the last file."""
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
