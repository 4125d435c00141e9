"""What a rule waits for: the conditions that ``when`` may hold, as values.

A condition is *of a reading* (:class:`Compare`, :class:`Stuck`): it holds or not for each reading that it selects, and
for a series from one such reading to the next.  Or it is *of time* (:class:`Absent`, :class:`Count`,
:class:`Sequence`): it begins to hold and ceases to at moments at which there may be no reading.  :class:`Combined` puts
conditions together.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import SerializeAsAny

from telebeam.transforms.spec import Spec

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Where = tuple[tuple[str, tuple[str, ...]], ...]
"""Column → the texts that it may have."""
Subject = Literal["value", "rate", "score"]


class Condition(Spec):
    """What a rule waits for."""

    @property
    def kind(self) -> str:
        """What its alerts are called: ``alert_type``."""
        return "condition"

    def leaves(self) -> Iterator[Condition]:
        """The conditions that are not put together from others, in their order."""
        yield self


class Selecting(Condition):
    """A condition on the readings that have some texts in some columns."""

    where: Where = ()
    """Column of a series → the texts that it may have; all readings where it is empty."""


class Compare(Selecting):
    """The value, its rate of change or its anomaly score, against bounds: it holds where one of them is passed.

    Without any bound it holds for every reading that is selected.
    """

    subject: Subject = "value"
    """What is compared; a rate is per second, against the reading before in the series."""
    detector: str | None = None
    """Of scores: the detector's name, or None for any."""
    flagged: bool = False
    """Of scores: the detector's own verdict instead of bounds."""
    above: float | None = None
    below: float | None = None
    critical_above: float | None = None
    critical_below: float | None = None
    outside: tuple[float, float] | None = None
    inside: tuple[float, float] | None = None
    equals: float | None = None

    @property
    def kind(self) -> str:
        """``threshold``, ``range``, ``match``, ``rate_of_change`` or ``anomaly``."""
        if self.subject != "value":
            return {"rate": "rate_of_change", "score": "anomaly"}[self.subject]
        if self.outside or self.inside:
            return "range"
        return "threshold" if self.upper is not None or self.lower is not None else "match"

    @property
    def upper(self) -> float | None:
        """From which number on it holds, upwards."""
        return self.critical_above if self.above is None else self.above

    @property
    def lower(self) -> float | None:
        """From which number on it holds, downwards."""
        return self.critical_below if self.below is None else self.below

    @property
    def has_critical(self) -> bool:
        """Whether it may be critical of itself."""
        return self.critical_above is not None or self.critical_below is not None

    def holds(self, numbers: Doubles) -> Mask:
        """Where one of the bounds is passed; bool[n] of float64[n]."""
        found = _passed(numbers, self.upper, self.lower)
        if self.outside is not None:
            found |= _passed(numbers, self.outside[1], self.outside[0])
        if self.inside is not None:
            found |= (numbers >= self.inside[0]) & (numbers <= self.inside[1])
        if self.equals is not None:
            found |= numbers == self.equals
        return found if self.bounded else np.ones(len(numbers), np.bool_)

    def is_critical(self, numbers: Doubles) -> Mask:
        """Where a critical bound is passed."""
        return _passed(numbers, self.critical_above, self.critical_below)

    def clears(self, numbers: Doubles, at: float) -> Mask:
        """Where a condition that held is over, given the number at which it resolves."""
        return numbers <= at if self.upper is not None else numbers >= at

    @property
    def bounded(self) -> bool:
        """Whether it has any bound."""
        bounds = (self.upper, self.lower, self.outside, self.inside, self.equals)
        return any(bound is not None for bound in bounds)


def _passed(numbers: Doubles, upper: float | None, lower: float | None) -> Mask:
    found: Mask = np.zeros(len(numbers), np.bool_) if upper is None else numbers > upper
    if lower is not None:
        found |= numbers < lower
    return found


class Stuck(Selecting):
    """The value has not changed for some time, as far as readings tell."""

    lasting: timedelta

    @property
    def kind(self) -> str:
        """``stuck``."""
        return "stuck"


class Absent(Selecting):
    """No reading of the group for longer than this, after there has been one."""

    lasting: timedelta

    @property
    def kind(self) -> str:
        """``absent``."""
        return "absent"


ReadingCondition = Compare | Stuck


class Count(Condition):
    """Some readings of the group within some time."""

    of: SerializeAsAny[Compare] | SerializeAsAny[Stuck]
    within: timedelta
    at_least: int

    @property
    def kind(self) -> str:
        """``count``."""
        return "count"


class Sequence(Condition):
    """One reading, and after it another within some time."""

    first: SerializeAsAny[Compare] | SerializeAsAny[Stuck]
    then: SerializeAsAny[Compare] | SerializeAsAny[Stuck]
    within: timedelta

    @property
    def kind(self) -> str:
        """``sequence``."""
        return "sequence"


class Combined(Condition):
    """All, any, or not one of some conditions."""

    operator: Literal["all", "any", "not"]
    parts: tuple[SerializeAsAny[Condition], ...]

    @property
    def kind(self) -> str:
        """``combination``."""
        return "combination"

    def leaves(self) -> Iterator[Condition]:
        """The leaves of all parts."""
        for part in self.parts:
            yield from part.leaves()


def selections(condition: Condition) -> Iterator[Selecting]:
    """Every condition on readings within a condition, those of counts and sequences included."""
    for leaf in condition.leaves():
        if isinstance(leaf, Selecting):
            yield leaf
        elif isinstance(leaf, Count):
            yield leaf.of
        elif isinstance(leaf, Sequence):
            yield from (leaf.first, leaf.then)
