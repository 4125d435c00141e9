"""A call's rows, sorted by track and time, as plain arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import codes, distinct, encode
from telebeam.transforms.ordering import rank
from telebeam.transforms.rules.steps import Integers, Mask, firsts
from telebeam.transforms.rules.tracks import Tracks

Doubles = npt.NDArray[np.float64]
EXPIRE_AFTER = 7 * 86_400 * 1_000_000
"""µs: a track that is silent for longer is forgotten.  Longer than a weekend with its holidays, so that what fires on
Friday is still known on Monday."""
_WIDTH_LIMIT = 1 << 62


class Scored(NamedTuple):
    """What detectors said of the rows."""

    score: Doubles
    flagged: Mask
    expected: Doubles
    """NaN where there is none."""
    detector: npt.NDArray[np.int32]
    names: list[str]


@dataclass
class Rows:
    """Rows of one call; each track's stand together, in the order of time and then of value.

    Attributes:
        tracks: Who has the tracks' last readings, of before this call.
        track: int64[n].
        time: int64[n], µs since 1970.
        value: float64[n], without negative zeros.
        place: int64[n], the rows' places in the batch that they came from.
        batch: That batch.
        scored: For scores.
    """

    tracks: Tracks
    track: Integers
    time: Integers
    value: Doubles
    place: Integers
    batch: pa.RecordBatch
    scored: Scored | None = None

    def __len__(self) -> int:
        return len(self.track)

    @cached_property
    def starts(self) -> Integers:
        """Where a track's rows begin."""
        return np.flatnonzero(firsts(self.track))

    @cached_property
    def ends(self) -> Integers:
        """A track's last row."""
        return np.append(self.starts[1:], len(self))[: len(self.starts)] - 1

    @cached_property
    def owners(self) -> Integers:
        """The tracks that have rows, in the order of ``starts``."""
        return self.track[self.starts]

    @cached_property
    def heads(self) -> Integers | None:
        """Where an instant of a track begins; None where each row is an instant of its own."""
        begin = firsts(self.time)
        begin[self.starts] = True
        return None if begin.all() else np.flatnonzero(begin)

    def any_of_instant(self, mask: Mask) -> Mask:
        """For each row whether one of its track and instant is marked."""
        if self.heads is None:
            return mask
        return np.repeat(np.logical_or.reduceat(mask, self.heads), self._instant_lengths)

    @cached_property
    def _instant_lengths(self) -> Integers:
        heads = np.arange(len(self)) if self.heads is None else self.heads
        return np.diff(np.append(heads, len(self)))

    @cached_property
    def gaps(self) -> Integers:
        """Rows before which their track was silent for longer than ``EXPIRE_AFTER``, other than a track's first."""
        if not len(self) or self.time.max() - self.time.min() <= EXPIRE_AFTER:
            return np.empty(0, np.int64)
        places = np.flatnonzero(np.diff(self.time) > EXPIRE_AFTER) + 1
        return places[self.track[places] == self.track[places - 1]]

    @cached_property
    def rate(self) -> Doubles:
        """The change of value per second since the instant before; NaN where there was none within ``EXPIRE_AFTER``."""
        heads = np.arange(len(self)) if self.heads is None else self.heads
        time, tails = self.time[heads], np.append(heads[1:], len(self)) - 1
        before_time, before_value = np.empty_like(time), np.empty(len(heads))
        before_time[1:], before_value[1:] = time[:-1], self.value[tails[:-1]]
        first = np.searchsorted(heads, self.starts)
        before_time[first], before_value[first] = self.tracks.time[self.owners], self.tracks.value[self.owners]
        if self.heads is not None:
            before_time = np.repeat(before_time, self._instant_lengths)
            before_value = np.repeat(before_value, self._instant_lengths)
        with np.errstate(over="ignore", invalid="ignore"):
            elapsed = self.time - before_time
            rate = (self.value - before_value) / (elapsed / 1e6)
        rate[elapsed > EXPIRE_AFTER] = np.nan
        return rate

    @cached_property
    def since(self) -> Integers:
        """Since when a track's value is what it is, as far as its readings tell without a gap."""
        changed = np.ones(len(self), np.bool_)
        np.not_equal(self.value[1:], self.value[:-1], out=changed[1:])
        changed[self.gaps] = True
        lasts = self.tracks.time[self.owners]
        changed[self.starts] = (self.value[self.starts] != self.tracks.value[self.owners]) | (
            self.time[self.starts] - lasts > EXPIRE_AFTER
        )
        begin = changed.copy()
        begin[self.starts] = True
        place = np.maximum.accumulate(np.where(begin, np.arange(len(self)), 0))
        return np.where(changed[place], self.time[place], self.tracks.since[self.track])

    @cached_property
    def _locations(self) -> tuple[npt.NDArray[np.int32], list[str | None]]:
        column = encode(self.batch.column("location"))
        return codes(column), [*column.dictionary.to_pylist(), None]

    def location(self, row: int) -> str | None:
        """Where a row is from."""
        places, texts = self._locations
        return texts[places[self.place[row]]]

    def later(self) -> Rows:
        """The rows that are later than their track's last reading."""
        kept = self.time > self.tracks.time[self.track]
        parts = (self.track[kept], self.time[kept], self.value[kept], self.place[kept])
        return self if kept.all() else Rows(self.tracks, *parts, self.batch)

    def remember(self, with_since: bool) -> None:
        """Makes the last row of each track its last reading.  Call it when nobody asks for rates any more.

        Args:
            with_since: Whether somebody will ask since when a value is what it is.
        """
        if with_since:
            self.tracks.since[self.owners] = self.since[self.ends]
        self.tracks.time[self.owners] = self.time[self.ends]
        self.tracks.value[self.owners] = self.value[self.ends]


def read_rows(batch: pa.RecordBatch, tracks: Tracks) -> Rows:
    """The rows of a batch of readings, or of scores, that some condition selects.

    Args:
        batch: ``READINGS_IN_FLIGHT`` or ``SCORES_IN_FLIGHT``, plain texts as well, in any order.
        tracks: New tracks are taken up.
    """
    runs, code, keys = _runs(batch, tracks.columns)
    numbers = tracks.numbers(keys)
    lengths = np.diff(np.append(runs, batch.num_rows))
    selected = np.zeros(len(tracks), np.bool_)
    for selection in tracks.selections:
        selected |= selection.mask[: len(tracks)]
    keep = selected[numbers][code] if len(code) else np.empty(0, np.bool_)
    if not keep.all():
        place = np.flatnonzero(np.repeat(keep, lengths))
        code, lengths = code[keep], lengths[keep]
    else:
        place = np.arange(batch.num_rows)
    return _sorted(batch, tracks, np.repeat(code, lengths), numbers, place)


def _runs(batch: pa.RecordBatch, columns: tuple[str, ...]) -> tuple[Integers, Integers, list[tuple[str | None, ...]]]:
    """(where runs of equal keys begin, each run's key as a number from 0 on, the keys)."""
    if not batch.num_rows:
        return np.empty(0, np.int64), np.empty(0, np.int64), []
    texts = [distinct(encode(batch.column(name))) for name in columns]
    places = [codes(column) for column in texts]
    begin = np.ones(batch.num_rows, np.bool_)
    begin[1:] = False
    for place in places:
        begin[1:] |= place[1:] != place[:-1]
    runs = np.flatnonzero(begin)
    packed, width = np.zeros(len(runs), np.int64), 1
    for column, place in zip(texts, places, strict=True):
        size = len(column.dictionary) + 1
        if width * size >= _WIDTH_LIMIT:
            packed, width = _factorised(packed)
        packed = packed * size + place[runs] + 1
        width *= size
    code, size = _factorised(packed)
    example = np.empty(size, np.int64)
    example[code[::-1]] = runs[::-1]
    keys = zip(*(_texts(column, place[example]) for column, place in zip(texts, places, strict=True)), strict=True)
    return runs, code, list(keys)


def _texts(column: pa.DictionaryArray, places: npt.NDArray[np.int32]) -> list[str | None]:
    """The dictionary's texts at some places; null at -1."""
    used = pa.array(places, mask=places < 0)
    if len(places) < len(column.dictionary):
        return column.dictionary.take(used).to_pylist()
    texts = [*column.dictionary.to_pylist(), None]
    return [texts[place] for place in places.tolist()]


def _factorised(numbers: Integers) -> tuple[Integers, int]:
    """(each number's place in the order of first appearance, how many there are)."""
    encoded = pa.array(numbers).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def _sorted(batch: pa.RecordBatch, tracks: Tracks, code: Integers, numbers: Integers, place: Integers) -> Rows:
    """The rows at some places in order; codes are in the order of first appearance, so what is sorted stays."""
    time = batch.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
    value = batch.column("value").to_numpy(zero_copy_only=False)
    whole = len(place) == batch.num_rows
    time, value = (time, value + 0.0) if whole else (time[place], value[place] + 0.0)
    order, tied = _order(code, time)
    if order is not None:
        code, time, value, place = code[order], time[order], value[order], place[order]
    scored = _scored(batch, place) if "anomaly_score" in batch.schema.names else None
    if len(tied):
        keys = [rank(batch.column("location").take(pa.array(place[tied]))), value[tied], time[tied], code[tied]]
        if scored is not None:
            ranks = rank(pa.array([scored.names[n] for n in scored.detector[tied]], pa.string()))
            keys = [scored.expected[tied], keys[0], keys[1], -ranks, scored.score[tied], time[tied], code[tied]]
        again = tied[np.lexsort(keys)]
        value[tied], place = value[again], place.copy()
        place[tied] = place[again]
        scored = _scored(batch, place) if scored is not None else None
    return Rows(tracks, numbers[code] if len(code) else code, time, value, place, batch, scored)


def _order(code: Integers, time: Integers) -> tuple[Integers | None, Integers]:
    """(the order by track and time, or None; the rows that then share both with a neighbour)."""
    if len(code) < 2:
        return None, np.empty(0, np.int64)
    low = int(time.min())
    span = int(time.max()) - low + 1
    order = None
    if (int(code.max()) + 1) * span < _WIDTH_LIMIT:
        packed = code * span + (time - low)
        if not (packed[1:] >= packed[:-1]).all():
            order = np.argsort(packed, kind="stable")
            packed = packed[order]
        same = packed[1:] == packed[:-1]
    else:
        order = np.lexsort((time, code))
        same = (code[order][1:] == code[order][:-1]) & (time[order][1:] == time[order][:-1])
    if not same.any():
        return order, np.empty(0, np.int64)
    tied = np.zeros(len(code), np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    return order, np.flatnonzero(tied)


def _scored(batch: pa.RecordBatch, place: Integers) -> Scored:
    rows = pa.array(place)
    detector = distinct(encode(batch.column("detector")))
    expected = batch.column("expected").take(rows)
    return Scored(
        score=batch.column("anomaly_score").take(rows).to_numpy(zero_copy_only=False) + 0.0,
        flagged=batch.column("is_anomaly").take(rows).to_numpy(zero_copy_only=False),
        expected=expected.fill_null(math.nan).to_numpy(zero_copy_only=False) + 0.0,
        detector=codes(detector)[place],
        names=detector.dictionary.to_pylist(),
    )
