import json
from datetime import UTC, datetime, timedelta
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telebeam.pipelines.simulation.batches import ARCHIVE, readings
from telebeam.pipelines.simulation.fleet import build_fleet
from telebeam.pipelines.simulation.generation import generate
from telebeam.pipelines.simulation.payloads import CSV_HEADER, MALFORMED_CSV, MALFORMED_JSON, Payloads, timestamps
from telebeam.pipelines.simulation.spec import SimulationSpec, simulation_spec

FIELDS = {
    "reading": {
        "device_id", "timestamp", "sensor_type", "measurement_type", "value", "unit", "location", "quality_score",
        "metadata",
    },
    "metric": {"device_id", "timestamp", "metric", "value", "unit", "metadata"},
    "data": {"device_id", "timestamp", "data", "metadata"},
}  # fmt: skip


def _text(spec: SimulationSpec, *, csv: bool = False) -> bytes:
    fleet = build_fleet(spec, records=not csv)
    payloads = Payloads(fleet, csv=csv)
    return b"".join(line for chunk in generate(spec, fleet) for line in payloads.lines(chunk.rows).to_pylist())


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _strict(line: bytes) -> object:
    return json.loads(line, parse_constant=_no_constant)


@given(st.lists(st.integers(0, 253_402_300_799_999), max_size=30))
def test_timestamps_are_those_of_the_standard_library(milliseconds: list[int]) -> None:
    texts = timestamps(np.array(milliseconds, dtype=np.int64)).tobytes().decode()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    instants = (epoch + timedelta(milliseconds=ms) for ms in milliseconds)
    assert texts == "".join(instant.isoformat(timespec="milliseconds").replace("+00:00", "Z") for instant in instants)


@pytest.mark.parametrize("shape", ["reading", "metric", "data", "flat", "mixed"])
def test_every_shape_says_what_the_archive_says(shape: str) -> None:
    spec = simulation_spec(devices=24, interval="1m", duration="1h", shape=shape)
    found = []
    for line in _text(spec).splitlines():
        record = _strict(line)
        assert isinstance(record, dict)
        values = record.get("data", {name: v for name, v in record.items() if name not in ("device_id", "timestamp")})
        if "value" in record:
            values = {record.get("sensor_type", record.get("metric")): record["value"]}
        found += [(record["device_id"], record["timestamp"], name, value) for name, value in values.items()]
    table = pa.Table.from_batches(list(readings(spec))).cast(ARCHIVE)
    times = [at.isoformat(timespec="milliseconds").replace("+00:00", "Z") for at in table["timestamp"].to_pylist()]
    columns = (table[name].to_pylist() for name in ("device_id", "sensor_type", "value"))
    expected = [
        (device, at, name, value) for at, (device, name, value) in zip(times, zip(*columns, strict=True), strict=True)
    ]
    assert found == expected


@pytest.mark.parametrize("shape", FIELDS)
def test_a_shape_has_its_fields(shape: str) -> None:
    for line in _text(simulation_spec(profile="home", interval="5m", duration="5m", shape=shape)).splitlines():
        assert json.loads(line).keys() == FIELDS[shape]


def test_a_flat_record_holds_its_device_and_all_of_its_values() -> None:
    for line in _text(simulation_spec(profile="home", interval="5m", duration="5m", shape="flat")).splitlines():
        record = json.loads(line)
        assert list(record)[:2] == ["device_id", "timestamp"]
        assert len(record) >= 4
        assert all(isinstance(value, (int, float)) for value in list(record.values())[2:])


@pytest.mark.parametrize("shape", ["reading", "metric", "data", "flat"])
@pytest.mark.parametrize("kind", MALFORMED_JSON)
def test_every_way_of_breaking_a_line_breaks_it_and_leaves_one_line(shape: str, kind: str) -> None:
    spec = simulation_spec(profile="home", interval="5m", duration="5m", shape=shape)
    for line in _text(spec).splitlines():
        broken = MALFORMED_JSON[kind](line)
        assert broken != line
        assert not set(broken) & set(b"\r\n")
        assert broken.strip()
        if kind in ("empty", "wrong_type"):
            assert _strict(broken) in ({}, "offline")
        else:
            with pytest.raises(ValueError, match=r".+"):
                _strict(broken)


@pytest.mark.parametrize("shape", ["reading", "metric", "data", "flat", "mixed"])
def test_only_malformed_lines_are_no_json(shape: str) -> None:
    faults = {"malformed": 0.2, "missing": 0.1, "late": 0.1, "duplicate": 0.1, "future": 0.1}
    spec = simulation_spec(profile="factory", interval="1m", duration="30m", shape=shape, faults=faults)
    fleet = build_fleet(spec)
    payloads = Payloads(fleet)
    for chunk in generate(spec, fleet, 1000):
        lines = payloads.lines(chunk.rows).to_pylist()
        assert len(lines) == np.count_nonzero(chunk.rows.first)
        for line, fault in zip(lines, chunk.rows.record[chunk.rows.first].tolist(), strict=True):
            try:
                whole = isinstance(record := _strict(line), dict) and "device_id" in record
            except ValueError:
                whole = False
            assert whole == (fault != 1)


def test_csv_says_what_the_archive_says() -> None:
    spec = simulation_spec(profile="office", interval="1m", duration="1h", units="mixed", faults={"missing": 0.1})
    options = pyarrow.csv.ConvertOptions(
        column_types={f.name: f.type for f in ARCHIVE}, quoted_strings_can_be_null=False
    )
    table = pyarrow.csv.read_csv(BytesIO(CSV_HEADER + _text(spec, csv=True)), convert_options=options)
    assert table.to_pylist() == pa.Table.from_batches(list(readings(spec))).cast(ARCHIVE).to_pylist()


@pytest.mark.parametrize("kind", MALFORMED_CSV)
def test_every_way_of_breaking_a_row_takes_its_number(kind: str) -> None:
    for line in _text(simulation_spec(profile="home", interval="5m", duration="5m"), csv=True).splitlines():
        fields = MALFORMED_CSV[kind](line).split(b",")
        assert fields[0] == line.split(b",")[0]
        assert len(fields) == 2 or fields[4] in (b"NaN", b"n/a")
