import gzip
import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.pipelines.simulation.batches import ARCHIVE, readings
from telebeam.pipelines.simulation.run import planned_readings, simulate
from telebeam.pipelines.simulation.spec import FAULTS, SimulationSpec, simulation_spec
from telebeam.transforms.errors import ConfigurationError, SinkError

RATES = {
    "spike": 0.01, "out_of_range": 0.01, "missing": 0.02, "malformed": 0.02, "future": 0.02, "late": 0.02,
    "duplicate": 0.02, "stuck": 0.1, "drift": 0.1, "level_shift": 0.1, "dropout": 0.1,
}  # fmt: skip
LIMITS = {"temperature": (-50, 100), "humidity": (0, 100), "pressure": (800, 1200), "voltage": (0, 50)}


def _spec(**settings: Any) -> SimulationSpec:
    return simulation_spec(**{"profile": "factory", "interval": "1m", "duration": "3h", **settings})


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _labels(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _refused(text: str) -> float:
    raise ValueError(text)


def _count(lines: list[bytes]) -> dict[str, int]:
    """The balance as a second, slow reader sees it."""
    found: Counter[str] = Counter()
    for line in lines:
        try:
            record = json.loads(line, parse_constant=_refused)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "device_id" not in record:
            found.update({"in": 1, "rejects": 1})
            continue
        values = record.get("data", {n: v for n, v in record.items() if n not in ("device_id", "timestamp")})
        values = [record["value"]] if "value" in record else list(values.values())
        usable = 0 if record["timestamp"] > "2027" else sum(value is not None for value in values)
        found.update({"in": len(values), "readings": usable, "rejects": len(values) - usable})
    return dict(found)


@pytest.mark.parametrize(
    "target", ["jsonl:{}/a.jsonl", "jsonl:{}/a.jsonl.gz", "jsonl:{}/a.jsonl.zst", "csv:{}/a.csv", "parquet:{}/a"]
)
def test_the_same_settings_write_the_same_bytes_and_another_seed_others(target: str, tmp_path: Path) -> None:
    written = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        simulate(_spec(faults=RATES, seed=seed), target.format(tmp_path / name))
        written.append(_bytes(tmp_path / name))
    assert written[0] == written[1]
    assert all(written[0][name] != written[2][name] for name in written[0])


@pytest.mark.parametrize("target", ["jsonl:{}/a.jsonl", "csv:{}/a.csv.gz", "parquet:{}/a"])
def test_a_simulation_may_be_repeated_in_place_and_no_other_takes_it(target: str, tmp_path: Path) -> None:
    place = target.format(tmp_path)
    simulate(_spec(), place)
    before = _bytes(tmp_path)
    simulate(_spec(), place)
    with pytest.raises(ConfigurationError, match="something else"):
        simulate(_spec(seed=2), place)
    assert _bytes(tmp_path) == before


def test_a_folder_with_other_files_is_refused_even_when_the_simulation_is_the_same(tmp_path: Path) -> None:
    simulate(_spec(), f"parquet:{tmp_path}/a")
    (tmp_path / "a" / "mine.parquet").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"mine\.parquet"):
        simulate(_spec(), f"parquet:{tmp_path}/a")


def test_a_file_of_somebody_else_is_refused_and_an_empty_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    with pytest.raises(ConfigurationError, match="something else"):
        simulate(_spec(), f"jsonl:{path}")
    assert _bytes(tmp_path) == {"a.jsonl": b"{}\n"}
    path.write_bytes(b"")
    assert simulate(_spec(), f"jsonl:{path}").records > 0


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("kafka:localhost:9092", "no topic"),
        ("kafka:localhost:9092/a topic", "can't name a topic"),
        ("kafka:localhost:x/telemetry", "expected host:port"),
        ("kafka:user:hunter2@host:9092/telemetry", "holds a user or a password"),
        ("mqtt:broker", "expected jsonl:PATH"),
        ("fleet.jsonl", "expected jsonl:PATH"),
        ("jsonl:", "names no file"),
        ("parquet:.", "names no folder"),
        ("parquet:s3://bucket/archive", "not a local path"),
        ("jsonl:fleet.jsonl.bz2", "compression"),
    ],
)
def test_a_target_that_can_not_be_written_is_refused(target: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        simulate(_spec(), target)


def test_a_number_of_files_goes_with_archives_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="files=3"):
        simulate(_spec(files=3), f"jsonl:{tmp_path}/a.jsonl")


def test_a_place_that_can_not_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(SinkError, match="can't be written"):
        simulate(_spec(), f"jsonl:{tmp_path}/file/a.jsonl")
    with pytest.raises(ConfigurationError, match="expected a folder"):
        simulate(_spec(), f"parquet:{tmp_path}/file")
    with pytest.raises(ConfigurationError, match="expected a file"):
        simulate(_spec(), f"jsonl:{tmp_path}")
    assert _bytes(tmp_path) == {"file": b"x"}


@pytest.mark.parametrize("shape", ["reading", "metric", "data", "flat", "mixed"])
def test_the_expected_balance_is_what_a_strict_reader_finds(shape: str, tmp_path: Path) -> None:
    report = simulate(_spec(shape=shape, faults=RATES), f"jsonl:{tmp_path}/a.jsonl.gz")
    lines = gzip.decompress(report.paths[0].read_bytes()).splitlines()
    assert report.records == len(lines)
    assert report.expected == _count(lines)
    assert report.expected["in"] == report.expected["readings"] + report.expected["rejects"]


def test_an_archive_holds_the_expected_balance(tmp_path: Path) -> None:
    report = simulate(_spec(faults=RATES), f"parquet:{tmp_path}/a")
    rows = [row for path in report.paths for row in pq.read_table(path).to_pylist()]
    bad = sum(row["value"] is None or row["value"] != row["value"] or row["timestamp"].year > 2026 for row in rows)
    assert report.expected == {"in": len(rows), "readings": len(rows) - bad, "rejects": bad}
    assert report.readings == report.records == len(rows)


def test_progress_adds_up_to_the_readings(tmp_path: Path) -> None:
    steps: list[int] = []
    report = simulate(_spec(faults=RATES), f"parquet:{tmp_path}/a", steps.append)
    assert sum(steps) == report.readings
    plain = _spec()
    assert simulate(plain, f"csv:{tmp_path}/a.csv").readings == planned_readings(plain)


def test_every_fault_is_labelled_and_counted(tmp_path: Path) -> None:
    report = simulate(_spec(faults=RATES), f"jsonl:{tmp_path}/a.jsonl")
    labels = _labels(report.truth)
    assert Counter(label["fault"] for label in labels) == report.faults
    assert set(FAULTS) == {fault for fault, count in report.faults.items() if count}
    devices = {label["device_id"] for label in labels}
    assert len(devices) == 30
    held = json.loads(report.manifest.read_bytes())
    assert (held["expected"], held["faults"], held["files"]) == (report.expected, report.faults, ["a.jsonl"])


@pytest.mark.parametrize("shape", ["reading", "data"])
def test_a_label_points_at_its_record(shape: str, tmp_path: Path) -> None:
    report = simulate(_spec(shape=shape, faults=RATES), f"jsonl:{tmp_path}/a.jsonl")
    lines = report.paths[0].read_bytes().splitlines()
    _check_text(lines, _labels(report.truth))


def _check_text(lines: list[bytes], labels: list[dict[str, Any]]) -> None:
    for label in labels:
        if label["offset"] is None:
            continue
        line = lines[label["offset"]]
        if label["fault"] == "malformed":
            assert _count([line])["rejects"] == 1
            assert label["detail"] == "empty" if line == b"{}" else label["detail"]
            continue
        record = json.loads(line)
        assert (record["device_id"], record["timestamp"]) == (label["device_id"], label["start"])
        values = record["data"] if "data" in record else {record["sensor_type"]: record["value"]}
        if label["fault"] in ("spike", "out_of_range", "missing"):
            value = values[label["sensor_type"]]
            assert (value is None) == (label["fault"] == "missing")
            if label["fault"] == "out_of_range":
                low, high = LIMITS[label["sensor_type"]]
                assert not low <= value <= high
        else:
            assert (label["sensor_type"] is None) == ("data" in record)
        assert (label["fault"] == "future") == (record["timestamp"] > "2027")
        if label["fault"] == "duplicate":
            assert lines.index(line) < label["offset"]


def test_a_label_points_at_its_row_in_its_file(tmp_path: Path) -> None:
    report = simulate(_spec(faults=RATES), f"parquet:{tmp_path}/a")
    tables = {path.name: pq.read_table(path).to_pylist() for path in report.paths}
    seen = Counter()
    for label in _labels(report.truth):
        if label["offset"] is None:
            continue
        row = tables[label["file"]][label["offset"]]
        seen[label["fault"]] += 1
        assert (row["device_id"], row["sensor_type"]) == (label["device_id"], label["sensor_type"])
        assert row["timestamp"].isoformat(timespec="milliseconds") == label["start"].replace("Z", "+00:00")
        bad = row["value"] is None or row["value"] != row["value"]
        assert bad == (label["fault"] in ("missing", "malformed")) or label["fault"] in ("late", "duplicate")
    assert seen["malformed"] > 100


def test_nothing_is_wrong_that_has_no_label(tmp_path: Path) -> None:
    report = simulate(_spec(faults=RATES), f"jsonl:{tmp_path}/a.jsonl")
    labelled = {label["offset"] for label in _labels(report.truth)}
    copies = Counter(report.paths[0].read_bytes().splitlines())
    seen: set[bytes] = set()
    for number, line in enumerate(report.paths[0].read_bytes().splitlines()):
        if _count([line])["rejects"] and not (copies[line] > 1):
            assert number in labelled
        if line in seen and line not in (b"{}", b'"offline"'):
            assert number in labelled
        seen.add(line)


def test_a_dropout_leaves_a_gap_from_start_to_end(tmp_path: Path) -> None:
    report = simulate(_spec(faults={"dropout": 0.5}), f"jsonl:{tmp_path}/a.jsonl")
    times: dict[str, list[str]] = {}
    for line in report.paths[0].read_bytes().splitlines():
        record = json.loads(line)
        times.setdefault(record["device_id"], []).append(record["timestamp"])
    labels = _labels(report.truth)
    assert len(labels) > 10
    for label in labels:
        assert not any(label["start"] <= at <= label["end"] for at in times[label["device_id"]])
        assert label["sensor_type"] is None


def test_a_stuck_sensor_repeats_its_value_from_start_to_end(tmp_path: Path) -> None:
    report = simulate(_spec(faults={"stuck": 0.5}), f"jsonl:{tmp_path}/a.jsonl")
    values: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for line in report.paths[0].read_bytes().splitlines():
        record = json.loads(line)
        values.setdefault((record["device_id"], record["sensor_type"]), []).append(
            (record["timestamp"], record["value"])
        )
    for label in _labels(report.truth):
        inside = [
            v for at, v in values[label["device_id"], label["sensor_type"]] if label["start"] <= at <= label["end"]
        ]
        assert len(inside) >= 7
        assert len(set(inside)) == 1


def test_an_archive_has_a_file_an_hour_in_the_order_of_time(tmp_path: Path) -> None:
    spec = _spec(start="2026-03-01T10:30:00Z", interval="7s")
    report = simulate(spec, f"parquet:{tmp_path}/a")
    assert [path.name for path in report.paths] == [f"readings-2026-03-01T{hour}.parquet" for hour in (10, 11, 12, 13)]
    rows = []
    for path in report.paths:
        times = pq.read_table(path, columns=["timestamp"])["timestamp"].to_pylist()
        assert times == sorted(times)
        assert {at.strftime("readings-%Y-%m-%dT%H.parquet") for at in times} == {path.name}
        rows += times
    assert rows == sorted(rows)
    assert len(rows) == planned_readings(spec)


def test_an_archive_is_what_the_batches_are_however_it_is_cut(tmp_path: Path) -> None:
    spec = _spec(faults=RATES, units="mixed")
    hours = simulate(spec, f"parquet:{tmp_path}/hours")
    one = simulate(_spec(faults=RATES, units="mixed", files=1), f"parquet:{tmp_path}/one")
    seven = simulate(_spec(faults=RATES, units="mixed", files=7), f"parquet:{tmp_path}/seven")
    assert [len(report.paths) for report in (hours, one, seven)] == [3, 1, 7]
    expected = pa.Table.from_batches(list(readings(spec))).cast(ARCHIVE)
    for report in (hours, one, seven):
        table = pa.concat_tables([pq.read_table(path) for path in report.paths])
        assert table.schema.equals(ARCHIVE)
        assert table.drop_columns("value").equals(expected.drop_columns("value"))
        assert str(table["value"].to_pylist()) == str(expected["value"].to_pylist())


def test_row_groups_are_full_and_pages_are_checked(tmp_path: Path) -> None:
    spec = simulation_spec(devices=400, interval="10s", duration="1h", files=1, faults={"dropout": 0.5, "late": 0.01})
    report = simulate(spec, f"parquet:{tmp_path}/a")
    file = pq.ParquetFile(report.paths[0], page_checksum_verification=True)
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes[:-1] == [131_072] * (len(sizes) - 1)
    assert len(sizes) >= 3
    assert file.read().num_rows == report.readings
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_labels_stand_in_the_order_of_their_records(tmp_path: Path) -> None:
    report = simulate(_spec(faults=RATES), f"parquet:{tmp_path}/a")
    places = [(label["file"], label["offset"]) for label in _labels(report.truth) if label["offset"] is not None]
    assert places == sorted(places)
    assert [name for name, _ in groupby(file for file, _ in places)] == [path.name for path in report.paths]
