"""Python values as the bytes of records: JSON text, whatever a value holds."""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

_CANNOT = (TypeError, ValueError, OverflowError, RecursionError)
"""What encoders raise where JSON has no form for a value."""

_SUSPECT = (b"null", b"NaN", b"Infinity")


def payload_of(record: Any) -> bytes:
    r"""The record's bytes, for the parser to read or to refuse; it never raises, so one bad record stops no job.

    ``bytes`` and ``str`` are taken for JSON text as they are.  Mappings, rows with fields (``beam.Row``, named tuples)
    and dataclasses become objects, datetimes RFC 3339, NumPy's scalars and ``Decimal`` numbers, ``bytes`` within them
    base64.  NaN and Infinity become text, so that the parser refuses that value (``bad_value``) and no other one.  What
    holds something that JSON has no form for becomes a line that is no JSON, and with it one ``malformed`` reject.

    >>> payload_of({"device_id": "boiler-1", "value": Decimal("21.5")})
    b'{"device_id":"boiler-1","value":21.5}'
    >>> payload_of({"temperature": float("nan"), "humidity": 40})
    b'{"temperature":"NaN","humidity":40}'
    >>> payload_of({"when": 3 + 4j})
    b"not JSON: {'when': (3+4j)}"
    """
    if isinstance(record, (bytes, bytearray, memoryview)):
        return bytes(record)
    if isinstance(record, str):
        # A lone surrogate becomes bytes that are no UTF-8: the parser refuses them with the record.
        return record.encode("utf-8", "surrogatepass")
    value = _fields(record)
    try:
        text = _ENCODER.encode(value)
        # What is not finite is written as null, and a Decimal by its name: where neither occurs, there is none.
        if not any(word in text for word in _SUSPECT):
            return text
        return json.dumps(_named(_plain(value)), ensure_ascii=False, separators=(",", ":")).encode()
    except _CANNOT:
        return _escaped(value)


def _fields(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else value


def _hook(value: Any) -> Any:
    """What the encoder does not know by itself."""
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (datetime, date)):  # subclasses, pandas' Timestamp among them
        return value.isoformat()
    if hasattr(value, "_asdict"):
        return value._asdict()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=_hook)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=(Decimal,), enc_hook=_hook, str_keys=True)


def _named(value: Any) -> Any:
    """Builtin values, what is not finite by its name, as :func:`~telebeam.transforms.rejects.row_as_json` has it."""
    if isinstance(value, dict):
        return {name: _named(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, Decimal):
        value = float(value) if value.is_finite() else float(str(value).replace("s", ""))
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _escaped(value: Any) -> bytes:
    """A lone surrogate as JSON's escape; a line that is no JSON for all else."""
    try:
        return json.dumps(_named(_plain(value)), separators=(",", ":")).encode()
    except _CANNOT:
        pass
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deep"
    return ("not JSON: " + " ".join(text.split())).encode("utf-8", "backslashreplace")
