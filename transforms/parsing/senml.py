"""SenML, RFC 8428, in JSON and CBOR: a pack of records, of which each gives a value.

The device is the base name without a separator at its end, and the measurement is the record's own name; where only one
of the two is given it is the device, and the unit says what was measured.  A sum is a value of its own,
``…_sum``.  Booleans become 1 and 0 and are flagged ``wrong_type``, as are strings that hold a number; other strings and
data are ``bad_value``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from telebeam.transforms.parsing import cbor
from telebeam.transforms.parsing.binary import MAX_DEPTH
from telebeam.transforms.parsing.columns import Instant, Mended, group_values, json_text
from telebeam.transforms.parsing.found import NO_TIME, Found, Messages
from telebeam.transforms.parsing.records import Records, RefusedRecord, check_json
from telebeam.transforms.parsing.units import SENML_UNITS, WITHOUT_NAME

_LABELS = {-1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs", 0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb",
           5: "s", 6: "t", 7: "ut", 8: "vd"}  # fmt: skip
_CBOR_LABELS = {str(number): label for number, label in _LABELS.items()}
_TEXTS = ("bn", "bu", "n", "u", "vs")
_NUMBERS = ("bt", "bv", "bs", "bver", "v", "s", "t", "ut")
_RELATIVE_BELOW = 2**28
"""Seconds: what is less is counted from now (section 4.5.3)."""
_VERSION = 10
_MOST_DIGITS = 400
_SEPARATORS = ":/.-_"
_TYPES = str.maketrans({" ": "_"})


def senml_groups(messages: Messages) -> Found:
    """The values of packs in JSON."""
    return _groups(messages, lambda payload: _from_json(payload, messages.spec.max_depth))


def senml_cbor_groups(messages: Messages) -> Found:
    """The values of packs in CBOR, whose labels are numbers (section 6)."""
    depth = min(messages.spec.max_depth, MAX_DEPTH)
    return _groups(messages, lambda payload: _named(cbor.decode(payload, depth)))


def _from_json(payload: bytes, max_depth: int) -> Any:
    check_json(payload, max_depth)
    return _JSON.decode(payload.decode())


def _integer(text: str) -> float:
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


_JSON = json.JSONDecoder(parse_int=_integer)


def _named(pack: Any) -> Any:
    if type(pack) is not list:
        return pack
    return [{_CBOR_LABELS.get(name, name): value for name, value in record.items()} if type(record) is dict else record
            for record in pack]  # fmt: skip


def _groups(messages: Messages, decode: Callable[[bytes], Any]) -> Found:
    refused: list[tuple[int, RefusedRecord]] = []
    values: list[tuple[int, dict[str, Any]]] = []
    for row, payload in enumerate(messages.payloads.to_pylist()):
        try:
            pack = decode(payload)
            values += [(row, value) for value in resolve(pack, int(messages.published[row]))]
        except RefusedRecord as refusal:
            refused.append((row, refusal))
    records = Records(messages.payloads, np.arange(len(messages)))
    return Found(records, group_values(values, frozenset()), refused)


def resolve(pack: Any, published: int) -> list[dict[str, Any]]:
    """The values of a pack as objects in our names; never none.

    Args:
        pack: A decoded list of records, labels as in JSON.
        published: What relative times are counted from, µs since the epoch, or ``NO_TIME``.

    Raises:
        RefusedRecord: ``not_an_object``, ``missing_value``, ``schema``: what holds for the pack as a whole.
    """
    if type(pack) is not list or not all(type(record) is dict for record in pack):
        raise RefusedRecord("not_an_object", "expected an array of SenML records")
    base: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    for record in pack:
        _check(record)
        base.update((label, value) for label, value in record.items() if label in ("bn", "bt", "bu", "bv", "bs"))
        found += _values(record, base, published)
    if not found:
        raise RefusedRecord("missing_value", "no record holds a value")
    return found


def _check(record: dict[str, Any]) -> None:
    for label, value in record.items():
        if label.endswith("_"):
            raise RefusedRecord("schema", f"the label {label!r} must be understood, and is not")
        number = type(value) in (int, float)
        if (label in _TEXTS and type(value) is not str) or (label in _NUMBERS and not number):
            expected = "a text" if label in _TEXTS else "a number"
            raise RefusedRecord("schema", f"{label} is {json_text(value)[:40]}, expected {expected}")
    if record.get("bver", _VERSION) > _VERSION:
        raise RefusedRecord("schema", f"bver is {record['bver']}, expected {_VERSION} or less")


def _values(record: dict[str, Any], base: dict[str, Any], published: int) -> list[dict[str, Any]]:
    own = {label: record[label] for label in ("v", "vs", "vb", "vd") if label in record}
    if len(own) > 1:
        raise RefusedRecord("schema", f"a record with {' and '.join(own)}")
    found = []
    if own:
        found.append(_plain(_value(*own.popitem(), base), record, base, published))
    if "s" in record:
        found.append(_sum(record, base, published))
    # Base fields may stand in a record of their own; one that names something and says nothing lacks its value.
    if not found and {"n", "u", "t"} & set(record):
        found.append(_plain(None, record, base, published))
    return found


def _value(label: str, value: Any, base: dict[str, Any]) -> Any:
    if label == "v":
        return _added(value, base.get("bv", 0))
    if label == "vb":
        if type(value) is not bool:
            raise RefusedRecord("schema", f"vb is {json_text(value)[:40]}, expected true or false")
        return Mended(value)
    number = _number(value) if label == "vs" else None
    return value if number is None else Mended(_float(number))


def _added(one: Any, other: Any) -> Any:
    return one + other if type(one) is type(other) is int else _float(one) + _float(other)


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _number(text: str) -> float | None:
    try:
        number = msgspec.json.decode(text.strip().encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return number if type(number) in (int, float) else None


def _plain(value: Any, record: dict[str, Any], base: dict[str, Any], published: int) -> dict[str, Any]:
    device, name = _names(record.get("n", ""), base.get("bn", ""))
    unit = record.get("u", base.get("bu"))
    kind = name or WITHOUT_NAME.get(unit or "", "")
    found: dict[str, Any] = {"device_id": device, "value": value}
    if kind:
        found["sensor_type"] = kind
    if unit is not None:
        found["unit"] = SENML_UNITS.get(unit, unit)
    moment = _time(record.get("t", 0), base.get("bt", 0), published)
    if moment is not None:
        found["timestamp"] = moment
    if "ut" in record:
        found["update_time"] = record["ut"]
    known = (*_TEXTS, *_NUMBERS, "vb", "vd")
    found.update((label, other) for label, other in record.items() if label not in known and label not in found)
    return found


def _sum(record: dict[str, Any], base: dict[str, Any], published: int) -> dict[str, Any]:
    total = _added(record.get("s", 0), base.get("bs", 0))
    found = _plain(total, record, base, published)
    unit = found.pop("unit", None)
    found["sensor_type"] = f"{found.get('sensor_type', 'unknown')}_sum"
    # The integral over time: watts become joules, of others no unit of ours has the name.
    return {**found, "unit": "joules" if unit == "watts" else f"{unit}*s" if unit else "1"}


def _names(name: str, base: str) -> tuple[str, str]:
    """(device, measurement); the latter is empty where there is but one name."""
    if name and base:
        return base.rstrip(_SEPARATORS) or base, name.strip(_SEPARATORS).translate(_TYPES)
    return (base or name).rstrip(_SEPARATORS), ""


def _time(own: Any, base: Any, published: int) -> Instant | None:
    """The event time; None where it is relative and nothing says to what."""
    seconds = _added(own, base)
    if _float(seconds) >= _RELATIVE_BELOW:
        return cbor.epoch(seconds)
    if published == NO_TIME:
        return None
    return Instant(published + round(max(_float(seconds), -1e12) * 1e6))
