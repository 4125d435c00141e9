"""Batch jobs for tests: a configuration, a run of it, and everything that it left in the lake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from telebeam.io.lake import Lake
from telebeam.pipelines.batch import Outcome, run_batch
from telebeam.pipelines.config import load_config
from telebeam.pipelines.graph import Run
from telebeam.pipelines.runners import choose_runner
from telebeam.pipelines.simulation import SimulationReport, parse_faults, simulate, simulation_spec
from telebeam.transforms.schema import SERIES
from tests.oracle import compare_windows, windows_oracle

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
EVERY_FAULT = (
    "spike=0.01,out_of_range=0.01,missing=0.01,malformed=0.01,future=0.01,late=0.01,duplicate=0.01,"
    "stuck=0.1,drift=0.1,level_shift=0.1,dropout=0.1"
)


@dataclass(frozen=True)
class Job:
    """A configuration in a folder of its own, beside its lake."""

    folder: Path
    config: Path

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    def run(
        self, *overrides: str, workers: int = 2, start: datetime | None = None, end: datetime | None = None,
        started: datetime = NOW,
    ) -> Outcome:  # fmt: skip
        spec = load_config(self.config, overrides)
        choice = choose_runner("direct", "batch", [f"--direct_num_workers={workers}"])
        return run_batch(spec, Run(started, start, end), choice, quiet=True)

    def readings(self) -> pa.Table:
        return Lake(str(self.lake)).readings()

    def rejects(self) -> pa.Table:
        return Lake(str(self.lake)).rejects()

    def windows(self, seconds: int = 60) -> pa.Table:
        keys = [(name, "ascending") for name in (*SERIES, "window_start")]
        return Lake(str(self.lake)).windows(seconds).sort_by(keys)


def job(folder: Path, kind: str, path: Path | str, **sections: Any) -> Job:
    """A job over some files; further sections of the configuration as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "pipeline": "fleet",
        "source": {kind: {"path": str(path)}},
        "quality": {"max_age_days": None},
        "sinks": {"lake": {"path": str(folder / "lake")}},
        **sections,
    }
    config = folder / "fleet.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Job(folder, config)


def simulated(to: str, faults: str = EVERY_FAULT, **settings: Any) -> SimulationReport:
    fleet = {"profile": "office", "interval": "1m", "duration": "150m", "seed": 5, **settings}
    return simulate(simulation_spec(faults=parse_faults(faults), **fleet), to)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with a hash of what it holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def check_balance(done: Job, outcome: Outcome) -> None:
    """The sum holds, and is what stands in the lake."""
    outcome.balance.check()
    assert done.readings().num_rows == outcome.balance.readings
    assert done.rejects().num_rows == outcome.balance.rejects


def check_windows(done: Job, readings: Any = None, seconds: int = 60) -> None:
    """The lake's windows are those of its readings, or of the readings given."""
    with duckdb.connect() as con:
        given = done.readings() if readings is None else readings
        compare_windows(done.windows(seconds), windows_oracle(con, given, seconds))


def window_values(done: Job, seconds: int = 60) -> list[dict[str, Any]]:
    """Every window to the last bit, without what may differ by where a reading stood."""
    rows = done.windows(seconds).to_pylist()
    return [{k: v.hex() if isinstance(v, float) else v for k, v in row.items()} for row in rows]


def payloads(table: pa.Table) -> list[bytes]:
    found: list[bytes] = table["payload"].to_pylist()
    return found


def json_lines(path: Path, records: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path
