"""Records through the parser and back as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.schema import ENVELOPES

NOW = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Outcome(NamedTuple):
    """Readings and rejects of a batch as dicts, in an order that is the same however they were cut and grouped."""

    readings: list[dict[str, Any]]
    rejects: list[dict[str, Any]]

    @property
    def reasons(self) -> list[str]:
        return [row["reason"] for row in self.rejects]


Envelopes = Callable[..., pa.RecordBatch]
Parse = Callable[..., Outcome]


def _envelopes(
    payloads: Sequence[bytes | None], keys: Sequence[str | None] | None = None, offsets: Sequence[int] | None = None
) -> pa.RecordBatch:
    rows = len(payloads)
    columns = [
        pa.array(payloads, pa.large_binary()),
        pa.array(keys if keys is not None else [None] * rows, pa.string()),
        pa.array(["topic"] * rows, pa.string()),
        pa.array(np.zeros(rows, np.int32)),
        pa.array(np.arange(rows) if offsets is None else np.array(offsets, np.int64)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ENVELOPES)


def _outcome(batch: pa.RecordBatch, spec: ParseSpec) -> Outcome:
    parsed = parse(batch, spec, NOW)
    parsed.readings.validate(full=True)
    parsed.rejects.validate(full=True)
    payloads = parsed.readings.column("payload")
    assert len(payloads) == parsed.readings.num_rows
    readings = parsed.readings.drop_columns(["payload"]).to_pylist()
    rejects = parsed.rejects.to_pylist()
    by_place = lambda row: (row["source"], row["source_partition"], row["source_offset"])  # noqa: E731
    return Outcome(
        sorted(readings, key=lambda row: (by_place(row), row["measurement_type"], repr(row))),
        sorted(rejects, key=lambda row: (by_place(row), row["reason"], repr(row))),
    )


@pytest.fixture(scope="session")
def envelopes() -> Envelopes:
    """Makes a batch of payloads, with keys and offsets if given."""
    return _envelopes


@pytest.fixture(scope="session")
def parse_batch() -> Parse:
    """Parses a batch: (batch, **spec) → outcome."""
    return lambda batch, **spec: _outcome(batch, ParseSpec(**spec))


@pytest.fixture(scope="session")
def parse_json() -> Parse:
    """Parses payloads: (payloads…, keys=, offsets=, **spec) → outcome."""

    def run(*payloads: bytes | str | None, keys: Any = None, offsets: Any = None, **spec: Any) -> Outcome:
        raw = [payload.encode() if isinstance(payload, str) else payload for payload in payloads]
        return _outcome(_envelopes(raw, keys, offsets), ParseSpec(**spec))

    return run
