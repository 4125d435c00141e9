"""Scores of readings, in the order of event time.

A :class:`Scorer` is given time in ascending pieces.  How time is cut into pieces, and whether the past was written down
and restored between them, does not show in a bit of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.anomaly import past
from telebeam.transforms.anomaly.detectors import Member, members
from telebeam.transforms.anomaly.lanes import LARGEST, DeviceTypes, Ints, Lanes, Mask, Verdicts
from telebeam.transforms.anomaly.ordering import Ordered, in_order
from telebeam.transforms.anomaly.series import SeriesTable
from telebeam.transforms.anomaly.spec import DetectorSpec
from telebeam.transforms.batches import codes, constant, distinct, encode
from telebeam.transforms.errors import JobError
from telebeam.transforms.schema import READINGS_IN_FLIGHT, SCORES_IN_FLIGHT, SERIES, conform

__all__ = ["Scorer"]

_EMPTY = SCORES_IN_FLIGHT.empty_table().combine_chunks()
_OF_READING = (*SERIES, "timestamp", "value", "source", "source_partition", "source_offset")
_READING = pa.schema([READINGS_IN_FLIGHT.field(name) for name in _OF_READING])


class Scorer:
    """Detectors with what they remember of each series.

    Args:
        specs: The detectors; no two of one name.

    Raises:
        ConfigurationError: Two detectors have one name, or scikit-learn is missing for one that needs it.
    """

    def __init__(self, specs: Sequence[DetectorSpec]) -> None:
        self._specs = tuple(specs)
        self._members = members(self._specs)
        self._series = SeriesTable()
        self._latest: int | None = None

    def score(self, readings: pa.RecordBatch) -> pa.RecordBatch:
        """``SCORES_IN_FLIGHT`` of some readings: one row for each reading and detector that looks at its sensor type.

        Rows are in the order of series, time, origin and detector.  A reading is scored by those before it in the order
        of timestamp, source, source_partition, source_offset and value, and learned after that.

        Args:
            readings: Columns of ``READINGS``, in any order of rows, none earlier than one of a call before.  Trained
                models by device type need ``device_type`` besides, of each device at its reading's time.

        Raises:
            JobError: A reading is earlier than those of a call before.
        """
        if not readings.num_rows or not self._members:
            return pa.RecordBatch.from_arrays([column.combine_chunks() for column in _EMPTY], schema=SCORES_IN_FLIGHT)
        ordered = in_order(readings)
        self._advance(ordered.time)
        rows = self._series.rows(ordered.batch, ordered.start)
        types = DeviceTypes.of(ordered.batch)
        found = [self._judge(member, ordered, rows, types) for member in self._members]
        self._series.last[rows] = ordered.time[np.append(ordered.start[1:], len(ordered.time)) - 1]
        return _scores(ordered.batch, found, self._members)

    def expire(self, before: int) -> int:
        """Forgets series without a reading since some time, and says how many.

        Only series that every detector would begin anew if they returned now are forgotten, so that it never shows in
        a score when, or whether, this is called.

        Args:
            before: µs since the epoch.
        """
        if self._latest is None or not self._members:
            return 0
        patience = max(member.expire_after for member in self._members)
        gone = self._series.last < min(before, self._latest - patience)
        if gone.any():
            kept = np.flatnonzero(~gone)
            keys = self._series.keys().take(pa.array(kept))
            self._series = SeriesTable.of(keys, self._series.last[kept])
            for member in self._members:
                member.store.keep(kept)
        return int(gone.sum())

    def history(self) -> pa.Buffer:
        """All that is remembered, as Arrow IPC; :meth:`restored` goes on from it with the same bits."""
        return past.write(self._specs, self._series, self._members, self._latest)

    @classmethod
    def restored(cls, specs: Sequence[DetectorSpec], buffer: pa.Buffer) -> Scorer:
        """The scorer whose :meth:`history` a buffer is.

        Args:
            specs: The same as those of the scorer that wrote it.
            buffer: What was written.

        Raises:
            JobError: The buffer is damaged, of another version, or of other detectors.
        """
        scorer = cls(specs)
        scorer._series, scorer._latest = past.read(buffer, scorer._specs, scorer._members)
        return scorer

    @property
    def series(self) -> int:
        """How many series are remembered."""
        return len(self._series)

    @property
    def state_bytes(self) -> int:
        """Bytes of the histories' arrays, without the names of the series."""
        return sum(member.store.nbytes for member in self._members)

    def _advance(self, time: Ints) -> None:
        first, last = int(time.min()), int(time.max())
        if self._latest is not None and first < self._latest:
            raise JobError(
                f"a reading of {_text(first)} came after one of {_text(self._latest)}; expected ascending event time",
                "give the scorer the pieces of time in their order, each reading in the piece that holds its timestamp",
            )
        self._latest = last

    def _judge(self, member: Member, ordered: Ordered, rows: Ints, types: DeviceTypes | None) -> _Found:
        """What one detector says, and which of the ordered readings it says it of."""
        lanes = np.arange(len(rows))
        if member.sensor_types is not None:
            lanes = np.flatnonzero(_is_any(ordered.batch, ordered.start, member.sensor_types))
        if not len(lanes):
            return _Found(np.empty(0, np.int64), Verdicts.silent(0))
        count = np.diff(np.append(ordered.start, len(ordered.time)))
        starts, counts, rows = ordered.start[lanes], count[lanes], rows[lanes]
        verdicts = Verdicts.silent(len(ordered.time))
        value = np.clip(ordered.value + 0.0, -LARGEST, LARGEST)
        anew = self._silence(member, ordered, starts, rows)
        whole = [_Part(np.arange(len(starts)), starts, counts, ~self._series.seen(rows))]
        for part in whole if member.detector.crosses_series else _parts(ordered.time, starts, counts, anew):
            order = np.argsort(-part.counts, kind="stable")
            taken = rows[part.lanes[order]]
            piece = Lanes(
                value, ordered.time, part.starts[order], part.counts[order],
                self._series.group[taken], self._series.groups, self._series.identity[taken], types,
            )  # fmt: skip
            member.learn(piece, taken, part.anew[order], len(self._series), verdicts)
        at = np.arange(len(ordered.time)) if len(lanes) == len(count) else _ranges(starts, counts)
        return _Found(at, verdicts)

    def _silence(self, member: Member, ordered: Ordered, starts: Ints, rows: Ints) -> Mask:
        """Which of the ordered readings begin a series anew, because it is new or was silent for too long."""
        anew = np.zeros(len(ordered.time), np.bool_)
        anew[1:] = np.diff(ordered.time) > member.expire_after
        seen = self._series.seen(rows)
        since = ordered.time[starts] - np.where(seen, self._series.last[rows], ordered.time[starts])
        anew[starts] = ~seen | (since > member.expire_after)
        return anew


class _Found(NamedTuple):
    at: Ints
    """The places of the readings that a detector looked at, ascending."""
    verdicts: Verdicts
    """Of all readings."""


class _Part(NamedTuple):
    """Pieces of lanes, at most one a lane."""

    lanes: Ints
    starts: Ints
    counts: Ints
    anew: Mask
    """Which of them begin without a past."""


def _parts(time: Ints, starts: Ints, counts: Ints, anew: Mask) -> list[_Part]:
    """The lanes; where a series begins anew within one, its pieces one after the other."""
    within = anew.copy()
    within[starts] = False
    if not within.any():
        return [_Part(np.arange(len(starts)), starts, counts, anew[starts])]
    parts = []
    ends = starts + counts
    breaks = np.flatnonzero(within)
    lanes, begin = np.arange(len(starts)), starts
    while len(lanes):
        following = np.append(breaks, len(time))[np.searchsorted(breaks, begin, side="right")]
        end = np.minimum(following, ends[lanes])
        parts.append(_Part(lanes, begin, end - begin, anew[begin]))
        going = end < ends[lanes]
        lanes, begin = lanes[going], end[going]
    return parts


def _ranges(starts: Ints, counts: Ints) -> Ints:
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


def _is_any(batch: pa.RecordBatch, at: Ints, kinds: Sequence[str]) -> Mask:
    column = distinct(encode(batch.column("sensor_type")))
    wanted = pc.is_in(column.dictionary, pa.array(kinds, pa.string())).to_numpy(zero_copy_only=False)
    found: Mask = wanted[codes(column)[at]]
    return found


def _scores(batch: pa.RecordBatch, found: Sequence[_Found], judges: Sequence[Member]) -> pa.RecordBatch:
    """The verdicts as rows, those of one reading side by side in the order of the detectors' names."""
    at = np.concatenate([each.at for each in found])
    judge = np.repeat(np.arange(len(found)), [len(each.at) for each in found])
    pick = np.argsort(at, kind="stable") if len(found) > 1 else np.arange(len(at))
    at, judge = at[pick], judge[pick]
    of_reading = conform(batch, _READING)
    if len(found) > 1 or len(at) < batch.num_rows:
        of_reading = of_reading.take(pa.array(at))
    columns = {name: of_reading.column(name) for name in of_reading.schema.names}

    def said(name: str) -> np.ndarray:
        said_by_each: np.ndarray = np.concatenate([getattr(each.verdicts, name)[each.at] for each in found])
        return said_by_each[pick]

    expected = said("expected")
    columns["detector"] = (
        constant(judges[0].label, len(at))
        if len(judges) == 1
        else pa.DictionaryArray.from_arrays(pa.array(judge.astype(np.int32)), pa.array([one.label for one in judges]))
    )
    columns["expected"] = pa.array(expected, mask=np.isnan(expected))
    columns["anomaly_score"] = pa.array(said("score"))
    columns["is_anomaly"] = pa.array(said("anomaly"))
    return pa.RecordBatch.from_arrays([columns[name] for name in SCORES_IN_FLIGHT.names], schema=SCORES_IN_FLIGHT)


def _text(time: int) -> str:
    return str(np.datetime64(time, "us")) + "Z"
