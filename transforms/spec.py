"""The base of every stage's configuration: frozen, validated, without unknown keys."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Spec(BaseModel):
    """A stage's settings.  Equal settings are equal values; none can be changed after it was checked."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # what was given in a secret's place may be the secret
    )


def parse_duration(value: Any) -> Any:
    """``90``, ``"90s"``, ``"1m30s"``, ``"1d"`` as a timedelta; a bare number is seconds.

    >>> parse_duration("1m30s")
    datetime.timedelta(seconds=90)

    Raises:
        ValueError: The text is not a duration.
    """
    if isinstance(value, timedelta):
        return value
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return timedelta(seconds=value)
        text = str(value).strip()
        parts = list(_DURATION.finditer(text))
        if parts and "".join(match.group(0) for match in parts).replace(" ", "") == text.replace(" ", ""):
            return timedelta(seconds=sum(float(match["count"]) * _SECONDS[match["unit"]] for match in parts))
    except OverflowError as error:
        raise ValueError(f"{value!r} is too long a duration") from error
    raise ValueError(f"{value!r} is not a duration; write 500ms, 30s, 1m, 1h or 1d")


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""A length of time: ``30s``, ``1m``, ``1h``, ``1d`` or a number of seconds."""
