"""A book of rules that is given time in pieces: readings and scores in, alerts, commands and tags out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from telebeam.transforms.errors import JobError
from telebeam.transforms.ordering import sort_order
from telebeam.transforms.rules.alerts import alerts_of, commands_of
from telebeam.transforms.rules.conditions import selections
from telebeam.transforms.rules.lane import Lane, Outcome
from telebeam.transforms.rules.leaves import columns_used
from telebeam.transforms.rules.spec import GROUP, RuleSpec, check_rules, immediate, names_group
from telebeam.transforms.rules.state import read_state, write_state
from telebeam.transforms.rules.steps import EARLIEST, Integers, Span
from telebeam.transforms.schema import READINGS_IN_FLIGHT, SCORES_IN_FLIGHT, SERIES, conform

_TRACK = ("tenant", "device_id", "sensor_type", "measurement_type")
"""A device that is moved, or whose unit changes, stays the same as long as no rule asks for the place or the unit."""
_LANES = (_TRACK, SERIES, (*_TRACK, GROUP), (*SERIES, GROUP))
_ORIGIN = ("source", "source_partition", "source_offset")
_NO_SCORES = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in SCORES_IN_FLIGHT], schema=SCORES_IN_FLIGHT)


class Evaluated(NamedTuple):
    """What a piece of time brought about."""

    alerts: pa.RecordBatch
    """``ALERTS``: changes of alerts, by timestamp, rule and group."""
    commands: pa.RecordBatch
    """``COMMANDS``, in the same order."""
    tagged: dict[str, pa.RecordBatch]
    """Tag → the readings that match, by series, time and origin; every tag of the rules."""


class RuleBook:
    """Some rules and what they have to remember.

    Time is given in pieces that follow each other, each with all of its readings in any order.  How it is cut does not
    show in what is found, nor whether the book was written down (:meth:`state`) and taken up again in between.

    Args:
        rules: The rules.

    Raises:
        ValueError: Two rules have one name.
    """

    def __init__(self, rules: Iterable[RuleSpec]) -> None:
        self.rules = check_rules(rules)
        parts: dict[tuple[str, ...], list[RuleSpec]] = {columns: [] for columns in _LANES}
        for rule in self.rules:
            parts[_track_of(rule)].append(rule)
        self.lanes = [Lane(rules, columns) for columns, rules in parts.items() if rules]
        self.until = EARLIEST
        """What has been given, in µs since 1970."""

    def evaluate(self, readings: pa.RecordBatch, scores: pa.RecordBatch | None, until: int) -> Evaluated:
        """What happens from the end of the last piece up to some time.

        Args:
            readings: ``READINGS_IN_FLIGHT``, or with plain texts: all readings of the piece, in any order.  With the
                column :data:`~.spec.GROUP` besides where a rule names groups.
            scores: ``SCORES_IN_FLIGHT`` of the same time, with that column too; None where nothing was scored.
            until: The piece's end, in µs since 1970: all readings before it have been given.  Absences, durations and
                cool-downs are decided up to it.

        Raises:
            JobError: A row is not within the piece, the piece ends before it begins, or groups are missing.
        """
        if until < self.until:
            raise JobError(
                f"a piece of time that ends at {until} follows one that ends at {self.until}", "give time in order"
            )
        for batch in (readings, scores):
            _check_within(batch, self.until, until)
        span = Span(2 * self.until if self.until > EARLIEST else EARLIEST, 2 * until)
        self.until = until
        return self._evaluated(readings, scores, span)

    def immediate(self, readings: pa.RecordBatch) -> Evaluated:
        """What readings say at once, as they come; for a book of :func:`~.spec.immediate` rules only.

        A reading that is not later than what its track has shown is left out: what is in order finds it.  Alerts have
        the ids that they have in order, as long as no earlier reading comes behind them.

        Args:
            readings: As for :meth:`evaluate`, of any time.

        Raises:
            JobError: One of the rules needs more past than that, or groups are missing.
        """
        known = {rule.name for rule in immediate(self.rules)}
        late = [rule.name for rule in self.rules if rule.name not in known]
        if late:
            raise JobError(f"rule {late[0]} can't be looked at at once", "make the book of immediate(rules)")
        if not readings.num_rows:
            return self._evaluated(readings, None, Span(EARLIEST, EARLIEST))
        time = readings.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
        return self._evaluated(readings, None, Span(EARLIEST, 2 * int(time.max()) + 1), later_only=True)

    def state(self) -> bytes:
        """What has to be remembered, for :meth:`restored`."""
        return write_state(self.lanes, self.rules, self.until)

    @classmethod
    def restored(cls, rules: Iterable[RuleSpec], state: bytes | pa.Buffer) -> RuleBook:
        """The book that wrote down a state.

        Args:
            rules: The same rules, in the same order.
            state: From :meth:`state`.

        Raises:
            JobError: The state is damaged, of another version, or of other rules.
        """
        book = cls(rules)
        book.until = read_state(state, book.lanes, book.rules)
        return book

    def _evaluated(
        self, readings: pa.RecordBatch, scores: pa.RecordBatch | None, span: Span, later_only: bool = False
    ) -> Evaluated:
        scored = _NO_SCORES if scores is None else scores
        for batch in (readings, scored):
            _check_groups(batch, self.rules)
        outcomes = [lane.evaluate(readings, scored, span, later_only) for lane in self.lanes]
        alerts = [row for outcome in outcomes for row in outcome.alerts]
        commands = [row for outcome in outcomes for row in outcome.commands]
        return Evaluated(alerts_of(alerts), commands_of(commands), self._tagged(readings, outcomes))

    def _tagged(self, readings: pa.RecordBatch, outcomes: list[Outcome]) -> dict[str, pa.RecordBatch]:
        places: dict[str, list[Integers]] = {
            action.tag: [] for rule in self.rules for action in rule.then if action.tag is not None
        }
        for outcome in outcomes:
            for tag, found in outcome.tagged:
                places[tag].append(found)
        return {tag: _rows_at(readings, found) for tag, found in places.items()}


def _track_of(rule: RuleSpec) -> tuple[str, ...]:
    """What tells one of a rule's tracks from another: no more columns than it asks for."""
    used = columns_used(rule, selections(rule.when))
    columns = SERIES if used - {*_TRACK, GROUP} else _TRACK
    return (*columns, GROUP) if GROUP in used else columns


def _check_groups(batch: pa.RecordBatch, rules: tuple[RuleSpec, ...]) -> None:
    if batch.num_rows and GROUP not in batch.schema.names and names_group(rules):
        name = next(rule.name for rule in rules if rule.names_group)
        raise JobError(f"rule {name} names groups, and the rows have no column {GROUP}", "give devices: {registry: …}")


def _rows_at(readings: pa.RecordBatch, places: list[Integers]) -> pa.RecordBatch:
    rows = np.unique(np.concatenate(places)) if places else np.empty(0, np.int64)
    taken = conform(readings.take(pa.array(rows)), READINGS_IN_FLIGHT)
    order = sort_order(taken, [*SERIES, "timestamp", *_ORIGIN])
    return taken if order is None else taken.take(pa.array(order))


def _check_within(batch: pa.RecordBatch | None, first: int, end: int) -> None:
    if batch is None or not batch.num_rows:
        return
    time = batch.column("timestamp").cast(pa.int64()).to_numpy(zero_copy_only=False)
    low, high = int(time.min()), int(time.max())
    if low < first or high >= end:
        raise JobError(
            f"rows from {low} to {high} in a piece of time from {first} to {end}", "give each piece its own rows"
        )
