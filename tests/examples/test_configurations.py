"""Every configuration among the examples loads, and those that need no server run on what they are made for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from telebeam.io.lake import Lake
from telebeam.pipelines.config import load_config
from telebeam.pipelines.explain import explain

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))
RUN = ("-m", "telebeam.pipelines.cli", "run")
Run = Callable[[str], dict[str, int]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_a_pipeline_that_can_be_told_in_words(path: Path):
    assert "[Read]" in explain(load_config(path))


def test_the_examples_show_every_source_and_every_sink():
    specs = [load_config(path) for path in FILES]
    assert {spec.source.kind for spec in specs} == {"parquet", "jsonl", "csv"}
    assert any(spec.sinks.influxdb for spec in specs)
    assert any(spec.sinks.lake for spec in specs)


@pytest.fixture
def balance(start: Callable[..., str]) -> Run:
    """Runs an example where the test put its input, as a reader would; the balance."""

    def run(name: str) -> dict[str, int]:
        counts: dict[str, int] = json.loads(start(*RUN, EXAMPLES / name, "--json"))["balance"]
        return counts

    return run


def test_an_archive_gets_into_the_lake_and_a_bad_file_among_the_rejects(
    telebeam: Callable[..., str], balance: Run, tmp_path: Path
):
    made = json.loads(
        telebeam("simulate", "--profile", "home", "--interval", "1m", "--to", "parquet:archive", "--json")
    )
    (tmp_path / "archive" / "cut.parquet").write_bytes(b"PAR1 and no more")
    found = balance("archive.yaml")
    assert found == {"in": 1621, "readings": 1620, "rejects": 1, "duplicates": 0, "late": 0}
    assert made["readings"] == Lake("lake").readings().num_rows == 1620
    assert Lake("lake").rejects()["reason"].to_pylist() == ["bad_file"]


def test_lines_of_all_shapes_and_units_get_into_the_lake_in_canonical_units(telebeam: Callable[..., str], balance: Run):
    simulated = ("--devices", "7", "--interval", "1m", "--shape", "mixed", "--units", "mixed")
    made = json.loads(telebeam("simulate", *simulated, "--to", "jsonl:incoming/fleet.jsonl.gz", "--json"))
    found = balance("json-lines.yaml")
    assert found["readings"] == made["readings"] == found["in"]
    table = Lake("lake").readings(columns=["sensor_type", "unit"])
    pairs = set(zip(*(table[name].to_pylist() for name in ("sensor_type", "unit")), strict=True))
    assert {unit for name, unit in pairs if name == "temperature"} == {"celsius"}
    assert len(pairs) == len({name for name, _ in pairs})


def test_a_csv_that_says_least_gets_what_the_configuration_says(balance: Run, tmp_path: Path):
    rows = [("2013-07-04 00:00:00", 69.8), ("2013-07-04 01:00:00", 212.0), ("2013-07-04 02:00:00", 32.0)]
    (tmp_path / "nab").mkdir()
    text = "timestamp,value\n" + "".join(f"{when},{value}\n" for when, value in rows)
    (tmp_path / "nab" / "ambient_temperature_system_failure.csv").write_text(text, encoding="utf-8")
    assert balance("nab-csv.yaml")["readings"] == 3
    readings = Lake("lake").readings().sort_by("timestamp")
    assert readings["value"].to_pylist() == pytest.approx([21.0, 100.0, 0.0])
    assert readings["issues"].to_pylist() == [[], ["out_of_range"], []]
    assert set(readings["device_id"].to_pylist()) == {"office"}
    assert readings["timestamp"][0].as_py() == datetime(2013, 7, 4, tzinfo=UTC)
    assert Lake("lake").windows(86_400)["count"].to_pylist() == [3]


def test_an_archive_in_foreign_columns_is_mapped_local_times_included(balance: Run, tmp_path: Path):
    winter, summer = datetime(2026, 1, 15, 12), datetime(2026, 7, 15, 12)
    rows = [
        {"ts": at, "machine": {"id": "press-1", "hall": "A"}, "kind": "Temperature", "reading": 68, "uom": "F"}
        for at in (winter, summer, summer + timedelta(microseconds=250))
    ]
    (tmp_path / "plant").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plant" / "2026.parquet")
    # The summer's readings may be in the future of the clock that runs this.
    assert balance("mapped-parquet.yaml")["in"] == 3
    readings = Lake("lake").readings().sort_by("timestamp")
    assert readings["timestamp"][0].as_py() == datetime(2026, 1, 15, 11, tzinfo=UTC)
    assert readings["value"][0].as_py() == pytest.approx(20.0)
    assert readings["location"][0].as_py() == "A"
    assert pc.all(pc.equal(readings["sensor_type"], "temperature")).as_py()


def test_what_was_deleted_comes_back_byte_for_byte_when_the_job_is_run_again(
    telebeam: Callable[..., str], balance: Run, tmp_path: Path, request: pytest.FixtureRequest
):
    if not request.config.getoption("--long"):
        pytest.skip("two whole jobs in processes of their own; run with --long")
    telebeam("simulate", "--interval", "5m", "--to", "parquet:archive")
    first = balance("archive.yaml")
    before = _contents(tmp_path / "lake")
    shutil.rmtree(tmp_path / "lake" / "readings" / "date=2026-01-01")
    shutil.rmtree(tmp_path / "lake" / "windows")
    assert balance("archive.yaml") == first
    assert _contents(tmp_path / "lake") == before


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_uplinks_become_readings_by_the_registry_and_the_codecs(start: Callable[..., str], tmp_path: Path):
    shutil.copytree(EXAMPLES / "lorawan", tmp_path, dirs_exist_ok=True)
    counts = json.loads(start(*RUN, "job.yaml", "--json"))["balance"]
    assert counts == {"in": 10, "readings": 8, "rejects": 2, "duplicates": 0, "late": 0}
    rows = Lake("lake").readings().to_pylist()
    places = {row["timestamp"].hour: row["location"] for row in rows if row["sensor_type"] == "humidity"}
    assert places == {11: "hall 1", 12: "hall 2"}
    assert [row["value"] for row in rows if row["sensor_type"] == "temperature"] == pytest.approx([26.7, 27.0])
    low = [row["issues"] for row in rows if row["sensor_type"] == "battery_voltage" and row["value"] < 2.5]
    assert low == [["codec_warning", "out_of_range"]]
    assert sorted(Lake("lake").rejects()["reason"].to_pylist()) == ["malformed", "unknown_device"]
