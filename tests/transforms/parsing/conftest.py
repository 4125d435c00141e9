"""Records through the parser and back as plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from tests.transforms.records import envelopes as make_envelopes

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


def _outcome(batch: pa.RecordBatch, spec: ParseSpec, known: Known | None = None) -> Outcome:
    parsed = parse(batch, spec, NOW, known)
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
    return make_envelopes


@pytest.fixture(scope="session")
def parse_batch() -> Parse:
    """Parses a batch: (batch, **spec) → outcome."""
    return lambda batch, **spec: _outcome(batch, ParseSpec(**spec))


@pytest.fixture(scope="session")
def parse_json() -> Parse:
    """Parses payloads: (payloads…, keys=, offsets=, known=, **spec) → outcome."""

    def run(
        *payloads: bytes | str | None, keys: Any = None, offsets: Any = None, known: Known | None = None, **spec: Any
    ) -> Outcome:
        raw = [payload.encode() if isinstance(payload, str) else payload for payload in payloads]
        return _outcome(make_envelopes(raw, keys, offsets), ParseSpec(**spec), known)

    return run
