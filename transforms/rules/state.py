"""What a book of rules remembers, as bytes: Arrow streams with a version, the rules' fingerprint and a checksum."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.transforms.errors import JobError
from telebeam.transforms.rules.lane import Lane
from telebeam.transforms.rules.life import Life
from telebeam.transforms.rules.program import Program
from telebeam.transforms.rules.spans import Frequency, Silence, Succession
from telebeam.transforms.rules.spec import RuleSpec

VERSION = b"1"
_VERSION, _RULES, _CHECKSUM, _UNTIL = (
    b"telebeam.rules.version",
    b"telebeam.rules",
    b"telebeam.checksum",
    b"telebeam.until",
)
_LIFE = [field.name for field in fields(Life)]
_HINT = "start from a state that this version wrote for these rules, or from none at an earlier time"

Arrays = dict[str, np.ndarray]
Parts = dict[str, pa.RecordBatch]


def fingerprint(rules: Sequence[RuleSpec]) -> bytes:
    """16 bytes that rules with other settings don't share."""
    described = [[rule.model_dump(mode="json"), [type(leaf).__name__ for leaf in rule.when.leaves()]] for rule in rules]
    return blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).digest()


def write_state(lanes: Sequence[Lane], rules: Sequence[RuleSpec], until: int) -> bytes:
    """The bytes of what some lanes remember."""
    parts: Parts = {}
    for place, lane in enumerate(lanes):
        parts |= {f"{place}.{name}": batch for name, batch in _parts_of(lane).items()}
    streams = [_stream(batch) for batch in parts.values()]
    metadata = {_VERSION: VERSION, _RULES: fingerprint(rules), _UNTIL: str(until).encode()}
    metadata[_CHECKSUM] = _checksum(metadata, list(parts), streams)
    schema = pa.schema([("name", pa.string()), ("data", pa.large_binary())], metadata)
    arrays = [pa.array(list(parts), pa.string()), pa.array(streams, pa.large_binary())]
    return _stream(pa.RecordBatch.from_arrays(arrays, schema=schema))


def read_state(data: bytes | pa.Buffer, lanes: Sequence[Lane], rules: Sequence[RuleSpec]) -> int:
    """Puts what was remembered into new lanes; gives until when they have seen time.

    Raises:
        JobError: The bytes are damaged, of another version, or of other rules.
    """
    try:
        batch = _batch(data)
        metadata = dict(batch.schema.metadata or {})
        names, streams = batch.column("name").to_pylist(), batch.column("data").to_pylist()
    except (pa.ArrowException, KeyError, OSError) as error:
        raise JobError(f"{len(data)} bytes that are no state of rules", _HINT) from error
    version = metadata.get(_VERSION)
    if version != VERSION:
        raise JobError(f"state of rules of version {version!r}; expected {VERSION!r}", _HINT)
    if metadata.pop(_CHECKSUM, None) != _checksum(metadata, names, streams):
        raise JobError("state of rules that is damaged: its checksum differs", _HINT)
    if metadata[_RULES] != fingerprint(rules):
        raise JobError("state of other rules than these", "a rule was changed, added or left out; " + _HINT)
    parts = {name: _batch(stream) for name, stream in zip(names, streams, strict=True)}
    for place, lane in enumerate(lanes):
        prefix = f"{place}."
        _restore(lane, {name[len(prefix) :]: part for name, part in parts.items() if name.startswith(prefix)})
    return int(metadata[_UNTIL])


def _checksum(metadata: Mapping[bytes, bytes], names: Sequence[str], streams: Sequence[bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for piece in (metadata[_VERSION], metadata.get(_RULES, b""), metadata.get(_UNTIL, b"")):
        digest.update(piece + b"\0")
    for name, stream in zip(names, streams, strict=True):
        digest.update(f"{name} {len(stream)}\0".encode())
        digest.update(stream)
    return digest.digest()


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _batch(data: bytes | pa.Buffer) -> pa.RecordBatch:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_next_batch()


def _table(columns: Mapping[str, Any]) -> pa.RecordBatch:
    arrays = [value if isinstance(value, pa.Array) else pa.array(value) for value in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _texts(names: Sequence[str], keys: Sequence[tuple[str | None, ...]]) -> dict[str, pa.Array]:
    return {name: pa.array([key[place] for key in keys], pa.string()) for place, name in enumerate(names)}


def _parts_of(lane: Lane) -> Parts:
    tracks, size = lane.tracks, len(lane.tracks)
    own = {"time": tracks.time[:size], "value": tracks.value[:size], "since": tracks.since[:size]}
    parts = {"tracks": _table({**_texts(tracks.columns, tracks.keys), **{f"#{name}": own[name] for name in own}})}
    for columns, grouping in tracks.groupings.items():
        parts[f"groups {' '.join(columns)}"] = _table(_texts(columns, grouping.keys))
    for place, program in enumerate(lane.programs):
        by_track, by_group = _arrays(program)
        if by_track:
            parts[f"{place} by track"] = _table({name: array[:size] for name, array in by_track.items()})
        parts[f"{place} by group"] = _table({name: array[: len(program.grouping)] for name, array in by_group.items()})
        parts[f"{place} lives"] = _lives(program)
        for number, leaf in enumerate(program.leaves):
            if isinstance(leaf.span, (Frequency, Succession)):
                parts[f"{place} leaf {number}"] = _table(_sparse(leaf.span))
    return parts


def _arrays(program: Program) -> tuple[Arrays, Arrays]:
    """A program's arrays by track, and by group; views, so that what is written into them is restored."""
    by_track: Arrays = {}
    by_group: Arrays = {"held": program.held, "critical": program.critical_counts}
    for number, leaf in enumerate(program.leaves):
        by_group[f"held {number}"] = leaf.held
        if leaf.level is not None:
            by_track[f"truth {number}"], by_group[f"count {number}"] = leaf.level.truth, leaf.level.counts
        if isinstance(leaf.span, Silence):
            by_group[f"last {number}"] = leaf.span.last
    for number, level in enumerate(program.criticals):
        by_track[f"critical {number}"], by_group[f"criticals {number}"] = level.truth, level.counts
    for number, known in enumerate(program.known):
        by_group[f"known {number}"], by_group[f"knows {number}"] = known.counts, known.held
    return by_track, by_group


def _sparse(span: Frequency | Succession) -> Arrays:
    found = {"group": span.group, "time": span.time}
    return {**found, "end": span.end} if isinstance(span, Succession) else found


def _lives(program: Program) -> pa.RecordBatch:
    rows = [(group, *astuple(life)) for group, life in sorted(program.lives.items())]
    types = {"holds": pa.bool_(), "critical": pa.bool_(), "severity": pa.string(), "shown": pa.list_(pa.string())}
    columns = {
        name: pa.array([row[place] for row in rows], types.get(name, pa.int64()))
        for place, name in enumerate(["group", *_LIFE])
    }
    return _table(columns)


def _restore(lane: Lane, parts: Parts) -> None:
    for columns, grouping in lane.tracks.groupings.items():
        for key in _keys(parts[f"groups {' '.join(columns)}"], columns):
            grouping.number(key)
    tracks, size = parts["tracks"], parts["tracks"].num_rows
    lane.tracks.numbers(_keys(tracks, lane.tracks.columns))
    for name in ("time", "value", "since"):
        getattr(lane.tracks, name)[:size] = tracks.column(f"#{name}").to_numpy(zero_copy_only=False)
    for place, program in enumerate(lane.programs):
        program.extend(size, len(program.grouping))
        by_track, by_group = _arrays(program)
        if by_track:
            _fill(by_track, parts[f"{place} by track"])
        _fill(by_group, parts[f"{place} by group"])
        for row in parts[f"{place} lives"].to_pylist():
            life = Life(**{**{name: row[name] for name in _LIFE}, "shown": tuple(row["shown"])})
            program.lives[row["group"]] = life
            if life.waits:
                program.waiting.add(row["group"])
        for number, leaf in enumerate(program.leaves):
            if isinstance(leaf.span, (Frequency, Succession)):
                _take_back(leaf.span, parts[f"{place} leaf {number}"])


def _keys(batch: pa.RecordBatch, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
    return list(zip(*(batch.column(name).to_pylist() for name in columns), strict=True))


def _fill(arrays: Arrays, batch: pa.RecordBatch) -> None:
    for name, array in arrays.items():
        array[: batch.num_rows] = batch.column(name).to_numpy(zero_copy_only=False)


def _take_back(span: Frequency | Succession, batch: pa.RecordBatch) -> None:
    columns = {name: batch.column(name).to_numpy(zero_copy_only=False).copy() for name in batch.schema.names}
    span.group, span.time = columns["group"], columns["time"]
    if isinstance(span, Succession):
        span.end = columns["end"]
