"""Readings laid out for detectors: each series a lane, its readings behind each other in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import codes, distinct, encode
from telebeam.transforms.devices.limits import DEVICE_TYPE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LARGEST = 1e150
"""Detectors take a value beyond ± this for this: its square is still a double."""


class DeviceTypes(NamedTuple):
    """The device type of each reading at its time: that of a series may change."""

    place: npt.NDArray[np.int32]
    """int32[n]: as long as ``Lanes.value``: a place in ``names``, −1 for none."""
    names: Sequence[str]

    @staticmethod
    def of(readings: pa.RecordBatch) -> DeviceTypes | None:
        """What the column ``device_type`` says; None where there is none."""
        if DEVICE_TYPE not in readings.schema.names:
            return None
        column = distinct(encode(readings.column(DEVICE_TYPE)))
        return DeviceTypes(codes(column), column.dictionary.to_pylist())


@dataclass(frozen=True, eq=False)
class Lanes:
    """The readings of some series, no longer lane before a shorter one."""

    value: Floats
    """float64[n]: within ±:data:`LARGEST`, no −0.0."""
    time: Ints
    """int64[n]: µs since the epoch, ascending within a lane."""
    start: Ints
    """int64[lanes]: where each lane begins in ``value`` and ``time``."""
    count: Ints
    """int64[lanes]: how many readings each lane has, at least 1; descending."""
    group: Ints
    """int64[lanes]: the lane's tenant and sensor type, as a place in ``groups``."""
    groups: Sequence[str]
    """The names of tenants and sensor types."""
    identity: npt.NDArray[np.uint64]
    """uint64[lanes]: a checksum of the series' name, the same in every process."""
    types: DeviceTypes | None = None
    """Of the readings' devices; None where nobody told."""

    def __len__(self) -> int:
        return len(self.start)

    def steps(self) -> Iterator[tuple[int, Ints]]:
        """For k = 0, 1, …: the number m of lanes with a k-th reading, which are the first m, and where those stand."""
        longest = int(self.count[0]) if len(self) else 0
        alive = np.searchsorted(-self.count, -np.arange(1, longest + 1), side="right")
        for k, lanes in enumerate(alive.tolist()):
            yield lanes, self.start[:lanes] + k

    def blocks(self, readings: int, lanes: int) -> Iterator[slice]:
        """Slices of the lanes with about so many readings each, and at most so many lanes."""
        begin, filled = 0, 0
        ends = np.cumsum(self.count)
        while begin < len(self):
            end = int(np.searchsorted(ends, filled + readings, side="left")) + 1
            end = min(end, begin + lanes, len(self))
            yield slice(begin, end)
            begin, filled = end, int(ends[end - 1])

    def take(self, lanes: slice) -> Lanes:
        """Some of the lanes; the readings stay where they are."""
        return Lanes(
            self.value, self.time, self.start[lanes], self.count[lanes], self.group[lanes], self.groups,
            self.identity[lanes], self.types,
        )  # fmt: skip

    def places(self) -> tuple[Ints, Ints]:
        """For each reading of these lanes, lane after lane: its lane and its place in ``value``."""
        lane = np.repeat(np.arange(len(self)), self.count)
        ordinal = np.arange(len(lane)) - np.repeat(np.cumsum(self.count) - self.count, self.count)
        return lane, self.start[lane] + ordinal


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What a detector says of each reading of some lanes: arrays as long as ``Lanes.value``."""

    expected: Floats
    """NaN where nothing is expected."""
    score: Floats
    """0 … 1."""
    anomaly: Mask

    @staticmethod
    def silent(readings: int) -> Verdicts:
        """What is said while a detector warms up."""
        return Verdicts(np.full(readings, np.nan), np.zeros(readings), np.zeros(readings, np.bool_))


class Slot(NamedTuple):
    """One array of a series' history."""

    width: int
    """How many numbers a series has in it."""
    kind: type[np.float64] | type[np.int64] = np.float64
    fill: float = 0.0
    """What a new series begins with."""


History = dict[str, npt.NDArray]  # type: ignore[type-arg]
"""Name → array[width, lanes]."""


class Detector(Protocol):
    """Scores readings by the bounded history of their series.

    A detector is a pure function of the lanes' readings and the histories given; it learns from a reading after it has
    scored it.  Cutting a lane in two and passing the history on gives the same bits.
    """

    @property
    def layout(self) -> Mapping[str, Slot]:
        """The arrays of a history."""
        ...

    @property
    def crosses_series(self) -> bool:
        """Whether series learn from each other.

        Such a detector is given all readings of a call at once and itself begins series anew after a long silence.
        """
        ...

    def common(self) -> pa.RecordBatch | None:
        """What is remembered besides the series' histories."""
        ...

    def restore(self, common: pa.RecordBatch | None) -> None:
        """Takes what :meth:`common` gave.

        Raises:
            ValueError: It is nothing that this detector gave.
        """
        ...

    def score(self, lanes: Lanes, history: History) -> tuple[Verdicts, History]:
        """What is said of each reading, and the history with them learned.

        Args:
            lanes: The readings.
            history: Each lane's; may be overwritten.
        """
        ...


class PerSeries:
    """The part of a detector that is the same for all whose series are scored each by itself."""

    crosses_series = False

    def common(self) -> pa.RecordBatch | None:
        """Nothing."""
        return None

    def restore(self, common: pa.RecordBatch | None) -> None:
        """Takes nothing.

        Raises:
            ValueError: There is something.
        """
        if common is not None:
            raise ValueError("a common history for a detector that has none")


def half_life(readings: float) -> float:
    """The weight of a new value in a mean in which one weighs half after so many more."""
    return float(1.0 - 0.5 ** (1.0 / readings))


def clip(numbers: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """The numbers within bounds; NumPy's own costs seven times as much for few numbers."""
    found: Floats = np.minimum(np.maximum(numbers, low), high)
    return found


def squash(ratio: Floats) -> Floats:
    """0 … 1 of a deviation over its threshold: 0.5 at the threshold, 1 at infinity."""
    return 1.0 - 1.0 / (1.0 + ratio)


def ratio(deviation: Floats, unit: Floats) -> Floats:
    """Deviation / unit; 0 where the deviation is 0, infinite where only the unit is."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found: Floats = np.where(deviation == 0.0, 0.0, deviation / unit)
    return found
