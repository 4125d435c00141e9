"""Faults: which there are, as a pure function of seed and position, and what they do to readings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telebeam.pipelines.simulation import catalog
from telebeam.pipelines.simulation.fleet import GROUPED, SENSORS, Fleet, Floats, Ints
from telebeam.pipelines.simulation.randomness import Stream, bits, halves, uniform
from telebeam.pipelines.simulation.rows import Codes, Flags, Kind, Point, Record, runs
from telebeam.pipelines.simulation.signals import Signals
from telebeam.pipelines.simulation.spec import EPISODE_FAULTS, POINT_FAULTS, RECORD_FAULTS, SimulationSpec

_HOUR_MS = 3_600_000
# With fewer reports a slot could not hold an episode of several.
_LEAST_SLOT_TICKS = 8
_MINUTE_MS = 60_000
_YEAR_MS = 31_556_952_000
# Far enough to be in the future whenever the data is read; the second is beyond what 64 bits of nanoseconds hold.
_YEARS_AHEAD = (75, 300)
_END_OF_9999_MS = 253_402_300_799_999

FUTURES = ("75_years", "300_years", "year_9999")


@dataclass(frozen=True, eq=False)
class Episodes:
    """Some episodes: arrays with an entry each."""

    kind: Ints
    """A :class:`Kind`."""
    device: Ints
    row: Ints
    """The sensor; of a dropout the device's first one."""
    rows: Ints
    """How many sensors: one, or of a dropout all of the device."""
    tick: Ints
    """The first affected tick."""
    ticks: Ints
    """How many there are."""
    size: Floats
    """How far the value departs, in deviations of the sensor's noise, with its sign."""

    @staticmethod
    def none() -> Episodes:
        """No episode."""
        empty = np.empty(0, dtype=np.int64)
        return Episodes(empty, empty, empty, empty, empty, empty, np.empty(0))

    def take(self, flags: Flags) -> Episodes:
        """Those episodes."""
        return Episodes(*(getattr(self, name)[flags] for name in self.__dataclass_fields__))


class FaultPlan:
    """The faults of one simulation.

    Args:
        spec: What is simulated.
        fleet: Its devices.
    """

    def __init__(self, spec: SimulationSpec, fleet: Fleet) -> None:
        self._spec, self._fleet = spec, fleet
        self._slot_ticks = max(_LEAST_SLOT_TICKS, round(_HOUR_MS / spec.interval_ms))
        self._points = np.cumsum(spec.faults.rates(POINT_FAULTS))
        self._records = np.cumsum(spec.faults.rates(RECORD_FAULTS))
        self._episodes = np.cumsum(spec.faults.rates(EPISODE_FAULTS))
        sensor_type = np.array([one.sensor_type for one in SENSORS])[fleet.sensor]
        self._measured: Flags = np.array([one.kind == "measured" for one in SENSORS])[fleet.sensor]
        self._beyond = np.array([catalog.BEYOND_LIMITS.get(one.sensor_type, (np.nan, np.nan)) for one in SENSORS])
        self._limited: Flags = np.isin(sensor_type, list(catalog.BEYOND_LIMITS))
        grouped = np.isin(fleet.shape[fleet.device], GROUPED)
        at_first = np.arange(fleet.rows) == fleet.first_row[:-1][fleet.device]
        self.begins: Flags = at_first | ~grouped
        """R flags: whether a record begins with the sensor."""
        self.length: Ints = np.where(grouped, np.diff(fleet.first_row)[fleet.device], 1)
        """R counts: the readings of the record that begins with the sensor."""

    def episodes(self, tick: int, ticks: int, first_device: int, end_device: int) -> Episodes:
        """The episodes that may reach into some ticks of some devices.

        Time is cut into slots of an hour (of eight intervals, where that is more).  An episode lies within one slot,
        so that no two of one device meet.
        """
        slots = np.arange(tick // self._slot_ticks, (tick + ticks - 1) // self._slot_ticks + 1)
        if not self._episodes[-1]:
            slots = slots[:0]
        device = np.arange(first_device, end_device)
        places = slots[:, np.newaxis] * self._fleet.devices + device
        chance = uniform(bits(self._spec.seed, Stream.EPISODE, places))
        hours = self._slot_ticks * self._spec.interval_ms / _HOUR_MS
        # One hour's probability, carried to a slot of another length.
        probability = -np.expm1(hours * np.log1p(-min(self._episodes[-1], 1 - 1e-12)))
        hit = np.nonzero(chance < probability)
        kind = _choose(self._episodes, chance[hit] / probability * self._episodes[-1])
        return self._extent(kind, slots[hit[0]] * self._slot_ticks, device[hit[1]], places[hit])

    def _extent(self, kind: Ints, slot_tick: Ints, device: Ints, place: Ints) -> Episodes:
        fleet, seed = self._fleet, self._spec.seed
        when, length = halves(bits(seed, Stream.EPISODE_EXTENT, place))
        which, size = halves(bits(seed, Stream.EPISODE_SENSOR, place))
        eighth = self._slot_ticks / 8
        first = slot_tick + (when * 4 * eighth).astype(np.int64)
        ticks = np.maximum(1, ((1 + 3 * length) * eighth).astype(np.int64))
        whole = kind == Kind.DROPOUT
        row = fleet.first_row[device] + np.where(whole, 0, (which * fleet.measured[device]).astype(np.int64))
        sign = np.where(size < 0.5, -1.0, 1.0)
        share = 2 * size % 1
        low = np.where(kind == Kind.DRIFT, 10.0, 6.0)
        high = np.where(kind == Kind.DRIFT, 30.0, 15.0)
        return Episodes(
            kind=kind, device=device, row=row, rows=np.where(whole, np.diff(fleet.first_row)[device], 1),
            tick=first, ticks=np.minimum(ticks, self._spec.ticks - first), size=sign * (low + share * (high - low)),
        ).take(first < self._spec.ticks)  # fmt: skip

    def points(self, positions: Ints, row: Ints, kept: Flags) -> tuple[Ints, Codes]:
        """Where the kept readings have a point fault, and which."""
        at = _hits(self._spec.seed, Stream.POINT, positions, self._points[-1])
        code = self._code(Stream.POINT, positions[at], self._points)
        possible = np.where(code == Point.SPIKE, self._measured[row[at]], True)
        possible &= np.where(code == Point.OUT_OF_RANGE, self._limited[row[at]], True)
        possible &= kept[at]
        return at[possible], code[possible]

    def records(self, positions: Ints, first: Flags) -> tuple[Ints, Codes]:
        """Where the records that begin with ``first`` have a fault, and which."""
        at = _hits(self._spec.seed, Stream.RECORD, positions, self._records[-1])
        at = at[first[at]]
        return at, self._code(Stream.RECORD, positions[at], self._records)

    def _code(self, stream: Stream, positions: Ints, cumulative: Floats) -> Codes:
        return (1 + _choose(cumulative, uniform(bits(self._spec.seed, stream, positions)))).astype(np.uint8)

    def spoil(self, value: Floats, code: Codes, row: Ints, position: Ints, signals: Signals) -> Floats:
        """The values with their point faults, in canonical units."""
        share, side = halves(bits(self._spec.seed, Stream.DETAIL, position))
        up = side < 0.5
        size = (8 + 12 * share) * signals.noise[row]
        # Nothing measures less than its floor; there a spike can only go up.
        spike = np.where(up | (value - size < signals.floor[row]), value + size, value - size)
        beyond = self._beyond[self._fleet.sensor[row]]
        spoilt = np.where(code == Point.SPIKE, spike, np.where(up, beyond[:, 1], beyond[:, 0]))
        return np.where(code == Point.MISSING, np.nan, spoilt)

    def future_ms(self, timestamp_ms: Ints, position: Ints) -> Ints:
        """The timestamps that ``future`` records bear."""
        kind = detail(self._spec.seed, position, len(FUTURES))
        ahead = np.array([*(years * _YEAR_MS for years in _YEARS_AHEAD), 0])[kind]
        return np.where(kind == FUTURES.index("year_9999"), _END_OF_9999_MS, timestamp_ms + ahead)

    def delay_ticks(self, code: Codes, position: Ints) -> Ints:
        """How many intervals behind its place a late record stands, or a duplicate behind its original."""
        share, kind = halves(bits(self._spec.seed, Stream.DETAIL, position))
        late = np.maximum(1, np.rint((1 + 9 * share) * _MINUTE_MS / self._spec.interval_ms)).astype(np.int64)
        repeat = np.where(kind < 0.5, 0, 1 + (share * 3).astype(np.int64))
        return np.where(code == Record.LATE, late, repeat)


def apply(episodes: Episodes, values: Floats, tick: int, first_row: int, signals: Signals) -> Flags:
    """Works episodes into a block of values (ticks × sensors) and returns which readings are still there."""
    low = np.maximum(episodes.tick, tick)
    high = np.minimum(episodes.tick + episodes.ticks, tick + len(values))
    episode, when = runs(low, np.maximum(high - low, 0))
    cell, row = runs(episodes.row[episode], episodes.rows[episode])
    episode, when = episode[cell], when[cell]
    kind, at = episodes.kind[episode], (when - tick, row - first_row)
    kept = np.ones(values.shape, dtype=np.bool_)
    kept[at] = kind != Kind.DROPOUT
    share = (when - episodes.tick[episode] + 1) / episodes.ticks[episode]
    departure = episodes.size[episode] * signals.noise[row] * np.where(kind == Kind.DRIFT, share, 1.0)
    shifted = np.clip(values[at] + departure, signals.floor[row], signals.ceiling[row])
    values[at] = np.where(kind == Kind.STUCK, signals.at(episodes.tick[episode], row), shifted)
    return kept


def detail(seed: int, position: Ints, kinds: int) -> Ints:
    """Which of its forms a fault has."""
    return (uniform(bits(seed, Stream.DETAIL, position)) * kinds).astype(np.int64)


def _hits(seed: int, stream: Stream, positions: Ints, rate: float) -> Ints:
    if not rate:
        return np.empty(0, dtype=np.int64)
    # Compared as integers: this is done for every reading, and most have no fault.
    return np.flatnonzero(bits(seed, stream, positions) <= np.uint64(min(rate * 2.0**64, 2.0**64 - 2048)))


def _choose(cumulative: Floats, chance: Floats) -> Ints:
    """The family's member whose share of the probability a number falls into."""
    # A chance that was rounded up to the total belongs to the last member that has a rate.
    last = np.searchsorted(cumulative, cumulative[-1], side="left")
    chosen: Ints = np.minimum(np.searchsorted(cumulative, chance, side="right"), last)
    return chosen
