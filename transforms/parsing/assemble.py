"""From a group of records to columns of readings and rejects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import codes, constant, encode
from telebeam.transforms.parsing.nodes import Group, Path
from telebeam.transforms.parsing.shapes import Measure, Plan, mapping, plan
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.schema import DICTIONARY, TIMESTAMP, Issue, Reason

DEVICE_IN_KEY = r"(?:^|/)devices/(?P<id>[^/]+)/telemetry$"
"""Where a device id stands in a message's key or topic."""

_WHITE = " \t\r\n"  # of RFC 8259
_EMPTY_OBJECT = r"^\{[ \t\r\n]*\}$"
_EXPECTED_TIME = "expected text of RFC 3339 or an epoch within the years 1 to 9999"
UNNAMED = "unknown"
"""The sensor type of a reading that names none."""


@dataclass
class Columns:
    """Readings of one group and measure; ``row`` is each one's record."""

    row: np.ndarray
    columns: dict[str, pa.Array]
    issues: dict[Issue, np.ndarray]


@dataclass
class Refused:
    """Records that are refused for one reason."""

    row: np.ndarray
    reason: Reason
    detail: str
    device_id: pa.Array | None = None
    timestamp: pa.Array | None = None


@dataclass
class Assembly:
    """What a batch's groups gave so far."""

    readings: list[Columns] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def assemble(group: Group, keys: Callable[[np.ndarray], pa.Array], spec: ParseSpec, into: Assembly) -> None:
    """Adds a group's readings and refused records.

    Args:
        group: Records of one outline.
        keys: rows → the keys or topics that their envelopes have.
        spec: The mapping, the defaults and the zone.
        into: Is added to.
    """
    _Assembler(group, keys, spec, into).run()


class _Assembler:
    def __init__(self, group: Group, keys: Callable[[np.ndarray], pa.Array], spec: ParseSpec, into: Assembly) -> None:
        self.group, self.keys, self.spec, self.into = group, keys, spec, into
        self.plan: Plan = plan(group.outline, mapping(spec), group.form)
        self.open = np.ones(len(group.rows), bool)
        self.unmeasured = np.ones(len(group.rows), bool)
        self.device: pa.Array | None = None
        self.moment: pa.Array | None = None

    def run(self) -> None:
        self._devices()
        self._timestamps()
        if self.plan.refusal is not None:
            self._refuse(self.open, *self.plan.refusal)
            return
        columns, issues = self._shared_columns()
        for measure in self.plan.measures:
            self._measure(measure, columns, issues)
        self._refuse(self.open & self.unmeasured, Reason.MISSING_VALUE, "all fields that could be a value are null")

    def _node(self, path: Path) -> Any:
        return self.group.outline.find(path)

    def _refuse(self, mask: np.ndarray, reason: Reason, detail: str) -> None:
        """Refuses the records of a mask: they are no longer open."""
        if not mask.any():
            return
        arrow = pa.array(mask)
        self.into.refused.append(
            Refused(
                self.group.rows[mask],
                reason,
                detail,
                None if self.device is None else self.device.filter(arrow),
                None if self.moment is None else self.moment.filter(arrow),
            )
        )
        self.open = self.open & ~mask

    def _devices(self) -> None:
        rows = len(self.group.rows)
        found: pa.Array = pa.nulls(rows, DICTIONARY)
        if self.plan.device_id is not None:
            node = self._node(self.plan.device_id)
            if node.kind != "string" and not (self.group.form == "csv" and node.kind == "number"):
                self._refuse(self.open, Reason.BAD_DEVICE_ID, f"device_id is of kind {node.kind}, expected a string")
                return
            found = trim(self.group.text(node))
        if found.null_count:
            key = self.keys(self.group.rows)
            if key.null_count < rows:
                found = trim(pc.coalesce(found.cast(pa.string()), devices_in(key)))
        if found.null_count and "device_id" in self.spec.defaults:
            found = encode(pc.fill_null(found.cast(pa.string()), self.spec.defaults["device_id"]))
        if found.null_count:
            what = "no device_id in the record, nor in its key" if self.plan.device_id is None else "device_id is empty"
            self._refuse(self.open & (codes(found) < 0), Reason.MISSING_DEVICE_ID, what)
        self.device = found

    def _timestamps(self) -> None:
        if self.plan.timestamp is None:
            self._refuse(self.open, Reason.MISSING_TIMESTAMP, "no timestamp in the record, or it is null")
            return
        node = self._node(self.plan.timestamp)
        if node.kind not in ("string", "number", "timestamp"):
            self._refuse(self.open, Reason.BAD_TIMESTAMP, f"timestamp is of kind {node.kind}, {_EXPECTED_TIME}")
            return
        times = self.group.times(node, self.spec.timezone)
        if times.missing is not None:
            self._refuse(self.open & times.missing, Reason.MISSING_TIMESTAMP, "timestamp is null")
        zone = "" if self.spec.timezone else "; text without an offset needs parse.timezone"
        self._refuse(self.open & times.bad, Reason.BAD_TIMESTAMP, _EXPECTED_TIME + zone)
        self.moment = pa.array(times.microseconds).cast(TIMESTAMP)

    def _shared_columns(self) -> tuple[dict[str, pa.Array], dict[Issue, np.ndarray]]:
        rows = len(self.group.rows)
        columns: dict[str, pa.Array] = {"device_id": self.device, "timestamp": self.moment}
        for name, path in self.plan.texts:
            columns[name] = trim(self.group.text(self._node(path)))
        issues = {issue: np.ones(rows, bool) for issue in self.plan.issues}
        score = np.ones(rows)
        if self.plan.quality_score is not None:
            given, missing = self.group.doubles(self._node(self.plan.quality_score))
            fine = (given >= 0) & (given <= 1)
            if missing is not None:
                given, fine = np.where(missing, 1.0, given), fine | missing
            score = np.where(fine, given, 1.0)
            issues[Issue.BAD_QUALITY_SCORE] = ~fine
        columns["quality_score"] = pa.array(score)
        columns["metadata"] = self._metadata()
        return columns, issues

    def _metadata(self) -> pa.Array:
        """JSON text of what else the records held."""
        text = None if self.plan.metadata is None else self.group.raw(self._node(self.plan.metadata))
        if not self.plan.extras:
            return _or_null(text, len(self.group.rows))
        members = []
        if text is not None:
            inner = pc.utf8_trim(pc.utf8_slice_codeunits(decode(text).cast(pa.large_string()), 1, -1), _WHITE)
            members.append(pc.if_else(pc.equal(inner, ""), "", _join(",", inner)))
        for name, path in self.plan.extras:
            raw = decode(self.group.raw(self._node(path))).cast(pa.large_string())
            members.append(pc.fill_null(_join(f",{msgspec.json.encode(name).decode()}:", raw), ""))
        joined = pc.utf8_slice_codeunits(_join(*members), 1)
        return pc.if_else(pc.equal(joined, ""), None, _join("{", joined, "}")).cast(pa.string())

    def _measure(self, measure: Measure, columns: dict[str, pa.Array], issues: dict[Issue, np.ndarray]) -> None:
        was_open = self.open.copy()
        name = measure.name or "value"
        node = self._node(measure.path)
        missing: np.ndarray | None = None
        if measure.reason is not None:
            what = "is null" if measure.reason is Reason.MISSING_VALUE else f"is of kind {node.kind}, expected a number"
            self._refuse(self.open, measure.reason, f"{name} {what}")
        else:
            values, missing = self.group.doubles(node)
            if missing is not None and missing.any():
                if self.group.form != "json" and measure.name is not None:
                    self.open = self.open & ~missing
                else:
                    self._refuse(self.open & missing, Reason.MISSING_VALUE, f"{name} is null")
            finite = np.isfinite(values)
            if not finite.all():
                self._refuse(self.open & ~finite, Reason.BAD_VALUE, f"{name} is not a finite double")
            if self.open.any():
                self._emit(measure, {**columns, "value": pa.array(values)}, issues)
        self.unmeasured &= np.zeros(1, bool) if missing is None or measure.name is None else missing
        # A bad value costs itself only: the record's other values are as good as they were.
        self.open = was_open

    def _emit(self, measure: Measure, columns: dict[str, pa.Array], issues: dict[Issue, np.ndarray]) -> None:
        rows = len(self.group.rows)
        names = _types(measure, columns, self.spec, rows)
        own = {**columns, **names}
        own.pop("metric", None)
        flags = dict(issues)
        unnamed = codes(own["sensor_type"]) < 0
        if unnamed.any():
            flags[Issue.UNKNOWN_SENSOR_TYPE] = unnamed
            filled = pc.fill_null(own["sensor_type"].cast(pa.string()), UNNAMED)
            own["sensor_type"] = encode(filled)
            own["measurement_type"] = encode(pc.fill_null(own["measurement_type"].cast(pa.string()), UNNAMED))
        for text in ("unit", "location"):
            default = self.spec.defaults.get(text)
            own[text] = _or_default(own.get(text), default, rows)
        if not self.open.all():
            mask = pa.array(self.open)
            own = {key: column.filter(mask) for key, column in own.items()}
            flags = {issue: flag[self.open] for issue, flag in flags.items()}
        self.into.readings.append(Columns(self.group.rows[self.open], own, flags))


def devices_in(keys: pa.Array) -> pa.StringArray:
    """text[n]: the device that each key or topic names as ``devices/{id}/telemetry``, else null."""
    return pc.struct_field(pc.extract_regex(keys.cast(pa.string()), DEVICE_IN_KEY), "id")


def decode(text: pa.Array) -> pa.Array:
    """Text that may be encoded, plain."""
    return text.dictionary_decode() if pa.types.is_dictionary(text.type) else text


def _or_null(objects: pa.Array | None, rows: int) -> pa.Array:
    """JSON objects as text, null where they are empty."""
    if objects is None:
        return pa.nulls(rows, pa.string())
    if pa.types.is_dictionary(objects.type):
        return _or_null(objects.dictionary, 0).take(objects.indices)
    if not pc.all(pc.starts_with(objects, '{"')).as_py():
        objects = pc.if_else(pc.match_substring_regex(objects, _EMPTY_OBJECT), None, objects)
    return objects.cast(pa.string())


def _join(*pieces: str | pa.Array) -> pa.Array:
    """Texts and columns of large_string, one behind the other; null where one is null."""
    wide = [pa.scalar(piece, pa.large_string()) if isinstance(piece, str) else piece for piece in pieces]
    return pc.binary_join_element_wise(*wide, pa.scalar("", pa.large_string()))


def _types(measure: Measure, columns: dict[str, pa.Array], spec: ParseSpec, rows: int) -> dict[str, pa.Array]:
    """The two type columns: one stands for the other where it is absent; null where there is neither."""
    if measure.name is not None:
        same = constant(measure.name, rows)
        return {"sensor_type": same, "measurement_type": same}
    metric = columns.get("metric")
    sensor = _or_default(columns.get("sensor_type", metric), spec.defaults.get("sensor_type"), rows)
    named = _or_default(columns.get("measurement_type", metric), spec.defaults.get("measurement_type"), rows)
    return {"sensor_type": _coalesce(sensor, named), "measurement_type": _coalesce(named, sensor)}


def _coalesce(first: pa.Array, second: pa.Array) -> pa.Array:
    if not first.null_count:
        return first
    if first.null_count == len(first):
        return encode(second)
    return encode(pc.coalesce(first.cast(pa.string()), second.cast(pa.string())))


def _or_default(column: pa.Array | None, default: str | None, rows: int) -> pa.Array:
    if column is None:
        return constant(default, rows)
    if default is not None and column.null_count:
        return encode(pc.fill_null(column.cast(pa.string()), default))
    return column


def trim(text: pa.Array) -> pa.DictionaryArray:
    """Encoded text without white space around it; what is empty then is null."""
    encoded = encode(text)
    trimmed = pc.utf8_trim_whitespace(encoded.dictionary)
    if not len(trimmed) or (trimmed.equals(encoded.dictionary) and pc.min(pc.binary_length(trimmed)).as_py()):
        return encoded
    words = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    return encode(words.take(encoded.indices))
