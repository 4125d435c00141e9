"""``telebeam explain-record``: what a job would make of one record, step by step.  Nothing is written or sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.dashboards.record import visible
from telebeam.io.influxdb.lines import reading_lines
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.lake.layout import HOUR, partition
from telebeam.io.storage import shown
from telebeam.pipelines.advice import ADVICE
from telebeam.pipelines.sources import checks_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.aggregation.sessions import Sessions
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.checking import NUMBER, Checks, Step
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.parsing.formats import Decision, decide, read_records
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.rejects import ORIGIN
from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.spec import immediate
from telebeam.transforms.schema import ENVELOPES, READINGS, READINGS_IN_FLIGHT, TEXT, TIMESTAMP, Reason, conform

_TEXT_BYTES, _HEX_BYTES = 160, 48
"""How much of a payload is shown."""
_WORDS_SHARE = 0.9
"""A payload is shown as text if so much of it is printable."""
_LEFT_OUT = {*ORIGIN, NUMBER, "payload", "is_late"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A record as a source would deliver it.

    Args:
        payload: Its bytes; of more than ``parse.max_payload_bytes`` the first ones, at least one more than that.
        at: The clock, µs since 1970.
        name: What it came from.
        key: Its key or topic.
        content_type: Its content type.
        published_at: When the broker took it, µs since 1970; None where that is not known.
        header: The metadata of envelopes of a CSV file.
        size: How many bytes there are; None where only the beginning was read.
    """

    payload: bytes
    at: int
    name: str = "record"
    key: str | None = None
    content_type: str | None = None
    published_at: int | None = None
    header: dict[bytes, bytes] = field(default_factory=dict)
    size: int | None = None

    def envelopes(self) -> pa.RecordBatch:
        """``ENVELOPES`` of the one record, with what else is known of its message."""
        said = [("content_type", self.content_type, TEXT), ("published_at", self.published_at, TIMESTAMP)]
        given = [(name, value, kind) for name, value, kind in said if value is not None]
        row = [self.payload, self.key, self.name, 0, 0, *(value for _, value, _ in given)]
        schema = pa.schema([*ENVELOPES, *(pa.field(name, kind) for name, _, kind in given)], self.header)
        arrays = [pa.array([value], column.type) for value, column in zip(row, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def explain_record(spec: PipelineSpec, record: Record) -> dict[str, Any]:
    """What every step makes of a record, and where its readings would go: as ``--json`` has it, times as text.

    Args:
        spec: The configuration; its lake and its other sinks are not opened, its devices' files are.
        record: The record.

    Raises:
        ConfigurationError: A file of devices or of schemas can't be used, or the configuration reads tables only.
        SourceError: The record's schema stands in a registry that is away.
    """
    if spec.parse.format == "columns":
        raise ConfigurationError(
            "parse.format: columns is of tables, whose rows are no payloads",
            "a row as JSON, as rejects hold it, is explained with --set parse.format=json",
        )
    checks = checks_of(spec)
    batch = record.envelopes()
    decision, records = _decided(checks, batch)
    steps = list(checks.steps(batch, record.at, numbered=True))
    kept = steps[-1].readings
    readings = _readings(steps)
    _add_targets(readings, kept, spec)
    return {
        "pipeline": spec.pipeline, "bytes": record.size, "looks": looks(record.payload), "key": record.key,
        "content_type": record.content_type, "at": instant(record.at), "format": decision.format,
        "said_by": decision.by, "compression": decision.compression,
        "unpacked": None if decision.compression is None else looks(decision.content), "records": records,
        "steps": [
            {"step": step.name, "readings": step.readings.num_rows, "rejects": step.rejects.num_rows} for step in steps
        ],
        "readings": list(readings.values()),
        "rejects": [reject for step in steps for reject in _rejects(step, record.at, spec)],
        "rules": _rules(kept, spec, checks.fleet_of),
    }  # fmt: skip


def looks(payload: bytes) -> str:
    r"""The first bytes as a terminal may have them: as text where they are one, else as hexadecimal digits.

    >>> looks(b'{"value": 1}')
    '{"value": 1}'
    >>> print(looks(b'{"name": "\x1b[31mred"}'))
    {"name": "\x1b[31mred"}
    >>> looks(bytes([0xA1, 0x61, 0x76, 0x01]))
    'a1 61 76 01'
    """
    head, is_cut = payload[:_TEXT_BYTES], len(payload) > _TEXT_BYTES
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        within = is_cut and error.reason == "unexpected end of data"
        text = head[: error.start].decode("utf-8") if within else ""
    printable = sum(character.isprintable() or character in "\r\n\t" for character in text)
    if text and printable >= _WORDS_SHARE * len(text):
        return visible(text) + " …" * is_cut
    return payload[:_HEX_BYTES].hex(" ") + " …" * (len(payload) > _HEX_BYTES)


def instant(micros: int | None) -> str | None:
    """A time, µs since 1970, as text; of any year.

    >>> instant(1_767_225_600_500_000)
    '2026-01-01T00:00:00.5Z'
    """
    if micros is None:
        return None
    seconds, _, fraction = str(np.datetime64(micros, "us")).partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def _decided(checks: Checks, batch: pa.RecordBatch) -> tuple[Decision, int]:
    """What is decided of the message, and how many records it holds."""
    fleet = None if checks.fleet_of is None else checks.fleet_of()
    decision = decide(batch, checks.parse, Known(checks.schema_of), fleet)
    found = read_records(batch, checks.parse, Known(checks.schema_of), fleet)
    return decision, sum(len(part.records) for part in found)


def _readings(steps: list[Step]) -> dict[int, Row]:
    """For each reading that was parsed, by number: what it was, and what each step behind changed."""
    before = _rows(steps[0].readings)
    payloads = steps[0].readings.column("payload")
    owners = payloads.indices.to_pylist()
    several = len(set(owners)) > 1
    found: dict[int, Row] = {}
    for (number, row), owner in zip(before.items(), owners, strict=True):
        found[number] = {"number": number, "parsed": row, "changes": []}
        if several:
            found[number]["record"] = looks(_bytes(payloads.dictionary[owner]))
    for step in steps[1:]:
        after = _rows(step.readings)
        for number, row in after.items():
            changed = {name: [before[number].get(name), value] for name, value in row.items()
                       if value != before[number].get(name)}  # fmt: skip
            found[number]["changes"].append({"step": step.name, "columns": changed})
        before = after
    return found


def _bytes(record: pa.Scalar) -> bytes:
    value = record.as_py() if not isinstance(record, pa.StructScalar) else str(record)
    return value if isinstance(value, bytes) else str(value).encode()


def _rows(batch: pa.RecordBatch) -> dict[int, Row]:
    """The readings' columns as plain values, by number; times as text."""
    names = [name for name in batch.schema.names if name not in _LEFT_OUT]
    columns = {name: _values(batch.column(name)) for name in names}
    numbers = batch.column(NUMBER).to_pylist()
    return {number: {name: columns[name][place] for name in names} for place, number in enumerate(numbers)}


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return [instant(micros) for micros in column.cast(pa.int64()).to_pylist()]
    values: list[Any] = column.to_pylist()
    # A value that is not finite is no JSON, and NaN is not even equal to itself.
    return [str(value) if isinstance(value, float) and not np.isfinite(value) else value for value in values]


def _rejects(step: Step, at: int, spec: PipelineSpec) -> Iterator[Row]:
    names = {"reason", "detail", "payload", NUMBER} & {*step.rejects.schema.names}
    for row in step.rejects.select(sorted(names)).to_pylist():
        yield {
            "step": step.name, "reading": row.get(NUMBER), "reason": row["reason"], "detail": row["detail"],
            "record": looks(row["payload"]), "advice": ADVICE[Reason(row["reason"])],
            "lake": _folder(spec, "rejects", at),
        }  # fmt: skip


def _folder(spec: PipelineSpec, dataset: str, micros: int) -> str | None:
    """Where the lake keeps a dataset's rows of a time."""
    lake = spec.sinks.lake
    return None if lake is None else f"{shown(lake.path).rstrip('/')}/{partition(dataset, micros // HOUR)}"


def _add_targets(readings: dict[int, Row], kept: pa.RecordBatch, spec: PipelineSpec) -> None:
    """Says of each reading that was kept where it would go."""
    numbers = kept.column(NUMBER).to_pylist()
    lines = _influx(kept, spec.sinks.influxdb)
    for place, number in enumerate(numbers):
        micros = kept.column("timestamp")[place].value
        readings[number]["lake"] = _folder(spec, "readings", micros)
        readings[number]["windows"] = [_window(window, micros) for window in spec.all_windows]
        readings[number]["influxdb"] = lines.get(place)
    for reading in readings.values():
        reading["kept"] = "windows" in reading


def _window(window: WindowSpec, micros: int) -> Row:
    """Which windows a reading is in: from where the first one starts to where the last one ends."""
    found: Row = {"windows": window.words, "first": None, "end": None, "count": None}
    if window.last is not None:
        return found
    windowing = window.windowing
    if isinstance(windowing, Sessions):
        return {**found, "first": instant(micros), "count": 1}
    begin, end = windowing.starts_touched(micros, micros + 1)
    starts = windowing.starts(begin, end)
    ends = windowing.ends(starts)
    return {**found, "first": instant(int(starts[0])), "end": instant(int(ends[-1])), "count": len(starts)}


def _influx(kept: pa.RecordBatch, spec: InfluxSpec | None) -> dict[int, Row]:
    """By place: the line of each reading, or why it can't have one."""
    if spec is None or "readings" not in spec.write:
        return {}
    lines, refused = reading_lines(conform(kept, READINGS), spec)
    texts = lines.text.cast(pa.large_string()).to_pylist()
    found: dict[int, Row] = {
        row: {"line": text.rstrip("\n"), "refused": None} for row, text in zip(lines.rows.tolist(), texts, strict=True)
    }
    for row, detail in zip(refused.rows.tolist(), refused.details.to_pylist(), strict=True):
        found[row] = {"line": None, "refused": f"{Reason.UNREPRESENTABLE.value}: {detail}"}
    return found


def _rules(kept: pa.RecordBatch, spec: PipelineSpec, fleet: FleetOf | None) -> Row:
    """What the rules that need no past say of the readings, and which ones do need one."""
    at_once = immediate(spec.rules)
    names = {rule.name for rule in at_once}
    past = [rule.name for rule in spec.rules if rule.name not in names]
    if not at_once or not kept.num_rows:
        return {"tried": [rule.name for rule in at_once] if kept.num_rows else [], "alerts": [], "past": past}
    look = OrderSpec(spec.pipeline, (), at_once, fleet_of=fleet).look()
    found = RuleBook(at_once).immediate(look.with_group(conform(kept, READINGS_IN_FLIGHT)))
    columns = ["rule", "severity", "state", "device_id", "message", "value"]
    return {"tried": [rule.name for rule in at_once], "alerts": found.alerts.select(columns).to_pylist(), "past": past}
