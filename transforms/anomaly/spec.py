"""Which detectors score the readings, and how."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, TypeAdapter, field_validator, model_validator

from telebeam.transforms.spec import Duration, Spec, parse_duration

LONGEST = timedelta(days=3660)
"""No length of time in a detector's settings is longer."""
MOST_READINGS = 100
"""A series keeps at most so many readings a detector: 1.6 KB."""


class _Detector(Spec):
    """What all detectors have."""

    name: str | None = Field(None, min_length=1)
    """What ``scores.detector`` says; the detector's own name unless set.  Two of one kind need different names."""
    sensor_types: tuple[str, ...] | None = None
    """Only readings of these sensor types are scored; all unless set."""
    expire_after: Duration = timedelta(days=30)
    """A series that was silent for longer than this in event time starts anew, as if it had never been seen."""

    @field_validator("sensor_types")
    @classmethod
    def _clean_types(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        clean = tuple(sorted({kind.strip().lower() for kind in value}))
        if not clean or "" in clean:
            raise ValueError("sensor_types names no sensor type; expected a list such as [temperature, humidity]")
        return clean

    @field_validator("expire_after")
    @classmethod
    def _long_enough(cls, value: timedelta) -> timedelta:
        return _within(value, timedelta(minutes=1))

    @property
    def label(self) -> str:
        """What the detector is called in the scores."""
        return self.name or str(getattr(self, "detector"))  # noqa: B009 - each kind declares it as its own literal


def _within(value: timedelta, least: timedelta = timedelta(milliseconds=1)) -> timedelta:
    if not least <= value <= LONGEST:
        raise ValueError(
            f"{value.total_seconds():g}s is out of range; expected {least.total_seconds():g}s to ten years"
        )
    return value


class RollingMeanDeviation(_Detector):
    """A reading that is further than ``deviation`` from the mean of the time before it."""

    detector: Literal["rolling_mean_deviation"] = "rolling_mean_deviation"
    """Which kind; see docs/anomalies.md for what each says."""
    window: Duration = timedelta(minutes=15)
    """How much time the mean is of; its far edge moves in thirtieths of the window."""
    deviation: float = Field(5.0, gt=0)
    """In the reading's unit."""

    @field_validator("window")
    @classmethod
    def _sensible(cls, value: timedelta) -> timedelta:
        return _within(value, timedelta(seconds=1))


class RollingZScore(_Detector):
    """A reading that is further than ``threshold`` standard deviations from the mean of the readings before it."""

    detector: Literal["rolling_zscore"] = "rolling_zscore"
    last: int = Field(20, ge=3, le=MOST_READINGS)
    """How many readings mean and deviation are of; so many are needed before one is scored."""
    threshold: float = Field(3.0, gt=0)
    """In standard deviations."""
    min_deviation: float = Field(0.0, ge=0)
    """A reading that is no further from the mean is no anomaly, however quiet the series; in the reading's unit."""


class RobustZScore(_Detector):
    """As ``rolling_zscore``, with the median and the median absolute deviation, which outliers hardly move."""

    detector: Literal["robust_zscore"] = "robust_zscore"
    last: int = Field(20, ge=3, le=MOST_READINGS)
    """How many readings median and deviation are of; so many are needed before one is scored."""
    threshold: float = Field(3.5, gt=0)
    """In modified z-scores: 0.6745 × distance / MAD."""
    min_deviation: float = Field(0.0, ge=0)
    """A reading that is no further from the median is no anomaly; in the reading's unit."""


class Ewma(_Detector):
    """A reading that is further than ``threshold`` deviations from an exponentially weighted mean."""

    detector: Literal["ewma"] = "ewma"
    half_life: float | timedelta = 20.0
    """After how many readings (a number), or how much time (``10m``), a reading weighs half."""
    threshold: float = Field(3.0, gt=0)
    """In exponentially weighted standard deviations."""
    min_deviation: float = Field(0.0, ge=0)
    """A reading that is no further from the mean is no anomaly; in the reading's unit."""

    @field_validator("half_life", mode="before")
    @classmethod
    def _number_or_duration(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("half_life")
    @classmethod
    def _positive(cls, value: float | timedelta) -> float | timedelta:
        if isinstance(value, timedelta):
            return _within(value)
        if not 0.5 <= value <= 1e6:
            raise ValueError(f"{value:g} readings is no half-life; expected 0.5 to 1000000, or a duration such as 10m")
        return value


class Seasonal(_Detector):
    """A reading that is unusual for its time of the day or of the week (UTC)."""

    detector: Literal["seasonal"] = "seasonal"
    period: Literal["day", "week"] = "day"
    """What repeats."""
    buckets: int | None = Field(None, ge=2, le=168)
    """Into how many parts the period is cut: 24 of a day, 84 of a week unless set."""
    threshold: float = Field(4.0, gt=0)
    """In standard deviations of the bucket over the former days or weeks."""
    min_deviation: float = Field(0.0, ge=0)
    """A reading that is no further from the bucket's mean is no anomaly; in the reading's unit."""


class RateOfChange(_Detector):
    """A reading that differs from the one before it by more than a limit a second."""

    detector: Literal["rate_of_change"] = "rate_of_change"
    per_second: float | Literal["auto"] = "auto"
    """The limit, in the reading's unit a second; ``auto`` takes ``threshold`` times what is usual for the series."""
    threshold: float = Field(6.0, gt=0)
    """With ``auto``: in exponentially weighted standard deviations of the rate, of a half-life of 100 readings."""

    @field_validator("per_second")
    @classmethod
    def _positive(cls, value: float | Literal["auto"]) -> float | Literal["auto"]:
        if value != "auto" and not value > 0:
            raise ValueError(f"{value:g} per second is no limit; expected a number above 0, or auto")
        return value


class Stuck(_Detector):
    """A series that has repeated one value for too long."""

    detector: Literal["stuck"] = "stuck"
    for_: Duration = Field(timedelta(minutes=30), alias="for")
    """For how long the value must have been the same."""
    readings: int = Field(10, ge=2, le=1_000_000)
    """And how many readings must have been the same."""
    tolerance: float = Field(0.0, ge=0)
    """How far a reading may be from the first of them and still be the same; in the reading's unit."""

    @field_validator("for_")
    @classmethod
    def _sensible(cls, value: timedelta) -> timedelta:
        return value if value == timedelta(0) else _within(value)


class IsolationForest(_Detector):
    """A reading that a forest of random cuts isolates quickly; one forest for each tenant and sensor type."""

    detector: Literal["isolation_forest"] = "isolation_forest"
    contamination: float = Field(0.1, gt=0, le=0.5)
    """The share of the training readings that score above 0.5."""
    alert_above: float = Field(0.8, gt=0, lt=1)
    """A higher score is an anomaly."""
    trees: int = Field(100, ge=10, le=500)
    """How many trees a forest has."""
    sample: int = Field(1024, ge=64, le=16_384)
    """How many readings a forest is fitted to: those whose keys hash lowest, whatever their order."""
    refit_every: Duration = timedelta(days=1)
    """After how much event time a forest is fitted again; earlier whenever its readings have doubled."""

    @field_validator("refit_every")
    @classmethod
    def _whole_steps(cls, value: timedelta) -> timedelta:
        return _within(value, timedelta(minutes=1))


class Auto(_Detector):
    """Several tests that fit themselves to each series: spikes, level shifts, drift, silence of the noise, novelty."""

    detector: Literal["auto"] = "auto"


class TrainedModel(_Detector):
    """A reading that isolation forests from ``telebeam train`` find unusual; see docs/training.md."""

    detector: Literal["model"] = "model"
    model: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """The model's name.  Each reading is scored by the version that was the newest at its time."""
    threshold: float = Field(0.8, gt=0, lt=1)
    """A higher score is an anomaly."""
    version: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Only this version, at any time."""
    shadow: bool = False
    """Scores as ``MODEL@VERSION:shadow`` beside the others, and calls nothing an anomaly; needs ``version``."""

    _models: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _shadow_of_one(self) -> TrainedModel:
        if self.shadow and self.version is None:
            raise ValueError(
                "shadow: true names no version; expected the one that is to be compared",
                "set version: to what telebeam train printed",
            )
        return self

    @property
    def label(self) -> str:
        """What the detector is called in the scores."""
        name = self.name or self.model
        return f"{name}@{self.version}:shadow" if self.shadow else name

    @property
    def models(self) -> Any:
        """The :class:`~telebeam.transforms.anomaly.model.ModelSource` that it scores by; None until it has one."""
        return self._models

    def scored_by(self, models: Any) -> TrainedModel:
        """The same settings with a :class:`~telebeam.transforms.anomaly.model.ModelSource`.

        It is no setting: it is not in the settings' text, and so in no fingerprint of what is remembered.
        """
        bound = self.model_copy()
        bound._models = models
        return bound


DetectorSpec = Annotated[
    RollingMeanDeviation
    | RollingZScore
    | RobustZScore
    | Ewma
    | Seasonal
    | RateOfChange
    | Stuck
    | IsolationForest
    | Auto
    | TrainedModel,
    Field(discriminator="detector"),
]
"""The settings of one detector; ``detector`` says of which."""

_ADAPTER: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)


def check_names(specs: Sequence[DetectorSpec]) -> None:
    """Refuses two detectors of one name.

    Raises:
        ValueError: A name stands twice; the second argument is a hint.
    """
    labels = [spec.label for spec in specs]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"two detectors are named {twice[0]!r}; expected a name each", "set name: on one of them")


def detector_spec(**settings: Any) -> DetectorSpec:
    """The checked settings of one detector.

    >>> detector_spec(detector="rolling_zscore", last=30).threshold
    3.0

    Raises:
        ValueError: An unknown detector, an unknown key or an impossible value.
    """
    return _ADAPTER.validate_python(settings)
