"""Readings as the bytes of text files: JSON lines in four shapes, and CSV.

A record's text is put together from five pieces a reading — head, timestamp, middle, value, tail — by one Arrow kernel;
head and timestamp are empty within a record that holds several readings.  As every record ends with a line feed, the
kernel's data buffer is the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from telebeam.pipelines.simulation import catalog
from telebeam.pipelines.simulation.faults import detail
from telebeam.pipelines.simulation.fleet import GROUPED, SENSORS, SHAPES, Fleet, Ints
from telebeam.pipelines.simulation.rows import Record, Rows

CSV_HEADER = b"device_id,timestamp,sensor_type,measurement_type,value,unit,location,metadata\n"

_SECONDS_OF_DAY = 86_400
_TIMESTAMP = np.dtype([("date", "S10"), ("t", "S1"), ("time", "S8"), ("dot", "S1"), ("ms", "S3"), ("z", "S1")])
_TIMES = np.array([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(_SECONDS_OF_DAY)], dtype="S8")
_MILLISECONDS = np.array([f"{ms:03d}" for ms in range(1000)], dtype="S3")

_FIRST_NUMBER = re.compile(rb'(":)-?\d[^,}]*')


def timestamps(milliseconds: Ints) -> NDArray[np.void]:
    """The instants as RFC 3339 texts of 24 characters.

    >>> timestamps(np.array([1767225600123])).tobytes()
    b'2026-01-01T00:00:00.123Z'
    """
    seconds, ms = np.divmod(milliseconds, 1000)
    days, second = np.divmod(seconds, _SECONDS_OF_DAY)
    begins = np.flatnonzero(np.diff(days, prepend=days[:1] - 1))
    dates = days[begins].astype("datetime64[D]").astype("S10")
    texts = np.empty(len(milliseconds), dtype=_TIMESTAMP)
    texts["date"] = np.repeat(dates, np.diff(begins, append=len(days)))
    texts["t"], texts["dot"], texts["z"] = b"T", b".", b"Z"
    texts["time"] = _TIMES[second]
    texts["ms"] = _MILLISECONDS[ms]
    return texts


Breaker = Callable[[bytes], bytes]


def _break_number(text: bytes) -> Breaker:
    return lambda line: _FIRST_NUMBER.sub(rb"\1" + text, line, count=1)


def _break_field(text: bytes) -> Breaker:
    def broken(line: bytes) -> bytes:
        fields = line.split(b",", 5)
        return b",".join([*fields[:4], text, *fields[5:]])

    return broken


MALFORMED_JSON: dict[str, Breaker] = {
    "truncated": lambda line: line[: len(line) * 3 // 5],
    "bad_utf8": lambda line: line.replace(b'":"', b'":"\xff', 1),
    "nan": _break_number(b"NaN"),
    "trailing_comma": lambda line: line[:-1] + b",}",
    "empty": lambda line: b"{}",
    "wrong_type": lambda line: b'"offline"',
    "control_character": lambda line: line.replace(b'":"', b'":"\x01', 1),
}
"""How a line of JSON is broken; each way makes exactly one refused record of it, and never a line more or less."""

MALFORMED_CSV: dict[str, Breaker] = {
    "truncated": lambda line: line[: line.index(b",", line.index(b",") + 1)],
    "nan": _break_field(b"NaN"),
    "not_a_number": _break_field(b"n/a"),
}
"""How a row of CSV is broken: cut off behind its timestamp, or without a number."""


@dataclass(frozen=True)
class _Texts:
    """A piece of text for each sensor of the fleet, of which many share one."""

    distinct: pa.Array
    code: Ints

    def of(self, row: Ints) -> pa.Array:
        return self.distinct.take(pa.array(self.code[row]))


class Payloads:
    """The text of one fleet's records.

    Args:
        fleet: The devices.
        csv: Whether the text is CSV; JSON in the devices' shapes otherwise.
    """

    def __init__(self, fleet: Fleet, *, csv: bool = False) -> None:
        self._fleet = fleet
        self._breakers = MALFORMED_CSV if csv else MALFORMED_JSON
        self._null = "" if csv else "null"
        shape = np.full(fleet.rows, len(SHAPES)) if csv else fleet.shape[fleet.device]
        grouped = np.isin(shape, GROUPED)
        number = np.arange(fleet.rows)
        first = ~grouped | (number == fleet.first_row[:-1][fleet.device])
        last = ~grouped | (number == fleet.first_row[1:][fleet.device] - 1)
        self._head = _heads(fleet, first, csv=csv)
        self._middle = _middles(fleet, shape, first)
        self._tail = _tails(fleet, shape, last)

    @property
    def kinds(self) -> Sequence[str]:
        """The ways in which a record can be malformed, in the order of their numbers."""
        return tuple(self._breakers)

    def lines(self, rows: Rows) -> pa.LargeBinaryArray:
        """One entry a record, with its line feed; a record's readings are not cut apart."""
        value = pc.fill_null(pc.cast(pa.array(rows.value, from_pandas=True), pa.string()), self._null)
        text = pc.binary_join_element_wise(
            self._head.of(rows.row), _times(rows), self._middle.of(rows.row), value, self._tail.of(rows.row), ""
        )
        offsets = np.frombuffer(text.buffers()[1], dtype=np.int32)[text.offset : text.offset + len(text) + 1]
        edges = np.append(offsets[:-1][rows.first], offsets[-1:]).astype(np.int64)
        buffers = [None, pa.py_buffer(edges), text.buffers()[2]]
        lines = pa.Array.from_buffers(pa.large_binary(), len(edges) - 1, buffers)
        return self._broken(lines, rows)

    def _broken(self, lines: pa.Array, rows: Rows) -> pa.Array:
        begins = np.flatnonzero(rows.first)
        broken = rows.record[begins] == Record.MALFORMED
        if not broken.any():
            return lines
        kind = detail(self._fleet.seed, rows.position[begins[broken]], len(self._breakers))
        breakers = [self._breakers[name] for name in self.kinds]
        whole = lines.filter(pa.array(broken)).to_pylist()
        texts = [breakers[k](line[:-1]) + b"\n" for k, line in zip(kind.tolist(), whole, strict=True)]
        return pc.replace_with_mask(lines, pa.array(broken), pa.array(texts, pa.large_binary()))


def _times(rows: Rows) -> pa.Array:
    texts = timestamps(rows.timestamp_ms[rows.first])
    ends = np.cumsum(rows.first, dtype=np.int32) * np.int32(_TIMESTAMP.itemsize)
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), ends])
    return pa.Array.from_buffers(pa.string(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(texts)])


def _heads(fleet: Fleet, first: NDArray[np.bool_], *, csv: bool) -> _Texts:
    before, after = ("", ",") if csv else ('{"device_id":"', '","timestamp":"')
    heads = pc.binary_join_element_wise(before, fleet.device_ids, after, "")
    code = np.where(first, fleet.device, fleet.devices)
    return _Texts(pa.concat_arrays([heads, pa.array([""])]), code)


def _middles(fleet: Fleet, shape: Ints, first: NDArray[np.bool_]) -> _Texts:
    begin = ('","sensor_type":"{0}","measurement_type":"{0}","value":', '","metric":"{0}","value":',
             '","data":{{"{0}":', '","{0}":', ",{0},{0},")  # fmt: skip
    templates = (*begin, ',"{0}":')
    form = np.where(first, shape, len(begin))
    texts = [template.format(sensor.sensor_type) for template in templates for sensor in SENSORS]
    return _encoded(texts, form * len(SENSORS) + fleet.sensor)


def _tails(fleet: Fleet, shape: Ints, last: NDArray[np.bool_]) -> _Texts:
    """What follows a value; of the many thinkable combinations only those are made that the fleet has."""
    form = np.where(last, shape, len(SHAPES) + 1)
    sizes = (len(SHAPES) + 2, len(catalog.UNITS), len(fleet.locations), len(fleet.metadata))
    used = (form, fleet.unit, fleet.location[fleet.device], fleet.meta[fleet.device])
    distinct, code = np.unique(np.ravel_multi_index(used, sizes), return_inverse=True)
    locations, metadata = fleet.locations.to_pylist(), fleet.metadata.to_pylist()
    units = [unit.name for unit in catalog.UNITS]
    parts = (index.tolist() for index in np.unravel_index(distinct, sizes))
    texts = [_tail(f, units[u], locations[place], metadata[m]) for f, u, place, m in zip(*parts, strict=True)]
    return _Texts(pa.array(texts, pa.string()), code)


def _tail(form: int, unit: str, location: str, metadata: str) -> str:
    placed = json.dumps({**json.loads(metadata), "location": location}, separators=(",", ":"))
    quoted = metadata.replace('"', '""')
    return (
        f',"unit":"{unit}","location":"{location}","quality_score":1.0,"metadata":{metadata}}}\n',
        f',"unit":"{unit}","metadata":{placed}}}\n',
        f'}},"metadata":{placed}}}\n',
        "}\n",
        f',{unit},{location},"{quoted}"\n',
        "",
    )[form]


def _encoded(texts: list[str], code: Ints) -> _Texts:
    return _Texts(pa.array(texts, pa.string()), code)
