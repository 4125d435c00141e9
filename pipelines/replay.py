"""``telebeam rejects replay``: rejects parsed again, and what now succeeds moved to where it belongs.

Some units at a time: first their readings are filed, then what follows from these (windows and scores of archives),
then InfluxDB is told, and only then the rejects leave.  Whoever is killed in between replays again: what is in the lake
already is not filed a second time, all that follows from it is made anew and is the same, and the rejects leave then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.rejected import (
    BESIDE_THEIR_READINGS,
    ReadingsOfUnits,
    RejectedUnit,
    hours_of_times,
    is_of,
    move_to_replayed,
    reject_files,
    units_of,
    whole_file,
)
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeFile
from telebeam.io.streams.journal import Journal, journals
from telebeam.pipelines.rejects_where import Where
from telebeam.pipelines.replay_parse import Parser
from telebeam.pipelines.replay_results import Influx, follow
from telebeam.pipelines.replay_tally import Replay
from telebeam.pipelines.sources import checks_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.training import lake_of
from telebeam.transforms.batches import concat, with_columns
from telebeam.transforms.replaying import Settled, dead_records, settle
from telebeam.transforms.schema import Reason

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
Advance = Callable[[int], None]

TOGETHER_ROWS = 262_144
"""Rejects after which windows are computed and rejects leave: their hours are often the same."""
YOUNG_MICROS = 3_600_000_000
"""A stream without journals, on Dataflow, may write a file a second time; it has done so within this time."""


@dataclass
class _Done:
    """What the readings of some units were filed for, and is still to be done."""

    moved: dict[str, Mask] = field(default_factory=dict)
    times: list[npt.NDArray[np.int64]] = field(default_factory=list)
    """Of the values of archives: of their windows and scores."""
    added: list[str] = field(default_factory=list)
    """Files of readings that InfluxDB is to have."""
    rows: int = 0


class Replayer:
    """One replay.

    Args:
        spec: The pipeline whose rejects they are: its lake, windows and sinks count.
        settings: How records are parsed and checked: the same pipeline or a changed one.
        where: Which rejects are meant; a record is replayed as a whole if any of its rejects is.
        now: The clock, µs since 1970: what ``future`` and ``too_old`` are measured by, and ``replayed_at``.
        dry_run: Only finds out what would be done.
        advance: Told of rejects that are done with.
        root: Where the lake is, if not where its path leads.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        settings: PipelineSpec,
        where: Where,
        now: int,
        *,
        dry_run: bool = False,
        advance: Advance = lambda rows: None,
        root: storage.Location | None = None,
    ) -> None:
        self._spec, self._where, self._now, self._dry_run, self._advance = spec, where, now, dry_run, advance
        self._lake: LakeSpec = spec.sinks.lake or LakeSpec(path=lake_of(spec))
        self._root = root or storage.locate(self._lake.path)
        self._units = units_of(reject_files(self._root), spec.pipeline)
        streamed = {unit.name for unit in self._units if unit.origin == "stream"}
        self._readings = ReadingsOfUnits(self._lake, self._root, streamed)
        self._parser = Parser(spec, settings.parse, checks_of(settings))
        self._former = Parser(spec, spec.parse, checks_of(spec)) if settings != spec else None
        self._journals = journals(self._root, spec.pipeline)
        self._tally = Replay(dry_run=dry_run)

    def run(self) -> Replay:
        """Replays all that is meant.

        Raises:
            SourceError: A file of the lake is damaged, or a registry is away.
            SinkError: The lake or InfluxDB does not take what is written; replaying again goes on from there.
        """
        done = _Done()
        influx = Influx(self._lake, self._root, self._spec.sinks.influxdb, self._now)
        for unit in self._meant():
            self._unit(unit, done)
            if done.rows >= TOGETHER_ROWS:
                self._finish(done, influx)
                done = _Done()
        self._finish(done, influx)
        return self._tally

    def _meant(self) -> Iterator[RejectedUnit]:
        """The units that may have rejects that are meant, each with all of its files."""
        meant = set(reject_files(self._root, *self._where.span))
        yield from (unit for unit in self._units if not meant.isdisjoint(unit.paths))

    def _unit(self, unit: RejectedUnit, done: _Done) -> None:
        """Files the readings of one unit's rejects."""
        files = [(path, whole_file(self._root, path)) for path in unit.paths]
        rejects = concat([rows for _, rows in files])
        meant = self._where.holds(rejects)
        self._advance(rejects.num_rows)
        if not meant.any():
            return
        places = _whole_records(rejects, self._open(unit, rejects, meant), meant)
        dead = dead_records(rejects.take(pa.array(places)))
        checked = self._parser.parse(unit, dead, self._now) if len(places) else None
        if checked is None:
            self._tally.leave("header_unknown", len(places))
            return
        before = None if self._former is None else self._former.parse(unit, dead, self._now)
        settled = settle(dead, checked, self._readings.values(unit, dead.rejects), before)
        self._tally.settle(dead, settled)
        done.rows += len(places)
        if self._dry_run:
            self._tally.readings += settled.readings.num_rows
            return
        self._write(unit, settled, done)
        moved = np.zeros(rejects.num_rows, bool)
        moved[places[settled.moved]] = True
        starts = np.cumsum([0, *(rows.num_rows for _, rows in files)])
        for (path, rows), start in zip(files, starts.tolist(), strict=False):
            done.moved[path] = moved[start : start + rows.num_rows]

    def _write(self, unit: RejectedUnit, settled: Settled, done: _Done) -> None:
        readings = settled.readings
        if unit.origin == "stream":
            readings = with_columns(readings, {"is_late": pa.array(np.ones(readings.num_rows, bool))})
            self._tally.span(settled.times)
        else:
            done.times.append(settled.times)
        self._tally.readings += self._readings.add(unit, readings)
        done.added += self._readings.added(unit, hours_of_times(settled.times))

    def _finish(self, done: _Done, influx: Influx) -> None:
        """Does what follows from readings that are filed, and lets the rejects go."""
        if self._dry_run or not done.moved:
            return
        files: list[LakeFile] = []
        times = np.concatenate(done.times) if done.times else np.zeros(0, np.int64)
        for file in follow(self._spec, self._lake, self._root, times):
            files.append(file)
            self._tally.windows += file.rows if file.dataset == "windows" else 0
        points, refused = influx.send(done.added, files)
        self._tally.points += points
        self._tally.refused_points += refused
        move_to_replayed(self._lake, self._root, done.moved, self._now)

    def _open(self, unit: RejectedUnit, rejects: pa.RecordBatch, meant: Mask) -> Mask:
        """bool[n]: which rejects can be parsed again at all; tells of those that are meant and can't."""
        reasons = np.array(rejects.column("reason").to_pylist(), object)
        open_ = np.ones(len(reasons), bool)
        for why, mask in (
            ("sink", np.isin(reasons, sorted(BESIDE_THEIR_READINGS))),
            ("bad_file", reasons == Reason.BAD_FILE),
            ("foreign", ~self._ours(unit, rejects)),
            ("unnamed", np.full(len(reasons), unit.origin == "unnamed")),
            ("not_filed", np.full(len(reasons), not self._is_filed(unit, rejects))),
        ):
            self._tally.leave(why, int((open_ & mask & meant).sum()))
            open_ &= ~mask
        return open_

    def _ours(self, unit: RejectedUnit, rejects: pa.RecordBatch) -> Mask:
        if unit.origin not in ("table", "text"):
            return np.full(rejects.num_rows, unit.origin != "foreign")
        sources = rejects.column("source").dictionary_encode()
        ours = np.array([is_of(unit, self._spec.pipeline, source) for source in sources.dictionary.to_pylist()], bool)
        mask: Mask = ours[sources.indices.to_numpy()]
        return mask

    def _is_filed(self, unit: RejectedUnit, rejects: pa.RecordBatch) -> bool:
        """Whether nobody writes a unit's files any more."""
        if unit.origin != "stream":
            return True
        journal: Journal | None = next(
            (
                found
                for each, found in self._journals.items()
                if (each.stream, each.number) == (unit.stream, unit.number)
            ),
            None,
        )
        if journal is not None:
            return unit.offset < journal.next and (
                journal.pending is None or not {*journal.pending.paths} & {*unit.paths}
            )
        newest = max(rejects.column("rejected_at").cast(pa.int64()).to_pylist(), default=0)
        return newest + YOUNG_MICROS <= self._now


def _whole_records(rejects: pa.RecordBatch, open_: Mask, meant: Mask) -> Places:
    """int64[n]: the rejects that can be parsed again of all records of which any of these is meant."""
    places: Places = np.flatnonzero(open_)
    dead = dead_records(rejects.take(pa.array(places)))
    chosen = np.zeros(len(dead), bool)
    chosen[dead.record[meant[places]]] = True
    return places[chosen[dead.record]]


def replay(
    spec: PipelineSpec,
    settings: PipelineSpec,
    where: Where,
    *,
    dry_run: bool = False,
    advance: Advance = lambda rows: None,
    now: datetime | None = None,
    root: storage.Location | None = None,
) -> Replay:
    """Parses rejects again and files what now succeeds; see :class:`Replayer`."""
    micros = int((now or datetime.now(UTC)).timestamp() * 1e6)
    return Replayer(spec, settings, where, micros, dry_run=dry_run, advance=advance, root=root).run()
