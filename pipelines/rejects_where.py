"""``--where COLUMN OP VALUE``: which rejects are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.pipelines.problems import did_you_mean, show
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import REJECTS, Reason

Mask = npt.NDArray[np.bool_]

OPERATORS = ("=", "!=", "~", "<", "<=", ">", ">=")
"""Equal, not equal, holds a match of a regular expression (RE2), and the order of numbers, times and texts."""

_FORM = re.compile(r"\s*(?P<column>[^\s=!~<>]*)\s*(?P<operator>[=!~<>]+)(?P<value>.*)", re.DOTALL)
_COMPARED = {
    "=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
_MEANT = {"==": "did you mean =?", "<>": "did you mean !=?", "=~": "did you mean ~?", "=<": "did you mean <=?",
          "=>": "did you mean >=?"}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXAMPLE = "write --where 'reason=bad_timestamp', 'detail~zone' or 'rejected_at>=2026-01-01'"


@dataclass(frozen=True)
class Condition:
    """One condition on a column of rejects.

    Args:
        column: Its name.
        operator: One of :data:`OPERATORS`.
        value: What the column is compared with; of a time, the first instant, µs since the epoch.
        end: Of a date, the first instant behind it; of another time, the instant itself.
    """

    column: str
    operator: str
    value: str | int
    end: int = 0

    def holds(self, rejects: pa.RecordBatch) -> Mask:
        """bool[n]: for which rejects it holds; of what is null, only that it is not equal."""
        column = rejects.column(self.column)
        found = self._of_time(column) if pa.types.is_timestamp(column.type) else self._of_plain(column)
        mask: Mask = pc.fill_null(found, self.operator == "!=").to_numpy(zero_copy_only=False)
        return mask

    def _of_plain(self, column: pa.Array) -> pa.Array:
        if self.operator == "~":
            return pc.match_substring_regex(column, str(self.value))
        value = (
            self.value.encode() if pa.types.is_large_binary(column.type) and isinstance(self.value, str) else self.value
        )
        return _COMPARED[self.operator](column, pa.scalar(value, column.type))

    def _of_time(self, column: pa.Array) -> pa.Array:
        time = column.cast(pa.int64())
        first, end = pa.scalar(int(self.value), pa.int64()), pa.scalar(self.end, pa.int64())
        if self.end == self.value:
            return _COMPARED[self.operator](time, first)
        if self.operator in ("=", "!="):
            within = pc.and_(pc.greater_equal(time, first), pc.less(time, end))
            return within if self.operator == "=" else pc.invert(within)
        if self.operator in ("<", ">="):
            return _COMPARED[self.operator](time, first)
        return pc.less(time, end) if self.operator == "<=" else pc.greater_equal(time, end)


@dataclass(frozen=True)
class Where:
    """Conditions that all have to hold; without any, all rejects are meant."""

    conditions: tuple[Condition, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns that are looked at."""
        return list(dict.fromkeys(condition.column for condition in self.conditions))

    def holds(self, rejects: pa.RecordBatch) -> Mask:
        """bool[n]: which rejects are meant."""
        found = np.ones(rejects.num_rows, bool)
        for condition in self.conditions:
            found &= condition.holds(rejects)
        return found

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """[start, end) of ``rejected_at``: no reject that is meant lies outside; None where there is no bound."""
        first, last = [], []
        for each in self.conditions:
            if each.column != "rejected_at":
                continue
            begin, end = int(each.value), max(each.end, int(each.value) + 1)
            first += [begin] if each.operator in ("=", ">=", ">") else []
            last += [end] if each.operator in ("=", "<=", "<") else []
        return _moment(max(first, default=None)), _moment(min(last, default=None))


def _moment(micros: int | None) -> datetime | None:
    try:
        return None if micros is None else _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None  # behind the last day that there is


def parse_where(texts: Sequence[str]) -> Where:
    """What ``--where`` says, given any number of times.

    Raises:
        ConfigurationError: A column or an operator that there is none of, or a value that the column can't have.
    """
    return Where(tuple(_condition(text) for text in texts))


def _condition(text: str) -> Condition:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigurationError(
            f"--where {show(text)}: expected COLUMN, one of {' '.join(OPERATORS)} and a value", _EXAMPLE
        )
    column, sign, value = found["column"], found["operator"], found["value"].strip()
    if column not in REJECTS.names:
        expected = f"expected one of {', '.join(REJECTS.names)}"
        raise ConfigurationError(
            f"--where {show(text)}: rejects have no column {show(column)}; {expected}",
            did_you_mean(column, REJECTS.names) or _EXAMPLE,
        )
    kind = REJECTS.field(column).type
    is_text = pa.types.is_string(kind) or pa.types.is_large_binary(kind)
    allowed = OPERATORS if is_text else tuple(each for each in OPERATORS if each != "~")
    if sign not in allowed:
        hint = _MEANT.get(
            sign, f"leave a blank behind the operator where the value begins with one of {' '.join('=!~<>')}"
        )
        hint = "~ is for texts" if sign == "~" else hint
        raise ConfigurationError(
            f"--where {show(text)}: {column} can't be compared by {sign}; expected one of {' '.join(allowed)}", hint
        )
    if is_text:
        return Condition(column, sign, _text(text, column, sign, value))
    if pa.types.is_timestamp(kind):
        return Condition(column, sign, *_time(text, value))
    return Condition(column, sign, _number(text, kind, value))


def _text(text: str, column: str, sign: str, value: str) -> str:
    if sign == "~":
        try:
            pc.match_substring_regex(pa.array([""]), value)
        except pa.ArrowInvalid as error:
            words = str(error).splitlines()[0]
            raise ConfigurationError(
                f"--where {show(text)}: {show(value)} is no regular expression: {words}",
                "write a backslash before a character that is meant as it stands, as in 'detail~\\['",
            ) from error
    elif column == "reason" and sign in ("=", "!=") and value not in set(Reason):
        codes = [reason.value for reason in Reason]
        raise ConfigurationError(
            f"--where {show(text)}: {show(value)} is no reason; expected one of {', '.join(codes)}",
            did_you_mean(value, codes),
        )
    return value


def _number(text: str, kind: pa.DataType, value: str) -> int:
    try:
        return int(pa.scalar(int(value), kind).as_py())
    except (ValueError, OverflowError, pa.ArrowInvalid) as error:
        raise ConfigurationError(
            f"--where {show(text)}: {show(value)} is no whole number of {kind}", "write it in digits, as 42"
        ) from error


def _time(text: str, value: str) -> tuple[int, int]:
    """The first instant of a time and the first behind it; of an instant, itself twice."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            day = datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
            first = (day - _EPOCH) // timedelta(microseconds=1)
            return first, first + 86_400_000_000
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise ConfigurationError(
            f"--where {show(text)}: {show(value)} is no time; expected one with an offset, or a date",
            "write 2026-01-01T00:00:00Z or 2026-01-01",
        ) from error
    if found.tzinfo is None:
        raise ConfigurationError(
            f"--where {show(text)}: {show(value)} names no zone; expected a time with an offset, or a date",
            f"write {found.isoformat()}Z for UTC",
        )
    micros = (found - _EPOCH) // timedelta(microseconds=1)
    return micros, micros
