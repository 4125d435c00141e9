"""The whole job over simulated and real archives, held to the simulator's counts and to DuckDB's windows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.jobs import NOW, Job, check_balance, check_windows, job, simulated, window_values

LIMITS = {"temperature": (-50, 100), "humidity": (0, 100), "pressure": (800, 1200), "voltage": (0, 50)}


def usable(archive: Path) -> pa.Table:
    """What an archive of canonical units holds that a job with the default rules keeps, by DuckDB alone."""
    out_of_range = " or ".join(
        f"(sensor_type = '{name}' and value not between {low} and {high})" for name, (low, high) in LIMITS.items()
    )
    return duckdb.sql(f"""
        select 'default' as tenant, device_id, timestamp, sensor_type, measurement_type, value, unit, location,
            case when {out_of_range} then 0.8 else 1.0 end as quality_score,
            filename as source, 0 as source_partition, file_row_number as source_offset
        from read_parquet('{archive}/*.parquet', filename=true, file_row_number=true)
        where value is not null and not isnan(value)
            and timestamp <= timestamptz '{NOW.isoformat()}' + interval 5 minute
    """).to_arrow_table()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "archive"
    simulated(f"parquet:{folder}")
    return folder


@pytest.fixture(scope="module")
def done(archive: Path) -> Job:
    made = job(archive.parent / "first", "parquet", archive, windows=[{"every": "1m"}, {"every": "1h"}])
    made.run()
    return made


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("jsonl:in.jsonl", {"shape": "mixed", "units": "mixed"}),
        ("csv:in.csv.gz", {"units": "mixed"}),
        ("parquet:in", {"units": "mixed", "files": 4}),
    ],
)
def test_every_row_of_a_faulty_fleet_is_where_the_simulator_expects_it(
    tmp_path: Path, target: str, settings: dict[str, object]
):
    kind, name = target.split(":")
    report = simulated(f"{kind}:{tmp_path / name}", **settings)
    made = job(tmp_path, kind, tmp_path / name)
    outcome = made.run()
    found = outcome.balance
    assert {"in": found.rows_in, "readings": found.readings, "rejects": found.rejects} == report.expected
    check_balance(made, outcome)
    assert outcome.windows == made.windows().num_rows
    check_windows(made)


@pytest.mark.parametrize("seconds", [60, 3600])
def test_windows_are_those_of_the_input(archive: Path, done: Job, seconds: int):
    check_windows(done, seconds=seconds)
    check_windows(done, usable(archive), seconds)


def test_windows_are_the_same_to_the_last_bit_however_the_archive_is_shuffled_split_and_read(
    archive: Path, done: Job, tmp_path: Path
):
    whole = pq.read_table(archive)
    order = np.random.default_rng(11).permutation(len(whole))
    # Equal times within a series are told apart by the row's number, which a shuffle changes: only equal values
    # stand there, for the simulator's duplicates are exact.
    shuffled = whole.take(pa.array(order))
    cut = len(shuffled) // 3
    other = tmp_path / "other"
    (other / "deep" / "er").mkdir(parents=True)
    pq.write_table(shuffled.slice(0, cut), other / "a.parquet", row_group_size=997)
    pq.write_table(shuffled.slice(cut), other / "deep" / "er" / "b.parquet", row_group_size=1 << 20)
    expected = window_values(done)
    for workers in (1, 8):
        made = job(tmp_path / f"workers-{workers}", "parquet", other)
        check_balance(made, made.run(workers=workers))
        assert window_values(made) == expected


def test_a_real_series_gives_the_windows_of_its_file(root: Path, tmp_path: Path, pytestconfig: pytest.Config):
    """Ten days of five-minute readings; --long takes all the 79, whose two files an hour take half a minute."""
    folder = root.parent / "shared" / "data" / "nab" / "realKnownCause"
    if not folder.is_dir():
        pytest.skip("the NAB series are not beside this checkout")
    file = folder / "machine_temperature_system_failure.csv"
    parse = {"timezone": "UTC", "defaults": {"device_id": "machine-1", "sensor_type": "temperature"}}
    made = job(tmp_path, "csv", file, parse=parse, windows=[{"every": "1h"}])
    start, end = datetime(2013, 12, 10, 0, 3, tzinfo=UTC), datetime(2013, 12, 20, tzinfo=UTC)
    if pytestconfig.getoption("--long"):
        start, end = datetime(2013, 1, 1, tzinfo=UTC), datetime(2015, 1, 1, tzinfo=UTC)
    outcome = made.run(start=start, end=end)
    check_balance(made, outcome)
    source = duckdb.sql(f"""
        with given as (select *, timestamp::timestamp at time zone 'UTC' as moment from read_csv('{file}'))
        select 'default' as tenant, 'machine-1' as device_id, moment as timestamp, 'temperature' as sensor_type,
            'temperature' as measurement_type, value, 'celsius' as unit, null::varchar as location,
            case when value between -50 and 100 then 1.0 else 0.8 end as quality_score,
            'f' as source, 0 as source_partition, row_number() over () as source_offset
        from given where moment >= '{start.isoformat()}' and moment < '{end.isoformat()}'
    """).to_arrow_table()
    assert outcome.balance.readings == len(source) > 2_000
    check_windows(made, source, 3600)
