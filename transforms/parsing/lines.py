"""InfluxDB line protocol: a column at a time where lines differ in their values only, line by line elsewhere.

A field that is a number is a reading; its measurement_type is the field's name, its sensor_type too where that is known
(:data:`~.shapes.SENSOR_TYPES`), and else the line's measurement.  A line with a field ``value`` is one
reading.  Tags are members by their names; so are fields that are strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import cut
from telebeam.transforms.parsing.columns import ColumnGroup, constant_text
from telebeam.transforms.parsing.found import NO_TIME, Found, Messages
from telebeam.transforms.parsing.nodes import Group, Node
from telebeam.transforms.parsing.numbers import buffers
from telebeam.transforms.parsing.points import Point, parse_point
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.parsing.separators import LineColumns, match_lines
from telebeam.transforms.parsing.shapes import SENSOR_TYPES
from telebeam.transforms.parsing.spec import ParseSpec

_TICKS_PER_MICROSECOND = {"ns": (1, 1_000), "us": (1, 1), "ms": (1_000, 1), "s": (1_000_000, 1)}
_FEED, _QUOTE = ord("\n"), ord('"')
_STRING = re.compile(rb'="(?:\\["\\]|[^"])*+"')
_MOST_LINES = 64
"""Lines of one string: beyond, its quote is taken for one that was never closed."""
_LARGEST = 2**63 - 1


def line_groups(messages: Messages) -> Found:
    """The points of payloads, a line each; comments and empty lines say nothing."""
    lines, owners = _lines(messages.payloads)
    empty = np.setdiff1d(np.arange(len(messages)), owners)
    records = Records(lines, owners).followed_by(Records(messages.payloads.take(pa.array(empty)), empty))
    nothing = RefusedRecord("missing_value", "no line that holds a point")
    refused = [(len(lines) + place, nothing) for place in range(len(empty))]
    groups: list[Group] = []
    unmatched = np.ones(len(lines), bool)
    for part in match_lines(lines):
        unmatched[part.rows] = False
        groups += _groups_of(part, messages, owners)
    points: dict[Any, list[tuple[int, Point]]] = {}
    for row in np.flatnonzero(unmatched).tolist():
        try:
            point = parse_point(lines[row].as_py())
        except RefusedRecord as refusal:
            refused.append((row, refusal))
        else:
            kinds = tuple((name, type(value)) for name, value in point.fields.items())
            points.setdefault((tuple(point.tags), kinds, point.time is None), []).append((row, point))
    for alike in points.values():
        groups += _groups_of(_as_columns(alike), messages, owners)
    return Found(records, groups, refused)


def _lines(payloads: pa.LargeBinaryArray) -> tuple[pa.LargeBinaryArray, npt.NDArray[np.int64]]:
    """The lines that hold something, and the payload of each."""
    data, offsets = buffers(payloads)
    low, high = int(offsets[0]), int(offsets[-1])
    if (data[low:high] == _QUOTE).any():
        return _lines_singly(payloads)
    feeds = np.flatnonzero(data[low:high] == _FEED) + low
    starts = np.sort(np.concatenate([offsets[:-1], feeds + 1]))
    ends = np.sort(np.concatenate([feeds, offsets[1:]]))
    owners = np.searchsorted(offsets, starts, side="right") - 1
    # A line feed that is a payload's last byte begins no line: its start is the next payload's, which stands there too.
    filled = ends > starts
    starts, ends, owners = starts[filled], ends[filled], owners[filled]
    lines = cut(payloads.buffers()[2], starts, ends, pa.large_binary())
    first, last = data[starts], data[ends - 1]
    if (np.isin(first, (35, 32, 9, 13)) | np.isin(last, (32, 13))).any():
        return _trimmed(lines.to_pylist(), owners.tolist())
    return lines, owners


def _trimmed(lines: list[bytes], owners: list[int]) -> tuple[pa.LargeBinaryArray, npt.NDArray[np.int64]]:
    kept = [(line, owner) for line, owner in
            ((line.removesuffix(b"\r").strip(b" \t"), owner) for line, owner in zip(lines, owners, strict=True))
            if line and not line.startswith(b"#")]  # fmt: skip
    return pa.array([line for line, _ in kept], pa.large_binary()), np.array([owner for _, owner in kept], np.int64)


def _lines_singly(payloads: pa.LargeBinaryArray) -> tuple[pa.LargeBinaryArray, npt.NDArray[np.int64]]:
    """A line feed within a string ends no line."""
    lines: list[bytes] = []
    owners: list[int] = []
    for row, payload in enumerate(payloads.to_pylist()):
        found = payload.split(b"\n") if b'"' not in payload else list(_split(payload))
        lines += found
        owners += [row] * len(found)
    return _trimmed(lines, owners)


def _split(payload: bytes) -> Iterator[bytes]:
    open_: list[bytes] = []
    for line in payload.split(b"\n"):
        if not open_ and line.lstrip(b" \t").startswith(b"#"):
            yield line
            continue
        open_.append(line)
        if b'="' not in _STRING.sub(b"", b"\n".join(open_)):
            yield b"\n".join(open_)
            open_ = []
        elif len(open_) == _MOST_LINES:
            yield from open_
            open_ = []
    # A quote that is never closed spoils its own line only.
    yield from open_


def _as_columns(alike: list[tuple[int, Point]]) -> LineColumns:
    """Points of the same tags and fields, as columns."""
    points = [point for _, point in alike]
    times = None
    if points[0].time is not None:
        times = np.array([max(-_LARGEST, min(point.time or 0, _LARGEST)) for point in points], np.int64)
    tags = {name: pa.array([point.tags[name] for point in points], pa.large_string()) for name in points[0].tags}
    fields = {name: [point.fields[name] for point in points] for name in points[0].fields}
    names = pa.array([point.measurement for point in points], pa.large_string())
    return LineColumns(np.array([row for row, _ in alike], np.int64), names, tags, fields, times)


def _groups_of(part: LineColumns, messages: Messages, owners: npt.NDArray[np.int64]) -> Iterator[ColumnGroup]:
    """Groups of lines of the same members: one, or one for each field that is a number."""
    spec = messages.spec
    times = _micros(part.times, spec.precision) if part.times is not None else messages.published[owners[part.rows]]
    numbers = {name: place for name, place in part.fields.items() if not _is_text(place)}
    texts = {name: place for name, place in part.fields.items() if _is_text(place)}
    shared = {name: Node("string", place=place) for name, place in texts.items()}
    for name, place in part.tags.items():
        shared[name if name not in part.fields else f"tag.{name}"] = Node("string", place=place)
    shared.setdefault("measurement", Node("string", place=part.names))
    known = np.ones(len(times), bool) if part.times is not None else times != NO_TIME
    for mask in (known, ~known):
        if mask.any():
            timed = {**shared, _name(spec, "timestamp"): Node("timestamp", place=times)} if mask is known else shared
            for members in _members(part, numbers, timed, spec):
                yield _group(members, part.rows, mask)


def _is_text(place: Any) -> bool:
    return isinstance(place, list) and isinstance(place[0], str)


def _name(spec: ParseSpec, ours: str) -> str:
    """What a payload calls one of our columns."""
    return spec.fields.get(ours, ours)


def _members(
    part: LineColumns, numbers: dict[str, Any], shared: dict[str, Node], spec: ParseSpec
) -> Iterator[dict[str, Node]]:
    """The members of each of the readings of a line."""
    nodes = {name: Node("number", place=place) for name, place in numbers.items()}
    sensor, measured, value = (_name(spec, ours) for ours in ("sensor_type", "measurement_type", "value"))
    if value in numbers:
        typed = {} if {sensor, measured, _name(spec, "metric")} & set(shared) else {sensor: shared["measurement"]}
        yield {**nodes, **typed, **shared}
        return
    reserved = {_name(spec, ours) for ours in ("quality_score", "timestamp", "device_id")} & set(nodes)
    common = {**{name: nodes[name] for name in reserved}, **shared}
    readings = [name for name in nodes if name not in reserved]
    if not readings:
        yield common
    for name in readings:
        own = constant_text(name, len(part.rows))
        kind = common.get(sensor, own if name in SENSOR_TYPES else Node("string", place=part.names))
        others = {key: node for key, node in common.items() if key != measured}
        yield {**others, sensor: kind, measured: own, value: nodes[name]}


def _group(members: dict[str, Node], rows: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> ColumnGroup:
    nodes = members if mask.all() else {n: Node(m.kind, place=_where(m.place, mask)) for n, m in members.items()}
    return ColumnGroup(Node("object", tuple(nodes.items())), rows[mask])


def _where(place: Any, mask: npt.NDArray[np.bool_]) -> Any:
    if isinstance(place, pa.Array):
        return place.filter(pa.array(mask))
    return (
        place[mask] if isinstance(place, np.ndarray) else [value for value, on in zip(place, mask, strict=True) if on]
    )


def _micros(times: npt.NDArray[np.int64], precision: str) -> npt.NDArray[np.int64]:
    factor, divisor = _TICKS_PER_MICROSECOND[precision]
    beyond = np.abs(times) >= _LARGEST // factor
    return np.where(beyond, NO_TIME, np.where(beyond, 0, times) * factor // divisor)
