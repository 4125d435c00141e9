"""The simulation itself: chunk by chunk, in the order of arrival.

A chunk is a range of positions: several whole ticks, or some devices of one tick where a tick is larger.  Nothing
depends on where chunks end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from telebeam.pipelines.simulation import catalog, faults
from telebeam.pipelines.simulation.fleet import Fleet, Floats, Ints
from telebeam.pipelines.simulation.rows import Flags, Record, Rows, runs
from telebeam.pipelines.simulation.signals import Signals
from telebeam.pipelines.simulation.spec import SimulationSpec

CHUNK_ROWS = 131_072
"""Small enough for the caches of a core, large enough that Python's share of the time is below a percent."""
TEXT_CHUNK_ROWS = 32_768
"""As text a reading is thirty times as large; the buffers of larger chunks were measured to cost a quarter more."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a simulation yields: readings in the order of arrival, and the episodes that begin among them."""

    rows: Rows
    episodes: faults.Episodes


@dataclass(frozen=True)
class _Block:
    """Some ticks of some devices: a range of positions."""

    tick: int
    ticks: int
    first_device: int
    end_device: int


def generate(spec: SimulationSpec, fleet: Fleet, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """All chunks of a simulation; memory does not grow with its duration.

    Args:
        spec: What is simulated.
        fleet: Its devices, from :func:`~telebeam.pipelines.simulation.fleet.build_fleet`.
        chunk_rows: About how many readings a chunk has.  The readings are the same for any number.
    """
    simulation = Simulation(spec, fleet)
    arrivals = _Arrivals()
    for block in _blocks(spec, fleet, chunk_rows):
        rows, episodes = simulation.block(block.tick, block.ticks, block.first_device, block.end_device)
        present, moved = simulation.disorder(rows)
        end = block.tick * fleet.rows + int(fleet.first_row[block.end_device]) + (block.ticks - 1) * fleet.rows
        yield Chunk(arrivals.merge(present, moved, end), episodes)
    rest = arrivals.rest()
    if rest is not None:
        yield Chunk(rest, faults.Episodes.none())


class Simulation:
    """The readings of a fleet with their faults, by range of positions.

    Args:
        spec: What is simulated.
        fleet: Its devices.
    """

    def __init__(self, spec: SimulationSpec, fleet: Fleet) -> None:
        self._spec, self._fleet = spec, fleet
        self._signals = Signals(fleet, spec.start_ms, spec.interval_ms)
        self._plan = faults.FaultPlan(spec, fleet)
        self._converts = bool((fleet.unit >= len(catalog.SENSOR_TYPES)).any())
        self._scale = np.array([unit.scale for unit in catalog.UNITS])[fleet.unit]
        self._offset = np.array([unit.offset for unit in catalog.UNITS])[fleet.unit]
        self._power = np.array([10.0**unit.digits for unit in catalog.UNITS])[fleet.unit]
        self._phase_ms = fleet.phase_ms[fleet.device]

    def block(self, tick: int, ticks: int, first_device: int, end_device: int) -> tuple[Rows, faults.Episodes]:
        """The readings of some ticks of some devices in the order of time, and the episodes that begin there."""
        low, high = int(self._fleet.first_row[first_device]), int(self._fleet.first_row[end_device])
        values = self._signals.block(tick, ticks, low, high)
        episodes = self._plan.episodes(tick, ticks, first_device, end_device)
        kept = faults.apply(episodes, values, tick, low, self._signals).ravel()
        row = np.tile(np.arange(low, high), ticks)
        when = np.arange(tick, tick + ticks)[:, np.newaxis]
        position = (when * self._fleet.rows + np.arange(low, high)).ravel()
        timestamp = (when * self._spec.interval_ms + (self._phase_ms[low:high] + self._spec.start_ms)).ravel()
        first = self._plan.begins[row]
        rows = self._spoilt(values.ravel(), row, position, timestamp, first, kept)
        begin = (episodes.tick >= tick) & (episodes.tick < tick + ticks)
        return rows, episodes.take(begin)

    def _spoilt(self, value: Floats, row: Ints, position: Ints, timestamp: Ints, first: Flags, kept: Flags) -> Rows:
        point, record = np.zeros(len(value), dtype=np.uint8), np.zeros(len(value), dtype=np.uint8)
        where, code = self._plan.records(position, first)
        owner, member = runs(where, self._plan.length[row[where]])
        record[member] = code[owner]
        # In a record that is refused as a whole no other fault could be seen.
        seen = kept & (record != Record.MALFORMED) & (record != Record.FUTURE)
        at, code = self._plan.points(position, row, seen)
        value[at] = self._plan.spoil(value[at], code, row[at], position[at], self._signals)
        point[at] = code
        ahead = np.flatnonzero(record == Record.FUTURE)
        # All readings of a record share its timestamp, so its first position decides.
        timestamp[ahead] = self._plan.future_ms(timestamp[ahead], self._record_position(position, row, ahead))
        rows = Rows(position, position, row, timestamp, self._written(value, row), point, record, first)
        return rows if kept.all() else rows.take(kept)

    def _record_position(self, position: Ints, row: Ints, at: Ints) -> Ints:
        first_of_device = self._fleet.first_row[self._fleet.device[row[at]]]
        alone = self._plan.begins[row[at]] & (self._plan.length[row[at]] == 1)
        return np.where(alone, position[at], position[at] - row[at] + first_of_device)

    def _written(self, value: Floats, row: Ints) -> Floats:
        if self._converts:
            value = value * self._scale[row] + self._offset[row]
        power = self._power[row]
        # Adding 0 turns -0, which texts would show, into 0.
        rounded: Floats = np.rint(value * power) / power + 0.0
        return rounded

    def disorder(self, rows: Rows) -> tuple[Rows, Rows]:
        """The readings that stand in their place, and those that arrive later, with the key of their arrival.

        A duplicate's original stays in its place, and bears no fault.
        """
        out = np.flatnonzero((rows.record == Record.LATE) | (rows.record == Record.DUPLICATE))
        if not len(out):
            return rows, rows.take(slice(0, 0))
        moved = rows.take(out)
        begin = self._record_position(rows.position, rows.row, out)
        end = begin + self._plan.length[begin % self._fleet.rows]
        delay = self._plan.delay_ticks(moved.record, begin)
        moved = _with(moved, key=end + delay * self._fleet.rows)
        record = np.where(rows.record == Record.DUPLICATE, Record.NONE, rows.record).astype(np.uint8)
        stays = rows.record != Record.LATE
        return _with(rows, record=record).take(stays), moved


class _Arrivals:
    """Puts what was held up where it arrives; holds at most what arrives after the current chunk."""

    def __init__(self) -> None:
        self._waiting: list[Rows] = []

    def merge(self, present: Rows, moved: Rows, end: int) -> Rows:
        """What arrives before the position ``end``, in the order of arrival."""
        if len(moved):
            self._waiting.append(moved)
        if not self._waiting:
            return present
        waiting = _by_arrival(self._waiting)
        due = int(np.searchsorted(waiting.key, end, side="right"))
        self._waiting = [waiting.take(slice(due, None))] if due < len(waiting) else []
        waiting = waiting.take(slice(0, due))
        place = np.searchsorted(present.position, waiting.key, side="left")
        order = np.insert(np.arange(len(present)), place, len(present) + np.arange(due))
        return Rows.concat([present, waiting]).take(order)

    def rest(self) -> Rows | None:
        """What arrives after the last tick."""
        return _by_arrival(self._waiting) if self._waiting else None


def _by_arrival(parts: list[Rows]) -> Rows:
    rows = Rows.concat(parts)
    return rows.take(np.lexsort((rows.position, rows.key)))


def _with(rows: Rows, **columns: object) -> Rows:
    return Rows(**{**rows.__dict__, **columns})


def _blocks(spec: SimulationSpec, fleet: Fleet, chunk_rows: int) -> Iterator[_Block]:
    if fleet.rows <= chunk_rows:
        step = chunk_rows // fleet.rows
        for tick in range(0, spec.ticks, step):
            yield _Block(tick, min(step, spec.ticks - tick), 0, fleet.devices)
        return
    cuts = np.unique(np.searchsorted(fleet.first_row, np.arange(0, fleet.rows, chunk_rows), side="left"))
    edges = [*(int(cut) for cut in cuts), fleet.devices]
    for tick in range(spec.ticks):
        for low, high in pairwise(edges):
            if low < high:
                yield _Block(tick, 1, low, high)
