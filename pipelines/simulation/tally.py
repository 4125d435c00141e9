"""Counts of what was simulated, and of what a job is to find in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from telebeam.pipelines.simulation.rows import Point, Record, Rows
from telebeam.pipelines.simulation.spec import FAULTS


@dataclass
class Tally:
    """Counts what a job is to find."""

    readings: int = 0
    records: int = 0
    entered: int = 0
    rejects: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, rows: Rows) -> int:
        """Adds readings; returns how many records they are."""
        records = int(np.count_nonzero(rows.first))
        broken = rows.record == Record.MALFORMED
        broken_records = int(np.count_nonzero(broken & rows.first))
        refused = (rows.record == Record.FUTURE) | (rows.point == Point.MISSING)
        self.readings += len(rows)
        self.records += records
        self.entered += len(rows) - int(np.count_nonzero(broken)) + broken_records
        self.rejects += broken_records + int(np.count_nonzero(refused & ~broken))
        return records

    def counts(self) -> dict[str, Any]:
        """The counts by the names that a report has."""
        accepted = self.entered - self.rejects
        return {
            "readings": self.readings,
            "records": self.records,
            "faults": {name: self.faults[name] for name in FAULTS},
            "expected": {"in": self.entered, "readings": accepted, "rejects": self.rejects},
        }
