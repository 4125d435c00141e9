"""Sparkplug B: what edge nodes and their devices say by MQTT, the topic in the message's key.

A device is ``group/node`` or ``group/node/device``.  A metric that is a number or a boolean is a reading; its
measurement_type is the metric's name, and its sensor_type the name's last part where that is one of the field's.  Texts
are metadata of the message's readings.  A birth gives names to aliases and is a reading ``online`` of 1; a death is one
of 0, a node's death one for each device that it had.  A metric by an alias that no birth has named is refused
(``schema``): under a made-up name it would be a series of its own for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from telebeam.transforms.parsing.births import Births, Metric
from telebeam.transforms.parsing.columns import NO_INSTANT, Instant, group_values
from telebeam.transforms.parsing.found import NO_TIME, Found, Messages
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.parsing.shapes import SENSOR_TYPES
from telebeam.transforms.parsing.tahu import payload_class
from telebeam.transforms.parsing.timestamps import LAST

NAMESPACE = "spBv1.0/"
"""What the topics begin with."""

_TOPIC = re.compile(r"spBv1\.0/([^/]+)/([ND](?:BIRTH|DATA|DEATH))/([^/]+)(?:/([^/]+))?")
_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
_BOOLEAN, _MOMENT = 11, 13
_TEXTS = frozenset({12, 14, 15})
_CONTROL = ("bdSeq", "Node Control/", "Device Control/")
"""Metrics that are part of the protocol."""
_UNIT = ("engUnit", "Engineering Units", "unit")


class Topic(NamedTuple):
    """Who says what."""

    group: str
    kind: str
    node: str
    device: str

    @property
    def device_id(self) -> str:
        """The reading's."""
        return "/".join(part for part in (self.group, self.node, self.device) if part)


def sparkplug_groups(messages: Messages) -> Found:
    """The readings of messages, in their order; what their births say is added to what is known."""
    refused: list[tuple[int, RefusedRecord]] = []
    values: list[tuple[int, dict[str, Any]]] = []
    keys = messages.keys.to_pylist()
    for row, payload in enumerate(messages.payloads.to_pylist()):
        try:
            topic = topic_of(keys[row])
            found = list(_readings(topic, payload, int(messages.published[row]), messages.known.births))
        except RefusedRecord as refusal:
            found = [refusal]
        refused += [(row, item) for item in found if isinstance(item, RefusedRecord)]
        values += [(row, item) for item in found if not isinstance(item, RefusedRecord)]
    records = Records(messages.payloads, np.arange(len(messages)))
    return Found(records, group_values(values, frozenset()), refused)


def topic_of(key: str | None) -> Topic:
    """The parts of a topic.

    Raises:
        RefusedRecord: ``schema``: it is none of telemetry.
    """
    match = _TOPIC.fullmatch(key or "")
    if match is None or (match[2].startswith("D") != bool(match[4])):
        expected = "spBv1.0/GROUP/NDATA/NODE or the like"
        raise RefusedRecord("schema", f"{(key or '')[:100]!r} is no topic of data: expected {expected}")
    return Topic(match[1], match[2], match[3], match[4] or "")


def _readings(topic: Topic, payload: bytes, published: int, births: Births) -> Iterator[dict[str, Any] | RefusedRecord]:
    from google.protobuf.message import DecodeError

    try:
        message = payload_class().FromString(payload)
    except (DecodeError, UnicodeDecodeError) as error:
        raise RefusedRecord("malformed", f"no Sparkplug payload: {str(error)[:200]}") from error
    # Of a definition in the syntax of proto2 a text that is no UTF-8 is given as bytes.
    if any(isinstance(text, bytes) for metric in message.metrics for text in (metric.name, metric.string_value)):
        raise RefusedRecord("malformed", "a text that is not UTF-8")
    if message.uuid == "SPBV1.0_COMPRESSED":
        raise RefusedRecord("schema", "a compressed Sparkplug payload; send it as it is, or within gzip or zstd")
    node = (topic.group, topic.node)
    moment = _milliseconds(message.timestamp) if message.HasField("timestamp") else None
    if topic.kind.endswith("DEATH"):
        gone = [topic.device, *births.devices(node)] if not topic.device else [topic.device]
        births.died(node, topic.device)
        # A node's death is a will: its payload was written when the node connected.
        ended = Instant(published) if published != NO_TIME and not topic.device else moment
        yield from (_online(topic._replace(device=device), ended, 0) for device in gone)
        return
    born = topic.kind.endswith("BIRTH")
    if born:
        births.born(node, topic.device, {m.alias: Metric(m.name, m.datatype) for m in message.metrics
                                         if m.HasField("alias") and m.name})  # fmt: skip
        yield _online(topic, moment, 1)
    found = list(_metrics(topic, message, moment, births))
    yield from found
    if not found and not born:
        raise RefusedRecord("missing_value", "no metric that is a number")


def _online(topic: Topic, moment: Instant | None, value: int) -> dict[str, Any]:
    return {"device_id": topic.device_id, "timestamp": moment, "sensor_type": "online", "value": value, "unit": "1"}


def _metrics(topic: Topic, message: Any, moment: Instant | None, births: Births) -> Iterator[Any]:
    """The message's readings, and why some of its metrics are none."""
    texts: dict[str, Any] = {}
    numbers = []
    for metric in message.metrics:
        known = Metric(metric.name, metric.datatype)
        if not metric.name:
            found = births.metric((topic.group, topic.node), topic.device, metric.alias)
            if found is None:
                yield RefusedRecord("schema", f"no birth of {topic.device_id} names the alias {metric.alias}")
                continue
            known = Metric(found.name, metric.datatype or found.datatype)
        if known.name.startswith(_CONTROL) or known.datatype in _TEXTS or known.datatype == _MOMENT:
            texts[known.name] = _value(metric, known.datatype)
        else:
            numbers.append((metric, known))
    for metric, known in numbers:
        yield _reading(topic, metric, known, moment, texts)


def _reading(topic: Topic, metric: Any, known: Metric, moment: Instant | None, texts: dict[str, Any]) -> dict[str, Any]:
    last = known.name.rpartition("/")[2].strip().lower()
    found: dict[str, Any] = {
        "device_id": topic.device_id,
        "timestamp": _milliseconds(metric.timestamp) if metric.HasField("timestamp") else moment,
        "sensor_type": last if last in SENSOR_TYPES else known.name,
        "measurement_type": known.name,
        "value": None if metric.is_null else _value(metric, known.datatype),
    }
    properties = dict(zip(metric.properties.keys, metric.properties.values, strict=False))
    unit = next((properties[name].string_value for name in _UNIT if name in properties), "")
    if unit and isinstance(unit, str):
        found["unit"] = unit
    if metric.is_historical:
        texts = {**texts, "is_historical": True}
    if texts:
        found["metadata"] = texts
    return found


def _value(metric: Any, datatype: int) -> Any:
    """The metric's value by the field that is set; integers by their width."""
    if metric.HasField("boolean_value"):
        return int(metric.boolean_value) if datatype == _BOOLEAN else metric.boolean_value
    for field in ("float_value", "double_value", "string_value", "bytes_value", "dataset_value", "template_value"):
        if metric.HasField(field):
            return getattr(metric, field)
    if not metric.HasField("int_value") and not metric.HasField("long_value"):
        return None
    number = metric.int_value if metric.HasField("int_value") else metric.long_value
    if datatype == _MOMENT:
        return _milliseconds(number)
    bits = _BITS.get(datatype)
    if bits is None:
        return number
    low = number & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low


def _milliseconds(number: int) -> Instant:
    return Instant(number * 1_000) if number <= LAST // 1_000 else NO_INSTANT
