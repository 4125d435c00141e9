"""Points written to a real InfluxDB 2 and read back with Flux."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline  # pytest would collect a name in Test
from apache_beam.testing.util import assert_that
from influxdb_client import InfluxDBClient

from telebeam.io.influxdb.client import InfluxWriter, probe
from telebeam.io.influxdb.lines import MAX_MICROSECONDS, Lines, reading_lines, window_lines
from telebeam.io.influxdb.ptransforms import WriteToInfluxDB
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.transforms.errors import SinkError
from telebeam.transforms.schema import AGGREGATES, READINGS, REJECTS, WINDOWS, conform, in_flight

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
NOW = datetime(2024, 3, 2, tzinfo=UTC)
TAGS = ("tenant", "device_id", "sensor_type", "measurement_type", "unit", "location")
HOSTILE = (
    "plain", "a b", "a,b", "a=b", "a\\b", "a\\,b", "a\\ b", "a\\=b", "a\\\\b", ' lead"quote" ', "#hash", "=", ",", "'",
    "../../etc", "°C µΩ 😀 \u2028", "x" * 256,
)  # fmt: skip
Point = tuple[str, frozenset[tuple[str, str]], str, datetime]


@pytest.fixture
def spec(influxdb: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[InfluxSpec]:
    """A bucket of the test's own."""
    monkeypatch.setenv("INFLUX_TEST_TOKEN", influxdb.token)
    name = f"bucket-{abs(hash(request.node.nodeid))}"
    with InfluxDBClient(influxdb.url, influxdb.token, org=influxdb.org) as client:
        bucket = client.buckets_api().create_bucket(bucket_name=name, org=influxdb.org)
        yield InfluxSpec(
            url=influxdb.url, org=influxdb.org, bucket=name, token="env:INFLUX_TEST_TOKEN", max_retries=2, timeout=10
        )
        client.buckets_api().delete_bucket(bucket)


def readings(count: int) -> pa.RecordBatch:
    random = np.random.default_rng(3)
    rows = [
        {
            "tenant": "acme" if n % 5 == 0 else "default", "device_id": HOSTILE[n % len(HOSTILE)],
            "timestamp": NOON + timedelta(microseconds=n), "sensor_type": "voltage", "measurement_type": "voltage",
            "value": float(random.normal() * 10.0**n), "unit": "volts",
            "location": None if n % 7 == 0 else HOSTILE[n // 3 % len(HOSTILE)], "quality_score": 0.8 if n % 2 else 1.0,
            "issues": [], "is_late": False, "source": "a.parquet", "source_partition": 1, "source_offset": n,
        }
        for n in range(count)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=READINGS)


def windows(count: int) -> pa.RecordBatch:
    rows = [
        {
            "tenant": "default", "device_id": f"device-{n}", "sensor_type": "voltage", "measurement_type": "voltage",
            "unit": "volts", "location": None, "window_start": NOON + timedelta(minutes=n),
            "window_end": NOON + timedelta(minutes=n + 1), "window_seconds": 60, "count": n + 1,
            **{name: (n + 1) / (place + 3) for place, name in enumerate(AGGREGATES)}, "revision": 0,
        }
        for n in range(count)
    ]  # fmt: skip
    rows[0]["trend_per_second"] = None
    return pa.RecordBatch.from_pylist(rows, schema=WINDOWS)


def stored(spec: InfluxSpec, token: str, start: datetime = NOON - timedelta(days=30)) -> dict[Point, Any]:
    """Every value in the bucket from a time on, by measurement, tags, field and time.

    Flux answers with one type a field: where a shard within the range holds an integer, floats of others are left out.
    """
    with InfluxDBClient(spec.url, token, org=spec.org) as client:
        query = f'from(bucket: "{spec.bucket}") |> range(start: {start.isoformat()}, stop: 2100-01-01T00:00:00Z)'
        values = {}
        for table in client.query_api().query(query):
            for record in table.records:
                tags = {
                    k: v for k, v in record.values.items() if not k.startswith("_") and k not in ("result", "table")
                }
                point = (record.get_measurement(), frozenset(tags.items()), record.get_field(), record.get_time())
                values[point] = record.get_value()
        return values


def expected(batch: pa.RecordBatch, measurement: str, tags: tuple[str, ...], fields: tuple[str, ...], time: str) -> Any:
    values = {}
    for row in batch.to_pylist():
        kept = {tag: str(row[tag]) for tag in tags if row[tag] and (tag, row[tag]) != ("tenant", "default")}
        for field in fields:
            if row[field] is not None and math.isfinite(row[field]):
                values[measurement, frozenset(kept.items()), field, row[time]] = row[field]
    return values


def test_every_reading_reads_back_and_writing_again_changes_nothing(spec: InfluxSpec, influxdb: Any) -> None:
    batch = readings(120)
    lines, refused = reading_lines(conform(batch, in_flight(READINGS)), spec)
    assert len(refused) == 0
    wanted = expected(batch, "iot_measurements", TAGS, ("value", "quality_score"), "timestamp")
    with InfluxWriter(spec.model_copy(update={"batch_points": 50})) as writer:
        for _ in range(2):
            assert writer.write(lines) == []
            assert stored(spec, influxdb.token) == wanted


def test_every_window_reads_back_with_count_as_integer(spec: InfluxSpec, influxdb: Any) -> None:
    batch = windows(20)
    lines, _ = window_lines(batch, spec)
    with InfluxWriter(spec) as writer:
        assert writer.write(lines) == []
    found = stored(spec, influxdb.token)
    assert found == expected(batch, "iot_windows", (*TAGS, "window_seconds"), ("count", *AGGREGATES), "window_start")
    assert {type(value) for (_, _, field, _), value in found.items() if field == "count"} == {int}
    assert {type(value) for (_, _, field, _), value in found.items() if field != "count"} == {float}


def test_a_later_revision_replaces_the_window(spec: InfluxSpec, influxdb: Any) -> None:
    first = windows(3)
    second = first.set_column(first.schema.get_field_index("count"), "count", pa.array([7, 8, 9], pa.int64()))
    with InfluxWriter(spec) as writer:
        for batch in (first, second):
            writer.write(window_lines(batch, spec)[0])
    found = stored(spec, influxdb.token)
    assert sorted(value for (_, _, field, _), value in found.items() if field == "count") == [7, 8, 9]


def test_names_of_an_existing_installation_are_kept(spec: InfluxSpec, influxdb: Any) -> None:
    there = spec.model_copy(update={"measurements": {"readings": "sensor data,1"}, "tags": {"device_id": "dev=id, no"}})
    with InfluxWriter(there) as writer:
        writer.write(reading_lines(readings(3), there)[0])
    found = stored(spec, influxdb.token)
    assert {name for name, *_ in found} == {"sensor data,1"}
    assert all("dev=id, no" in dict(tags) for _, tags, *_ in found)


def test_the_first_and_the_last_representable_time_are_taken(spec: InfluxSpec) -> None:
    batch = readings(2)
    times = pa.array([-MAX_MICROSECONDS, MAX_MICROSECONDS], READINGS.field("timestamp").type)
    batch = batch.set_column(batch.schema.get_field_index("timestamp"), READINGS.field("timestamp"), times)
    lines, refused = reading_lines(batch, spec)
    assert len(refused) == 0
    with InfluxWriter(spec) as writer:
        assert writer.write(lines) == []


def raw_lines(*texts: str) -> Lines:
    rows = np.arange(len(texts))
    return Lines(pa.array([f"{text}\n".encode() for text in texts], pa.large_binary()), rows, rows)


def test_a_malformed_line_is_refused_alone(spec: InfluxSpec, influxdb: Any) -> None:
    texts = [f"m f={n} {NOON.timestamp() * 1e6 + n:.0f}" for n in range(40)]
    texts[13] = "this is no line"
    with InfluxWriter(spec) as writer:
        refused = writer.write(raw_lines(*texts))
    assert [each.index for each in refused] == [13]
    assert "unable to parse" in refused[0].words
    assert len(stored(spec, influxdb.token)) == 39


def test_readings_of_a_field_that_is_an_integer_there_are_refused_alone(spec: InfluxSpec, influxdb: Any) -> None:
    taken = f"iot_measurements value=1i {NOON.timestamp() * 1e6:.0f}"
    batch = readings(40)
    # InfluxDB keeps a field's type per shard, a week: only the readings of that week are in conflict.
    weeks = [NOON + timedelta(days=14 * (n % 2), microseconds=n) for n in range(40)]
    times = pa.array(weeks, READINGS.field("timestamp").type)
    batch = batch.set_column(batch.schema.get_field_index("timestamp"), READINGS.field("timestamp"), times)
    with InfluxWriter(spec) as writer:
        writer.write(raw_lines(taken))
        refused = writer.write(reading_lines(batch, spec)[0])
    assert [each.index for each in refused] == list(range(0, 40, 2))
    assert all("field type conflict" in each.words for each in refused)
    wanted = expected(batch.take(pa.array(range(1, 40, 2))), "iot_measurements", TAGS, ("value",), "timestamp")
    later = stored(spec, influxdb.token, NOON + timedelta(days=13))
    assert {point: value for point, value in later.items() if point[2] == "value"} == wanted


@pytest.mark.parametrize(
    ("change", "words"),
    [({"token": "env:WRONG_TOKEN"}, "401"), ({"bucket": "nowhere"}, "bucket .nowhere"), ({"org": "nobody"}, "nobody")],
)
@pytest.mark.parametrize("act", ["write", "probe"])
def test_a_wrong_token_bucket_or_organisation_is_said_at_once(
    spec: InfluxSpec, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], words: str, act: str
) -> None:
    monkeypatch.setenv("WRONG_TOKEN", "not-the-token")
    wrong = spec.model_copy(update=change)
    with pytest.raises(SinkError, match=words) as error:
        probe(wrong) if act == "probe" else written(wrong)
    assert error.value.hint
    assert "not-the-token" not in str(error.value)


def written(spec: InfluxSpec) -> None:
    with InfluxWriter(spec, sleep=forbidden) as writer:
        writer.write(raw_lines("m f=1 1"))


def forbidden(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s")


def test_a_probe_of_what_is_right_passes_and_writes_nothing(spec: InfluxSpec, influxdb: Any) -> None:
    probe(spec)
    assert stored(spec, influxdb.token) == {}


def test_a_server_that_stays_down_ends_in_an_error_that_names_it(
    own_influxdb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(own_influxdb, monkeypatch)
    own_influxdb.stop()
    pauses: list[float] = []
    with (
        InfluxWriter(spec, sleep=pauses.append) as writer,
        pytest.raises(SinkError, match=rf"{spec.url} can't be written to: .*refused; tried 3 times"),
    ):
        writer.write(raw_lines("m f=1 1"))
    assert len(pauses) == 2


def test_a_server_that_is_stopped_midway_and_comes_back_gets_everything(
    own_influxdb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(own_influxdb, monkeypatch).model_copy(update={"batch_points": 10})
    batch = readings(50)
    lines, _ = reading_lines(batch, spec)
    restarts: list[float] = []

    def start_again(seconds: float) -> None:
        restarts.append(seconds)
        own_influxdb.start()

    with InfluxWriter(spec, sleep=start_again) as writer:
        assert writer.write(lines.slice(0, 20)) == []
        own_influxdb.stop()
        assert writer.write(lines.slice(20, 50)) == []
    assert len(restarts) == 1
    wanted = expected(batch, "iot_measurements", TAGS, ("value", "quality_score"), "timestamp")
    assert stored(spec, own_influxdb.token) == wanted


def spec_of(server: Any, monkeypatch: pytest.MonkeyPatch) -> InfluxSpec:
    monkeypatch.setenv("INFLUX_TEST_TOKEN", server.token)
    return InfluxSpec(
        url=server.url, org=server.org, bucket=server.bucket, token="env:INFLUX_TEST_TOKEN", max_retries=2, timeout=10
    )


# --- in a pipeline ----------------------------------------------------------------------------------------------------


def test_a_pipeline_writes_readings_and_hands_back_what_was_refused(spec: InfluxSpec, influxdb: Any) -> None:
    good, odd = readings(60), readings(3).to_pylist()
    odd[1].update(device_id="a\\", source_offset=1001)
    odd[2].update(device_id="b\n", source_offset=1002)
    mixed = conform(pa.RecordBatch.from_pylist(odd[1:], schema=READINGS), in_flight(READINGS))
    with InfluxWriter(spec) as writer:
        writer.write(raw_lines(f"iot_measurements value=1i {(NOON - timedelta(days=14)).timestamp() * 1e6:.0f}"))
    early = [{**odd[0], "timestamp": NOON - timedelta(days=14), "source_offset": 1000}]
    conflict = pa.RecordBatch.from_pylist(early, schema=READINGS)
    tail = ",sensor_type=voltage,"
    origin = {"source": "a.parquet", "source_partition": 1, "rejected_at": NOW}
    with StrictPipeline() as pipeline:
        batches = pipeline | beam.Create([good.slice(0, 30), mixed, good.slice(30), conflict])
        rejects = batches | WriteToInfluxDB(spec, rejected_at=NOW)
        details = rejects | beam.FlatMap(lambda batch: batch.to_pylist())
        assert_that(rejects, only_rejects, label="schema")
        assert_that(details, refused_as(tail, origin), label="rows")
    wanted = expected(good, "iot_measurements", TAGS, ("value", "quality_score"), "timestamp")
    assert stored(spec, influxdb.token, NOON) == wanted


def only_rejects(batches: list[pa.RecordBatch]) -> None:
    assert [batch.schema.equals(REJECTS) for batch in batches] == [True] * len(batches)


def refused_as(tail: str, origin: dict[str, Any]) -> Callable[[list[dict[str, Any]]], None]:
    def check(found: list[dict[str, Any]]) -> None:
        rows = sorted(found, key=lambda row: row["source_offset"])
        assert [row["source_offset"] for row in rows] == [1000, 1001, 1002]
        assert [row["reason"] for row in rows] == ["refused_by_sink", "unrepresentable", "unrepresentable"]
        assert "field type conflict" in rows[0]["detail"]
        assert rows[1]["detail"] == "tag device_id ends in a backslash"
        assert [row["device_id"] for row in rows] == ["plain", "a\\", "b\n"]
        assert all(tail.encode() in row["payload"] and not row["payload"].endswith(b"\n") for row in rows)
        assert all({key: row[key] for key in origin} == origin for row in rows)

    return check


def test_a_windows_reject_names_its_window(spec: InfluxSpec) -> None:
    rows = windows(2).to_pylist()
    rows[1]["device_id"] = "bad\\"
    batch = pa.RecordBatch.from_pylist(rows, schema=WINDOWS)
    with StrictPipeline() as pipeline:
        rejects = pipeline | beam.Create([batch]) | WriteToInfluxDB(spec, "windows", rejected_at=NOW)
        found = rejects | beam.FlatMap(lambda batch: batch.select(ORIGIN).to_pylist())
        assert_that(found, equals_origin)


ORIGIN = ["reason", "device_id", "timestamp", "source", "source_partition", "source_offset", "rejected_at"]


def equals_origin(found: list[dict[str, Any]]) -> None:
    window = ["unrepresentable", "bad\\", NOON + timedelta(minutes=1), "windows", 0, 0, NOW]
    assert found == [dict(zip(ORIGIN, window, strict=True))]
