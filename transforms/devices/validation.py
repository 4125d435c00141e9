"""JSON Schema: which payloads have the form that their device type asks for.

By jsonschema-rs: schemas are compiled once, all drafts are known, a regular expression can't take exponential time,
and nothing is fetched.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.extras import needing
from telebeam.transforms.schema import TEXT

_MAX_DETAIL = 200
"""Characters of a detail."""
_JSON = msgspec.json.Decoder()


class Validated(NamedTuple):
    """What became of n payloads."""

    valid: npt.NDArray[np.bool_]
    """bool[n]"""
    detail: pa.StringArray
    """text[n]: what is wrong, and where; null where a payload is valid."""


class Validator:
    """A compiled JSON Schema, of the draft that its ``$schema`` names, else of 2020-12.

    ``format`` is only a note, as the drafts since 2019-09 have it.  A reference leads within the schema.

    Args:
        schema: The schema, as JSON gives it.

    Raises:
        ValueError: It is no valid schema; the message says why.
    """

    def __init__(self, schema: Any) -> None:
        if not isinstance(schema, (dict, bool)):
            raise ValueError("a JSON Schema is an object, true or false")
        with needing("devices", "a JSON Schema"):
            import jsonschema_rs
        try:
            self._validator = jsonschema_rs.validator_for(
                schema, pattern_options=jsonschema_rs.RegexOptions(), offline=True
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise ValueError(f"not a JSON Schema: {_first_line(error)}") from error

    def __call__(self, payloads: pa.LargeBinaryArray) -> Validated:
        """Which payloads are valid; what is no JSON is not.

        Args:
            payloads: binary or large_binary[n] of JSON texts; null is none.
        """
        is_valid = self._validator.is_valid
        details: dict[int, str] = {}
        for row, payload in enumerate(payloads.to_pylist()):
            try:
                instance = _JSON.decode(payload or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                details[row] = f"not JSON: {str(error).removeprefix('JSON is malformed: ')}"[:_MAX_DETAIL]
                continue
            if not is_valid(instance):
                details[row] = self._why(instance)
        valid = np.ones(len(payloads), np.bool_)
        valid[list(details)] = False
        texts = pa.array([details.get(row) for row in range(len(payloads))], TEXT) if details else None
        return Validated(valid, pa.nulls(len(payloads), TEXT) if texts is None else texts)

    def _why(self, instance: Any) -> str:
        error = next(iter(self._validator.iter_errors(instance)))
        place = "/".join(str(step) for step in error.instance_path)
        return f"{place or 'the payload'}: {error.message}"[:_MAX_DETAIL]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:_MAX_DETAIL]


def validate(payloads: pa.LargeBinaryArray, schema: Any) -> Validated:
    """Which payloads a JSON Schema allows; for many batches make the :class:`Validator` once.

    >>> validate(pa.array([b'{"t": 1}', b'{"t": "x"}']), {"properties": {"t": {"type": "number"}}}).valid.tolist()
    [True, False]

    Raises:
        ValueError: As for :class:`Validator`.
    """
    return Validator(schema)(payloads)
