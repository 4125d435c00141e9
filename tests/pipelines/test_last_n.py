"""Windows of the last readings in a configuration: beside those of time, and in a lake alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest

from telebeam.pipelines.config import load_config
from telebeam.pipelines.dataflow import check_dataflow
from telebeam.pipelines.explain import explain
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import LAST_N
from tests.pipelines.jobs import job, simulated, tree
from tests.pipelines.test_dataflow import DRY, IN_BUCKET, PUBSUB, options


@pytest.fixture
def minimal(root: Path) -> Path:
    return root / "tests/fixtures/configs/minimal.yaml"


LAST = "windows=[{every: 1m}, {last: 100}, {session_gap: 1m}, {last: 10}]"


def test_windows_of_time_and_of_readings_are_told_apart(minimal: Path):
    spec = load_config(minimal, [LAST])
    assert [window.words for window in spec.windows] == ["1m", "sessions with gaps of 1m"]
    assert spec.last == (10, 100)
    assert spec.order is not None
    assert spec.order.last == (10, 100)


def test_explain_says_of_how_many_readings(minimal: Path):
    assert "[InOrder] of event time, from the first hour to the last: statistics of the last 10, 100 readings;" in (
        explain(load_config(minimal, [LAST]))
    )
    assert "scores by ewma; statistics of the last 10, 100 readings;" in (
        explain(load_config(minimal, [LAST, "anomalies=[{detector: ewma}]"]))
    )


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ("[{last: 1}]", "windows[0].last: the last 1 readings are out of range; expected 2 to 10,000"),
        ("[{last: 10, every: 1m}]", "windows[0]: found every and last; expected one of every, session_gap and last"),
        ("[{last: 10}, {last: 10}]", "two windows of the last 10 readings; expected each length once"),
        ("[{last: ten}]", "windows[0].last: found 'ten'; expected a whole number"),
        ("[{lest: 10}]", "did you mean last?"),
    ],
)
def test_what_cant_be_is_refused_with_its_place(minimal: Path, refusal: Any, windows: str, message: str):
    assert message in refusal(minimal, f"windows={windows}")


def test_they_need_a_lake(minimal: Path, refusal: Any):
    influx = "sinks={influxdb: {url: 'http://localhost', org: o, bucket: b, token: 'env:T'}}"
    assert "windows of the last readings need sinks.lake" in refusal(minimal, "windows=[{last: 5}]", influx)


def test_a_stream_on_dataflow_refuses_them_and_a_batch_job_does_not(minimal: Path):
    with pytest.raises(ConfigurationError, match="windows of the last readings are not done by a stream on Dataflow"):
        check_dataflow(load_config(minimal, [PUBSUB, IN_BUCKET, "windows=[{last: 5}]"]), options(*DRY))
    check_dataflow(
        load_config(minimal, [IN_BUCKET, "source.parquet.path=gs://bucket/*.parquet", "windows=[{last: 5}]"]),
        options(*DRY),
    )


def test_a_batch_job_files_a_row_a_reading_and_a_second_run_the_same(tmp_path: Path):
    simulated(f"parquet:{tmp_path / 'archive'}", duration="60m")
    done = job(tmp_path, "parquet", tmp_path / "archive", windows=[{"every": "1m"}, {"last": 3}, {"last": 20}])
    outcome = done.run()
    for number in (3, 20):
        files = ds.dataset(done.lake / f"last_n/n={number}", schema=LAST_N)
        assert files.count_rows() == outcome.balance.readings > 500
    before = tree(done.lake / "last_n")
    done.run()
    assert tree(done.lake / "last_n") == before
    with duckdb.connect() as con:
        # Neither null, nor more than there are: each row is of the readings that DuckDB finds by itself.
        wrong = con.execute(
            f"""
            select count(*) from (
                select *, avg(value) over w as ours, count(*) over w as number, max(value) over w as highest,
                    stddev_pop(value) over w as spread
                from read_parquet('{done.lake}/last_n/n=20/**/*.parquet', hive_partitioning = false)
                window w as (
                    partition by tenant, device_id, sensor_type, measurement_type, unit, location
                    order by timestamp, source, source_partition, source_offset rows 19 preceding
                )
            ) where abs(ours - mean) > 1e-9 * greatest(1, abs(ours)) or number <> "count" or highest <> "max"
                or abs(spread - std) > 1e-9 * greatest(1, spread)
            """
        ).fetchone()
    assert wrong == (0,)
