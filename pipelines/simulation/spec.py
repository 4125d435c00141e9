"""What is simulated: the fleet, its clock, its payloads and its faults."""

from __future__ import annotations

import difflib
import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.spec import Duration, Spec, parse_duration

POINT_FAULTS = ("spike", "out_of_range", "missing")
"""Faults of one reading; their rate is a probability per reading."""
RECORD_FAULTS = ("malformed", "future", "late", "duplicate")
"""Faults of one record (a line, or a row of an archive); their rate is a probability per record."""
EPISODE_FAULTS = ("stuck", "drift", "level_shift", "dropout")
"""Faults that last; their rate is the probability that one begins on a device within an hour."""
FAULTS = (*POINT_FAULTS, *EPISODE_FAULTS, *RECORD_FAULTS)

_MILLISECOND = timedelta(milliseconds=1)

Rate = Annotated[float, Field(ge=0, le=1)]


class FaultSpec(Spec):
    """How often each fault happens, from 0 (never) to 1.

    The faults of one family exclude each other, so that every label stands alone: a reading has at most one point
    fault, a record at most one record fault, a device at most one episode at a time.  A family's rates add up to
    at most 1.
    """

    spike: Rate = 0.0
    """Per reading of a measuring sensor (not motion, not energy): one value 8 to 20 times the noise away."""
    out_of_range: Rate = 0.0
    """Per reading of temperature, humidity, pressure and voltage: a value beyond the default limits."""
    missing: Rate = 0.0
    """Per reading: ``null`` instead of a value."""
    stuck: Rate = 0.0
    """Per device and hour: one sensor repeats a value for 7.5 to 30 minutes."""
    drift: Rate = 0.0
    """Per device and hour: one sensor departs in a straight line by 10 to 30 times its noise, then returns."""
    level_shift: Rate = 0.0
    """Per device and hour: one sensor is 6 to 15 times its noise too high or too low for 7.5 to 30 minutes."""
    dropout: Rate = 0.0
    """Per device and hour: nothing of the device arrives for 7.5 to 30 minutes."""
    malformed: Rate = 0.0
    """Per record: a broken line; in a Parquet archive, a value that is NaN or null."""
    future: Rate = 0.0
    """Per record: a timestamp 75 or 300 years ahead, or the last millisecond of the year 9999."""
    late: Rate = 0.0
    """Per record: it stands 1 to 10 minutes, and at least one interval, behind its place, with its true timestamp."""
    duplicate: Rate = 0.0
    """Per record: it is repeated byte for byte, right after itself or up to three intervals later."""

    @model_validator(mode="after")
    def _families_fit(self) -> FaultSpec:
        for family in (POINT_FAULTS, RECORD_FAULTS, EPISODE_FAULTS):
            total = math.fsum(self.rates(family))
            if total > 1:
                raise ValueError(f"the rates of {', '.join(family)} add up to {total:g}; expected at most 1")
        return self

    def rates(self, family: tuple[str, ...]) -> list[float]:
        """The rates of the named faults, in that order."""
        return [getattr(self, name) for name in family]


class SimulationSpec(Spec):
    """A fleet and what it sends.  Equal settings give equal bytes."""

    devices: int | None = Field(None, ge=1, le=10_000_000)
    """How many devices; their types take turns.  Not together with ``profile``."""
    profile: Literal["home", "office", "factory"] | None = None
    """A fleet as it is found: 9, 16 or 30 devices.  ``home`` where neither this nor ``devices`` is given."""
    interval: Duration = parse_duration("10s")
    """The time between two reports of a device, in whole milliseconds up to a day."""
    duration: Duration = parse_duration("1h")
    """How long the fleet reports; whole intervals of it are simulated."""
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    """The beginning, with a zone.  It is fixed, because two runs of one command are to be equal."""
    seed: int = Field(1, ge=0, lt=2**63)
    """Another seed, another fleet."""
    shape: Literal["reading", "metric", "data", "flat", "mixed"] = "reading"
    """The payloads of JSON lines; ``mixed`` gives every device one of the four."""
    units: Literal["canonical", "mixed"] = "canonical"
    """``mixed`` gives every sensor one of the units of its field; shapes that carry no unit stay canonical."""
    faults: FaultSpec = FaultSpec()
    """How often what goes wrong."""
    files: int | None = Field(None, ge=1, le=100_000)
    """Into how many files an archive is cut, by time; one an hour where nothing is given."""

    @model_validator(mode="before")
    @classmethod
    def _default_profile(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("devices") is None and value.get("profile") is None:
            return {**value, "profile": "home"}
        return value

    @field_validator("interval")
    @classmethod
    def _whole_milliseconds(cls, value: timedelta) -> timedelta:
        if not _MILLISECOND <= value <= timedelta(days=1) or value % _MILLISECOND:
            raise ValueError("expected whole milliseconds, from 1ms to 1d")
        return value

    @field_validator("start")
    @classmethod
    def _with_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("the start names no zone; write 2026-01-01T00:00:00Z")
        value = value.astimezone(UTC)
        if not 1970 <= value.year <= 2100:
            raise ValueError("expected a start between 1970 and 2100")
        return value.replace(microsecond=value.microsecond // 1000 * 1000)

    @model_validator(mode="after")
    def _fits(self) -> SimulationSpec:
        if self.devices is not None and self.profile is not None:
            raise ValueError("devices and profile exclude each other; give one of them")
        if self.duration < self.interval:
            raise ValueError(f"a duration of {self.duration} is shorter than the interval of {self.interval}")
        if self.duration > timedelta(days=36_600):
            raise ValueError(f"a duration of {self.duration.days} days is too long; expected at most a hundred years")
        return self

    @property
    def interval_ms(self) -> int:
        """Milliseconds between two reports of a device."""
        return self.interval // _MILLISECOND

    @property
    def start_ms(self) -> int:
        """The beginning in milliseconds since the epoch."""
        return (self.start - datetime(1970, 1, 1, tzinfo=UTC)) // _MILLISECOND

    @property
    def ticks(self) -> int:
        """How often each device reports."""
        return self.duration // self.interval


def simulation_spec(**settings: Any) -> SimulationSpec:
    """The settings as a checked :class:`SimulationSpec`; ``None`` stands for the default.

    >>> simulation_spec(devices=5, interval="1m", duration="1d").ticks
    1440

    Raises:
        ConfigurationError: An unknown setting, or a value that can't be simulated.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    for name in given:
        if name not in SimulationSpec.model_fields:
            raise ConfigurationError(
                f"{name!r} is no setting of a simulation", _suggest(name, SimulationSpec.model_fields)
            )
    try:
        return SimulationSpec(**given)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problem(found) for found in error.errors())) from error


def parse_faults(text: str) -> FaultSpec:
    """The faults of ``NAME=RATE,NAME=RATE``; an empty text has none.

    >>> parse_faults("spike=0.001, late=0.01").late
    0.01

    Raises:
        ConfigurationError: An unknown or repeated name, a rate outside of 0…1, or a family that adds up to more than 1.
    """
    rates: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in FAULTS:
            raise ConfigurationError(f"{name!r} is no fault", _suggest(name, FAULTS))
        if name in rates:
            raise ConfigurationError(f"the fault {name!r} is given twice", "give each fault one rate")
        rates[name] = _rate(name, number if equals else "")
    try:
        return FaultSpec(**rates)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problem(found) for found in error.errors())) from error


def _rate(name: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= 1:
        raise ConfigurationError(f"{name}={text} is no rate; expected a number from 0 to 1", f"write {name}=0.01")
    return rate


def _suggest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"


def _problem(found: Any) -> str:
    where = ".".join(str(part) for part in found["loc"])
    message = found["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{where}: {found['input']!r}: {message}" if where else message
