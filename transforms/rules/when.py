"""The text of ``when`` to conditions: what a configuration holds, checked key by key."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from telebeam.transforms.rules.conditions import (
    Absent,
    Combined,
    Compare,
    Condition,
    Count,
    ReadingCondition,
    Sequence,
    Stuck,
    Where,
)
from telebeam.transforms.schema import SERIES
from telebeam.transforms.spec import parse_duration

BOUNDS = ("above", "below", "critical_above", "critical_below", "outside", "inside", "equals")
"""What a value may be compared with."""
RATE_BOUNDS = tuple(name for name in BOUNDS if name != "equals")
SCORE_KEYS = ("detector", "above", "critical_above")
KINDS = ("rate_of_change", "anomaly", "absent", "stuck")
"""Keys that make a condition something else than a comparison of values; a condition has one at most."""
NESTED = ("all", "any", "not", "count", "sequence")
"""Keys that hold conditions and stand alone."""

MAX_DEPTH = 8
MAX_LEAVES = 32
"""Conditions of one rule: each costs a pass over the readings that it selects."""
MAX_AT_LEAST = 1000
"""Readings that a count remembers for each group."""
MAX_WITHIN = timedelta(days=7)
"""A group that is silent for longer is forgotten."""
MAX_ABSENT = timedelta(days=30)


def parse_condition(given: Any) -> Condition:
    """The condition that a mapping describes; a condition is handed back as it is.

    >>> parse_condition({"sensor_type": "temperature", "above": 80}).upper
    80.0

    Raises:
        ValueError: A key that there isn't, a column that readings don't have, a value that can't be; what was expected
            stands in the message, and what to do about it in a second argument.
    """
    if isinstance(given, Condition):
        return given
    condition = _condition(given, "when", 1)
    leaves = sum(1 for _ in condition.leaves())
    if leaves > MAX_LEAVES:
        raise ValueError(f"when: {leaves} conditions; expected at most {MAX_LEAVES}", "make several rules of it")
    return condition


def _condition(given: Any, place: str, depth: int) -> Condition:
    mapping = _mapping(given, place)
    if depth > MAX_DEPTH:
        raise ValueError(f"conditions are nested more than {MAX_DEPTH} deep", "make several rules of it")
    nested = [key for key in NESTED if key in mapping]
    if not nested:
        return _of_readings(mapping, place)
    key = nested[0]
    beside = [str(other) for other in mapping if other != key]
    if beside:
        hint = "put both below all: [{…}, {…}]"
        raise ValueError(f"{place}: found {', '.join(beside)} beside {key}; expected {key} alone", hint)
    inner = f"{place}.{key}"
    if key == "count":
        return _count(mapping[key], inner)
    if key == "sequence":
        return _sequence(mapping[key], inner)
    if key == "not":
        return Combined(operator="not", parts=(_condition(mapping[key], inner, depth + 1),))
    if not isinstance(mapping[key], (list, tuple)) or not mapping[key]:
        raise ValueError(
            f"{inner}: found {_kind(mapping[key])}; expected a list of conditions", f"{key}: [{{…}}, {{…}}]"
        )
    parts = tuple(_condition(part, f"{inner}[{n}]", depth + 1) for n, part in enumerate(mapping[key]))
    return Combined(operator="all" if key == "all" else "any", parts=parts)


def _of_readings(mapping: Mapping[str, Any], place: str) -> Condition:
    """A condition without conditions in it."""
    if "group" in mapping:
        hint = "write it beside when: only: {groups: [north]}, or group_by: group"
        raise ValueError(f"{place}: group is no column of a reading; the registry says it, and the rule asks", hint)
    _known(mapping, (*SERIES, *BOUNDS, *KINDS), place, (*SERIES, *BOUNDS, *KINDS, *NESTED))
    where = _where(mapping, place)
    kinds = [key for key in KINDS if key in mapping]
    bounds = [key for key in BOUNDS if key in mapping]
    if len(kinds) + bool(bounds) > 1:
        found = ", ".join([*kinds, *bounds])
        raise ValueError(f"{place}: found {found}; expected one of them", "put the conditions below all: or any:")
    if kinds:
        key = kinds[0]
        return _MAKERS[key](mapping[key], where, f"{place}.{key}")
    if not where and not bounds:
        raise ValueError(
            f"{place} says nothing", "name a sensor_type and a bound, as in {sensor_type: temperature, above: 80}"
        )
    return _compare(mapping, where, place, subject="value")


def _compare(mapping: Mapping[str, Any], where: Where, place: str, **given: Any) -> Compare:
    numbers = {
        key: _number(mapping[key], f"{place}.{key}")
        for key in ("above", "below", "critical_above", "critical_below", "equals")
        if key in mapping
    }
    ranges = {key: _range(mapping[key], f"{place}.{key}") for key in ("outside", "inside") if key in mapping}
    _ordered(numbers, "above", "critical_above", place)
    _ordered(numbers, "critical_below", "below", place)
    return Compare(where=where, **numbers, **ranges, **given)


def _ordered(numbers: Mapping[str, float], low: str, high: str, place: str) -> None:
    if low in numbers and high in numbers and not numbers[low] < numbers[high]:
        raise ValueError(f"{place}: {low} {numbers[low]:g} is not less than {high} {numbers[high]:g}")


def _rate(given: Any, where: Where, place: str) -> Condition:
    mapping = _mapping(given, place)
    _known(mapping, RATE_BOUNDS, place)
    if not mapping:
        raise ValueError(f"{place} has no bound", "write rate_of_change: {above: 0.5}, per second")
    return _compare(mapping, where, place, subject="rate")


def _anomaly(given: Any, where: Where, place: str) -> Condition:
    mapping = {"detector": "any"} if given is True else _mapping(given, place)
    _known(mapping, SCORE_KEYS, place)
    for key in ("above", "critical_above"):
        if key in mapping and not 0 <= _number(mapping[key], f"{place}.{key}") < 1:
            raise ValueError(f"{place}.{key}: found {mapping[key]}; expected a score from 0 to below 1")
    detector = _text(mapping.get("detector", "any"), f"{place}.detector")
    bounds = {key: mapping[key] for key in ("above", "critical_above") if key in mapping}
    return _compare(
        bounds, where, place, subject="score", detector=None if detector == "any" else detector, flagged=not bounds
    )


def _absent(given: Any, where: Where, place: str) -> Condition:
    return Absent(where=where, lasting=_duration(given, place, MAX_ABSENT))


def _stuck(given: Any, where: Where, place: str) -> Condition:
    return Stuck(where=where, lasting=_duration(given, place, MAX_WITHIN))


_MAKERS: dict[str, Callable[[Any, Where, str], Condition]] = {
    "rate_of_change": _rate, "anomaly": _anomaly, "absent": _absent, "stuck": _stuck,
}  # fmt: skip


def _count(given: Any, place: str) -> Count:
    mapping = _complete(given, ("of", "within", "at_least"), place)
    number = mapping["at_least"]
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_AT_LEAST:
        raise ValueError(f"{place}.at_least: found {number!r}; expected a whole number from 1 to {MAX_AT_LEAST}")
    within = _duration(mapping["within"], f"{place}.within", MAX_WITHIN)
    return Count(of=_of_one_reading(mapping["of"], f"{place}.of"), within=within, at_least=number)


def _sequence(given: Any, place: str) -> Sequence:
    mapping = _complete(given, ("first", "then", "within"), place)
    return Sequence(
        first=_of_one_reading(mapping["first"], f"{place}.first"),
        then=_of_one_reading(mapping["then"], f"{place}.then"),
        within=_duration(mapping["within"], f"{place}.within", MAX_WITHIN),
    )


def _of_one_reading(given: Any, place: str) -> ReadingCondition:
    condition = _condition(given, place, 1)
    if not isinstance(condition, ReadingCondition):
        raise ValueError(
            f"{place}: found {condition.kind}; expected a condition on one reading",
            "such as {sensor_type: vibration, above: 7}, with rate_of_change, anomaly or stuck",
        )
    return condition


def _where(mapping: Mapping[str, Any], place: str) -> Where:
    found = []
    for column in SERIES:
        if column in mapping:
            given = mapping[column]
            texts = tuple(given) if isinstance(given, (list, tuple)) else (given,)
            if not texts:
                raise ValueError(f"{place}.{column}: found an empty list; expected at least one text")
            found.append((column, tuple(clean(column, _text(text, f"{place}.{column}")) for text in texts)))
    return tuple(found)


def clean(column: str, text: str) -> str:
    """A text as cleansing leaves it in a column: sensor types are in lower case."""
    return text.strip().lower() if column == "sensor_type" else text


def _mapping(given: Any, place: str) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    raise ValueError(
        f"{place}: found {_kind(given)}; expected a mapping", "such as {sensor_type: temperature, above: 80}"
    )


def _complete(given: Any, keys: tuple[str, ...], place: str) -> Mapping[str, Any]:
    mapping = _mapping(given, place)
    _known(mapping, keys, place)
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise ValueError(f"{place}: {', '.join(missing)} is missing; expected {', '.join(keys)}")
    return mapping


def _known(mapping: Mapping[Any, Any], keys: Iterable[str], place: str, near: Iterable[str] = ()) -> None:
    known = tuple(keys)
    for key in mapping:
        if key not in known:
            close = difflib.get_close_matches(str(key)[:60], tuple(near) or known, n=1)
            hint = (f"did you mean {close[0]}?",) if close else ()
            raise ValueError(
                f"{place}: unknown key {str(key)[:60]!r}; expected one of {', '.join(tuple(near) or known)}", *hint
            )


def _number(given: Any, place: str) -> float:
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        try:
            if math.isfinite(float(given)):
                return float(given) + 0.0
        except OverflowError:
            pass
    hint = ("write the number alone, without quotes and without a unit",) if isinstance(given, str) else ()
    raise ValueError(f"{place}: found {_kind(given)}; expected a finite number", *hint)


def _range(given: Any, place: str) -> tuple[float, float]:
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise ValueError(f"{place}: found {_kind(given)}; expected two numbers", "write [low, high]")
    low, high = (_number(bound, place) for bound in given)
    if low > high:
        raise ValueError(f"{place}: {low:g} is greater than {high:g}; expected [low, high]")
    return low, high


def _text(given: Any, place: str) -> str:
    if isinstance(given, str) and given.strip():
        return given
    hint = ("put it into quotes",) if isinstance(given, (int, float)) and not isinstance(given, bool) else ()
    raise ValueError(f"{place}: found {_kind(given)}; expected text", *hint)


def _duration(given: Any, place: str, longest: timedelta) -> timedelta:
    if isinstance(given, (bool, list, dict)) or given is None:
        raise ValueError(f"{place}: found {_kind(given)}; expected a duration such as 30s, 5m or 1h")
    try:
        duration: timedelta = parse_duration(given)
    except ValueError as error:
        raise ValueError(f"{place}: {error.args[0]}") from error
    if not timedelta(0) < duration <= longest:
        raise ValueError(f"{place}: {duration} is no such duration; expected more than 0 and at most {longest}")
    return duration


def _kind(given: Any) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, Mapping):
        return "a mapping"
    if isinstance(given, (list, tuple)):
        return "a list"
    return repr(given)[:60]
