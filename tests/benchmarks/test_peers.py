"""The programs that the batch job is timed against compute what it computes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from telebeam.transforms.schema import READINGS, WINDOWS, conform
from tests.oracle import compare_windows, windows_oracle

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"
ROWS = 2000
REFUSED = {0: ("value", None), 1: ("value", np.nan), 2: ("device_id", "ab"), 3: ("timestamp", datetime(9999, 1, 1))}


def archive() -> pa.Table:
    """Readings of 20 devices over two minutes, across an hour's end, some out of range and four to be refused."""
    random = np.random.default_rng(5)
    device = np.arange(ROWS) % 20
    start = int(datetime(2026, 1, 1, 0, 59, tzinfo=UTC).timestamp() * 1e6)
    columns: dict[str, list[Any]] = {
        "device_id": [f"device-{n:03d}" for n in device],
        "timestamp": [start + n * 60_000 for n in range(ROWS)],
        "sensor_type": ["temperature" if n % 2 else "humidity" for n in device],
        "measurement_type": ["inside" if n % 3 else "outside" for n in device],
        "value": random.normal(50, 25, ROWS).tolist(),
        "unit": ["celsius" if n % 2 else "percent" for n in device],
        "location": [None if n == 7 else f"hall {n % 4}" for n in device],
        "metadata": ['{"firmware":"1.0"}'] * ROWS,
    }
    for row, (name, value) in REFUSED.items():
        columns[name][row] = int(value.replace(tzinfo=UTC).timestamp() * 1e6) if isinstance(value, datetime) else value
    table = pa.table(columns)
    return table.set_column(1, "timestamp", table["timestamp"].cast(pa.timestamp("us", "UTC")))


def write(table: pa.Table, kind: str, folder: Path) -> str:
    """The archive in one file of Parquet or of JSON lines; returns its glob."""
    folder.mkdir()
    if kind == "parquet":
        pq.write_table(table, folder / "part.parquet")
    else:
        lines = [
            # JSON knows no NaN: that reading's value is missing instead.
            json.dumps(row | {"timestamp": row["timestamp"].isoformat(), "metadata": json.loads(row["metadata"])})
            for row in table.to_pylist()
        ]
        (folder / "part.jsonl").write_text("\n".join(lines).replace("NaN", "null") + "\n", encoding="utf-8")
    return f"{folder}/*.{kind}"


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("peer", ["duckdb_program", "textbook_beam"])
def test_a_peer_writes_the_readings_the_rejects_and_the_oracles_windows(peer: str, kind: str, tmp_path: Path) -> None:
    glob = write(archive(), kind, tmp_path / "archive")
    output = tmp_path / "lake"
    command = [sys.executable, PEERS / f"{peer}.py", "--input", glob, "--format", kind, "--output", output]
    subprocess.run(command, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    found = {name: pq.ParquetDataset(output / name, partitioning=None).read() for name in ("readings", "windows")}
    rejects = pq.ParquetDataset(output / "rejects", partitioning=None).read()
    second = "bad_value" if kind == "parquet" else "missing_value"
    assert sorted(rejects["reason"].to_pylist()) == sorted(["missing_value", second, "bad_device_id", "future"])
    assert found["readings"].num_rows == ROWS - len(REFUSED)
    readings = pa.Table.from_batches([conform(batch, READINGS) for batch in found["readings"].to_batches()])
    assert sorted(readings["source_offset"].to_pylist()) == list(range(len(REFUSED), ROWS))
    flagged = pc.list_value_length(readings["issues"]).to_numpy()
    values, kinds = readings["value"].to_numpy(), readings["sensor_type"].to_numpy(zero_copy_only=False)
    limits = np.where(kinds == "humidity", (values < 0) | (values > 100), (values < -50) | (values > 100))
    assert np.array_equal(flagged == 1, limits)
    assert set(WINDOWS.names) <= set(found["windows"].column_names)
    with duckdb.connect() as con:
        compare_windows(found["windows"], windows_oracle(con, readings, 60))


def test_the_duckdb_program_sorts_each_hours_file_by_device_and_time(tmp_path: Path) -> None:
    glob = write(archive(), "parquet", tmp_path / "archive")
    command = [sys.executable, PEERS / "duckdb_program.py", "--input", glob, "--output", tmp_path / "lake"]
    subprocess.run(command, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    files = sorted((tmp_path / "lake" / "readings").rglob("*.parquet"))
    assert [file.parent.name for file in files] == ["hour=00", "hour=01"]
    for file in files:
        order = pq.ParquetFile(file).read(["device_id", "timestamp"])
        assert order.equals(order.sort_by([("device_id", "ascending"), ("timestamp", "ascending")]))
