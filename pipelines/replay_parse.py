"""Rejected records as their source delivered them, parsed again."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.files.text import read_text_unit
from telebeam.io.files.units import Unit
from telebeam.io.lake.rejected import RejectedUnit
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.batches import concat, with_columns
from telebeam.transforms.checking import Checked, Checks
from telebeam.transforms.errors import SourceError
from telebeam.transforms.parsing.csv import CSV_HEADER
from telebeam.transforms.parsing.rows import rows_of_tables
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.rejects import ORIGIN
from telebeam.transforms.replaying import DeadRecords
from telebeam.transforms.schema import ENVELOPES, READINGS_IN_FLIGHT, REJECTS

_CSV = r"(?i)\.csv(\.(gz|zst|bz2|lz4))?$"
_ARROW_TYPE = r"(?i)^\s*application/vnd\.apache\.arrow"


class Parser:
    """Parses records again, whatever they came from.

    Args:
        spec: The pipeline that refused them; says where its files are.
        parse: What payloads look like now.
        checks: All that is done to records now.
    """

    def __init__(self, spec: PipelineSpec, parse: ParseSpec, checks: Checks) -> None:
        self._spec, self._parse, self._checks = spec, parse, checks
        self._header = lru_cache(maxsize=16)(self._read_header)

    def parse(self, unit: RejectedUnit, dead: DeadRecords, now: int) -> Checked | None:
        """What the records of a unit say now, numbered; None where nothing says what the fields of its CSV are.

        Args:
            unit: Whose they are.
            dead: The records.
            now: µs since 1970: what ``future`` and ``too_old`` are measured by.

        Raises:
            SourceError: A schema registry is away.
        """
        envelopes = dead.envelopes(np.arange(len(dead)))
        if unit.origin == "table":
            return self._tables(envelopes, now)
        if unit.origin == "stream":
            rows = self._rows_of_arrow(envelopes)
            parts = [self._checks(envelopes.filter(pa.array(~rows)), now)] if not rows.all() else []
            return _joined([*parts, self._tables(envelopes.filter(pa.array(rows)), now)])
        records, metadata = envelopes.select(ENVELOPES.names), {}
        if self._is_csv(envelopes):
            header = self._header(envelopes.column("source")[0].as_py())
            if header is None:
                return None
            metadata = {CSV_HEADER: header}
        return self._checks(records.replace_schema_metadata(metadata), now)

    def _tables(self, envelopes: pa.RecordBatch, now: int) -> Checked:
        """Rows of tables, of which rejects hold the JSON text."""
        parts = []
        for places, table in rows_of_tables(envelopes.column("payload"), self._parse):
            taken = envelopes.take(pa.array(places))
            parts.append(self._checks(with_columns(table, {name: taken.column(name) for name in ORIGIN}), now))
        return _joined(parts)

    def _rows_of_arrow(self, envelopes: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """bool[n]: what was a row of a message of Arrow IPC, and is its text now."""
        declared = pc.fill_null(pc.match_substring_regex(envelopes.column("content_type"), _ARROW_TYPE), False)
        declared = declared.to_numpy(zero_copy_only=False) | (self._parse.format == "arrow")
        begins = pc.starts_with(envelopes.column("payload"), "{").to_numpy(zero_copy_only=False)
        found: npt.NDArray[np.bool_] = declared & begins
        return found

    def _is_csv(self, envelopes: pa.RecordBatch) -> bool:
        if self._spec.source.csv is not None:
            return True
        return bool(pc.match_substring_regex(envelopes.column("source"), _CSV)[0].as_py())

    def _read_header(self, source: str) -> bytes | None:
        """A CSV file's header as envelopes bear it; None where the file can't be read any more."""
        if self._spec.source.csv is None:
            return None
        try:
            unit = Unit(self._spec.source.csv.path, source, "stream", 0, 0, 0)
            first = next(read_text_unit(self._spec.pipeline, unit, "csv"), None)
        except SourceError:
            return None
        header: bytes | None = None if first is None else (first.schema.metadata or {}).get(CSV_HEADER)
        return header


def _joined(parts: list[Checked]) -> Checked:
    none = Checked(
        pa.RecordBatch.from_pylist([], schema=READINGS_IN_FLIGHT), pa.RecordBatch.from_pylist([], schema=REJECTS)
    )
    return Checked(
        concat([none.readings, *(part.readings for part in parts)]),
        concat([none.rejects, *(part.rejects for part in parts)]),
    )
