"""The shapes of payloads, metadata and defaults: what each member becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

BASE = {"device_id": "device-1", "timestamp": "2026-01-01T00:00:00Z"}


def rows(found: Any) -> list[tuple[Any, ...]]:
    names = ("sensor_type", "measurement_type", "value", "unit", "location")
    return [tuple(row[name] for name in names) for row in found.readings]


def shaped(**members: Any) -> str:
    return json.dumps({**BASE, **members})


SHAPES = {
    "reading": (
        shaped(sensor_type="temperature", measurement_type="supply", value=21.5, unit="celsius", location="hall"),
        [("temperature", "supply", 21.5, "celsius", "hall")],
    ),
    "one type": (shaped(sensor_type="temperature", value=1), [("temperature", "temperature", 1, None, None)]),
    "the other type": (shaped(measurement_type="supply", value=1), [("supply", "supply", 1, None, None)]),
    "metric": (shaped(metric="humidity", value=40, unit="percent"), [("humidity", "humidity", 40, "percent", None)]),
    "data": (
        shaped(data={"temperature": 21.5, "humidity": 40}, location="hall"),
        [("humidity", "humidity", 40, None, "hall"), ("temperature", "temperature", 21.5, None, "hall")],
    ),
    "flat": (
        shaped(temperature=21.5, battery=87, site="oslo"),
        [("battery", "battery", 87, None, None), ("temperature", "temperature", 21.5, None, None)],
    ),
    "no type": (shaped(value=1), [("unknown", "unknown", 1, None, None)]),
    "empty type": (shaped(sensor_type=" ", value=1), [("unknown", "unknown", 1, None, None)]),
}


@pytest.mark.parametrize(("payload", "expected"), SHAPES.values(), ids=SHAPES)
def test_each_shape_is_told_without_configuration(payload: str, expected: list[tuple[Any, ...]], parse_json):
    found = parse_json(payload, payload)
    assert rows(found) == expected * 2
    assert found.rejects == []


def test_each_bad_value_of_a_record_costs_itself_only(parse_json):
    payload = shaped(data={"a": 1, "b": None, "c": "x", "d": [1], "e": 2.5, "f": True})
    found = parse_json(payload)
    assert [row["value"] for row in found.readings] == [1, 2.5]
    assert found.reasons == ["bad_value"] * 3 + ["missing_value"]
    assert {row["payload"].decode() for row in found.rejects} == {payload}


def test_a_flat_records_known_sensor_that_is_no_number_is_a_value_and_other_text_is_context(parse_json):
    found = parse_json(shaped(temperature=None, humidity="wet", site="oslo", battery=87))
    assert sorted(found.reasons) == ["bad_value", "missing_value"]
    assert [(row["sensor_type"], json.loads(row["metadata"])) for row in found.readings] == [
        ("battery", {"site": "oslo"})
    ]


@pytest.mark.parametrize(
    ("members", "issues"),
    [({"sensor_type": 7}, {"wrong_type", "unknown_sensor_type"}), ({"sensor_type": "t", "unit": ["c"]}, {"wrong_type"}),
     ({"sensor_type": "t", "quality_score": 7}, {"bad_quality_score"}), ({"sensor_type": "t", "quality_score": "x"},
     {"bad_quality_score"}),
     ({"sensor_type": "t", "quality_score": 0.25}, set()), ({"sensor_type": "t", "quality_score": None}, set()), ({},
     {"unknown_sensor_type"})],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_an_issue(members: dict[str, Any], issues: set[str], parse_json):
    found = parse_json(shaped(value=1, **members))
    assert set(found.readings[0]["issues"]) == issues
    assert found.readings[0]["quality_score"] == (0.25 if members.get("quality_score") == 0.25 else 1.0)


METADATA = {
    "none": (shaped(metric="t", value=1), None),
    "object": (shaped(metric="t", value=1, metadata={"a": 1, "b": [1, {"c": None}]}), {"a": 1, "b": [1, {"c": None}]}),
    "empty": (shaped(metric="t", value=1, metadata={}), None),
    "null": (shaped(metric="t", value=1, metadata=None), None),
    "text": (shaped(metric="t", value=1, metadata="x"), {"metadata": "x"}),
    "array": (shaped(metric="t", value=1, metadata=[1, 2]), {"metadata": [1, 2]}),
    "more members": (shaped(metric="t", value=1, site="oslo", n=None, metadata={"a": 1}), {"a": 1, "site": "oslo",
    "n": None}),
    "more and empty": (shaped(metric="t", value=1, site="oslo", metadata={}), {"site": "oslo"}),
    "names with escapes": (shaped(**{"metric": "t", "value": 1, 'a"\\\n\u00e9': True}), {'a"\\\n\u00e9': True}),
    "wrong type": (shaped(metric="t", value=1, unit=7), {"unit": 7}),
    "spaces in an empty one": (shaped(metric="t", value=1, metadata=0).replace(": 0}", ": { \t }}"), None),
    "spaces and more": (shaped(site="x", metric="t", value=1, metadata=0).replace(": 0}", ": { \t\r }}"),
    {"site": "x"}),
    "feeds and more": (shaped(site="x", metric="t", value=1, metadata=0).replace(": 0}", ": {\n}}"), {"site": "x"}),
    "feeds": (shaped(site="x", metric="t", value=1, metadata=0).replace(": 0}", ': {\n"a": 1\n}}'), {"site": "x",
    "a": 1}),
}  # fmt: skip


@pytest.mark.parametrize(("payload", "expected"), METADATA.values(), ids=METADATA)
def test_metadata_is_what_no_column_took_as_json(payload: str, expected: dict[str, Any] | None, parse_json):
    found = parse_json(payload, payload, payload.replace("device-1", "device-2"))
    assert found.rejects == []
    assert [row["metadata"] and json.loads(row["metadata"]) for row in found.readings] == [expected] * 3


def test_records_of_one_outline_keep_their_own_metadata(parse_json):
    payloads = [shaped(metric="t", value=n, metadata={"n": n} if n % 2 else {"n": "é" * n}) for n in range(20)]
    assert [json.loads(row["metadata"]) for row in parse_json(*payloads).readings] == [
        {"n": n} if n % 2 else {"n": "é" * n} for n in range(20)
    ]


FOREIGN = (
    '{"device":{"id":"device-1","site":"oslo"},"ts":1767225600,"m":{"t":{"v":21.5,"u":"celsius"}},"kind":"temperature"}'
)
FIELDS = {"device_id": "device.id", "timestamp": "ts", "value": "m.t.v", "unit": "m.t.u", "sensor_type": "kind"}


def test_foreign_names_are_mapped_and_the_rest_is_metadata(parse_json):
    found = parse_json(FOREIGN, FOREIGN.replace("oslo", "o\\u0073lo"), fields=FIELDS)
    assert rows(found) == [("temperature", "temperature", 21.5, "celsius", None)] * 2
    assert [json.loads(row["metadata"]) for row in found.readings] == [{"device.site": "oslo"}] * 2


def test_a_name_with_a_dot_in_it_is_a_members_own_name_first(parse_json):
    payload = '{"device.id":"device-1","device":{"id":"device-2"},"timestamp":1767225600,"metric":"t","value":1}'
    assert parse_json(payload, fields={"device_id": "device.id"}).readings[0]["device_id"] == "device-1"


def test_defaults_stand_where_a_payload_says_nothing(parse_json):
    defaults = {"device_id": "device-9", "sensor_type": "humidity", "unit": "percent", "location": "hall"}
    bare, full = (
        '{"timestamp":1767225600,"value":40}',
        shaped(sensor_type="t", value=1, unit="celsius", location="roof"),
    )
    found = parse_json(bare, bare.replace("40", '40,"unit":null'), full, defaults=defaults)
    assert rows(found) == [("humidity", "humidity", 40, "percent", "hall")] * 2 + [("t", "t", 1, "celsius", "roof")]
    assert [row["device_id"] for row in found.readings] == ["device-9", "device-9", "device-1"]
    assert (
        parse_json(bare, keys=["devices/device-7/telemetry"], defaults=defaults).readings[0]["device_id"] == "device-7"
    )


@pytest.mark.parametrize(
    "payload",
    ['{"hello":"world"}', "{}", shaped(), shaped(metric="t"), shaped(data=7), shaped(sensor_type="t", values=[1])],
)
def test_an_object_without_a_value_is_a_reject_and_no_reading(payload: str, parse_json):
    found = parse_json(payload)
    assert (found.readings, len(found.rejects)) == ([], 1)
