"""How a stream's time goes."""

from __future__ import annotations

from datetime import timedelta

from pydantic import field_validator

from telebeam.transforms.spec import Duration, Spec


class TimeSpec(Spec):
    """When a stream takes time for past; batch jobs have no use for it."""

    max_out_of_orderness: Duration = timedelta(seconds=10)
    """How far a partition's readings may be out of order before their windows close."""
    idle_after: Duration = timedelta(seconds=30)
    """After how long without a record a drained partition no longer keeps windows open."""
    file_every: Duration = timedelta(seconds=5)
    """How long readings are gathered for a file of the lake; a window's end closes a file as well."""

    @field_validator("max_out_of_orderness", "idle_after")
    @classmethod
    def _not_negative(cls, value: timedelta) -> timedelta:
        if value < timedelta(0):
            raise ValueError("it can't be negative")
        return value

    @field_validator("file_every")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not timedelta(milliseconds=100) <= value <= timedelta(minutes=5):
            raise ValueError(f"{value.total_seconds():g}s; expected 100ms to 5m")
        return value
