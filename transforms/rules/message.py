"""Texts with the alert's own columns in them: plain names between braces, and nothing that is evaluated."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from string import Formatter
from typing import Any, NamedTuple

TEXTS = (
    "rule", "severity", "state", "tenant", "device_id", "sensor_type", "measurement_type", "location", "group",
    "timestamp",
)  # fmt: skip
NUMBERS = ("value", "expected", "score")
NAMES = (*TEXTS, *NUMBERS)
"""What may stand between braces."""
MAX_LENGTH = 2000
_FORMAT = re.compile(r"[+ ]?,?(\.\d{1,2})?[efg%]?")
_NOTHING = "–"


class Part(NamedTuple):
    """A piece of text, and the name and the format of what follows it."""

    text: str
    name: str | None
    form: str


class Template:
    """A text with names of :data:`NAMES` between braces; numbers may have a format, as in ``{value:.1f}``.

    >>> Template("{device_id} is at {value:.1f}").render({"device_id": "boiler-1", "value": 81.25})
    'boiler-1 is at 81.2'

    Args:
        text: The template; ``{{`` and ``}}`` stand for braces.

    Raises:
        ValueError: It names something else, or its braces don't match.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise ValueError(f"{len(text)} characters; expected at most {MAX_LENGTH}")
        try:
            parsed = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{text[:60]!r}: {error}", "write {{ and }} for braces") from error
        self._parts = [_part(*piece) for piece in parsed]
        self.names = frozenset(part.name for part in self._parts if part.name is not None)
        """What it names."""

    def render(self, values: Mapping[str, Any]) -> str:
        """The text with the values in their places; what is absent or null is a dash."""
        pieces = []
        for text, name, form in self._parts:
            pieces.append(text)
            if name is not None:
                value = values.get(name)
                pieces.append(_NOTHING if value is None else format(value, form) if form else str(value))
        return "".join(pieces)


def _part(text: str, name: str | None, form: str | None, conversion: str | None) -> Part:
    if name is None:
        return Part(text, None, "")
    if name not in NAMES:
        close = difflib.get_close_matches(name[:60], NAMES, n=1)
        hint = f"did you mean {{{close[0]}}}?" if close else "write {{ and }} for braces"
        raise ValueError(f"{{{name[:60]}}} is not known; expected one of {', '.join(NAMES)}", hint)
    if conversion or (form and (name not in NUMBERS or not _FORMAT.fullmatch(form))):
        raise ValueError(f"{{{name}!{conversion}:{form}}} is no format", "numbers may have one, such as {value:.1f}")
    return Part(text, name, (form or ".6g") if name in NUMBERS else "")


def check_texts(payload: Any) -> None:
    """Looks at every text within a mapping or a list.

    Raises:
        ValueError: One of them is no template.
    """
    render_texts(payload, None)


def render_texts(payload: Any, values: Mapping[str, Any] | None) -> Any:
    """The same mapping or list with every text in it rendered; without values they are only looked at."""
    if isinstance(payload, str):
        template = Template(payload)
        return payload if values is None else template.render(values)
    if isinstance(payload, Mapping):
        return {str(name): render_texts(item, values) for name, item in payload.items()}
    if isinstance(payload, (list, tuple)):
        return [render_texts(item, values) for item in payload]
    return payload
