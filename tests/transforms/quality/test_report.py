"""A run's quality is the same however its batches are split, ordered and merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms import schema
from telebeam.transforms.quality.report import QualityReport

START = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., pa.RecordBatch]

READING = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["default", "acme"]),
        "device_id": st.sampled_from(["dev-1", "dev-2", "dév-3"]),
        "sensor_type": st.sampled_from(["temperature", "humidity"]),
        "timestamp": st.integers(0, 100).map(lambda s: START + timedelta(seconds=s)),
        "quality_score": st.sampled_from([1.0, 0.8, 0.6, 0.1, 0.123456789]),
        "issues": st.lists(st.sampled_from([*map(str, schema.Issue)]), unique=True, max_size=6),
    }
)
REJECT = st.fixed_dictionaries(
    {
        "reason": st.sampled_from(["malformed", "future", "bad_value", "bad_device_id"]),
        "device_id": st.sampled_from([None, "dev-1", "dev-9"]),
    }
)


def rejects(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    kind = pa.schema([("reason", pa.string()), ("device_id", pa.string())])
    return pa.RecordBatch.from_pylist(rows, schema=kind)


def slowly(read: list[dict[str, Any]], refused: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The report's rows, counted one by one."""

    def row(scope: str, names: dict[str, Any], good: list[dict[str, Any]], bad: list[dict[str, Any]]) -> dict[str, Any]:
        codes = Counter([code for each in good for code in each["issues"]] + [each["reason"] for each in bad])
        total, valid = len(good) + len(bad), sum(not each["issues"] for each in good)
        top = sorted(codes.items(), key=lambda item: (-item[1], item[0]))[:5]
        times = [each["timestamp"] for each in good]
        return {
            "pipeline": "fleet",
            "scope": scope,
            **dict.fromkeys(("tenant", "device_id", "sensor_type")),
            **names,
            "total": total,
            "valid": valid,
            "invalid": total - valid,
            "valid_rate": valid / total if total else 0.0,
            "quality_mean": sum(round(each["quality_score"] * 1e9) for each in good) / 1e9 / max(len(good), 1),
            "top_issues": [{"issue": code, "count": count} for code, count in top],
            "first_timestamp": min(times, default=None),
            "last_timestamp": max(times, default=None),
        }

    rows = [row("total", {}, read, refused)]
    for sensor in sorted({each["sensor_type"] for each in read}):
        rows.append(row("sensor_type", {"sensor_type": sensor}, [r for r in read if r["sensor_type"] == sensor], []))
    named = [{**r, "tenant": "default"} for r in refused if r["device_id"] and r["reason"] != "bad_device_id"]
    for tenant, device in sorted({(r["tenant"], r["device_id"]) for r in [*read, *named]}):
        mine = [[r for r in part if (r["tenant"], r["device_id"]) == (tenant, device)] for part in (read, named)]
        rows.append(row("device", {"tenant": tenant, "device_id": device}, *mine))
    return rows


@given(read=st.lists(READING, max_size=30), refused=st.lists(REJECT, max_size=15), data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_split_order_and_merge_gives_what_counting_gives(
    read: list[dict[str, Any]], refused: list[dict[str, Any]], data: st.DataObject, readings: Make
):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(read)), max_size=3)))
    ends = [0, *cuts, len(read)]
    parts = [QualityReport.create().add(rejected=rejects(refused))]
    parts += [QualityReport.create().add(readings=readings(*read[a:b])) for a, b in pairwise(ends)]
    merged = QualityReport.create()
    for part in data.draw(st.permutations(parts)):
        merged = merged.merge(QualityReport.from_bytes(part.to_bytes()))
    whole = merged.extract("fleet")
    assert whole.schema.equals(schema.QUALITY)
    assert whole.to_pylist() == slowly(read, refused)
    assert whole.equals(QualityReport.create().add(readings(*read), rejects(refused)).extract("fleet"))


def test_a_report_of_nothing_is_one_row_of_zeros():
    assert QualityReport.create().extract("fleet").to_pylist() == slowly([], [])


def test_a_refused_time_does_not_stretch_the_runs_span(readings: Make):
    late = readings({"timestamp": datetime(9999, 1, 1, tzinfo=UTC)}).append_column("reason", pa.array(["future"]))
    report = QualityReport.create().add(readings({"timestamp": START}), late)
    assert report.extract("fleet").column("last_timestamp").to_pylist()[0] == START


def test_refused_readings_count_for_their_tenant_and_sensor_type(readings: Make):
    refused = readings({"tenant": "acme"}).append_column("reason", pa.array(["future"]))
    rows = QualityReport.create().add(rejected=refused).extract("fleet").to_pylist()
    assert [(r["scope"], r["tenant"], r["sensor_type"], r["invalid"]) for r in rows] == [
        ("total", None, None, 1),
        ("sensor_type", None, "temperature", 1),
        ("device", "acme", None, 1),
    ]


def test_adding_leaves_a_report_as_it_was(readings: Make):
    report = QualityReport.create()
    report.add(readings({}))
    assert report.extract("fleet").column("total").to_pylist() == [0]


def test_memory_is_bounded_by_the_devices_and_not_by_the_batches(readings: Make):
    batch = readings(*[{"device_id": f"dev-{i}"} for i in range(5000)])
    report = once = QualityReport.create().add(batch)
    for _ in range(99):
        report = report.add(batch)
        assert report.held_rows <= 300_000
    assert QualityReport.from_bytes(report.to_bytes()).held_rows == QualityReport.from_bytes(once.to_bytes()).held_rows
    assert report.extract("fleet").column("total").to_pylist()[0] == 500_000


@pytest.mark.parametrize("count", [3, 4])
def test_ties_between_codes_are_broken_by_name(count: int, readings: Make):
    codes = [
        "wrong_type",
        "bad_quality_score",
        "out_of_range",
        "unknown_unit",
        "wrong_dimension",
        "unknown_sensor_type",
    ]
    report = QualityReport.create().add(readings(*[{"issues": codes}] * count))
    top = report.extract("fleet").column("top_issues").to_pylist()[0]
    assert [each["issue"] for each in top] == sorted(codes)[:5]
