"""Alerts and commands as messages: what tells one from others, and its JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.alerts.spec import SEVERITIES, AlertSinkSpec, SinkSpec, TaggedSinkSpec
from telebeam.io.json_rows import json_rows
from telebeam.transforms.schema import ALERTS, COMMANDS, TEXT, TIMESTAMP, cast

DAY_SECONDS = 86_400
KEPT_DAYS = 14
"""Days of event time that the log of what was sent goes back behind the newest day in it."""


class Key(NamedTuple):
    """What is sent once: one state of one alert, one command, or one tagged reading."""

    id: str
    """``alert_id``, ``command_id`` or ``tagged_id``."""
    state: str
    """``firing`` or ``resolved``; empty for what is no alert."""
    segment: int
    """Days, or what else the kind's segments are, from 1970 to its event time: the part of the log that holds it."""


@dataclass(frozen=True)
class Kind:
    """What the rows are.

    Args:
        name: ``alerts``, ``commands`` or ``tagged``; the name of the member that holds them in a webhook's body.
        schema: The columns.
        id: The column of the id.
        attributes: The columns that a message carries outside of its JSON too, where a broker can filter by them.
        unsaid: Columns that stand outside of the JSON only.
        segment_seconds: Event time that a part of the log holds.
        kept: Parts that the log goes back behind the newest one.
    """

    name: str
    schema: pa.Schema
    id: str
    attributes: tuple[str, ...]
    unsaid: tuple[str, ...] = ()
    segment_seconds: int = DAY_SECONDS
    kept: int = KEPT_DAYS


ALERT = Kind("alerts", ALERTS, "alert_id", ("alert_id", "state", "rule", "severity"))
COMMAND = Kind("commands", COMMANDS, "command_id", ("command_id", "rule", "command"))


def wanted(spec: SinkSpec, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that a sink is to get: readings by their tag, others by their rule and, of alerts, their severity."""
    if isinstance(spec, TaggedSinkSpec):
        tags = spec.tags
        return rows if tags is None else rows.filter(pc.is_in(cast(rows.column("tag"), TEXT), pa.array(tags, TEXT)))
    mask = None
    if spec.rules is not None:
        mask = pc.is_in(cast(rows.column("rule"), TEXT), pa.array(spec.rules, TEXT))
    if isinstance(spec, AlertSinkSpec) and len(spec.severities) < len(SEVERITIES):
        severe = pc.is_in(cast(rows.column("severity"), TEXT), pa.array(spec.severities, TEXT))
        mask = severe if mask is None else pc.and_(mask, severe)
    return rows if mask is None else rows.filter(mask)


def keys_of(rows: pa.RecordBatch, kind: Kind) -> list[Key]:
    """The key of each row.

    >>> rows = pa.RecordBatch.from_pylist(
    ...     [{"alert_id": "a1", "state": "firing", "timestamp": 86_400_000_000}],
    ...     pa.schema([ALERTS.field(name) for name in ("alert_id", "state", "timestamp")]))
    >>> keys_of(rows, ALERT)
    [Key(id='a1', state='firing', segment=1)]
    """
    micros = pc.cast(pc.cast(rows.column("timestamp"), TIMESTAMP), pa.int64()).to_numpy()
    segments = (micros // (kind.segment_seconds * 1_000_000)).tolist()
    ids = texts(rows, kind.id)
    states = texts(rows, "state") if "state" in rows.schema.names else [""] * rows.num_rows
    return [Key(*parts) for parts in zip(map(str, ids), map(str, states), segments, strict=True)]


def texts(rows: pa.RecordBatch, name: str) -> list[str | None]:
    """A column of text, encoded or plain, as Python's."""
    column: list[str | None] = cast(rows.column(name), TEXT).to_pylist()
    return column


def payloads(rows: pa.RecordBatch, kind: Kind | None = None) -> list[bytes]:
    """Each row as one JSON object; times are RFC 3339, what is null, or unsaid by the kind, is left out.

    A command's ``payload`` that is JSON stands in it as it is, any other as a text.

    >>> payloads(pa.RecordBatch.from_pydict({"command": ["stop", "say"], "payload": ['{"at": 1}', "no {json"]}))
    [b'{"command":"stop","payload":{"at": 1}}', b'{"command":"say","payload":"no {json"}']
    """
    if kind is not None and kind.unsaid:
        rows = rows.drop_columns(list(kind.unsaid))
    if "payload" not in rows.schema.names:
        return json_rows(rows)
    plain = json_rows(rows.drop_columns(["payload"]))
    return [_with_payload(text, payload) for text, payload in zip(plain, texts(rows, "payload"), strict=True)]


def _with_payload(text: bytes, payload: str | None) -> bytes:
    if payload is None:
        return text
    try:
        msgspec.json.decode(payload)
        raw = payload.strip().encode()
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raw = msgspec.json.encode(payload)
    return b"%b%b%b}" % (text[:-1], b',"payload":' if len(text) > 2 else b'"payload":', raw)


def runs(rows: pa.RecordBatch, columns: tuple[str, ...], most: int) -> Iterator[tuple[int, int]]:
    """Where each run of neighbours with the same values in some columns begins and ends, cut at a length.

    >>> rows = pa.RecordBatch.from_pydict({"rule": ["a", "a", "a", "b"]})
    >>> list(runs(rows, ("rule",), 2))
    [(0, 2), (2, 3), (3, 4)]
    """
    values = list(zip(*(rows.column(name).to_pylist() for name in columns), strict=True))
    start = 0
    for place in range(1, len(values) + 1):
        if place == len(values) or place - start == most or values[place] != values[start]:
            yield start, place
            start = place
