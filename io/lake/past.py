"""What scoring and rules remember of the readings so far, and where it is written down.

``_commits/ordered/<pipeline>/<edge in seconds>-<fingerprint>.rules``, ``….last`` and ``….scores``.  The last is written
last: a past whose scores are there is whole.  Without windows of last readings there is no ``….last``.  A past may be
lost: it follows from the readings, at the price of reading them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pyarrow as pa

from telebeam.io import storage
from telebeam.io.lake.layout import HOUR
from telebeam.transforms.aggregation.each_last import EachLast
from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.schema import READINGS_IN_FLIGHT, SCORES_IN_FLIGHT

_KEPT = 4
"""Pasts that are kept of a pipeline and its detectors and rules."""
_OTHERS_KEPT = 30 * 24 * HOUR
"""How far behind a past those of other detectors and rules are kept, in µs."""
_SECOND = 1_000_000
_NAME = re.compile(r"/(\d{1,12})-([0-9a-f]{12})\.scores$")


NO_READINGS = pa.RecordBatch.from_pylist([], schema=READINGS_IN_FLIGHT)
NO_SCORES = pa.RecordBatch.from_pylist([], schema=SCORES_IN_FLIGHT)


class Made(NamedTuple):
    """What a stretch of time gave."""

    scores: pa.RecordBatch
    alerts: pa.RecordBatch
    commands: pa.RecordBatch
    tagged: dict[str, pa.RecordBatch]
    """Tag → the readings that a rule gave it."""
    last: dict[int, pa.RecordBatch]
    """N → what the last N readings say at each reading."""


class Past:
    """Scorer, rule book and last readings with what they remember; moves forward in event time.

    Args:
        spec: What is done.
        edge: Where time stands, µs since 1970.
        scorer: With its history, if not at its beginning.
        book: The same of the rules.
        last: The same of the last readings.
    """

    def __init__(
        self, spec: OrderSpec, edge: int, scorer: Scorer | None = None, book: RuleBook | None = None,
        last: EachLast | None = None,
    ) -> None:  # fmt: skip
        self._spec = spec
        self.edge = edge
        self._scorer = scorer or Scorer(spec.detectors)
        self._book = book or RuleBook(spec.rules)
        self._last = last or EachLast(spec.last)

    def advance(self, readings: pa.RecordBatch, until: int) -> Made:
        """What is made of the readings from the edge to another one, which is then the edge.

        Args:
            readings: All of them, with :func:`.steps.needed_by`; none is earlier than the edge.
            until: The later edge, in µs; not beyond the end of the hour in which the readings are.
        """
        look = self._spec.look()
        scores = self._scorer.score(look.with_type(readings)) if self._spec.detectors else None
        told = None if scores is None else look.with_group(scores)
        found = self._book.evaluate(look.with_group(readings), told, until)
        last = self._last.advance(readings)
        self._pass(until)
        return Made(NO_SCORES if scores is None else scores, found.alerts, found.commands, found.tagged, last)

    def pass_time(self, until: int) -> Made:
        """What falls due up to a later edge before which there is no reading."""
        found = self._book.evaluate(NO_READINGS, NO_SCORES if self._spec.detectors else None, until)
        self._pass(until)
        return Made(NO_SCORES, found.alerts, found.commands, found.tagged, self._last.advance(NO_READINGS))

    def _pass(self, until: int) -> None:
        if until // HOUR > self.edge // HOUR:
            # At the edges of hours alone: when a silent series is forgotten must not depend on how time is cut.
            for each in (self._scorer, self._last):
                each.expire(until - until % HOUR)
        self.edge = until

    def copy(self) -> Past:
        """Another one that stands at the same edge."""
        spec = self._spec
        scorer = Scorer.restored(spec.detectors, self._scorer.history())
        book = RuleBook.restored(spec.rules, self._book.state())
        return Past(spec, self.edge, scorer, book, EachLast.restored(spec.last, self._last.history()))

    def save(self, root: storage.Location) -> None:
        """Writes it down, and takes older ones away.

        Raises:
            SinkError: The lake does not take it.
        """
        path = f"{_folder(self._spec.pipeline)}/{self.edge // _SECOND:012d}-{self._spec.fingerprint}"
        storage.publish(root, f"{path}.rules", pa.py_buffer(self._book.state()))
        if self._spec.last:
            storage.publish(root, f"{path}.last", self._last.history())
        storage.publish(root, f"{path}.scores", self._scorer.history())
        every = _saved(root, self._spec.pipeline)
        ours = [saved for saved in every if saved.fingerprint == self._spec.fingerprint]
        gone = [saved for saved in ours[:-_KEPT] if saved.edge < self.edge]
        # Another configuration may be at work too, or come back: its pasts go when they are old.
        gone += [saved for saved in every if saved not in ours and saved.edge < self.edge - _OTHERS_KEPT]
        for saved in gone:
            for part in ("scores", "last", "rules"):
                storage.remove(root, f"{saved.path}.{part}")


def resume(root: storage.Location, spec: OrderSpec, before: int) -> Past | None:
    """The newest past at or before an instant that was written down for the same detectors and rules; None without one.

    Raises:
        SourceError: It is damaged, or can't be read.
    """
    for saved in reversed(_saved(root, spec.pipeline)):
        if saved.edge <= before and saved.fingerprint == spec.fingerprint:
            scores, rules = storage.read(root, f"{saved.path}.scores"), storage.read(root, f"{saved.path}.rules")
            kept = storage.read(root, f"{saved.path}.last") if spec.last else None
            if scores is not None and rules is not None and (kept is not None or not spec.last):
                last = None if kept is None else EachLast.restored(spec.last, kept)
                scorer = Scorer.restored(spec.detectors, scores)
                return Past(spec, saved.edge, scorer, RuleBook.restored(spec.rules, rules), last)
    return None


def _folder(pipeline: str) -> str:
    return f"_commits/ordered/{pipeline}"


class _Saved(NamedTuple):
    """A past that was written down; sorts by its edge."""

    edge: int
    """µs since 1970."""
    fingerprint: str
    path: str
    """Without an ending."""


def _saved(root: storage.Location, pipeline: str) -> list[_Saved]:
    """All pasts of a pipeline, ascending by their edges."""
    found = []
    for path in storage.files_below(root, _folder(pipeline), ".scores"):
        match = _NAME.search(path)
        if match is not None:
            found.append(_Saved(int(match[1]) * _SECOND, match[2], path.removesuffix(".scores")))
    return sorted(found)
