"""What a rule is: when it fires, for how long that has to last, when it resolves, and what it does."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from telebeam.transforms.rules.conditions import Combined, Compare, Condition, selections
from telebeam.transforms.rules.hours import ActiveSpec
from telebeam.transforms.rules.message import Template, check_texts
from telebeam.transforms.rules.when import clean, parse_condition
from telebeam.transforms.schema import SERIES
from telebeam.transforms.spec import Duration, Spec

Severity = Literal["info", "warning", "critical"]
GROUP = "group"
"""The column of the registry's groups, which readings are given where a rule names it; null without a group."""
GROUPS = {name: name for name in ("location", GROUP, "sensor_type", "tenant")} | {"device": "device_id"}
"""Short names of ``group_by`` → column."""
_GROUPING = (*SERIES, GROUP)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ALIASED = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, tuple) else tuple(value) if isinstance(value, list) else (value,)


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""Several texts; one may stand without brackets."""


def _none_as_empty(value: Any) -> Any:
    return {} if value is None else value


def _positive(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError(f"{value.total_seconds():g}s is negative; expected a duration from 0 on")
    return value


class OnlySpec(Spec):
    """Which readings a rule looks at: all that are named by each of the lists given."""

    tenants: Texts | None = None
    """Tenants."""
    devices: Texts | None = None
    """Device ids, or patterns with ``*`` and ``?`` such as ``boiler-*``."""
    locations: Texts | None = None
    """Locations."""
    groups: Texts | None = None
    """Groups of ``devices.registry``: readings of devices that are in one of them at the reading's time."""
    sensor_types: Texts | None = None
    """Sensor types."""

    @field_validator("tenants", "devices", "locations", "groups", "sensor_types")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value or not all(text.strip() for text in value)):
            raise ValueError("found an empty list or text; expected at least one name", "leave it out for all")
        return value

    @field_validator("sensor_types")
    @classmethod
    def _clean(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(clean("sensor_type", text) for text in value)


class ResolveSpec(Spec):
    """When a firing alert resolves, where that is not the moment at which its condition ceases to hold."""

    model_config = _ALIASED

    at: float | None = None
    """The number at which it resolves: at most ``above``, at least ``below`` (hysteresis)."""
    for_: Duration = Field(timedelta(0), alias="for")
    """How long the condition has to be gone."""

    @field_validator("for_")
    @classmethod
    def _not_negative(cls, value: timedelta) -> timedelta:
        return _positive(value)


class CommandSpec(Spec):
    """A command that a rule sends to the device."""

    name: str
    """The command's name."""
    payload: dict[str, Any] = Field(default_factory=dict)
    """What it carries, as JSON; its texts may hold the names that a message may."""
    state: Literal["firing", "resolved"] = "firing"
    """Which change of the alert sends it."""

    @field_validator("name")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip() or len(value) > 128:
            raise ValueError(f"found {value[:60]!r}; expected a command's name of 1 to 128 characters")
        return value

    @field_validator("payload")
    @classmethod
    def _json(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_texts(value)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"the payload is not JSON: {error}") from error
        return value


class ActionSpec(Spec):
    """What a rule does besides its alert: exactly one of ``command`` and ``tag``."""

    command: CommandSpec | None = None
    """A command for the device."""
    tag: str | None = None
    """A name under which the readings that match are handed on."""

    @model_validator(mode="after")
    def _exactly_one(self) -> ActionSpec:
        if (self.command is None) == (self.tag is None):
            raise ValueError("expected exactly one of command, tag", "write one entry for each action")
        if self.tag is not None and not _NAME.fullmatch(self.tag):
            raise ValueError(f"tag {self.tag[:60]!r} is no name; expected 1 to 64 letters, digits, - _ and .")
        return self


class RuleSpec(Spec):
    """A rule: fires an alert for each group in which its condition comes to hold, and resolves it."""

    model_config = _ALIASED

    name: str
    """Its name, once in a pipeline: 1 to 64 letters, digits, ``-``, ``_`` and ``.``."""
    when: Annotated[SerializeAsAny[Condition], BeforeValidator(parse_condition)]
    """The condition, such as ``{sensor_type: temperature, above: 80}``; see docs/rules.md."""
    for_: Duration = Field(timedelta(0), alias="for")
    """How long the condition has to hold before it fires."""
    severity: Severity = "warning"
    """How bad it is: ``info``, ``warning`` or ``critical``, which ``critical_above`` and ``critical_below`` make it."""
    message: str | None = None
    """The alert's text, with names such as ``{device_id}`` and ``{value:.1f}``."""
    alert_type: str | None = None
    """``alerts.alert_type``; by default the condition's kind, and ``SENSOR_TYPE_anomaly`` for an anomaly."""
    resolve: Annotated[ResolveSpec, BeforeValidator(_none_as_empty)] = ResolveSpec()
    """When it resolves; by default when the condition ceases to hold."""
    cool_down: Duration = timedelta(0)
    """How long after it has resolved it does not fire again."""
    group_by: Texts = ("tenant", "device_id")
    """What an alert is about: ``device``, ``location``, ``group``, ``sensor_type``, ``tenant``, or a list of columns.

    Tenants are kept apart in any case."""
    only: Annotated[OnlySpec, BeforeValidator(_none_as_empty)] = OnlySpec()
    """Which readings it looks at; by default all."""
    active: ActiveSpec | None = None
    """At which hours it fires; by default at all."""
    then: Annotated[tuple[ActionSpec, ...], BeforeValidator(_as_tuple)] = ()
    """What it does besides."""

    @field_validator("name")
    @classmethod
    def _named(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value[:60]!r} is not a rule's name; expected 1 to 64 letters, digits, - _ and .")
        return value

    @field_validator("for_", "cool_down")
    @classmethod
    def _not_negative(cls, value: timedelta) -> timedelta:
        return _positive(value)

    @field_validator("message")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            Template(value)
        return value

    @field_validator("alert_type")
    @classmethod
    def _short(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError(f"{value[:60]!r} is no alert_type; expected 1 to 64 letters, digits, - _ and .")
        return value

    @field_validator("group_by")
    @classmethod
    def _columns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [GROUPS.get(name, name) for name in value]
        for name in names:
            if name not in _GROUPING:
                known = ", ".join(dict.fromkeys([*GROUPS, *_GROUPING]))
                raise ValueError(f"group_by: readings have no column {name!r}; expected one of {known}")
        if len(set(names)) < len(names):
            raise ValueError(f"group_by names {', '.join(value)}; expected each column once")
        return tuple(column for column in _GROUPING if column in {*names, "tenant"})

    @property
    def names_group(self) -> bool:
        """Whether it asks for the registry's groups."""
        return self.only.groups is not None or GROUP in self.group_by

    @model_validator(mode="after")
    def _says_a_group_that_it_knows(self) -> RuleSpec:
        if self.message is not None and GROUP in Template(self.message).names and not self.names_group:
            raise ValueError(
                "the message says {group}, and the rule names no group",
                "add group_by: [device, group], or only: {groups: [...]}",
            )
        return self

    @model_validator(mode="after")
    def _can_resolve(self) -> RuleSpec:
        at, when = self.resolve.at, self.when
        if at is None:
            return self
        single = isinstance(when, Compare) and (when.outside, when.inside, when.equals) == (None, None, None)
        if not isinstance(when, Compare) or not single or (when.upper is None) == (when.lower is None):
            raise ValueError(
                "resolve.at is for a condition with either above or below",
                "use resolve: {for: 5m} for other conditions",
            )
        if (when.upper is not None and at > when.upper) or (when.lower is not None and at < when.lower):
            bound = when.upper if when.upper is not None else when.lower
            raise ValueError(f"resolve.at {at:g} is on the side of {bound:g} on which the rule fires")
        return self

    @model_validator(mode="after")
    def _critical_is_positive(self) -> RuleSpec:
        if _has_critical_below_not(self.when, False):
            raise ValueError("critical_above and critical_below can't stand below not:", "use above and below there")
        return self


def _has_critical_below_not(condition: Condition, negated: bool) -> bool:
    if isinstance(condition, Combined):
        inside = negated or condition.operator == "not"
        return any(_has_critical_below_not(part, inside) for part in condition.parts)
    return negated and any(isinstance(leaf, Compare) and leaf.has_critical for leaf in selections(condition))


def check_rules(rules: Iterable[RuleSpec], detectors: Collection[str] | None = None) -> tuple[RuleSpec, ...]:
    """The rules of one pipeline as a tuple, if they can stand together.

    Args:
        rules: The rules.
        detectors: The names of the detectors that there are; None where that is not known.

    Raises:
        ValueError: Two rules have one name, or a rule asks for scores of a detector that isn't there.
    """
    checked = tuple(rules)
    seen: set[str] = set()
    for rule in checked:
        if rule.name in seen:
            raise ValueError(f"two rules are named {rule.name}; expected each name once", "their alerts would be one")
        seen.add(rule.name)
        for condition in () if detectors is None else selections(rule.when):
            _check_detector(rule, condition, detectors or ())
    return checked


def _check_detector(rule: RuleSpec, condition: Condition, detectors: Collection[str]) -> None:
    if not isinstance(condition, Compare) or condition.subject != "score":
        return
    if not detectors:
        raise ValueError(
            f"rule {rule.name} asks for anomaly scores; there is no detector", "add anomalies: [{detector: auto}]"
        )
    if condition.detector is not None and condition.detector not in detectors:
        raise ValueError(
            f"rule {rule.name}: unknown detector {condition.detector!r}; expected any or one of {', '.join(detectors)}"
        )


def names_group(rules: Iterable[RuleSpec]) -> bool:
    """Whether one of the rules asks for the registry's groups: their readings need the column :data:`GROUP`."""
    return any(rule.names_group for rule in rules)


def immediate(rules: Iterable[RuleSpec]) -> tuple[RuleSpec, ...]:
    """The rules that need no past but the last truth of a group, so that a reader may look at them at once.

    These are comparisons of values, for each device, without ``for``, ``cool_down`` and ``resolve.for``.
    """
    return tuple(rule for rule in rules if _is_immediate(rule))


def _is_immediate(rule: RuleSpec) -> bool:
    plain = isinstance(rule.when, Compare) and rule.when.subject == "value"
    waits = rule.for_ or rule.cool_down or rule.resolve.for_
    return plain and not waits and "device_id" in rule.group_by
