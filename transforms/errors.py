"""The error tree.

::

    TelebeamError                 anything that telebeam itself reports; the command line prints it without a traceback
    ├── ConfigurationError        the request was wrong: exit code 2
    └── JobError                  the job could not be done: exit code 1
        ├── AwayError             a broker that does not answer for now: what was asked may be asked again
        ├── SourceError           a path that is missing, unreadable, empty or of another format
        ├── SinkError             a lake or a database that does not take what we write
        │   ├── TakenOverError    another job writes what this one does
        │   └── UnreachableError  a database that does not answer, or not now
        └── BalanceError          rows in ≠ rows out: a defect of telebeam's, never of the data

A bad *record* is never an exception: it becomes a row of the rejects.
"""

from __future__ import annotations


class TelebeamError(Exception):
    """Something that the user can act on.

    Args:
        message: What was met, with the value, and what was expected.
        hint: What to do about it; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigurationError(TelebeamError):
    """The request was wrong; nothing was started."""

    exit_code = 2


class JobError(TelebeamError):
    """The job could not be done."""


class AwayError(JobError):
    """A broker that does not answer for now: what was asked may be asked again."""


class SourceError(JobError):
    """A source that is missing, unreadable, empty or of another format."""


class SinkError(JobError):
    """A sink that does not take what we write."""


class TakenOverError(SinkError):
    """Another job writes what this one does; going on would count records twice."""


class UnreachableError(SinkError):
    """A database that does not answer, or answers that it can't now: what waits may be in time."""


class BalanceError(JobError):
    """Rows in are not rows out."""
