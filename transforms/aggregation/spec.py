"""Which windows are computed."""

from __future__ import annotations

from datetime import timedelta

from pydantic import field_validator

from telebeam.transforms.spec import Duration, Spec


class WindowSpec(Spec):
    """A fixed window of event time, aligned to the epoch in UTC."""

    every: Duration
    """Its length, in whole seconds: ``1m``, ``15m``, ``1h``, ``1d``."""
    allowed_lateness: Duration = timedelta(0)
    """How long a streaming job goes on revising a window; a batch job has every reading at hand and needs none."""

    early: Duration | None = None
    """How often a streaming job sends a window that is still open to InfluxDB, as it stands; never unless set."""

    @field_validator("every")
    @classmethod
    def _whole_seconds(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1) or value.microseconds:
            raise ValueError(f"{value.total_seconds():g}s is not a window; expected whole seconds, at least 1s")
        if value > timedelta(days=366):
            raise ValueError(f"{value} is longer than a year")
        return value

    @field_validator("allowed_lateness")
    @classmethod
    def _not_negative(cls, value: timedelta) -> timedelta:
        if value < timedelta(0):
            raise ValueError("lateness can't be negative")
        return value

    @field_validator("early")
    @classmethod
    def _not_all_the_time(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(seconds=1):
            raise ValueError(f"{value.total_seconds():g}s is too often; expected at least 1s")
        return value

    @property
    def seconds(self) -> int:
        """The window's length in seconds."""
        return int(self.every.total_seconds())
