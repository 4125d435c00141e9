"""Scores join their readings' points, and alerts read back as they were."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from telebeam.io.influxdb.lines import LINES, alert_lines, reading_lines, score_lines
from telebeam.io.influxdb.spec import MEASUREMENTS, TAGS, InfluxSpec
from telebeam.transforms.schema import ALERTS, READINGS, SCORES, conform, in_flight

SPEC = InfluxSpec(url="http://localhost:8086", org="iot", bucket="telemetry", token="env:TOKEN")
AT = datetime(2024, 3, 1, 12, 0, 0, 250_001, tzinfo=UTC)
SERIES = {
    "tenant": "default", "device_id": "boiler 1", "sensor_type": "temperature", "measurement_type": "temperature",
    "unit": "celsius", "location": "hall 2",
}  # fmt: skip
SCORE = {
    **SERIES, "timestamp": AT, "value": 21.5, "source": "t", "source_partition": 0, "source_offset": 0,
    "detector": "rolling_zscore", "expected": 20.0, "anomaly_score": 0.5, "is_anomaly": False,
}  # fmt: skip
ALERT = {
    "alert_id": "9f86d081", "rule": "overheated", "tenant": "default", "device_id": "boiler-1",
    "sensor_type": "temperature", "measurement_type": "temperature", "location": "hall 2", "timestamp": AT,
    "alert_type": "threshold", "severity": "critical", "state": "firing", "message": "81.5 is above 80", "value": 81.5,
    "expected": 80.0, "score": None,
}  # fmt: skip


def scores(*changes: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{**SCORE, **each} for each in changes], schema=SCORES)


def alerts(*changes: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{**ALERT, **each} for each in changes], schema=ALERTS)


def written(batch: pa.RecordBatch, dataset: Any = "alerts") -> list[str]:
    return LINES[dataset](batch, SPEC)[0].body().decode().split("\n")[:-1]


def test_a_score_has_the_measurement_the_tags_and_the_time_of_its_reading():
    reading = {**SCORE, "quality_score": 1.0, "issues": [], "metadata": None, "is_late": False}
    ours = {name: reading[name] for name in READINGS.names}
    (own,) = reading_lines(pa.RecordBatch.from_pylist([ours], schema=READINGS), SPEC)[0].body().decode().splitlines()
    (line,) = written(scores({}), "scores")
    series, fields, time = re.split(r"(?<!\\) ", line)
    assert (series, time) == (re.split(r"(?<!\\) ", own)[0], re.split(r"(?<!\\) ", own)[2])
    assert fields == "anomaly_score=0.5"


def test_of_several_detectors_the_highest_score_is_written_whatever_their_order():
    rows = [{"detector": f"d{n}", "anomaly_score": score} for n, score in enumerate((0.2, 0.9, 0.0, 0.9))]
    for turned in (rows, rows[::-1], rows[2:] + rows[:2]):
        assert [line.split(" ")[-2] for line in written(scores(*turned), "scores")] == ["anomaly_score=0.9"]


def test_readings_of_other_series_and_times_have_points_of_their_own():
    others = [{}, {"timestamp": AT + timedelta(microseconds=1)}, {"device_id": "boiler 2"}, {"location": None}]
    others += [{"tenant": "acme"}, {"unit": "kelvin"}]
    lines, refused = score_lines(scores(*others, *others), SPEC)
    assert (len(lines), len(refused)) == (len(others), 0)
    assert lines.rows.tolist() == list(range(len(others)))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from([0.0, 0.25, 1.0, 5e-324]), st.integers(0, 4))
    )
)
def test_scores_are_what_a_dictionary_would_keep(rows: list[tuple[int, int, float, int]]):
    batch = scores(
        *({"device_id": f"dev {d}", "timestamp": AT + timedelta(seconds=s), "anomaly_score": a} for d, s, a, _ in rows)
    )
    kept: dict[tuple[int, int], float] = {}
    for device, second, score, _ in rows:
        kept[device, second] = max(score, kept.get((device, second), 0.0))
    for form in (batch, conform(batch, in_flight(SCORES))):
        lines, _ = score_lines(form, SPEC)
        found = [float(line.split("anomaly_score=")[1].split(" ")[0]) for line in lines.body().decode().splitlines()]
        assert sorted(found) == sorted(kept.values())
        assert [batch["anomaly_score"][int(row)].as_py() for row in lines.rows] == found


def test_a_score_that_cannot_be_written_names_its_row():
    lines, refused = score_lines(scores({}, {"device_id": "a\\"}, {"device_id": "b"}), SPEC)
    assert (lines.rows.tolist(), refused.rows.tolist()) == ([0, 2], [1])
    assert refused.details.to_pylist() == ["tag device_id ends in a backslash"]


def test_an_alert_is_one_point_with_its_tags_and_fields():
    assert written(alerts({})) == [
        r"iot_alerts,device_id=boiler-1,location=hall\ 2,rule=overheated,sensor_type=temperature,severity=critical,"
        'state=firing value=81.5,expected=80,message="81.5 is above 80",alert_id="9f86d081" 1709294400250001'
    ]


def test_an_alert_without_numbers_has_its_texts_and_a_group_has_no_device():
    bare = {
        "value": None,
        "expected": math.nan,
        "score": math.inf,
        "device_id": None,
        "location": None,
        "tenant": "acme",
    }
    assert written(alerts({**bare, "sensor_type": None}, {})) == [
        "iot_alerts,rule=overheated,severity=critical,state=firing,tenant=acme "
        'message="81.5 is above 80",alert_id="9f86d081" 1709294400250001',
        written(alerts({}))[0],
    ]


hostile = st.text(st.sampled_from("ab ,=\\\"#'é😀\n\r\x00\x7f\x85\u2028"), max_size=8)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(hostile, min_size=1, max_size=6))
def test_a_message_reads_back_but_for_control_characters(messages: list[str]):
    batch = alerts(*({"message": message} for message in messages))
    for form in (batch, conform(batch, in_flight(ALERTS))):
        for line, message in zip(written(form), messages, strict=True):
            text = re.search(r'message="((?:[^"\\]|\\.)*)",alert_id="9f86d081" \d+$', line)
            assert text is not None, line
            expected = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", message)
            assert re.sub(r"\\(.)", r"\1", text[1]) == expected


def test_a_message_ends_where_influxdb_would_refuse_it():
    (line,) = written(alerts({"message": "😀" * 20_000}))
    assert line.count("😀") == 16_000
    assert len(line.encode()) < 65_536


def test_no_rows_give_no_lines():
    for batch, dataset in ((alerts(), "alerts"), (scores(), "scores")):
        assert written(batch, dataset) == []


def test_every_dataset_has_lines_tags_and_a_measurement():
    assert LINES.keys() == TAGS.keys() == MEASUREMENTS.keys()


def test_names_of_an_existing_installation_are_kept():
    spec = InfluxSpec(**{**SPEC.model_dump(), "measurements": {"readings": "sensor_data", "alerts": "alarms"},
                         "tags": {"rule": "rule_name", "device_id": "device"}})  # fmt: skip
    assert alert_lines(alerts({}), spec)[0].body().decode().startswith("alarms,device=boiler-1,location=")
    assert ",rule_name=overheated," in alert_lines(alerts({}), spec)[0].body().decode()
    assert score_lines(scores({}), spec)[0].body().decode().startswith("sensor_data,device=boiler")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"measurements": {"scores": "x"}}, "field of its reading"), ({"tags": {"rule": "state"}}, "two tags")],
)
def test_names_that_cannot_be_are_refused(change: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        InfluxSpec(**{**SPEC.model_dump(), **change})
