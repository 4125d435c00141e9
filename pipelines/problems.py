"""What is wrong with a configuration: where it stands, what was found, what was expected, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from telebeam.transforms.errors import ConfigurationError

MAX_SHOWN = 60
"""Characters of a value that a message repeats: enough to recognise it, never a screenful."""
MAX_MESSAGE = 400
"""Characters of one problem's text."""
MAX_PROBLEMS = 40
"""Problems that a message lists; a file of another kind has thousands."""
_USER_IN_URL = re.compile(r"(?<=://)[^/\s'\"]*@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, order=True)
class Place:
    """Where a setting was written: a file's line, or an override on the command line (line 0).

    >>> str(Place("fleet.yaml", 4))
    'fleet.yaml:4'
    """

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """One thing to mend.  ``key`` is dotted, as in ``windows[0].every``, and empty for the file as a whole."""

    place: Place
    key: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        head = f"{self.place}: {self.key}: " if self.key else f"{self.place}: "
        text = _CONTROL.sub(" ", _USER_IN_URL.sub("…@", self.text))
        return head + (text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…")


def error_of(problems: Sequence[Problem]) -> ConfigurationError:
    """All the problems as the one error that the command line prints, in the order of the file.

    Args:
        problems: At least one.
    """
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.place)
    if len(ordered) == 1:
        return ConfigurationError(str(ordered[0]), hint=ordered[0].hint)
    lines = [f"{len(ordered)} problems in the configuration"]
    for problem in ordered[:MAX_PROBLEMS]:
        lines.append(f"  {problem}")
        if problem.hint:
            lines.append(f"    hint: {problem.hint}")
    if len(ordered) > MAX_PROBLEMS:
        lines.append(f"  … and {len(ordered) - MAX_PROBLEMS} more")
    return ConfigurationError("\n".join(lines))


def show(value: Any) -> str:
    """What was found, in words that fit on a line; what a list or a mapping holds is not repeated.

    >>> show("1 minute"), show(True), show(None), show([1, 2])
    ("'1 minute'", 'true', 'nothing', 'a list')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= MAX_SHOWN else f"{value[: MAX_SHOWN - 1]}…")
    shown = repr(value)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}…"


def show_kind(value: Any) -> str:
    """What kind of value was found, without the value: for where it may be a secret."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "a number"
    return show(value)


def dotted(path: Iterable[str | int]) -> str:
    """The key of a path into the configuration.

    >>> dotted(["windows", 0, "every"])
    'windows[0].every'
    """
    key = ""
    for part in path:
        if isinstance(part, int):
            key += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[\w-]{1,60}", part) else show(part)
            key += f".{name}" if key else name
    return key


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint that names the nearest known word, or the empty text.

    >>> did_you_mean("widnows", ["windows", "sinks"])
    'did you mean windows?'
    """
    near = nearest(word, known)
    return f"did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one, or the empty text where none is."""
    matches = difflib.get_close_matches(word[:MAX_SHOWN].lower(), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else ""
