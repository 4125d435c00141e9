"""What is said of one record is what a job makes of it."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cbor2
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.pipelines.advice import ADVICE
from telebeam.pipelines.config import load_config
from telebeam.pipelines.record import Record, explain_record, instant
from telebeam.pipelines.settings import setting_at
from telebeam.pipelines.sources import checks_of
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.schema import READINGS, Reason
from tests.pipelines.explaining import AT, CONFIG, HOT, NOW, Ask, asker
from tests.pipelines.jobs import job

DEVICES = """
- {device_id: boiler-1, device_type: boiler, tenant: acme, location: hall 1, scale: 2}
- {device_id: boiler-2, device_type: freezer}
"""


@pytest.fixture
def ask(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    return asker(tmp_path, capfd, monkeypatch)


def changes(said: dict[str, Any], number: int = 0) -> dict[str, dict[str, Any]]:
    return {change["step"]: change["columns"] for change in said["readings"][number]["changes"]}


# What the steps did


def test_each_step_tells_the_columns_that_it_changed_and_no_other(ask: Ask):
    said = ask(HOT, "--json").json
    assert changes(said) == {
        "cleanse": {"unit": ["fahrenheit", "celsius"], "value": [68.0, 20.0]},
        "check quality": {"issues": [[], ["out_of_range"]], "quality_score": [1.0, 0.8]},
    }
    assert said["steps"] == [
        {"step": name, "readings": 1, "rejects": 0} for name in ("parse", "cleanse", "check quality")
    ]


def test_the_page_says_the_same_in_words(ask: Ask):
    said = ask(HOT).out
    for words in ("68 -> 20", "fahrenheit -> celsius", "+ out_of_range", "1 -> 0.8", "format: json, as its bytes say"):
        assert words in said


def test_readings_are_found_again_behind_steps_that_reorder_them(ask: Ask, tmp_path: Path):
    (tmp_path / "devices.yaml").write_text(DEVICES)
    devices = "devices: {registry: devices.yaml, unknown: reject, types: {boiler: {limits: {temperature: {max: 1}}}}}\n"
    names = ["boiler-1", "nobody", "boiler-2", "boiler-1", "boiler-2"]
    records = [{**HOT, "unit": "celsius", "device_id": name, "value": n} for n, name in enumerate(names)]
    said = ask(json.dumps(records).encode(), "--json", config=CONFIG + devices).json
    assert [reading["parsed"]["value"] for reading in said["readings"]] == [0, 1, 2, 3, 4]
    assert [reading["kept"] for reading in said["readings"]] == [True, False, True, True, True]
    assert changes(said, 3)["enrich"] == {
        "device_type": [None, "boiler"], "location": [None, "hall 1"], "tenant": ["default", "acme"], "value": [3, 6],
    }  # fmt: skip
    assert changes(said, 3)["check quality"]["issues"] == [[], ["out_of_range"]]
    assert changes(said, 2) == {"enrich": {"device_type": [None, "freezer"]}, "cleanse": {}, "check quality": {}}
    (reject,) = said["rejects"]
    assert (reject["step"], reject["reading"], reject["reason"]) == ("enrich", 1, "unknown_device")


VALUE = st.one_of(st.floats(allow_nan=False), st.integers(-3, 3), st.none(), st.just("12"))
RECORDS = st.lists(
    st.fixed_dictionaries({
        "device_id": st.sampled_from([" boiler-1", "boiler-2", "x", "nobody"]),
        "timestamp": st.sampled_from(["2026-01-01T00:00:00Z", 1767225600, "soon", "9999-01-01T00:00:00Z"]),
        "data": st.dictionaries(st.sampled_from(["Temperature", "temperature ", "v"]), VALUE, min_size=1),
        "unit": st.sampled_from(["F", "", "bananas"]),
    }),
    min_size=1,
    max_size=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> PipelineSpec:
    folder = tmp_path_factory.mktemp("config")
    (folder / "devices.yaml").write_text(DEVICES)
    types = "{boiler: {limits: {temperature: {max: 1}}}}"
    devices = f"devices: {{registry: {folder}/devices.yaml, unknown: flag, types: {types}}}"
    (folder / "fleet.yaml").write_text(f"{CONFIG}{devices}\n")
    return load_config(folder / "fleet.yaml")


@given(RECORDS)
@settings(derandomize=True, deadline=None, max_examples=30)
def test_what_is_explained_is_what_a_job_makes_of_it(spec: PipelineSpec, records: list[dict[str, Any]]):
    record = Record(json.dumps(records).encode(), NOW)
    said = explain_record(spec, record)
    made = checks_of(spec)(record.envelopes(), NOW)
    ends = [told(reading) for reading in said["readings"] if reading["kept"]]
    names = [name for name in READINGS.names if name in ends[0]] if ends else []
    rows = [
        {**row, "timestamp": row["timestamp"].isoformat().replace("+00:00", "Z")} for row in made.readings.to_pylist()
    ]
    by_text = lambda rows: sorted(repr([row[name] for name in names]) for row in rows)  # noqa: E731
    assert by_text(ends) == by_text(rows)
    reasons = sorted((reject["reason"], reject["detail"]) for reject in said["rejects"])
    assert reasons == sorted(zip(*(made.rejects[name].to_pylist() for name in ("reason", "detail")), strict=True))
    refused = {reject["reading"] for reject in said["rejects"]} - {None}
    assert refused == {reading["number"] for reading in said["readings"] if not reading["kept"]}


def told(reading: dict[str, Any]) -> dict[str, Any]:
    """The reading behind the last step, by what is said of each."""
    row = dict(reading["parsed"])
    for change in reading["changes"]:
        for name, (before, after) in change["columns"].items():
            assert row.get(name) == before
            row[name] = after
    return row


# What was decided


def kafka(parse: str) -> str:
    return f"{CONFIG}parse: {parse}\n"


DECIDED: list[tuple[bytes, str, list[str], tuple[str | None, str | None, str | None]]] = [
    (json.dumps(HOT).encode(), "{}", [], ("json", "bytes", None)),
    (b"hello", "{}", [], ("json", "nothing", None)),
    (b"", "{}", [], ("json", "nothing", None)),
    (json.dumps(HOT).encode(), "{format: json}", ["--content-type", "text/csv"], ("json", "configuration", None)),
    (cbor2.dumps(HOT), "{}", [], ("cbor", "bytes", None)),
    (cbor2.dumps(HOT), "{}", ["--content-type", "application/json"], ("json", "content type", None)),
    (cbor2.dumps([HOT]), "{}", ["--content-type", "Application/CBOR; x=y"], ("cbor", "content type", None)),
    (b"x", "{}", ["--content-type", "image/png"], ("unknown", "content type", None)),
    (b"\x01", "{}", ["--key", "spBv1.0/g/NDATA/n"], ("sparkplug", "key", None)),
    (gzip.compress(json.dumps(HOT).encode()), "{}", [], ("json", "bytes", "gzip")),
    (zstandard.ZstdCompressor().compress(cbor2.dumps(HOT)), "{}", [], ("cbor", "bytes", "zstd")),
    (gzip.compress(bytes(100_000)), "{max_payload_bytes: 1000}", [], (None, None, "gzip")),
    (b"{" + b" " * 2000, "{max_payload_bytes: 1000}", [], (None, None, None)),
    (b"m,device_id=dev-1 temperature=1 5", "{}", [], ("line_protocol", "bytes", None)),
    (b"device_id,value", "{format: csv}", [], ("csv", "configuration", None)),
]


@pytest.mark.parametrize(("payload", "parse", "options", "decided"), DECIDED)
def test_the_format_is_told_with_who_said_it(
    ask: Ask, payload: bytes, parse: str, options: list[str], decided: tuple[str | None, str | None, str | None]
):
    said = ask(payload, *options, "--json", config=kafka(parse)).json
    assert (said["format"], said["said_by"], said["compression"]) == decided
    assert ask(payload, *options, config=kafka(parse)).code == 0


def test_the_devices_type_names_the_format_of_what_its_key_says(ask: Ask, tmp_path: Path):
    (tmp_path / "devices.yaml").write_text(DEVICES)
    devices = "devices: {registry: devices.yaml, types: {boiler: {format: cbor}, freezer: {codec: cayenne_lpp}}}\n"
    key = ["--key", "devices/boiler-1/telemetry", "--json"]
    without = {name: value for name, value in HOT.items() if name != "device_id"}
    said = ask(cbor2.dumps([without]), *key, config=CONFIG + devices).json
    assert (said["format"], said["said_by"]) == ("cbor", "device type")
    assert said["readings"][0]["parsed"]["device_id"] == "boiler-1"
    uplink = {
        "end_device_ids": {"device_id": "b", "dev_eui": "00"}, "received_at": AT,
        "uplink_message": {"f_port": 1, "frm_payload": "AWcA1w=="},
    }  # fmt: skip
    said = ask(uplink, "--json", config=CONFIG + devices).json
    assert (said["format"], said["said_by"]) == ("lorawan", "bytes")


def test_several_records_are_counted_and_each_reading_names_its_own(ask: Ask):
    lines = b"\n".join(json.dumps({**HOT, "value": n}).encode() for n in range(3)) + b"\n{"
    said = ask(lines, "--json").json
    assert said["records"] == 4
    assert [json.loads(reading["record"])["value"] for reading in said["readings"]] == [0, 1, 2]
    assert [(reject["reason"], reject["record"]) for reject in said["rejects"]] == [("malformed", "{")]
    assert "record" not in ask(HOT, "--json").json["readings"][0]


def test_of_csv_the_first_line_is_the_header(ask: Ask):
    names = b"\xef\xbb\xbfdevice_id,timestamp,sensor_type,value\r\n"
    text = names + b'"boiler\n1",2026-01-01T00:00:00Z,temperature,7\r\nx,x\r\n'
    archive = CONFIG.replace('kafka: {bootstrap_servers: "localhost:9092", topics: [iot]}', "csv: {path: x}")
    said = ask(text, "--json", config=archive).json
    assert (said["format"], said["said_by"], said["records"]) == ("csv", "header line", 1)
    assert said["rejects"][0]["reason"] == "bad_device_id"
    said = ask(text.replace(b"\n1", b"-1"), "--json", "--set", "parse.format=csv", config=archive).json
    assert said["said_by"] == "configuration"
    assert said["readings"][0]["parsed"]["value"] == 7
    for wrong in (b"", b"device_id,value\n", b"a,a\n1,2\n", b"\xff\n1\n", b"a,,b\n1,2,3\n"):
        assert ask(wrong, config=archive).code == 2, wrong


# Where it goes


def test_windows_rules_and_points_are_those_of_the_reading(ask: Ask):
    said = ask(HOT, "--json").json
    (reading,) = said["readings"]
    assert reading["lake"] == "lake/readings/date=2026-01-01/hour=00"
    assert [(window["first"], window["end"], window["count"]) for window in reading["windows"]] == [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", 1),
        ("2025-12-31T23:46:00Z", "2026-01-01T00:15:00Z", 15),
        ("2026-01-01T00:00:00Z", None, 1),
        (None, None, None),
    ]
    assert reading["influxdb"]["line"].startswith("iot_measurements,device_id=boiler-1,")
    assert reading["influxdb"]["line"].endswith(" value=20,quality_score=0.8 1767225600000000")
    rules = said["rules"]
    assert rules["tried"] == ["overheated", "cold"]
    assert rules["past"] == ["slow"]
    assert [alert["rule"] for alert in rules["alerts"]] == ["overheated"]


def test_a_point_that_has_no_form_is_said_to_have_none(ask: Ask):
    said = ask({**HOT, "location": "hall\\"}, "--json").json
    assert said["readings"][0]["influxdb"]["line"] is None
    assert said["readings"][0]["influxdb"]["refused"].startswith("unrepresentable: ")


def test_the_clock_is_the_one_that_was_given(ask: Ask):
    said = ask(HOT, "--json", at="2025-12-31T00:00:00Z").json
    assert [reject["reason"] for reject in said["rejects"]] == ["future"]
    assert said["rejects"][0]["lake"] == "lake/rejects/date=2025-12-31/hour=00"
    assert said["readings"][0]["kept"] is False
    assert "quality.max_future_seconds" in ask(HOT, at="2025-12-31T00:00:00Z").out
    pack = [{"bn": "urn:dev:1", "n": "temperature", "v": 5, "u": "Cel"}]
    said = ask(json.dumps(pack).encode(), "--content-type", "application/senml+json", "--json").json
    assert said["readings"][0]["parsed"]["timestamp"] == AT


def test_nothing_is_written_and_no_secret_is_needed(ask: Ask, tmp_path: Path):
    assert ask(HOT).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.yaml", "record"]


# Advice


def test_every_reason_has_advice_that_names_settings_that_there_are():
    assert set(ADVICE) == set(Reason)
    for text in ADVICE.values():
        for name in re.findall(r"\b(?:parse|quality|devices)\.\w+", text):
            assert setting_at(tuple(name.split("."))) is not None, name


def test_a_time_of_any_year_has_a_text():
    assert instant(None) is None
    assert instant(-1) == "1969-12-31T23:59:59.999999Z"
    assert instant(2**62) > "14"
    assert instant(round(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1e6)) == "9999-12-31T00:00:00Z"


def test_what_is_explained_of_a_line_is_what_a_batch_job_files(tmp_path: Path):
    lines = [json.dumps({**HOT, "value": 40}), '{"device_id":']
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines))
    batch = job(tmp_path, "jsonl", source)
    batch.run()
    (row,) = batch.readings().to_pylist()
    said = explain_record(load_config(batch.config), Record(lines[0].encode(), NOW))
    end = told(said["readings"][0])
    assert {name: row[name] for name in end if name != "timestamp"} == {
        name: value for name, value in end.items() if name != "timestamp"
    }
    said = explain_record(load_config(batch.config), Record(lines[1].encode(), NOW))
    assert [reject["reason"] for reject in said["rejects"]] == batch.rejects()["reason"].to_pylist()
