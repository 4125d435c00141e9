"""The labels: what is wrong where, as JSON lines beside the data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telebeam.pipelines.simulation.faults import FUTURES, Episodes, detail
from telebeam.pipelines.simulation.fleet import GROUPED, SENSORS, Fleet, Ints
from telebeam.pipelines.simulation.payloads import timestamps
from telebeam.pipelines.simulation.rows import Flags, Kind, Point, Record, Rows
from telebeam.pipelines.simulation.spec import SimulationSpec


@dataclass(frozen=True)
class Label:
    """One fault."""

    device_id: str
    sensor_type: str | None
    """Null where all of a device or of a record is meant."""
    fault: str
    detail: str | None
    """In which way a record is malformed or in the future."""
    start: str
    """The first affected event time, as it is written."""
    end: str
    """The last one; the same as ``start`` where one reading or record is affected."""
    file: str | None = None
    """The file's name; null for what lasts."""
    offset: int | None = None
    """The record's number in its file, from 0; a CSV's header is none."""


@dataclass(frozen=True)
class _Keyed:
    """A label and where it stands among the others: in the order of arrival, whatever the chunks."""

    key: int
    number: int
    label: Label


class Truth:
    """The labels of one simulation, and how many there are of each fault.

    Args:
        spec: What is simulated.
        fleet: Its devices.
        malformed: The ways in which this target's records are broken.
    """

    def __init__(self, spec: SimulationSpec, fleet: Fleet, malformed: Sequence[str]) -> None:
        self._spec, self._fleet, self._malformed = spec, fleet, malformed
        self._labels: list[_Keyed] = []

    def add_rows(self, rows: Rows, file: str, offset: int) -> None:
        """Notes the faults of readings and records that stand in a file from a record's number on."""
        number = offset + np.cumsum(rows.first) - 1
        of_point = (rows.point != Point.NONE) & (rows.record != Record.DUPLICATE)
        of_record = rows.first & (rows.record != Record.NONE)
        for flags, by_record in ((of_point, False), (of_record, True)):
            if flags.any():
                self._add(rows.take(flags), file, number[flags], by_record=by_record)

    def _add(self, rows: Rows, file: str, number: Ints, *, by_record: bool) -> None:
        fault = (
            [Record(c).name.lower() for c in rows.record] if by_record else [Point(c).name.lower() for c in rows.point]
        )
        details = self._details(rows) if by_record else [None] * len(rows)
        sensors = self._sensors(rows.row, by_record=by_record)
        when = _texts(rows.timestamp_ms)
        devices = self._device_ids(self._fleet.device[rows.row])
        columns = (rows.key.tolist(), devices, sensors, fault, details, when, number.tolist())
        for key, device, sensor, name, form, at, where in zip(*columns, strict=True):
            self._labels.append(_Keyed(key, where, Label(device, sensor, name, form, at, at, file, where)))

    def add_episodes(self, episodes: Episodes) -> None:
        """Notes episodes; the readings that they affect lie from ``start`` to ``end``, both inclusive."""
        first = episodes.tick * self._fleet.rows + episodes.row
        sensors = [
            None if k == Kind.DROPOUT else s for k, s in zip(episodes.kind, self._names(episodes.row), strict=True)
        ]
        begin = self._spec.start_ms + self._fleet.phase_ms[episodes.device] + episodes.tick * self._spec.interval_ms
        end = begin + (episodes.ticks - 1) * self._spec.interval_ms
        faults = [Kind(code).name.lower() for code in episodes.kind]
        columns = (first.tolist(), self._device_ids(episodes.device), sensors, faults, _texts(begin), _texts(end))
        for key, device, sensor, fault, start, stop in zip(*columns, strict=True):
            self._labels.append(_Keyed(key, -1, Label(device, sensor, fault, None, start, stop)))

    def take(self) -> list[Label]:
        """The labels that were noted since the last call, in the order of arrival."""
        noted, self._labels = self._labels, []
        noted.sort(key=lambda keyed: (keyed.key, keyed.number, keyed.label.fault))
        return [keyed.label for keyed in noted]

    def _device_ids(self, device: Ints) -> list[str]:
        ids: list[str] = self._fleet.device_ids.take(device).to_pylist()
        return ids

    def _names(self, row: Ints) -> list[str]:
        return [SENSORS[sensor].sensor_type for sensor in self._fleet.sensor[row].tolist()]

    def _sensors(self, row: Ints, *, by_record: bool) -> list[str | None]:
        grouped: Flags = np.isin(self._fleet.shape[self._fleet.device[row]], GROUPED)
        whole = grouped if by_record else np.zeros(len(row), dtype=np.bool_)
        return [None if w else name for w, name in zip(whole.tolist(), self._names(row), strict=True)]

    def _details(self, rows: Rows) -> list[str | None]:
        seed = self._spec.seed
        broken = detail(seed, rows.position, len(self._malformed)).tolist()
        ahead = detail(seed, rows.position, len(FUTURES)).tolist()
        forms = {Record.MALFORMED: (self._malformed, broken), Record.FUTURE: (FUTURES, ahead)}
        return [
            forms[code][0][forms[code][1][i]] if code in forms else None for i, code in enumerate(rows.record.tolist())
        ]


def as_lines(labels: Sequence[Label]) -> bytes:
    """The labels as JSON lines."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    return "".join(encode(vars(label)) + "\n" for label in labels).encode()


def _texts(milliseconds: Ints) -> list[str]:
    return [text.decode() for text in np.frombuffer(timestamps(milliseconds).tobytes(), dtype="S24").tolist()]
