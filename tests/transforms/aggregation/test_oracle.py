"""Windows are what DuckDB makes of the same readings: of fleets made up and, where they are at hand, of real series."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from telebeam.transforms.aggregation.kernel import aggregate, extract
from telebeam.transforms.schema import READINGS, WINDOWS, conform
from tests.oracle import compare_windows, windows_oracle
from tests.transforms.aggregation.samples import MIDNIGHT, fleet, readings

NAB = Path(__file__).resolve().parents[4] / "shared" / "data" / "nab"
SERIES = sorted(NAB.glob("*/*.csv"))


def check(batch: pa.RecordBatch, seconds: int) -> None:
    ours = pa.Table.from_batches([conform(extract(aggregate(batch, seconds), seconds), WINDOWS)])
    with duckdb.connect() as con:
        compare_windows(ours, windows_oracle(con, pa.Table.from_batches([conform(batch, READINGS)]), seconds))


@pytest.mark.parametrize("seconds", [1, 60, 420, 3600, 86400])
@pytest.mark.parametrize("start", [MIDNIGHT, -3 * 86_400_000_000 - 5])
def test_a_fleets_windows_are_the_oracles(seconds, start):
    check(fleet(5000, seed=seconds, hours=4, start=start), seconds)


def test_windows_of_thousands_of_readings_are_the_oracles():
    check(fleet(40_000, seed=1, devices=2, hours=2), 3600)


@pytest.mark.skipif(not SERIES, reason="the real series are not beside this checkout")
@pytest.mark.parametrize("path", SERIES, ids=[path.stem for path in SERIES])
@pytest.mark.parametrize("seconds", [3600, 86400, 30 * 86400])
def test_a_real_series_windows_are_the_oracles(path, seconds):
    table = pyarrow.csv.read_csv(path)
    times = pc.cast(table["timestamp"], pa.timestamp("us")).cast(pa.int64()).to_pylist()
    check(readings(table["value"].cast(pa.float64()).to_pylist(), times), seconds)
