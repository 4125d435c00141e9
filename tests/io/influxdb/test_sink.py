"""Batches of any size become full requests, and what is refused finds its batch again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.influxdb.client import Refused
from telebeam.io.influxdb.lines import Lines, reading_lines
from telebeam.io.influxdb.sink import PointSink
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.transforms.errors import SinkError
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, REJECTS, conform

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
SPEC = InfluxSpec(url="http://localhost:8086", org="iot", bucket="telemetry", token="env:TOKEN", batch_points=8)


class Memory:
    """A server that refuses values below zero."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []

    def write(self, lines: Lines) -> list[Refused]:
        texts = lines.body().decode().splitlines()
        self.requests.append(texts)
        return [Refused(n, f"no {n}") for n, text in enumerate(texts) if "value=-" in text]


def batch(offset: int, values: list[float]) -> pa.RecordBatch:
    rows = [
        {
            "tenant": "default", "device_id": "bad\n" if value == 0 else "boiler", "timestamp": NOON, "unit": "bar",
            "sensor_type": "pressure", "measurement_type": "pressure", "value": value, "quality_score": 1.0,
            "issues": [], "is_late": False, "source": "a", "source_partition": 2, "source_offset": offset + n,
        }
        for n, value in enumerate(values)
    ]  # fmt: skip
    return conform(pa.RecordBatch.from_pylist(rows, schema=READINGS), READINGS_IN_FLIGHT)


@given(st.lists(st.lists(st.integers(-2, 5).map(float), max_size=12), max_size=8))
def test_every_point_is_written_once_or_rejected_once_with_its_own_origin(batches: list[list[float]]) -> None:
    server = Memory()
    sink: PointSink[int] = PointSink(server, SPEC, "readings", NOON)
    rejects: list[tuple[int, pa.RecordBatch]] = []
    for place, values in enumerate(batches):
        rejects += sink.add(batch(100 * place, values), place)
    rejects += sink.flush()
    found: list[tuple[int, dict[str, Any]]] = [(place, row) for place, part in rejects for row in part.to_pylist()]
    wanted = {(place, 100 * place + n): value for place, values in enumerate(batches) for n, value in enumerate(values)}
    assert {(place, row["source_offset"]): row["reason"] for place, row in found} == {
        key: "unrepresentable" if value == 0 else "refused_by_sink" for key, value in wanted.items() if value <= 0
    }
    assert all(part.schema == REJECTS for _, part in rejects)
    assert sink.refused == len(found)
    assert sink.written == sum(value > 0 for value in wanted.values())
    assert sum(len(texts) for texts in server.requests) == sum(value != 0 for value in wanted.values())


def test_small_batches_share_a_request() -> None:
    server = Memory()
    sink: PointSink[None] = PointSink(server, SPEC, "readings", NOON)
    for n in range(20):
        assert list(sink.add(batch(n, [1.0]), None)) == []
    assert list(sink.flush()) == []
    assert [len(texts) for texts in server.requests] == [8, 8, 4]


def test_a_reject_carries_the_line_without_its_line_feed() -> None:
    sink: PointSink[str] = PointSink(Memory(), SPEC, "readings", NOON)
    readings = batch(7, [-1.5])
    ((place, rejects),) = [*sink.add(readings, "here"), *sink.flush()]
    assert place == "here"
    assert rejects.to_pylist() == [
        {
            "reason": "refused_by_sink", "detail": "no 0", "device_id": "boiler", "timestamp": NOON, "source": "a",
            "source_partition": 2, "source_offset": 7, "rejected_at": NOON,
            "payload": reading_lines(readings, SPEC)[0].body()[:-1], "key": None, "content_type": None,
            "published_at": None,
        }
    ]  # fmt: skip


def test_an_error_leaves_nothing_counted_as_written() -> None:
    class Down:
        def write(self, lines: Lines) -> list[Refused]:
            raise SinkError("down")

    sink: PointSink[None] = PointSink(Down(), SPEC, "readings", NOON)
    with pytest.raises(SinkError):
        list(sink.add(batch(0, [1.0] * 9), None))
    assert sink.written == 0
