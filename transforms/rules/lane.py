"""Rules that tell readings apart by the same columns, and what they have seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.transforms.rules.alerts import Row, Writer, key_of
from telebeam.transforms.rules.conditions import Condition, Stuck, selections
from telebeam.transforms.rules.finder import Finder
from telebeam.transforms.rules.leaves import Call
from telebeam.transforms.rules.life import Course, Life, Step
from telebeam.transforms.rules.presence import presence
from telebeam.transforms.rules.program import Program, Truths
from telebeam.transforms.rules.rows import read_rows
from telebeam.transforms.rules.spans import Silence
from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.rules.steps import EARLIEST, Integers, Mask, Span, known_at
from telebeam.transforms.rules.tracks import Tracks

_SHARE_KEPT = 0.75
"""Tracks that are forgotten are cleared away when less than this share of all is left: it costs a pass over all."""


class Outcome(NamedTuple):
    """What a call brings about."""

    alerts: list[Row]
    commands: list[Row]
    tagged: list[tuple[str, Integers]]
    """(tag, places in the batch of readings)."""


class Lane:
    """Some rules of a book.

    Args:
        rules: The rules.
        columns: What tells one track from another.
    """

    def __init__(self, rules: Iterable[RuleSpec], columns: tuple[str, ...]) -> None:
        self.tracks = Tracks(columns)
        self.programs = [Program(rule, self.tracks) for rule in rules]
        self._courses = [Course(program.rule, program.is_timed) for program in self.programs]
        self._writers = [Writer(program.rule) for program in self.programs]
        self._asks_since = any(_asks_since(program.rule.when) for program in self.programs)

    def evaluate(
        self, readings: pa.RecordBatch, scores: pa.RecordBatch, span: Span, later_only: bool = False
    ) -> Outcome:
        """What the rows of a span bring about.

        Args:
            readings: All of the span.
            scores: Theirs.
            span: What is decided.
            later_only: Whether rows that are not later than their track's last are left out.
        """
        rows, scored = read_rows(readings, self.tracks), read_rows(scores, self.tracks)
        rows = rows.later() if later_only else rows
        self._extend()
        call = Call(rows, scored, presence(self.tracks, [rows, scored], span), span)
        outcome = Outcome([], [], [])
        for program, course, writer in zip(self.programs, self._courses, self._writers, strict=True):
            truths = program.advance(call)
            finder = Finder(program, call)
            alerts = list(_alerts(program, course, writer, finder, truths, span.horizon))
            outcome.alerts.extend(alerts)
            outcome.commands.extend(command for alert in alerts for command in writer.commands(alert))
            for tag in dict.fromkeys(action.tag for action in program.rule.then if action.tag is not None):
                outcome.tagged.append((tag, rows.place[_matching(program, call, truths)]))
        self._remember(call)
        return outcome

    def _extend(self) -> None:
        for program in self.programs:
            program.extend(len(self.tracks), len(program.grouping))

    def _remember(self, call: Call) -> None:
        if len(call.scores):
            owners = call.scores.owners
            latest = np.maximum(self.tracks.time[owners], call.scores.time[call.scores.ends])
        call.readings.remember(self._asks_since)
        if len(call.scores):
            self.tracks.time[owners] = np.maximum(self.tracks.time[owners], latest)
        self.tracks.time[call.seen.left[0]] = EARLIEST
        here = self.tracks.time[: len(self.tracks)] != EARLIEST
        if np.count_nonzero(here) < _SHARE_KEPT * len(here):
            self._clear_away(np.flatnonzero(here), call.span.horizon)

    def _clear_away(self, tracks: Integers, horizon: int) -> None:
        kept = {}
        for name, grouping in self.tracks.groupings.items():
            alive = np.zeros(len(grouping), np.bool_)
            alive[grouping.of_track[tracks]] = True
            for program in self.programs:
                if program.grouping is grouping:
                    alive |= _needed(program, horizon)
            kept[name] = np.flatnonzero(alive)
        for program in self.programs:
            groups = kept[program.grouping.columns]
            anew = np.full(len(program.grouping), -1, np.int64)
            anew[groups] = np.arange(len(groups))
            program.keep(tracks, groups, anew)
        self.tracks.keep(tracks, kept)


def _asks_since(condition: Condition) -> bool:
    return any(isinstance(part, Stuck) for part in selections(condition))


def _needed(program: Program, horizon: int) -> Mask:
    """By group, whether the rule remembers something of it apart from its tracks."""
    program.lives = {group: life for group, life in program.lives.items() if not life.is_over(horizon)}
    alive = np.zeros(len(program.grouping), np.bool_)
    alive[list(program.lives)] = True
    for leaf in program.leaves:
        if isinstance(leaf.span, Silence):
            alive |= leaf.span.holds_on(len(alive), horizon // 2)
    return alive


def _alerts(
    program: Program, course: Course, writer: Writer, finder: Finder, truths: Truths, horizon: int
) -> Iterator[Row]:
    """The changes of a rule's alerts within a call."""
    steps = dict(_steps_of(truths))
    for group in sorted({*steps, *program.waiting}):
        life = program.lives.setdefault(group, Life())
        key = key_of(program.grouping.columns, program.grouping.keys[group])

        def next_reading(earliest: int, end: int, group: int = group) -> int | None:
            return finder.next_moment(group, earliest, end)

        for event in course.run(life, steps.get(group, []), horizon, next_reading):
            at_reading = event.moment % 2 == 0
            reading = finder.explain(group, event.moment // 2, event.fires) if at_reading else None
            if event.fires:
                life.shown = writer.shown(key, reading)
            yield writer.alert(event, key, life.shown, reading)
        _settle(program, group, life, horizon)


def _settle(program: Program, group: int, life: Life, horizon: int) -> None:
    if life.is_over(horizon):
        del program.lives[group]
    if life.waits:
        program.waiting.add(group)
    else:
        program.waiting.discard(group)


def _steps_of(truths: Truths) -> Iterator[tuple[int, list[Step]]]:
    """Each group's changes in order, those of one moment together."""
    holds, critical = truths
    groups = np.concatenate([holds.group, critical.group])
    moments = np.concatenate([holds.moment, critical.moment])
    values = np.concatenate([holds.truth, critical.truth]).tolist()
    order = np.lexsort((moments, groups))
    current, steps = -1, list[Step]()
    for place, group, moment in zip(order.tolist(), groups[order].tolist(), moments[order].tolist(), strict=True):
        if group != current:
            if steps:
                yield current, steps
            current, steps = group, []
        is_holds = place < len(holds.group)
        step: Step = (moment, values[place] if is_holds else None, None if is_holds else values[place])
        if steps and steps[-1][0] == moment:
            before = steps.pop()
            step = (moment, before[1] if step[1] is None else step[1], before[2] if step[2] is None else step[2])
        steps.append(step)
    if steps:
        yield current, steps


def _matching(program: Program, call: Call, truths: Truths) -> Integers:
    """The places among the readings at which one matches while the rule holds."""
    rows = call.readings
    found = program.matching(rows, call)
    if len(call.scores) and program.kinds_of_rows.scores:
        places = np.flatnonzero(program.matching(call.scores, call))
        instants = set(zip(call.scores.track[places].tolist(), call.scores.time[places].tolist(), strict=True))
        tracks = np.flatnonzero(np.isin(rows.track, call.scores.track[places]))
        scored = [(rows.track[place], rows.time[place]) in instants for place in tracks.tolist()]
        found[tracks[scored]] = True
    places = np.flatnonzero(found)
    group = program.grouping.of_track[rows.track[places]]
    return places[known_at(truths.holds, program.before, group, 2 * rows.time[places])]
