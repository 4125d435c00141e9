"""Rejects parsed again: which records they are of, and what of the new readings the lake has not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.batches import with_columns
from telebeam.transforms.checking import Checked
from telebeam.transforms.rejects import ORIGIN, codes_of, origin_codes
from telebeam.transforms.schema import Reason, cast

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

VALUE = ("device_id", "timestamp", "sensor_type", "measurement_type")
"""With the origin, what names a value: two readings that agree in it are the same one, or there are two of it."""

WHOLE = frozenset({Reason.MALFORMED, Reason.NOT_AN_OBJECT, Reason.TOO_LARGE, Reason.UNKNOWN_FORMAT})
"""Reasons for which a record is refused before any value of it is looked at: nothing of it is in the lake."""

ONE_VALUE = frozenset({Reason.BAD_VALUE, Reason.MISSING_VALUE})
"""Reasons of one value each: the record's other values are in the lake."""

NOTHING = "no_reading"
"""Why a record stays refused that has become readable and says nothing."""


@dataclass(frozen=True)
class DeadRecords:
    """The records of some rejects, each once however many of its values were refused.

    Args:
        rejects: ``REJECTS``.
        record: int64[n]: of each reject, its record.
        first: int64[m]: of each record, its first reject.
    """

    rejects: pa.RecordBatch
    record: Ints
    first: Ints

    def __len__(self) -> int:
        return len(self.first)

    def envelopes(self, records: Ints) -> pa.RecordBatch:
        """Some records as a source delivers them, numbered: their ``source_offset`` is the record's number."""
        rows = self.rejects.take(pa.array(self.first[records]))
        names = ("payload", "key", "source", "source_partition", "source_offset", "content_type", "published_at")
        columns = {name: rows.column(name) for name in names}
        columns["source_offset"] = pa.array(records)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def at_home(self, numbered: pa.RecordBatch) -> pa.RecordBatch:
        """Readings with their records' own offsets in place of the records' numbers."""
        offsets = self.rejects.column("source_offset").take(pa.array(self.first[_record_of(numbered)]))
        return with_columns(numbered, {"source_offset": offsets})


def dead_records(rejects: pa.RecordBatch) -> DeadRecords:
    """The records of rejects, in the order of their first ones.

    Rejects of one origin and one payload are of one record; where it was refused as a whole they are of as many
    records alike, such as equal lines of a message.
    """
    payload = rejects.column("payload").dictionary_encode().indices.to_numpy(zero_copy_only=False)
    same = codes_of([origin_codes([rejects]), payload])
    whole = pc.is_in(rejects.column("reason"), pa.array(sorted(WHOLE))).to_numpy(zero_copy_only=False)
    copies = np.zeros(len(same), np.int64)
    copies[whole] = _ordinals(same[whole])
    _, first, record = np.unique(codes_of([same, copies]), return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return DeadRecords(rejects, number[record.reshape(-1)], first[order].astype(np.int64))


def _ordinals(codes: Ints) -> Ints:
    """int64[n]: how many equal numbers stand before each."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1)) if len(codes) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(begins, len(ordered)))
    found = np.empty(len(codes), np.int64)
    found[order] = np.arange(len(codes)) - np.repeat(begins, lengths)
    return found


class InLake(NamedTuple):
    """What the lake has of the values of some records."""

    values: pa.RecordBatch
    """:data:`ORIGIN` and :data:`VALUE`."""
    replayed: Mask
    """bool[n]: which ones a replay has written."""


class Settled(NamedTuple):
    """What is to be done with some rejects."""

    readings: pa.RecordBatch
    """What the lake has not, with the records' own origins."""
    times: Ints
    """Event times of what replays have written, this one or one before that was killed, µs since the epoch."""
    moved: Mask
    """bool[n]: rejects that are none any more."""
    new: Mask
    """bool[n]: those of them of whose record something was missing; the others' values were there already."""
    changed: Mask
    """bool[n]: rejects of records whose other values would read otherwise now."""
    why: npt.NDArray[np.object_]
    """Of each reject that stays, the first reason for which its record is refused now."""


def settle(dead: DeadRecords, checked: Checked, lake: InLake, before: Checked | None = None) -> Settled:
    """Compares what records say now with what the lake has of them; a value is never asked for twice.

    A record gives as many rejects back as are not refused any more.  Where more is missing of a record than the values
    that were refused singly, its other values would read otherwise today: it is left alone.

    Args:
        dead: The records.
        checked: What parsing their envelopes gave, numbered as these are.
        lake: All that the lake has of the records' origins; of others it does not matter.
        before: What the records say by the settings that they were refused with, where these are known: a value of
            theirs that is in the lake, and that the records don't say any more, would read otherwise today, too.
    """
    count = len(dead)
    said, refused = _record_of(checked.readings), _record_of(checked.rejects)
    values, failing = np.bincount(said, minlength=count), np.bincount(refused, minlength=count)
    rejects = np.bincount(dead.record, minlength=count)
    there, by_replay, lost = _compare(dead, checked.readings, lake, before or checked)
    missing = np.bincount(said[~there], minlength=count)
    reasons = dead.rejects.column("reason")
    by_value = _all_of(dead, pc.is_in(reasons, pa.array(sorted(ONE_VALUE))).to_numpy(zero_copy_only=False))
    changed = (by_value & (missing > 0) & (missing + failing > rejects)) | lost
    leaving = np.where((values > 0) & ~changed, np.maximum(rejects - failing, 0), 0)
    moved = _leaving(dead, leaving, rejects, checked.rejects, refused)
    why = _first_reasons(count, checked.rejects, refused)[dead.record]
    good = ~changed[said]
    # Also what is there since a replay: whoever was killed may not have done what follows from it.
    touched = good & ((leaving > 0) | (missing > 0))[said] | (good & by_replay)
    return Settled(
        dead.at_home(checked.readings.filter(pa.array(~there & good))),
        checked.readings.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)[touched],
        moved,
        moved & (missing > 0)[dead.record],
        changed[dead.record],
        why,
    )


def _record_of(numbered: pa.RecordBatch) -> Ints:
    found: Ints = numbered.column("source_offset").to_numpy(zero_copy_only=False)
    return found


def _compare(dead: DeadRecords, readings: pa.RecordBatch, lake: InLake, before: Checked) -> tuple[Mask, Mask, Mask]:
    """Which readings the lake has, which of them by a replay, and which records would lose a value that it has.

    Of readings alike each of the lake's counts for one.

    Returns:
        bool[n] twice, and bool[m].
    """
    batches = [dead.at_home(readings), dead.at_home(before.readings), lake.values]
    batches = [batch.select([*ORIGIN, *VALUE]) for batch in batches]
    keys = codes_of([origin_codes(batches), *(_codes([batch.column(name) for batch in batches]) for name in VALUE)])
    ours, former, theirs = np.split(keys, np.cumsum([batch.num_rows for batch in batches])[:-1])
    size = int(keys.max(initial=-1)) + 1
    in_lake = np.bincount(theirs, minlength=size)
    by_replays = np.bincount(theirs[lake.replayed], minlength=size)
    whole = pc.is_in(dead.rejects.column("reason"), pa.array(sorted(WHOLE))).to_numpy(zero_copy_only=False)
    first_time = _all_of(dead, whole)[_record_of(readings)]
    there: Mask = _ordinals(ours) < np.where(first_time, by_replays[ours], in_lake[ours])
    lost = np.zeros(len(dead), bool)
    lost[_record_of(before.readings)[(in_lake[former] > 0) & ~np.isin(former, ours)]] = True
    return there, there & (by_replays[ours] > 0), lost


def _codes(columns: list[pa.Array]) -> Ints:
    if pa.types.is_timestamp(columns[0].type):
        return np.concatenate([column.cast(pa.int64()).to_numpy(zero_copy_only=False) for column in columns])
    texts = pa.concat_arrays([cast(column, pa.string()) for column in columns])
    found: Ints = texts.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def _all_of(dead: DeadRecords, mask: Mask) -> Mask:
    """bool[m]: of which records a mask over the rejects holds for all."""
    found: Mask = np.bincount(dead.record[~mask], minlength=len(dead)) == 0
    return found


def _leaving(dead: DeadRecords, leaving: Ints, rejects: Ints, now: pa.RecordBatch, refused: Ints) -> Mask:
    """bool[n]: which rejects are none any more; of a record that is refused in part, those that are not said again."""
    moved: Mask = (leaving == rejects)[dead.record] & (leaving > 0)[dead.record]
    in_part = np.flatnonzero((leaving > 0) & (leaving < rejects))
    if not len(in_part):
        return moved
    again: dict[int, Counter[tuple[str, str]]] = {int(record): Counter() for record in in_part}
    for record, said in zip(refused.tolist(), _words(now), strict=True):
        if record in again:
            again[record][said] += 1
    rows = np.flatnonzero(np.isin(dead.record, in_part))
    words = _words(dead.rejects.take(pa.array(rows)))
    staying: list[int] = []
    going: dict[int, list[int]] = {int(record): [] for record in in_part}
    for row, said in zip(rows.tolist(), words, strict=True):
        record = int(dead.record[row])
        if again[record][said] > 0:
            again[record][said] -= 1
            staying.append(row)
        else:
            going[record].append(row)
    for record, candidates in going.items():
        moved[candidates[: int(leaving[record])]] = True
    # Where more say the same as before than may stay, the last of them go.
    for row in reversed(staying):
        record = int(dead.record[row])
        moved[row] = leaving[record] > len(going[record])
        going[record] += [row] if moved[row] else []
    return moved


def _words(rejects: pa.RecordBatch) -> list[tuple[str, str]]:
    return list(zip(rejects.column("reason").to_pylist(), rejects.column("detail").to_pylist(), strict=True))


def _first_reasons(count: int, rejects: pa.RecordBatch, refused: Ints) -> npt.NDArray[np.object_]:
    found = np.full(count, NOTHING, object)
    for record, reason in zip(reversed(refused.tolist()), reversed(rejects.column("reason").to_pylist()), strict=True):
        found[record] = reason
    return found
