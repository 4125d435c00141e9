"""Stretches of time of devices that somebody has labelled: faults, failures, repairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.anomaly.lanes import Ints
from telebeam.transforms.batches import codes, distinct, encode


class Label(NamedTuple):
    """A stretch of time of a device; µs since 1970, its end not in it."""

    device_id: str
    start: int
    end: int


@dataclass(frozen=True)
class Labels:
    """Labels by device."""

    by_device: dict[str, list[tuple[int, int]]]

    @staticmethod
    def of(labels: Iterable[Label]) -> Labels:
        """Some labels in any order; those of a device may overlap."""
        found: dict[str, list[tuple[int, int]]] = {}
        for device, start, end in sorted(labels):
            spans = found.setdefault(device, [])
            if spans and start <= spans[-1][1]:
                spans[-1] = spans[-1][0], max(end, spans[-1][1])
            else:
                spans.append((start, end))
        return Labels(found)

    def __bool__(self) -> bool:
        return bool(self.by_device)

    def inside(self, rows: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """bool[n]: which readings lie within a label of their device.

        Args:
            rows: With ``device_id`` and ``timestamp``.
        """
        time = rows.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
        column = distinct(encode(rows.column("device_id")))
        device = codes(column)
        found = np.zeros(len(time), np.bool_)
        for number, name in enumerate(column.dictionary.to_pylist()):
            if name in self.by_device:
                mine = np.flatnonzero(device == number)
                found[mine] = _within(time[mine], self.by_device[name])
        return found


def _within(time: Ints, spans: list[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    starts, ends = np.array(spans, np.int64).T
    place = np.searchsorted(starts, time, side="right") - 1
    found: npt.NDArray[np.bool_] = (place >= 0) & (time < ends[place])
    return found
