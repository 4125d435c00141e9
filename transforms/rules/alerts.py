"""Changes of alerts as rows: ids, messages, and what follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

import pyarrow as pa

from telebeam.transforms.rules.conditions import Absent, Selecting, selections
from telebeam.transforms.rules.finder import Reading
from telebeam.transforms.rules.life import Event, Shown
from telebeam.transforms.rules.message import NAMES, Template, render_texts
from telebeam.transforms.rules.spec import GROUP, RuleSpec
from telebeam.transforms.rules.tracks import Key
from telebeam.transforms.schema import ALERTS, COMMANDS

_WORDS = {
    "threshold": "{sensor_type} of {who} is {value}",
    "range": "{sensor_type} of {who} is {value}",
    "match": "{sensor_type} of {who} is {value}",
    "rate_of_change": "{sensor_type} of {who} changes too fast; it is {value}",
    "anomaly": "{sensor_type} of {who} is {value}, expected {expected} (score {score:.2f})",
    "stuck": "{sensor_type} of {who} is stuck at {value}",
    "absent": "no reading of {who} for {lasting}",
    "count": "{sensor_type} of {who} is {value}, once too often",
    "sequence": "{sensor_type} of {who} is {value}, the last of a sequence",
    "combination": "the conditions hold for {who}",
}
"""Kind of condition → the message of a rule that has none of its own."""


class Row(NamedTuple):
    """A row to be, with what rows are sorted by."""

    order: tuple[Any, ...]
    columns: dict[str, Any]


class Writer:
    """Makes the rows of one rule.

    Args:
        rule: The rule.
    """

    def __init__(self, rule: RuleSpec) -> None:
        self._rule = rule
        self._template = Template(rule.message if rule.message is not None else default_message(rule))
        self._commands = [action.command for action in rule.then if action.command is not None]
        self._pinned = _pinned(rule)

    def shown(self, key: Mapping[str, str | None], reading: Reading | None) -> Shown:
        """The sensor type, measurement type, location and group of an alert: its reading's, else what the rule says.

        An alert of a registry's group without a device and a location has the group's name for its location.
        """
        found: dict[str, str | None] = {}
        for column in ("sensor_type", "measurement_type", "location", GROUP):
            of_reading = None if reading is None else getattr(reading, column)
            if column in ("location", GROUP) and "device_id" not in key:
                of_reading = key.get(GROUP)  # the group's readings are from many places
            found[column] = key[column] if column in key else of_reading or self._pinned.get(column)
        return found["sensor_type"], found["measurement_type"], found["location"], found[GROUP]

    def alert(self, event: Event, key: Mapping[str, str | None], shown: Shown, reading: Reading | None) -> Row:
        """The row of one change."""
        sensor_type, measurement_type, location, group = shown
        columns: dict[str, Any] = {
            "alert_id": identity(self._rule.name, *key.values(), event.start),
            "rule": self._rule.name,
            "tenant": key["tenant"],
            "device_id": key.get("device_id"),
            "sensor_type": sensor_type,
            "measurement_type": measurement_type,
            "location": location,
            GROUP: group,
            "timestamp": event.moment // 2,
            "alert_type": self._alert_type(sensor_type),
            "severity": event.severity,
            "state": "firing" if event.fires else "resolved",
            "value": None if reading is None else reading.value,
            "expected": None if reading is None else reading.expected,
            "score": None if reading is None else reading.score,
        }
        message = self._template.render(_words(columns, self._template.names))
        columns["message"] = message if event.fires or "state" in self._template.names else f"resolved: {message}"
        texts = [(text is not None, text or "") for text in key.values()]
        # At one moment an alert only fires after another has made room for it.
        return Row((event.moment // 2, self._rule.name, texts, event.moment, event.fires), columns)

    def commands(self, alert: Row) -> list[Row]:
        """The commands that follow from a change."""
        found = []
        for place, command in enumerate(self._commands):
            if command.state != alert.columns["state"]:
                continue
            payload = render_texts(command.payload, _words(alert.columns, NAMES))
            columns = {name: alert.columns[name] for name in ("rule", "tenant", "device_id", "timestamp")}
            columns["command_id"] = identity(alert.columns["alert_id"], command.state, place)
            columns["command"] = command.name
            columns["payload"] = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
            found.append(Row((*alert.order, place), columns))
        return found

    def _alert_type(self, sensor_type: str | None) -> str:
        kind = self._rule.alert_type or self._rule.when.kind
        if self._rule.alert_type is None and kind == "anomaly" and sensor_type:
            return f"{sensor_type}_anomaly"
        return kind


def identity(*parts: str | int | None) -> str:
    """32 hexadecimal digits that some parts have in common with no others.

    >>> identity("overheated", "default", "boiler-1", 1767225600000000)
    '526c28f57eb7a25a837fc21c6eabc690'
    """
    texts = ["-" if part is None else f"{len(str(part))}:{part}" for part in parts]
    return blake2b("".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def default_message(rule: RuleSpec) -> str:
    """The template of a rule that brings none."""
    columns = [column for column in rule.group_by if column != "tenant"] or ["tenant"]
    who = "{device_id}" if "device_id" in columns else ", ".join(_who(column) for column in columns)
    words = _WORDS[rule.when.kind].replace("{who}", who)
    if isinstance(rule.when, Absent):
        words = words.replace("{lasting}", f"{rule.when.lasting.total_seconds():g} s")
    return f"{{rule}}: {words}"


def _who(column: str) -> str:
    return f"{{{column}}}" if column != "unit" else "its unit"


def alerts_of(rows: list[Row]) -> pa.RecordBatch:
    """``ALERTS`` in the order of time, rule and group."""
    return _batch(rows, ALERTS)


def commands_of(rows: list[Row]) -> pa.RecordBatch:
    """``COMMANDS`` in the order of time, rule and group."""
    return _batch(rows, COMMANDS)


def _batch(rows: list[Row], schema: pa.Schema) -> pa.RecordBatch:
    ordered = [row.columns for row in sorted(rows, key=lambda row: row.order)]
    arrays = [pa.array([columns[field.name] for columns in ordered], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _words(columns: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The columns that a template names; a time as ISO 8601, and no number that a format can't take."""
    words = {name: columns[name] for name in names}
    if "timestamp" in words:
        words["timestamp"] = _iso(words["timestamp"])
    return {name: None if isinstance(word, float) and not math.isfinite(word) else word for name, word in words.items()}


def _iso(moment: int) -> str:
    local = datetime(1970, 1, 1) + timedelta(microseconds=moment)
    return f"{local.isoformat()}Z"


def _pinned(rule: RuleSpec) -> dict[str, str]:
    """Texts that all readings of a rule have in common, by column."""
    found: dict[str, set[str]] = {}
    parts: list[Selecting] = list(selections(rule.when))
    for column in ("sensor_type", "measurement_type", "location"):
        texts = {dict(part.where).get(column, ()) for part in parts}
        if len(texts) == 1:
            found[column] = set(next(iter(texts)))
    found[GROUP] = set(rule.only.groups or ())
    return {column: texts.pop() for column, texts in found.items() if len(texts) == 1}


def key_of(columns: tuple[str, ...], key: Key) -> dict[str, str | None]:
    """A group's key by column."""
    return dict(zip(columns, key, strict=True))
